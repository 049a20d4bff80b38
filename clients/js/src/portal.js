// For pages on the portal's own origin: who is signed in, calls of a tenant's API that survive an expired sign-in,
// switching between tenants, sockets, and news of the session. See docs/reference/portal-js.md.
//
// `scripts/client_js.py` writes static/portal.js from this file: without comments and indentation, otherwise unchanged.

const SLUG = /^[a-z0-9][a-z0-9-]{0,62}$/;
const LOGIN = /^\/t\/([a-z0-9][a-z0-9-]{0,62})\/login$/;
const KEPT = "portal.kept";
/** Close codes of the portal after which a socket is not opened again by itself. */
const ENDED = 4401;
const REFUSED = [4403, 4404];

/** What went wrong in the page or with the user; `code` is for programs. */
class PortalError extends Error {
  constructor(code, message) {
    super(message);
    this.name = "PortalError";
    this.code = code;
  }
}

// --- who is signed in

let etag;
let known = { tenants: [], session: null };
/** The user's name at each tenant, as last seen; it stays when the login ends. */
const users = Object.create(null);
/** When the user signed in at each tenant, as the listeners know it; undefined before the first read. */
let reported;

const entry = (tenant) => known.tenants.find(({ slug }) => slug === tenant);

/** What GET /session says now. Unchanged content is not sent again. Throws when the portal does not respond. */
export async function session() {
  const headers = etag ? { "If-None-Match": etag } : {};
  const response = await fetch("/session", { cache: "no-store", headers });
  if (response.status !== 304) {
    if (!response.ok) throw new PortalError("session_unavailable", `GET /session: ${response.status}`);
    etag = response.headers.get("ETag");
    known = await response.json();
    for (const { slug, user } of known.tenants) users[slug] = user;
    reported ??= new Map(known.tenants.map(({ slug, signed_in_at: at }) => [slug, at]));
  }
  return known;
}

// --- signing in and out

/** Sign-ins in progress, by URL: calls that fail together share one window. */
const signIns = new Map();

const here = () => location.pathname + location.search + location.hash;

/** Leaves the page; the promise never settles. */
function redirect(url, returnTo) {
  url.searchParams.set("return_to", returnTo);
  location.assign(url);
  return new Promise(() => {});
}

/** Signs in through a window of its own. Throws a PortalError when it was blocked, or closed before the end. */
async function throughPopup(url) {
  const tenant = LOGIN.exec(url.pathname)[1];
  url.searchParams.set("return_to", `/t/${tenant}/signed-in`);
  // Before the first await: the browser opens a window only right after the user's click.
  const popup = open(url, `portal-${tenant}`, "popup,width=520,height=720");
  if (!popup) throw new PortalError("popup_blocked", "The browser blocked the sign-in window.");
  const signedInAt = () => session().then(() => entry(tenant)?.signed_in_at);
  const ended = new Promise((resolve) => {
    const end = (event) => {
      if (event && event.tenant !== tenant) return;
      forget();
      resolve(event);
    };
    const forget = on("signed_in", end);
    // The window's own state says nothing: the provider's page is in another browsing context group.
    addEventListener("focus", () => setTimeout(end, 1000), { once: true });
  });
  // What ends the wait only says when to look. What counts is what the portal says.
  const [before, message] = await Promise.all([signedInAt(), ended]);
  const now = await signedInAt();
  // A sign-in for one API leaves the time of the login as it is.
  const added = message && url.searchParams.has("api");
  if (!now || (now === before && !added)) {
    throw new PortalError("sign_in_cancelled", "The sign-in was not finished.");
  }
}

async function signInThrough(url, how, leave) {
  if (how === "popup") {
    try {
      return await throughPopup(url);
    } catch (error) {
      if (error.code !== "popup_blocked") throw error;
    }
  }
  return leave();
}

/** Signs in at a tenant: in this window, or with `popup` in another one (in this one where that is blocked). */
export async function login({ tenant, provider, prompt, loginHint, returnTo = here(), popup = false }) {
  const url = new URL(`/t/${tenant}/login`, location.origin);
  const parameters = { provider, prompt, login_hint: loginHint };
  for (const name in parameters) if (parameters[name]) url.searchParams.set(name, parameters[name]);
  await signInThrough(url, popup && "popup", () => redirect(url, returnTo));
  return entry(tenant);
}

/** Signs out of a tenant, or of all, here and at the provider. Leaves the page. */
export function logout({ tenant } = {}) {
  const form = document.createElement("form");
  form.method = "post";
  form.action = tenant ? `/t/${tenant}/logout` : "/logout";
  document.body.append(form);
  form.submit();
}

