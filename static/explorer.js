// Calls the tenant's API from the page, as any page of the portal's origin may: with the header X-Portal-CSRF and
// without a token. The page shows every part of a response as text, as it arrives. Texts for people are data-text-…
// attributes of the page.

const SHOWN_BYTES = 256 * 1024;
const SHOWN_CHARACTERS = 512 * 1024;
const LARGEST_SAVED = 50 * 1024 * 1024;
// The same header that the server sends when scripts are disabled. It prefers JSON.
const ACCEPT = "application/json, */*;q=0.5";
/** Characters that change the direction of the text around them; shown as escapes. */
const DIRECTION = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

const explorer = document.querySelector("#explorer");
const find = (name) => explorer.querySelector(`[data-${name}]`);
const form = find("call");
const { api, method, path, body } = form.elements;
const bodyBox = find("body");
const sendButton = find("send");
const copyButton = find("copy");
const snippet = find("snippet");
const examples = [...explorer.querySelectorAll("[data-examples]")];

/** Texts of the portal's problems in the language of the page, by the English ones. */
const problemTexts = new Map(Object.entries(JSON.parse(explorer.dataset.problemTexts ?? "{}")));

/** The call in progress; the send button stops it. */
let underWay = null;
/** Whether the sign-in has ended, so that nothing can be sent. */
let ended = false;
/** The URL of the response that can be saved. */
let savedUrl = null;

/** A text of the page, with values in place of %(name)s. */
function text(name, values = {}) {
  const found = explorer.dataset[`text${name[0].toUpperCase()}${name.slice(1)}`];
  return found.replace(/%\((\w+)\)s/g, (_, key) => values[key]);
}

/** The path of the chosen API in the portal. */
function base() {
  return (api.selectedOptions?.[0] ?? api).dataset.base;
}

// --- the request

/** The request in the form. Throws when its path would leave the API. */
function wanted() {
  const typed = path.value.trim();
  const target = base() + (typed.startsWith("/") ? typed : `/${typed}`);
  const url = new URL(target, location.origin);
  if (url.origin !== location.origin || !url.pathname.startsWith(`${base()}/`)) {
    throw new RangeError(text("outside"));
  }
  const sendsBody = method.value !== "GET" && body.value.trim() !== "";
  const headers = { "X-Portal-CSRF": "1" };
  if (sendsBody) headers["Content-Type"] = "application/json";
  return { target: url.pathname + url.search, method: method.value, headers, body: sendsBody ? body.value : undefined };
}

function snippetFor(call) {
  const lines = [`const response = await fetch(${JSON.stringify(call.target)}, {`];
  if (call.method !== "GET") lines.push(`  method: ${JSON.stringify(call.method)},`);
  lines.push("  headers: {");
  for (const [name, value] of Object.entries(call.headers)) lines.push(`    "${name}": "${value}",`);
  lines.push("  },");
  if (call.body !== undefined) lines.push(`  body: ${bodyCode(call.body)},`);
  lines.push("});");
  return lines.join("\n");
}

/** The body as code: an object literal if it produces the same JSON, else a string literal. */
function bodyCode(written) {
  try {
    const code = indented(written);
    const same = code === indented(JSON.stringify(JSON.parse(written)));
    return same ? `JSON.stringify(${code.replaceAll("\n", "\n  ")})` : JSON.stringify(written);
  } catch {
    return JSON.stringify(written);
  }
}

function showSnippet() {
  let code = "";
  try {
    code = snippetFor(wanted());
  } catch {
    // The path is outside the API, so there is no snippet. Sending it shows the reason.
  }
  snippet.textContent = code;
  snippet.closest("section").hidden = code === "";
}

// --- the response

/**
 * JSON with one member a line. Works on the text, so that numbers keep every digit.
 * Throws SyntaxError when it is not JSON.
 */
function indented(json) {
  JSON.parse(json);
  const tokens = json.match(/"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\],:]|[^\s{}[\],:"]+/g);
  let out = "";
  let depth = 0;
  const line = () => `\n${"  ".repeat(depth)}`;
  for (let i = 0; i < tokens.length; i += 1) {
    const token = tokens[i];
    if ((token === "{" || token === "[") && (tokens[i + 1] === "}" || tokens[i + 1] === "]")) {
      out += token + tokens[(i += 1)];
    } else if (token === "{" || token === "[") {
      depth += 1;
      out += token + line();
    } else if (token === "}" || token === "]") {
      depth -= 1;
      out += line() + token;
    } else if (token === ",") {
      out += token + line();
    } else {
      out += token === ":" ? ": " : token;
    }
    if (out.length > SHOWN_CHARACTERS) return json;
  }
  return out;
}

