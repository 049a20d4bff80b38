// Says in time that the session ends, and lets the reader stay signed in. After the end it offers to sign in again
// and to return to this page. It asks the portal shortly before the end that the page knows, and when the reader
// comes back to the page; reading does not extend the session.

const NOTICE_SECONDS = 120;
const LONGEST_WAIT = 3600;
const SECONDS_BETWEEN_READS = 5;
const RETRY_SECONDS = 30;
/** While the notice is shown: another tab may extend the session. */
const SECONDS_BETWEEN_LOOKS = 15;

const notice = document.querySelector("[data-session-notice]");
const text = notice.querySelector("[data-session-text]");
const stay = notice.querySelector("[data-session-stay]");
const again = notice.querySelector("[data-session-again]");
const tenant = notice.dataset.tenant;
/** Whether another script of this page reports that the sign-in at its organisation has ended. */
const reportedElsewhere = document.querySelector("[data-ended]") !== null;

let left = Number(notice.dataset.endsIn);
let readAt = performance.now();
let canExtend = true;
let entered = false;
let timer = null;

function secondsLeft() {
  return left - (performance.now() - readAt) / 1000;
}

function wait(seconds) {
  clearTimeout(timer);
  timer = setTimeout(read, Math.min(LONGEST_WAIT, Math.max(1, seconds)) * 1000);
}

function setText(value) {
  if (text.textContent !== value) text.textContent = value;
}

/** Shows what is to be said now, and waits for the next moment at which that changes. */
function show() {
  const seconds = secondsLeft();
  const ended = seconds <= 0;
  notice.hidden = ended ? reportedElsewhere : seconds > NOTICE_SECONDS;
  stay.hidden = ended || !canExtend;
  again.hidden = !ended;
  if (ended) {
    for (const link of again.querySelectorAll("a")) {
      const url = new URL(link.getAttribute("href"), location.href);
      url.searchParams.set("return_to", location.pathname + location.search + location.hash);
      link.href = url.pathname + url.search;
      if (entered) link.target = "_blank";
    }
  }
  if (!notice.hidden) {
    setText(ended ? (entered ? notice.dataset.textKept : notice.dataset.textEnded) : canExtend ? notice.dataset.textSoon : notice.dataset.textFinal);
  }
  if (!ended) wait(seconds > NOTICE_SECONDS ? seconds - NOTICE_SECONDS : Math.min(seconds, SECONDS_BETWEEN_LOOKS));
}

/** The seconds until the session ends, or the sign-in at this page's organisation; 0 when it has. */
function secondsOf({ tenants, session }, now) {
  if (session === null) return 0;
  const ends = [session.expires_at, session.idle_expires_at];
  if (tenant) {
    const login = tenants.find(({ slug }) => slug === tenant);
    if (!login) return 0;
    ends.push(login.expires_at);
  } else if (tenants.length === 0) {
    return 0;
  }
  const end = Math.min(...ends);
  if (end === session.expires_at) canExtend = false;
  return Math.max(0, end - now);
}

async function request(method) {
  const response = await fetch("/session", { method, headers: { Accept: "application/json", "X-Portal-CSRF": "1" } });
  if (!response.ok) throw new Error(`status ${response.status}`);
  const now = Date.parse(response.headers.get("Date")) / 1000; // this browser's clock may be wrong
  left = secondsOf(await response.json(), now);
  readAt = performance.now();
  if (secondsLeft() > NOTICE_SECONDS) canExtend = true;
}

async function read() {
  try {
    await request("GET");
    show();
  } catch (error) {
    console.warn("The session could not be read again.", error);
    wait(RETRY_SECONDS);
  }
}

stay.querySelector("button").addEventListener("click", async () => {
  try {
    await request("POST");
    canExtend = secondsLeft() > NOTICE_SECONDS;
    show();
  } catch (error) {
    console.warn("The session could not be extended.", error);
  }
});

/** The reader came back: another tab may have extended or ended the session meanwhile. */
function returned() {
  const passed = (performance.now() - readAt) / 1000;
  if (document.visibilityState === "visible" && passed > SECONDS_BETWEEN_READS && (secondsLeft() <= NOTICE_SECONDS || !notice.hidden)) read();
}

document.addEventListener("visibilitychange", returned);
addEventListener("focus", returned);
addEventListener("input", () => {
  entered = true;
});
if (secondsLeft() > NOTICE_SECONDS) show();
else read();
