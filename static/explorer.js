// Calls the tenant's API from the page, as any page of the portal's origin may: with the header X-Portal-CSRF and
// without a token. The page shows every part of a response as text.

const SHOWN_BYTES = 256 * 1024;
const SHOWN_CHARACTERS = 512 * 1024;
// The same header that the server sends when scripts are disabled. It prefers JSON.
const ACCEPT = "application/json, */*;q=0.5";

const explorer = document.querySelector("#explorer");
const find = (name) => explorer.querySelector(`[data-${name}]`);
const form = find("call");
const { method, path, body } = form.elements;
const bodyBox = find("body");
const sendButton = find("send");
const copyButton = find("copy");
const snippet = find("snippet");

const home = `/t/${explorer.dataset.tenant}/`;
const api = `${home}api`;

/** The call in progress; the send button stops it. */
let underWay = null;

// --- the request

/** The request in the form. Throws when its path would leave the API. */
function wanted() {
  const typed = path.value.trim();
  const target = api + (typed.startsWith("/") ? typed : `/${typed}`);
  const url = new URL(target, location.origin);
  if (url.origin !== location.origin || !url.pathname.startsWith(`${api}/`)) {
    throw new RangeError("This path is outside the API.");
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
function bodyCode(text) {
  try {
    const code = indented(text);
    const same = code === indented(JSON.stringify(JSON.parse(text)));
    return same ? `JSON.stringify(${code.replaceAll("\n", "\n  ")})` : JSON.stringify(text);
  } catch {
    return JSON.stringify(text);
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
function indented(text) {
  JSON.parse(text);
  const tokens = text.match(/"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\],:]|[^\s{}[\],:"]+/g);
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
    if (out.length > SHOWN_CHARACTERS) return text;
  }
  return out;
}

/** The beginning of a response body: reading stops after SHOWN_BYTES. */
async function beginning(response, stopped) {
  const chunks = [];
  let size = 0;
  const ended = { cut: false, stopped: false };
  if (response.body) {
    const reader = response.body.getReader();
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        chunks.push(value);
        size += value.length;
        if (size > SHOWN_BYTES) {
          ended.cut = true;
          await reader.cancel();
          break;
        }
      }
    } catch (error) {
      if (!stopped.aborted) throw error;
      ended.stopped = true;
    }
  }
  return { bytes: new Uint8Array(await new Blob(chunks).arrayBuffer()).subarray(0, SHOWN_BYTES), ...ended };
}

function readable(bytes, type, whole) {
  if (bytes.length === 0) return "(no content)";
  if (bytes.includes(0) || /^(image|audio|video|font)\/(?!svg)|octet-stream|zip|pdf/.test(type)) {
    return `(${sizeText(bytes.length, whole)} of ${type || "binary data"}, not shown)`;
  }
  const text = new TextDecoder().decode(bytes);
  if (!whole || !/json/.test(type)) return text;
  try {
    return indented(text);
  } catch {
    return text;
  }
}

function sizeText(size, whole) {
  const exact = size < 1000 ? `${size} B` : `${(size / 1000).toFixed(1)} kB`;
  return whole ? exact : `more than ${exact}`;
}

/** The portal's own problem, not one that the API sent: the portal removes this header from API responses. */
function problemIn(response, text) {
  if (response.headers.get("X-Portal-Problem") !== "1") return null;
  try {
    const problem = JSON.parse(text);
    return problem !== null && typeof problem === "object" ? problem : null;
  } catch {
    return null;
  }
}