/** Opens the same page of another tenant, or its home. A sign-in that has ended is renewed, silently if possible. */
export async function switchTo(tenant, { from, keepPage = true } = {}) {
  const { tenants } = await session();
  const parts = location.pathname.split("/");
  const at = parts.findIndex((part) => (from ? part === from : tenants.some(({ slug }) => slug === part)));
  if (at > 0) parts[at] = tenant;
  const target = keepPage && at > 0 ? parts.join("/") : `/t/${tenant}/`;
  start();
  channel.postMessage({ type: "switched", tenant });
  if (entry(tenant)) location.assign(target);
  else await login({ tenant, prompt: "none", returnTo: target });
}

// --- calls

const addressOf = ({ tenant, api, path }) => `/t/${tenant}/${api ? `apis/${api}` : "api"}${path}`;

/**
 * The sign-in that a response of the portal asks for. Of the responses of the page's origin, the portal alone can set
 * X-Portal-Problem; after a redirect, a response may be of another origin.
 */
async function loginOf(response, safe) {
  if (response.headers.get("X-Portal-Problem") !== "1" || new URL(response.url).origin !== location.origin) return null;
  const { code, login_url: link } = await response.clone().json();
  if (!link || (response.status !== 401 && code !== "step_up_required")) return null;
  // The API may have done it: to repeat it is the user's decision.
  if (code === "login_ended_during_call" && !safe) return null;
  const url = new URL(link, location.origin);
  return url.origin === location.origin && LOGIN.test(url.pathname) ? url : null;
}

/**
 * As the browser's `fetch`, for calls of the portal. Where the portal asks for a sign-in, the user signs in and the
 * request is sent once more. `init.signIn` is "popup", "redirect", "none" or a function that decides; `init.keep`
 * keeps the request for `kept()` when the page is left.
 */
async function call(input, { signIn = "popup", keep = false, ...init } = {}) {
  const source = input.tenant ? addressOf(input) : input;
  const attempt = () => {
    const request = new Request(source.clone ? source.clone() : source, init);
    if (new URL(request.url).origin === location.origin) request.headers.set("X-Portal-CSRF", "1");
    return request;
  };
  const { url, method } = attempt();
  const response = await fetch(attempt());
  if (new URL(url).origin !== location.origin || signIn === "none") return response;
  const login = await loginOf(response, /^(GET|HEAD|PUT|DELETE)$/.test(method));
  if (!login) return response;
  if (init.body instanceof ReadableStream) {
    throw new PortalError("body_not_repeatable", "Sign in and send the request again: its body was a stream.");
  }
  const tenant = LOGIN.exec(login.pathname)[1];
  const user = users[tenant];
  const leave = () => {
    if (keep && !source.clone && (init.body ?? "").substring) {
      const type = new Headers(init.headers).get("Content-Type");
      sessionStorage.setItem(KEPT, JSON.stringify({ url, method, body: init.body, type, tenant, user }));
    }
    return redirect(login, here());
  };
  const { href } = login;
  if (!signIns.has(href)) {
    const through = signIn.call
      ? signIn({ tenant, loginUrl: href, open: () => throughPopup(login), leave })
      : signInThrough(login, signIn, leave);
    signIns.set(href, Promise.resolve(through).finally(() => signIns.delete(href)));
  }
  await signIns.get(href);
  if (user && users[tenant] !== user) {
    throw new PortalError("another_account", `You are now signed in as ${users[tenant]}. Nothing was sent.`);
  }
  return fetch(attempt());
}

export { call as fetch };

/** The request that `fetch` with `keep` kept before the page was left, once; null if there is none. */
export function kept() {
  const text = sessionStorage.getItem(KEPT);
  sessionStorage.removeItem(KEPT);
  return JSON.parse(text);
}

// --- sockets

class PortalSocket extends EventTarget {
  binaryType = "blob";
  #path;
  #protocols;
  #connection;
  #timer;
  #forget;
  #failures = 0;
  #closed = false;

  constructor(path, protocols) {
    super();
    this.#path = path;
    this.#protocols = protocols;
    this.#connect();
  }

  get readyState() {
    return this.#connection.readyState;
  }

  get protocol() {
    return this.#connection.protocol;
  }

  send(data) {
    this.#connection.send(data);
  }

  close(code, reason) {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#forget?.();
    this.#connection.close(code, reason);
  }

