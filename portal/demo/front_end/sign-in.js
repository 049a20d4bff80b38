// The end of a sign-in: a quiet notice before it, and afterwards the same page with everything that was typed.

import * as portal from "/static/portal.js";
import { $, say, tenant } from "./page.js";
import { t, time } from "./words.js";

const notice = $("notice-end");
const button = $("notice-end-button");
let organisation = tenant;

/** Shows a notice with a button. `act` returns the next text, or nothing when the notice may go. */
function show(text, label, act) {
  $("notice-end-text").textContent = text;
  button.textContent = label;
  notice.hidden = false;
  say(text);
  button.onclick = async () => {
    const next = await act();
    if (next) {
      $("notice-end-text").textContent = next;
      say(next);
    } else {
      hide();
    }
  };
}

function hide() {
  const hadFocus = notice.contains(document.activeElement);
  notice.hidden = true;
  if (hadFocus) $("content").focus();
}

/** Why a sign-in did not work, in words. */
export function reasonOf(error) {
  const reasons = { popup_blocked: "blocked", sign_in_cancelled: "cancelled", another_account: "otherAccount" };
  return reasons[error.code] ? t(reasons[error.code]) : "";
}

/**
 * For `signIn` of portal.fetch. Directly after a click, a window of its own opens. Otherwise the browser would block
 * it: then the notice asks for a click. The request waits meanwhile, and the page stays as it is.
 */
export async function signIn({ open }) {
  if (navigator.userActivation?.isActive) {
    try {
      await open();
      return;
    } catch (error) {
      if (error.code !== "popup_blocked") throw error;
    }
  }
  await new Promise((resolve) => {
    const forget = portal.on("signed_in", (event) => event.tenant === tenant && done());
    const done = () => {
      forget();
      hide();
      resolve();
    };
    show(t("ended", { name: organisation }), t("signInAgain"), async () => {
      try {
        await open();
        done();
      } catch (error) {
        return reasonOf(error) || t("failedText");
      }
    });
  });
}

/** Watches the session. Parameters: name, of the organisation; back, called after a new sign-in. */
export function watch(name, back) {
  organisation = name;
  portal.on("signed_in", (event) => {
    if (event.tenant !== tenant) return;
    hide();
    say(t("signedIn", { name }));
    back();
  });
  portal.on("ended", async (event) => {
    if (event.tenant !== null && event.tenant !== tenant) return;
    const { tenants } = await portal.session();
    if (tenants.some(({ slug }) => slug === tenant)) return;
    show(t("ended", { name }), t("signInAgain"), async () => {
      try {
        await portal.login({ tenant, popup: true });
      } catch (error) {
        return reasonOf(error) || t("failedText");
      }
    });
  });
  portal.on("expiring", (event) => {
    if (event.tenant === tenant) {
      const text = t("loginEndsAt", { name, time: time(event.expires_at) });
      show(text, t("signInAgain"), async () => {
        try {
          await portal.login({ tenant, popup: true });
        } catch (error) {
          return reasonOf(error) || t("failedText");
        }
      });
    } else if (event.tenant === null) {
      show(t("endsAt", { time: time(event.expires_at) }), t("stay"), stay);
    }
  });
}

async function stay() {
  try {
    const response = await portal.fetch("/session", { method: "POST", signIn: "none" });
    if (!response.ok) return t("notStayed");
    say(t("stayed"));
  } catch {
    return t("notStayed");
  }
}
