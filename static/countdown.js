// Counts down to the expiry of the access token, and shows a notice when the login has ended in another tab or at
// the provider. Reads GET /session after each call of the API explorer (the portal may have refreshed the token),
// when the user returns to the page, and when the token expires.

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
/** The user who is signed in at the tenant now, or null. */
let user = box.dataset.user;
let readAt = -Infinity;
let readOfExpiry = null;
let returning = null;

// Seconds by which the portal's clock is ahead of this browser's, measured when the page loads.
const secondsLeft = Number(box.dataset.expiresIn);
const ahead = secondsLeft > 0 ? expiresAt - secondsLeft - Date.now() / 1000 : 0;

/** A text of the page, in the reader's language, with its values. */
function text(name, values = {}) {
  return box.dataset[`text${name}`].replace(/%\((\w+)\)s/g, (_, key) => values[key]);
}

function remainingText(left) {
  const hours = Math.floor(left / 3600);
  const minutes = Math.floor((left % 3600) / 60);
  const seconds = Math.floor(left % 60);
  if (hours) return text("Hours", { hours, minutes });
  if (minutes) return text("Minutes", { minutes, seconds: String(seconds).padStart(2, "0") });
  return text("Seconds", { seconds });
}

function setText(element, shown) {
  if (element.textContent !== shown) element.textContent = shown;
}

function show() {
  const seconds = Math.max(0, expiresAt - ahead - Date.now() / 1000);
  const over = seconds <= 0;
  const ended = user !== box.dataset.user;
  const soon = seconds < 60 && !refreshes;
  box.dataset.state = over || ended ? "over" : soon ? "soon" : "good";
  again.hidden = ended || !over || refreshes;
  if (ended) {
    setText(left, text("Ended"));
    setText(hint, text("Unused"));
  } else if (over) {
    setText(left, text("Expired"));
    setText(hint, text(refreshes ? "RenewedLater" : "Final"));
  } else {
    setText(left, remainingText(seconds));
    setText(hint, text(refreshes ? "Renewed" : "FinalLater"));
  }
  showEnd(ended);
}

/** Shows that the login has ended, without a reload, so that text the user typed is not lost. */
function showEnd(ended) {
  const another = user !== null;
  if (ended) {
    setText(noticeText, another ? text("Another", { user }) : text("Over"));
    setText(noticeLink, text(another ? "Reload" : "Again"));
    noticeLink.href = another ? location.pathname : box.dataset.loginUrl;
  }
  if (notice.hidden === ended) document.dispatchEvent(new CustomEvent("portal:ended", { detail: ended }));
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
    // The countdown continues with the last known expiry. A failed API call has already been reported to the user.
    console.warn("The session could not be read again.", error);
  }
}

/** Reads the session once for each return to the page (browsers fire several events), at most every few seconds. */
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