/** The text with the characters that change its direction as escapes, which JSON reads as the same. */
function visible(shown) {
  return shown.replace(DIRECTION, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

function isBinary(type) {
  return /^(image|audio|video|font)\/(?!svg)|octet-stream|zip|pdf/.test(type);
}

/** Shows a body as it arrives: text at once, of binary data the size. Resolves to what arrived and how it ended. */
class Receiver {
  constructor(response, stopped) {
    this.response = response;
    this.stopped = stopped;
    this.type = response.headers.get("Content-Type") ?? "";
    this.binary = isBinary(this.type);
    this.decoder = new TextDecoder();
    this.text = "";
    this.chunks = [];
    this.size = 0;
    /** How it ended: "whole", "cut", "part" (the user stopped it), "broken" or "tooLarge". */
    this.end = "whole";
  }

  async read() {
    if (!this.response.body) return;
    const reader = this.response.body.getReader();
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        this.add(value);
        if (this.isFull()) {
          this.end = this.binary ? "tooLarge" : "cut";
          await reader.cancel();
          break;
        }
      }
    } catch (error) {
      this.end = this.stopped.aborted ? "part" : "broken";
      if (this.end === "broken") console.warn("The response broke off.", error);
    }
    if (!this.binary && this.end !== "cut") this.append(this.decoder.decode());
  }

  isFull() {
    return this.size > (this.binary ? LARGEST_SAVED : SHOWN_BYTES);
  }

  add(bytes) {
    if (!this.binary && this.size === 0 && bytes.includes(0)) this.binary = true;
    this.size += bytes.length;
    if (this.binary) {
      this.chunks.push(bytes);
      showSummary("", text("receiving"), sizeText(this.size));
      return;
    }
    const surplus = Math.max(0, this.size - SHOWN_BYTES);
    this.append(this.decoder.decode(bytes.subarray(0, bytes.length - surplus), { stream: true }));
  }

  append(more) {
    this.text += more;
    if (more) find("response-body").append(visible(more));
  }
}

function sizeText(size) {
  if (size < 1000) return `${size} B`;
  return size < 1e6 ? `${(size / 1000).toFixed(1)} kB` : `${(size / 1e6).toFixed(1)} MB`;
}

/** The portal's own problem, not one that the API sent: the portal removes this header from API responses. */
function problemIn(response, received) {
  if (response.headers.get("X-Portal-Problem") !== "1") return null;
  try {
    const problem = JSON.parse(received);
    return problem !== null && typeof problem === "object" ? problem : null;
  } catch {
    return null;
  }
}

/** The `login_url` of a problem if it is this tenant's login, else the page's own; it leads back to this page. */
function loginUrl(reported) {
  const own = new URL(explorer.dataset.loginUrl, location.origin);
  let found = own;
  if (typeof reported === "string") {
    try {
      const url = new URL(reported, location.origin);
      if (url.origin === own.origin && url.pathname === own.pathname) found = url;
    } catch {
      // Not a URL: the page's own.
    }
  }
  found.searchParams.set("return_to", location.pathname);
  return found.href;
}

/** The file name that a response suggests, else one made of its path. */
function fileName(response, target) {
  const disposition = response.headers.get("Content-Disposition") ?? "";
  const stated = /filename="([^"\\]{1,200})"/.exec(disposition) ?? /filename=([\w.-]{1,200})/.exec(disposition);
  const last = target.split("?")[0].split("/").at(-1);
  return (stated?.[1] ?? last).replace(/[^\w.() -]/g, "_").replace(/^\.+/, "") || "response";
}

// --- the page

function showSummary(outcome, ...parts) {
  const summary = find("summary");
  summary.dataset.outcome = outcome;
  summary.replaceChildren(
    ...parts.map((part, index) => {
      const span = document.createElement("span");
      if (index === 0 && outcome) span.className = "response-code";
      span.textContent = part;
      return span;
    }),
  );
}

function showProblem(title, advice = "", login = null, link = "again") {
  find("problem").hidden = !title;
  find("problem-title").textContent = title;
  find("problem-advice").textContent = advice;
  find("problem-advice").hidden = !advice;
  find("problem-login").hidden = login === null;
  if (login === null) return;
  const anchor = find("problem-login").firstElementChild;
  anchor.href = login;
  anchor.textContent = text(link);
}

function showHeaders(headers) {
  find("headers").replaceChildren(
    ...[...headers].map(([name, value]) => {
      const row = document.createElement("tr");
      const head = document.createElement("th");
      head.scope = "row";
      head.textContent = name;
      const cell = document.createElement("td");
      cell.textContent = visible(value);
      head.dir = "ltr";
      cell.dir = "ltr";
      row.append(head, cell);
      return row;
    }),
  );
}

/** Shows the head of a response; its body follows as it arrives. */
function showHead(response) {
  showSummary(outcomeOf(response), statusText(response), text("receiving"));
  showHeaders(response.headers);
  find("response-body").textContent = "";
  find("cut").hidden = true;
  find("output").hidden = false;
}

function outcomeOf(response) {
  return String(Math.floor(response.status / 100));
}

function statusText(response) {
  return `${response.status} ${response.statusText}`.trim();
}

