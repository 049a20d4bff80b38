// Counts down to the end of the access token. Reads GET /session after each call of the API explorer, because
// the portal may have renewed the token.

const box = document.querySelector("[data-token]");
const left = box.querySelector("[data-token-left]");
const hint = box.querySelector("[data-token-hint]");
const again = box.querySelector("[data-token-again]");
const refreshes = "refreshes" in box.dataset;

let expiresAt = Number(box.dataset.expiresAt);
let ended = false;

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
  const soon = seconds < 60 && !refreshes;
  box.dataset.state = over || ended ? "over" : soon ? "soon" : "good";
  again.hidden = !(ended || (over && !refreshes));
  if (ended) {
    put(left, "Ended");
    put(hint, "Your sign-in at this organisation has ended.");
  } else if (over) {
    put(left, "Expired");
    put(hint, refreshes ? "The portal renews it at your next call." : "It cannot be renewed: sign in again to go on.");
  } else {
    put(left, spelled(seconds));
    put(hint, refreshes ? "The portal renews it for you." : "It cannot be renewed: you will be asked to sign in again.");
  }
}

async function readSession() {
  try {
    const response = await fetch("/session", { headers: { Accept: "application/json" }, cache: "no-store" });
    if (!response.ok) return;
    const { tenants } = await response.json();
    const login = tenants.find((tenant) => tenant.slug === box.dataset.tenant);
    ended = login === undefined;
    if (login) expiresAt = Number(login.access_expires_at);
    show();
  } catch (error) {
    // The countdown goes on from what it knows; the call itself has already told the user of the trouble.
    console.warn("The session could not be read again.", error);
  }
}

show();
setInterval(show, 1000);
document.addEventListener("visibilitychange", show);
document.addEventListener("portal:called", readSession);
