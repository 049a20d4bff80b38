// A page for the tests: the parts of a browser that portal.js uses, without a browser.

export const ORIGIN = "https://portal.example";


/** A response of the portal. */
export function problem(status, members) {
  return new Response(JSON.stringify({ status, ...members }), {
    status,
    headers: { "Content-Type": "application/problem+json", "X-Portal-Problem": "1" },
  });
}

export const expired = () =>
  problem(401, { code: "login_ended", login_url: "/t/acme/login?return_to=%2Ft%2Facme%2F" });

class Channel {
  static all = new Set();

  constructor(name) {
    this.name = name;
    Channel.all.add(this);
  }

  postMessage(data) {
    for (const other of Channel.all) if (other !== this) other.onmessage?.({ data, origin: ORIGIN });
  }
}

class Source extends EventTarget {
  static made = [];
  readyState = 1;

  constructor(url) {
    super();
    this.url = url;
    Source.made.push(this);
  }

  send(type, data) {
    this.dispatchEvent(new MessageEvent(type, { data: JSON.stringify(data) }));
  }
}

class Socket {
  static made = [];
  readyState = 0;
  sent = [];

  constructor(url, protocols) {
    Object.assign(this, { url: String(url), protocols });
    Socket.made.push(this);
  }

  send(data) {
    this.sent.push(data);
  }

  close(code, reason) {
    this.closed = [code, reason];
  }

  end(code) {
    this.readyState = 3;
    return this.onclose({ code, reason: "", wasClean: code !== 1006 });
  }
}

let pages = 0;

/**
 * A page at a path, with a fresh portal.js. `responses` maps "METHOD /path" to a function that makes a response, or to
 * a list of them. `popup` is what `window.open` returns.
 */
export async function openPage(path, responses = {}, { popup = {} } = {}) {
  Channel.all.clear();
  Source.made.length = Socket.made.length = 0;
  const page = { requests: [], opened: [], assigned: [], submitted: [], stored: new Map(), focus: new EventTarget() };
  const url = new URL(path, ORIGIN);
  const NodeRequest = page.NodeRequest ?? globalThis.NodeRequest ?? globalThis.Request;
  globalThis.NodeRequest = NodeRequest;
  class PageRequest extends NodeRequest {
    constructor(input, init) {
      super(typeof input === "string" ? new URL(input, ORIGIN) : input, init);
    }
  }
  const answer = async (input, init) => {
    const request = new PageRequest(input, init);
    const { pathname, search } = new URL(request.url);
    page.requests.push({
      line: `${request.method} ${pathname}${search}`,
      url: request.url,
      headers: Object.fromEntries(request.headers),
      body: request.body ? await request.text() : "",
    });
    const made = responses[`${request.method} ${pathname}`] ?? (() => new Response("{}"));
    const response = (Array.isArray(made) ? made.shift() : made)(request);
    // as a browser does, unless the test says that the request was redirected
    if (response instanceof Response && !response.url) Object.defineProperty(response, "url", { value: request.url });
    return response;
  };
  Object.assign(globalThis, {
    Request: PageRequest,
    fetch: answer,
    BroadcastChannel: Channel,
    EventSource: Source,
    WebSocket: Socket,
    location: {
      href: url.href,
      origin: ORIGIN,
      pathname: url.pathname,
      search: url.search,
      hash: url.hash,
      assign: (target) => page.assigned.push(String(target)),
    },
    open: (target) => {
      page.opened.push(String(target));
      return popup;
    },
    addEventListener: (...args) => page.focus.addEventListener(...args),
    removeEventListener: (...args) => page.focus.removeEventListener(...args),
    sessionStorage: {
      getItem: (name) => page.stored.get(name) ?? null,
      setItem: (name, value) => page.stored.set(name, value),
      removeItem: (name) => page.stored.delete(name),
    },
    document: {
      createElement: () => ({ submit() { page.submitted.push([this.method, this.action]); } }),
      body: { append() {} },
    },
  });
  Object.defineProperty(globalThis, "navigator", {
    configurable: true,
    value: { locks: { request: (name, callback) => callback() } },
  });
  page.portal = await import(`../src/portal.js?${++pages}`);
  page.sources = Source.made;
  page.sockets = Socket.made;
  /** What another tab says. */
  page.message = (data, origin = ORIGIN) => {
    for (const channel of Channel.all) channel.onmessage?.({ data, origin });
  };
  return page;
}

export const tenantOf = (slug, more = {}) => ({ slug, name: slug, user: "Ada", roles: [], signed_in_at: 1, ...more });

export const sessionOf = (...tenants) => () =>
  new Response(JSON.stringify({ tenants, session: tenants.length ? { expires_at: 9, idle_expires_at: 9 } : null }), { headers: { ETag: `W/"${tenants.length}"` } });

/** Lets everything that is ready run. */
export const settled = async () => {
  for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
};
