// Counts down to the end of the access token, and says so when the user is signed in here no longer: signed out in
// another tab or at the provider. Reads GET /session after each call of the API explorer, because the portal may
// have renewed the token, when the user comes back to the page, and when the token expires.

const SECONDS_BETWEEN_RETURNS = 5;

const box = document.querySelector("[data-token]");
const left = box.querySelector("[data-token-left]");
const hint = box.querySelector("[data-token-hint]");
const again = box.querySelector("[data-token-again]");
const refreshes = "refreshes" in box.dataset;
const notice = document.querySelector("[data-ended]");
const noticeText = notice.querySelector("[data-ended-text]");
const noticeLink = notice.querySelector("a");
const shownWhileSignedIn = document.querySelectorAll("[data-while-signed-in]");

let expiresAt = Number(box.dataset.expiresAt);
/** Who is signed in at the tenant now; null when nobody is. */
let user = box.dataset.user;
let readAt = -Infinity;
let readOfExpiry = null;
let returning = null;

// Seconds that the portal's clock is ahead of this browser's, known while the page is fresh.
const secondsLeft = Number(box.dataset.expiresIn);
const ahead = secondsLeft > 0 ? expiresAt - secondsLeft - Date.now() / 1000 : 0;

function spelled(seconds) {
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor((seconds % 3600) / 60);
  const rest = Math.floor(seconds % 60);
  if (hours) return `${hours} h ${minutes} min left`;
  if (minutes) return `${minutes} min ${String(rest).padStart(2, "0")} s left`;
  return `${rest} s left`;
}

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function show() {
  const seconds = Math.max(0, expiresAt - ahead - Date.now() / 1000);
  const over = seconds <= 0;
  const ended = user !== box.dataset.user;
  const soon = seconds < 60 && !refreshes;
  box.dataset.state = over || ended ? "over" : soon ? "soon" : "good";
  again.hidden = ended || !over || refreshes;
  if (ended) {
    put(left, "Ended");
    put(hint, "Nothing more is sent with it.");
  } else if (over) {
    put(left, "Expired");
    put(hint, refreshes ? "The portal renews it at your next call." : "It cannot be renewed: sign in again to go on.");
  } else {
    put(left, spelled(seconds));
    put(hint, refreshes ? "The portal renews it for you." : "It cannot be renewed: you will be asked to sign in again.");
  }
  showEnd(ended);
}

/** What was typed stays: the page only says how things are, and the link is the user's to follow. */
function showEnd(ended) {
  const another = user !== null;
  if (ended) {
    put(noticeText, another ? `You are signed in here as ${user} now.` : "Your sign-in here has ended.");
    put(noticeLink, another ? "Reload this page" : "Sign in again");
    noticeLink.href = another ? location.pathname : box.dataset.loginUrl;
  }
  notice.hidden = !ended;
  for (const element of shownWhileSignedIn) element.hidden = ended;
}

async function readSession() {
  readAt = performance.now();
  try {
    const response = await fetch("/session", { headers: { Accept: "application/json" }, cache: "no-store" });
    if (!response.ok) return;
    const { tenants } = await response.json();
    const login = tenants.find((tenant) => tenant.slug === box.dataset.tenant);
    user = login ? login.user : null;
    if (login) expiresAt = Number(login.access_expires_at);
    show();
  } catch (error) {
    // The countdown goes on from what it knows; the call itself has already told the user of the trouble.
    console.warn("The session could not be read again.", error);
  }
}

/** Once for each return of the user, which browsers may announce several times, and not at every glance. */
function readOnReturn() {
  if (document.visibilityState !== "visible" || returning !== null) return;
  const wait = Math.max(0, readAt + SECONDS_BETWEEN_RETURNS * 1000 - performance.now());
  returning = setTimeout(() => {
    returning = null;
    readSession();
  }, wait);
}

function tick() {
  show();
  if (Date.now() / 1000 < expiresAt - ahead || readOfExpiry === expiresAt) return;
  readOfExpiry = expiresAt;
  readSession();
}

tick();
setInterval(tick, 1000);
document.addEventListener("visibilitychange", () => {
  show();
  readOnReturn();
});
addEventListener("focus", readOnReturn);
document.addEventListener("portal:called", readSession);