  #connect() {
    const url = new URL(this.#path, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    const connection = new WebSocket(url, this.#protocols);
    let opened = 0;
    this.#connection = connection;
    connection.binaryType = this.binaryType;
    connection.onopen = () => {
      opened = Date.now();
      this.dispatchEvent(new Event("open"));
    };
    connection.onmessage = ({ data }) => this.dispatchEvent(new MessageEvent("message", { data }));
    connection.onclose = async ({ code, reason, wasClean }) => {
      this.#failures = opened && Date.now() - opened > 10_000 ? 0 : this.#failures + 1;
      this.dispatchEvent(Object.assign(new Event("close"), { code, reason, wasClean }));
      if (this.#closed || REFUSED.includes(code)) return;
      const tenant = url.pathname.split("/")[2];
      // A handshake that was refused has no code: ask the portal whether the sign-in has ended.
      if (code === ENDED || (!opened && (await hasEnded(tenant)))) this.#wait(tenant);
      else this.#later();
    };
  }

  #wait(tenant) {
    this.#forget = on("signed_in", (event) => {
      if (event.tenant !== tenant) return;
      this.#forget();
      this.#connect();
    });
    receive({ type: "ended", tenant });
  }

  #later() {
    const pause = Math.min(30_000, 500 * 2 ** Math.min(this.#failures, 6));
    if (!this.#closed) this.#timer = setTimeout(() => this.#connect(), pause * (0.5 + Math.random() / 2));
  }
}

async function hasEnded(tenant) {
  const before = users[tenant];
  await session().catch(() => {});
  return before && !entry(tenant);
}

/**
 * A WebSocket to an API that opens itself again: after a pause when it broke off, after the next sign-in when the
 * sign-in ended (`on("ended")` tells), never after a refusal or `close()`.
 */
export function socket(path, protocols = []) {
  return new PortalSocket(path.tenant ? addressOf(path) : path, protocols);
}

// --- news of the session

const listeners = { signed_in: new Set(), ended: new Set(), expiring: new Set(), switched: new Set() };
let channel;
let source;
let timer;

/** Calls the listeners. Messages with another form than the portal's are ignored. */
function receive(message) {
  const { type, tenant = null, expires_at: expiresAt } = message ?? {};
  if (!Object.hasOwn(listeners, type)) return;
  if (tenant !== null && !(tenant.substring && SLUG.test(tenant))) return;
  if (type === "ended") reported?.delete(tenant);
  if (type === "signed_in" && tenant) reported?.set(tenant, message.at); // the page of a sign-in does not say when
  if (type === "signed_in" && source?.readyState === 2) listen();
  for (const callback of [...listeners[type]]) callback({ type, tenant, expires_at: Number(expiresAt) || null });
}

/** Tells this tab and the others. */
function tell(message) {
  channel.postMessage(message);
  receive(message);
}

/** Reads the session and tells what happened while no stream was open. Every sign-in ends the stream. */
async function compare() {
  const before = reported?.size;
  const { tenants, session: live } = await session();
  if (before === undefined) return;
  for (const tenant of reported.keys()) if (!entry(tenant)) tell({ type: "ended", tenant });
  for (const { slug: tenant, signed_in_at: at } of tenants) {
    if (reported.get(tenant) !== at) tell({ type: "signed_in", tenant, at });
  }
  if (before && !live) tell({ type: "ended", tenant: null });
}

const check = () =>
  compare().catch(() => {
    if (source.readyState !== 2) timer = setTimeout(check, 15_000);
  });

/** One tab has the connection to the portal and tells the others. */
function listen() {
  clearTimeout(timer);
  source = new EventSource("/session/events");
  for (const type of ["ended", "expiring"]) {
    source.addEventListener(type, ({ data }) => tell({ ...JSON.parse(data), type }));
  }
  source.onopen = check;
  source.onerror = () => {
    if (source.readyState !== 2) return;
    timer = setTimeout(listen, 15_000);
    if (reported?.size) check();
  };
}

function start() {
  if (channel) return;
  channel = new BroadcastChannel("portal");
  channel.onmessage = ({ data, origin }) => origin === location.origin && receive(data);
  // The lock is held until the tab is closed; then another tab gets it.
  const lead = () => new Promise(listen);
  if (navigator.locks) navigator.locks.request("portal-events", lead);
  else lead();
}

/** Calls back on "signed_in", "ended", "expiring" and "switched" (in another tab). Returns a function that stops it. */
export function on(type, callback) {
  start();
  listeners[type].add(callback);
  return () => listeners[type].delete(callback);
}