/** Shows how a response ended, and its whole body in the final form. */
function showEnd(response, received, elapsed, target) {
  const whole = received.end === "whole";
  const size = whole ? sizeText(received.size) : text("more", { size: sizeText(Math.min(received.size, limitOf(received))) });
  showSummary(outcomeOf(response), statusText(response), `${elapsed} ms`, size);
  find("cut").hidden = whole;
  if (!whole) find("cut").textContent = text(received.end);
  if (received.binary) {
    const type = received.type || text("binaryData");
    find("response-body").textContent = text("binary", { size, type });
    if (whole && received.size) offerToSave(received, fileName(response, target));
    return;
  }
  const problem = whole ? problemIn(response, received.text) : null;
  if (problem) showProblemOf(problem, response.status);
  if (received.size === 0) find("response-body").textContent = text("noContent");
  else if (whole && /json/.test(received.type)) showIndented(received.text);
}

function limitOf(received) {
  return received.binary ? LARGEST_SAVED : SHOWN_BYTES;
}

function showIndented(json) {
  try {
    find("response-body").textContent = visible(indented(json));
  } catch {
    // Not JSON in spite of its type: it stays as it arrived.
  }
}

function showProblemOf(problem, status) {
  const stepUp = problem.code === "step_up_required";
  const login = status === 401 || stepUp ? problem.login_url : undefined;
  const url = (status === 401 && problem.code !== "step_up_failed") || stepUp ? loginUrl(login) : null;
  showProblem(asText(problem.title) || text("noCall"), asText(problem.advice) || asText(problem.detail), url, stepUp ? "stepUp" : "again");
}

function asText(value) {
  return typeof value === "string" ? (problemTexts.get(value) ?? value.slice(0, 2000)) : "";
}

function offerToSave(received, name) {
  savedUrl = URL.createObjectURL(new Blob(received.chunks, { type: "application/octet-stream" }));
  const link = find("save-link");
  link.href = savedUrl;
  link.download = name;
  link.textContent = text("save", { name, size: sizeText(received.size) });
  find("save").hidden = false;
}

function forgetSaved() {
  find("save").hidden = true;
  find("save-link").removeAttribute("href");
  if (savedUrl !== null) URL.revokeObjectURL(savedUrl);
  savedUrl = null;
}

async function send() {
  showProblem("");
  forgetSaved();
  find("none").hidden = true;
  find("output").hidden = true;
  let call;
  try {
    call = wanted();
  } catch (error) {
    showSummary("");
    showProblem(error instanceof RangeError ? error.message : text("unusable"), text("path"));
    return;
  }
  const stopper = new AbortController();
  underWay = stopper;
  showSendButton();
  showSummary("", text("calling"));
  const began = performance.now();
  try {
    const { target, ...init } = call;
    const headers = { Accept: ACCEPT, ...init.headers };
    const response = await fetch(target, { ...init, headers, signal: stopper.signal });
    showHead(response);
    const received = new Receiver(response, stopper.signal);
    await received.read();
    showEnd(response, received, Math.round(performance.now() - began), target);
  } catch (error) {
    showSummary("", stopper.signal.aborted ? text("stopped") : "");
    if (!stopper.signal.aborted) {
      console.warn("The call failed.", error);
      showProblem(text("noResponse"), text("check"));
    }
  } finally {
    underWay = null;
    showSendButton();
    document.dispatchEvent(new CustomEvent("portal:called"));
  }
}

/** The button sends, or stops the call in progress; after the sign-in has ended it does nothing. */
function showSendButton() {
  sendButton.textContent = text(underWay ? "stop" : "send");
  sendButton.disabled = ended && !underWay;
  for (const one of explorer.querySelectorAll("[data-examples] button")) one.disabled = ended;
}

/** Shows the examples of the chosen API. */
function showExamples() {
  for (const one of examples) one.hidden = one.dataset.examples !== api.value;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (underWay) underWay.abort();
  else if (!ended) send();
});

for (const one of examples) {
  one.addEventListener("submit", (event) => {
    event.preventDefault();
    if (underWay || ended) return;
    method.value = "GET";
    path.value = event.submitter.value;
    showSnippet();
    send();
  });
}

document.addEventListener("portal:ended", (event) => {
  ended = event.detail;
  showSendButton();
});

body.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
});

method.addEventListener("change", () => {
  if (["POST", "PUT", "PATCH"].includes(method.value)) bodyBox.open = true;
});

api.addEventListener("change", showExamples);
form.addEventListener("input", showSnippet);
showExamples();
showSnippet();

if (navigator.clipboard) {
  copyButton.hidden = false;
  copyButton.addEventListener("click", async () => {
    let message = text("copied");
    try {
      await navigator.clipboard.writeText(snippet.textContent);
    } catch (error) {
      console.warn("The browser did not allow copying.", error);
      message = text("notAllowed");
    }
    copyButton.textContent = message;
    find("copied").textContent = message;
    setTimeout(() => {
      copyButton.textContent = text("copy");
      find("copied").textContent = "";
    }, 2000);
  });
}
