// The list of organisations follows what is typed. The text goes in the body of a request, as when the form is sent:
// it may be the beginning of an e-mail address. Once it has an @, nothing is asked until the form is sent.

const PAUSE_MS = 200;

const form = document.querySelector("form[data-find]");
const input = form?.elements.q;
const failed = form?.querySelector("[data-failed]");
const results = document.querySelector("#results");
let waiting = null;
let running = null;

async function search() {
  running?.abort();
  if (input.value.includes("@")) return;
  running = new AbortController();
  const { signal } = running;
  try {
    const body = new URLSearchParams(new FormData(form));
    const response = await fetch(form.action, { method: "POST", body, signal, headers: { Accept: "text/html" } });
    if (!response.ok) throw new Error(`status ${response.status}`);
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    failed.hidden = true;
    results.replaceChildren(...page.querySelector("#results").childNodes);
  } catch (error) {
    if (signal.aborted) return;
    console.warn("The list could not be loaded.", error);
    failed.hidden = false;
  }
}

input?.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(search, PAUSE_MS);
});