/** The link of "Sign in again": the `login_url` of the problem if it is this tenant's login, else the page's own. */
function loginUrl(reported) {
  const own = new URL(explorer.dataset.loginUrl, location.origin);
  own.searchParams.set("return_to", home);
  if (typeof reported !== "string") return own.href;
  try {
    const url = new URL(reported, location.origin);
    return url.origin === own.origin && url.pathname === own.pathname ? url.href : own.href;
  } catch {
    return own.href;
  }
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

function showProblem(title, advice = "", login = null) {
  find("problem").hidden = !title;
  find("problem-title").textContent = title;
  find("problem-advice").textContent = advice;
  find("problem-advice").hidden = !advice;
  find("problem-login").hidden = login === null;
  if (login !== null) find("problem-login").firstElementChild.href = login;
}

function showHeaders(headers) {
  find("headers").replaceChildren(
    ...[...headers].map(([name, value]) => {
      const row = document.createElement("tr");
      const head = document.createElement("th");
      head.scope = "row";
      head.textContent = name;
      const cell = document.createElement("td");
      cell.textContent = value;
      head.dir = "ltr";
      cell.dir = "ltr";
      row.append(head, cell);
      return row;
    }),
  );
}

function showResponse(response, received, elapsed) {
  const whole = !received.cut && !received.stopped;
  const type = response.headers.get("Content-Type") ?? "";
  const text = readable(received.bytes, type, whole);
  const problem = whole ? problemIn(response, text) : null;
  const size = sizeText(received.bytes.length, whole);
  showSummary(String(Math.floor(response.status / 100)), `${response.status} ${response.statusText}`.trim(), `${elapsed} ms`, size);
  if (problem) {
    const login = response.status === 401 ? loginUrl(problem.login_url) : null;
    showProblem(asText(problem.title) || "The call got no response", asText(problem.advice) || asText(problem.detail), login);
  }
  showHeaders(response.headers);
  find("response-body").textContent = text;
  find("response-body").scrollTop = 0;
  find("cut").hidden = whole;
  find("cut").textContent = received.stopped ? "You stopped this call. This is the part that had arrived." : "Only the beginning is shown.";
  find("output").hidden = false;
}

function asText(value) {
  return typeof value === "string" ? value.slice(0, 2000) : "";
}

async function send() {
  showProblem("");
  find("none").hidden = true;
  find("output").hidden = true;
  let call;
  try {
    call = wanted();
  } catch (error) {
    showSummary("");
    showProblem(error instanceof RangeError ? error.message : "This path cannot be used.", "Write a path of the API, such as /orders.");
    return;
  }
  const stopper = new AbortController();
  underWay = stopper;
  sendButton.textContent = "Stop";
  showSummary("", "Calling…");
  const began = performance.now();
  try {
    const { target, ...init } = call;
    const headers = { Accept: ACCEPT, ...init.headers };
    const response = await fetch(target, { ...init, headers, signal: stopper.signal });
    const received = await beginning(response, stopper.signal);
    showResponse(response, received, Math.round(performance.now() - began));
  } catch (error) {
    showSummary("", stopper.signal.aborted ? "Stopped before a response arrived." : "");
    if (!stopper.signal.aborted) {
      console.warn("The call failed.", error);
      showProblem("The portal did not respond", "Check your connection and send it again.");
    }
  } finally {
    underWay = null;
    sendButton.textContent = "Send";
    document.dispatchEvent(new CustomEvent("portal:called"));
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (underWay) underWay.abort();
  else send();
});

find("examples")?.addEventListener("submit", (event) => {
  event.preventDefault();
  if (underWay) return;
  method.value = "GET";
  path.value = event.submitter.value;
  showSnippet();
  send();
});

body.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
});

method.addEventListener("change", () => {
  if (["POST", "PUT", "PATCH"].includes(method.value)) bodyBox.open = true;
});

form.addEventListener("input", showSnippet);
showSnippet();

if (navigator.clipboard) {
  copyButton.hidden = false;
  copyButton.addEventListener("click", async () => {
    let message = "Copied";
    try {
      await navigator.clipboard.writeText(snippet.textContent);
    } catch (error) {
      console.warn("The browser did not allow copying.", error);
      message = "Not allowed";
    }
    copyButton.textContent = message;
    find("copied").textContent = message;
    setTimeout(() => {
      copyButton.textContent = "Copy";
      find("copied").textContent = "";
    }, 2000);
  });
}
