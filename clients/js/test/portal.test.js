import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { ORIGIN, expired, openPage, problem, sessionOf, settled, tenantOf } from "./page.js";

const ORDERS = { tenant: "acme", path: "/orders" };
const ok = () => new Response("[]");
/** What GET /session says before a sign-in at Acme, and after it. */
const signsIn = (before = [], after = {}) => [
  sessionOf(...before),
  ...Array(3).fill(sessionOf(tenantOf("acme", { signed_in_at: 2, ...after }))),
];

// --- session

test("the session is read again only when it has changed", async () => {
  const page = await openPage("/desk/acme/", {
    "GET /session": [sessionOf(tenantOf("acme")), () => new Response(null, { status: 304 })],
  });
  const first = await page.portal.session();
  assert.equal(await page.portal.session(), first);
  assert.equal(page.requests[1].headers["if-none-match"], 'W/"1"');
});

test("a session that cannot be read is an error with a code", async () => {
  const page = await openPage("/desk/acme/", { "GET /session": () => problem(503, {}) });
  await assert.rejects(page.portal.session(), { code: "session_unavailable" });
});

// --- fetch

test("a call has the header against cross-site requests and no other addition", async () => {
  const page = await openPage("/desk/acme/");
  await page.portal.fetch({ tenant: "acme", api: "billing", path: "/invoices?open=1" }, { headers: { A: "b" } });
  assert.equal(page.requests[0].line, "GET /t/acme/apis/billing/invoices?open=1");
  assert.deepEqual(page.requests[0].headers, { a: "b", "x-portal-csrf": "1" });
});

test("F6: a call of another origin neither gets the header nor can ask for a sign-in", async () => {
  const page = await openPage("/desk/acme/", { "GET /x": expired });
  const response = await page.portal.fetch("https://elsewhere.example/x");
  assert.equal(response.status, 401);
  assert.equal(page.requests[0].headers["x-portal-csrf"], undefined);
  assert.deepEqual([page.opened, page.assigned], [[], []]);
});

test("F6: a response of another origin, to which a call was redirected, begins no sign-in", async () => {
  const redirected = () => Object.defineProperty(expired(), "url", { value: "https://elsewhere.example/x" });
  const page = await openPage("/desk/acme/", { "GET /t/acme/api/orders": redirected });
  assert.equal((await page.portal.fetch(ORDERS)).status, 401);
  assert.deepEqual([page.opened, page.assigned], [[], []]);
});

for (const [name, make] of [
  ["of an API", () => new Response('{"login_url": "/t/acme/login"}', { status: 401 })],
  ["with an address elsewhere", () => problem(401, { login_url: "https://evil.example/t/acme/login" })],
  ["with a script", () => problem(401, { login_url: "javascript:alert(1)" })],
  ["with another page of the portal", () => problem(401, { login_url: "/t/acme/logout" })],
  ["without an address", () => problem(401, { code: "login_required" })],
  ["that refuses", () => problem(403, { code: "access_denied", login_url: "/t/acme/login" })],
]) {
  test(`F6: a response ${name} begins no sign-in`, async () => {
    const page = await openPage("/desk/acme/", { "GET /t/acme/api/orders": make });
    assert.equal((await page.portal.fetch(ORDERS)).status, make().status);
    assert.deepEqual([page.opened, page.assigned], [[], []]);
  });
}

test("an expired sign-in is renewed in a window, and the request is sent once more with its body", async () => {
  const page = await openPage("/desk/acme/?x=1#new", {
    "POST /t/acme/api/orders": [expired, ok],
    "GET /session": signsIn(),
  });
  const done = page.portal.fetch(ORDERS, { method: "POST", body: '{"item": 1}' });
  await settled();
  assert.deepEqual(page.opened, [`${ORIGIN}/t/acme/login?return_to=%2Ft%2Facme%2Fsigned-in`]);
  page.message({ type: "signed_in", tenant: "acme" });
  assert.equal((await done).status, 200);
  const sent = page.requests.filter(({ line }) => line.startsWith("POST"));
  assert.deepEqual(sent.map(({ body }) => body), ['{"item": 1}', '{"item": 1}']);
});

test("a Request with a body is sent once more too", async () => {
  const page = await openPage("/desk/acme/", {
    "POST /t/acme/api/orders": [expired, ok],
    "GET /session": signsIn(),
  });
  const done = page.portal.fetch(new Request("/t/acme/api/orders", { method: "POST", body: "x" }));
  await settled();
  page.message({ type: "signed_in", tenant: "acme" });
  assert.equal((await done).status, 200);
  assert.deepEqual(page.requests.filter(({ line }) => line.startsWith("POST")).map(({ body }) => body), ["x", "x"]);
});

test("calls that fail together share one window", async () => {
  const page = await openPage("/desk/acme/", {
    "GET /t/acme/api/orders": [expired, expired, ok, ok],
    "GET /session": signsIn(),
  });
  const both = Promise.all([page.portal.fetch(ORDERS), page.portal.fetch(ORDERS)]);
  await settled();
  page.message({ type: "signed_in", tenant: "acme" });
  assert.deepEqual((await both).map(({ status }) => status), [200, 200]);
  assert.equal(page.opened.length, 1);
});

test("the request is repeated once: a second refusal is the result", async () => {
  const page = await openPage("/desk/acme/", {
    "GET /t/acme/api/orders": expired,
    "GET /session": signsIn(),
  });
  const done = page.portal.fetch(ORDERS);
  await settled();
  page.message({ type: "signed_in", tenant: "acme" });
  assert.equal((await done).status, 401);
  assert.equal(page.opened.length, 1);
});

test("F6: a message alone is no sign-in: the portal must say so", async () => {
  const page = await openPage("/desk/acme/", {
    "POST /t/acme/api/orders": [expired, ok],
    "GET /session": sessionOf(tenantOf("globex")),
  });
  const done = page.portal.fetch(ORDERS, { method: "POST", body: "x" });
  await settled();
  page.message({ type: "signed_in", tenant: "acme" });
  await assert.rejects(done, { code: "sign_in_cancelled" });
  assert.equal(page.requests.filter(({ line }) => line.startsWith("POST")).length, 1);
});

test("nothing is repeated under another account", async () => {
  const page = await openPage("/desk/acme/", {
    "POST /t/acme/api/orders": [expired, ok],
    "GET /session": [
      sessionOf(tenantOf("acme", { user: "Ada" })),
      ...signsIn([tenantOf("acme", { user: "Ada" })], { user: "Bob" }),
    ],
  });
  await page.portal.session();
  const done = page.portal.fetch(ORDERS, { method: "POST", body: "x" });
  await settled();
  page.message({ type: "signed_in", tenant: "acme" });
  await assert.rejects(done, { code: "another_account" });
  assert.equal(page.requests.filter(({ line }) => line.startsWith("POST")).length, 1);
});

test("a tenant may have any name, also one that objects have", async () => {
  const url = "/t/constructor/login";
  const page = await openPage("/desk/constructor/", {
    "GET /t/constructor/api/orders": [() => problem(401, { code: "login_ended", login_url: url }), ok],
    "GET /session": [sessionOf(), sessionOf(tenantOf("constructor"))],
  });
  const done = page.portal.fetch({ tenant: "constructor", path: "/orders" });
  await settled();
  page.message({ type: "signed_in", tenant: "constructor" });
  assert.equal((await done).status, 200);
});

test("a stream cannot be sent again: the error says so, and no window opens", async () => {
  const page = await openPage("/desk/acme/", { "POST /t/acme/api/orders": expired });
  const body = new ReadableStream({
    pull(controller) {
      controller.enqueue(new TextEncoder().encode("x"));
      controller.close();
    },
  });
  const init = { method: "POST", body, duplex: "half" };
  await assert.rejects(page.portal.fetch(ORDERS, init), { code: "body_not_repeatable" });
  assert.deepEqual(page.opened, []);
});

test("a call that the API may have processed is not repeated by itself", async () => {
  const during = () => problem(401, { code: "login_ended_during_call", login_url: "/t/acme/login" });
  const page = await openPage("/desk/acme/", { "POST /t/acme/api/orders": during });
  assert.equal((await page.portal.fetch(ORDERS, { method: "POST", body: "x" })).status, 401);
  assert.deepEqual(page.opened, []);
});

test("a blocked window becomes a redirect that returns to this page; the request is kept only if asked", async () => {
  const init = { method: "POST", body: "x", headers: { "Content-Type": "text/plain", Authorization: "secret" } };
  for (const keep of [false, true]) {
    const page = await openPage("/desk/acme/?x=1#new", { "POST /t/acme/api/orders": expired }, { popup: null });
    page.portal.fetch(ORDERS, { ...init, keep });
    await settled();
    assert.deepEqual(page.assigned, [`${ORIGIN}/t/acme/login?return_to=%2Fdesk%2Facme%2F%3Fx%3D1%23new`]);
    assert.ok(!JSON.stringify([...page.stored]).includes("secret"));
    const kept = page.portal.kept();
    const url = `${ORIGIN}/t/acme/api/orders`;
    assert.deepEqual(kept, keep ? { url, method: "POST", body: "x", type: "text/plain", tenant: "acme" } : null);
    assert.equal(page.portal.kept(), null);
  }
});

test("signIn: none returns the response, redirect leaves, a function decides", async () => {
  const responses = { "GET /t/acme/api/orders": expired, "GET /session": sessionOf(tenantOf("acme")) };
  let page = await openPage("/desk/acme/", responses);
  assert.equal((await page.portal.fetch(ORDERS, { signIn: "none" })).status, 401);
  page.portal.fetch(ORDERS, { signIn: "redirect" });
  await settled();
  assert.deepEqual([page.opened.length, page.assigned.length], [0, 1]);
  page = await openPage("/desk/acme/", { ...responses, "GET /t/acme/api/orders": [expired, ok] });
  const asked = [];
  const signIn = async ({ tenant, open }) => asked.push(tenant, typeof open);
  assert.equal((await page.portal.fetch(ORDERS, { signIn })).status, 200);
  assert.deepEqual(asked, ["acme", "function"]);
});

test("a step-up that the portal asks for is the same round trip", async () => {
  const login = "/t/acme/login?acr_values=mfa&return_to=%2Ft%2Facme%2F";
  const page = await openPage("/desk/acme/", {
    "GET /t/acme/api/orders": [() => problem(403, { code: "step_up_required", login_url: login }), ok],
    "GET /session": signsIn([tenantOf("acme")]),
  });
  const done = page.portal.fetch(ORDERS);
  await settled();
  assert.deepEqual(page.opened, [`${ORIGIN}/t/acme/login?acr_values=mfa&return_to=%2Ft%2Facme%2Fsigned-in`]);
  page.message({ type: "signed_in", tenant: "acme" });
  assert.equal((await done).status, 200);
});

for (const [end, come] of [
  ["coming back", (page) => { page.focus.dispatchEvent(new Event("focus")); mock.timers.tick(1000); }],
  ["a message", (page) => page.message({ type: "signed_in", tenant: "acme" })],
]) {
  for (const isRead of [true, false]) {
    test(`${end} without a new sign-in is a cancellation, with one it goes on; session ${isRead ? "" : "not "}read before`, async () => {
      for (const [signedInAt, code] of [[1, "sign_in_cancelled"], [2, undefined]]) {
        mock.timers.enable({ apis: ["setTimeout"] });
        const before = Array(isRead ? 2 : 1).fill(sessionOf(tenantOf("acme")));
        const page = await openPage("/desk/acme/", {
          "GET /t/acme/api/orders": [expired, ok],
          "GET /session": [...before, ...Array(3).fill(sessionOf(tenantOf("acme", { signed_in_at: signedInAt })))],
        });
        if (isRead) await page.portal.session();
        const done = page.portal.fetch(ORDERS).then(() => undefined, (error) => error.code);
        await settled();
        come(page);
        assert.equal(await done, code);
        mock.timers.reset();
      }
    });
  }
}

test("a sign-in for one API leaves the login as it is: its end is the message, not coming back", async () => {
  const login = "/t/acme/login?api=billing&provider=main&prompt=none";
  for (const [isDone, code] of [[true, undefined], [false, "sign_in_cancelled"]]) {
    mock.timers.enable({ apis: ["setTimeout"] });
    const page = await openPage("/desk/acme/", {
      "GET /t/acme/apis/billing/": [() => problem(401, { code: "api_login_required", login_url: login }), ok],
      "GET /session": sessionOf(tenantOf("acme")),
    });
    const done = page.portal.fetch({ tenant: "acme", api: "billing", path: "/" }).then(() => undefined, (error) => error.code);
    await settled();
    if (isDone) page.message({ type: "signed_in", tenant: "acme" });
    page.focus.dispatchEvent(new Event("focus"));
    mock.timers.tick(1000);
    assert.equal(await done, code);
    mock.timers.reset();
  }
});

test("the window opens before anything is awaited, so that the user's click still counts", async () => {
  const page = await openPage("/desk/acme/", { "GET /session": signsIn() });
  const done = page.portal.login({ tenant: "acme", popup: true });
  assert.equal(page.opened.length, 1);
  await settled();
  page.message({ type: "signed_in", tenant: "globex" });
  page.message({ type: "signed_in", tenant: "acme" });
  assert.equal((await done).signed_in_at, 2);
});

test("a sign-in whose portal does not say who is signed in is an error with a code", async () => {
  const page = await openPage("/desk/acme/", { "GET /session": () => problem(503, {}) });
  await assert.rejects(page.portal.login({ tenant: "acme", popup: true }), { code: "session_unavailable" });
});

// --- signing in and out, switching

test("login leaves for the provider and returns to this page", async () => {
  const page = await openPage("/desk/acme/?x=1#new");
  page.portal.login({ tenant: "acme", provider: "staff", loginHint: "a@acme.example" });
  await settled();
  const url = new URL(page.assigned[0]);
  assert.equal(url.pathname, "/t/acme/login");
  assert.deepEqual(Object.fromEntries(url.searchParams), {
    provider: "staff",
    login_hint: "a@acme.example",
    return_to: "/desk/acme/?x=1#new",
  });
});

test("logout is a form, so that the browser can go on to the provider", async () => {
  const page = await openPage("/desk/acme/");
  page.portal.logout({ tenant: "acme" });
  page.portal.logout();
  assert.deepEqual(page.submitted, [["post", "/t/acme/logout"], ["post", "/logout"]]);
});

test("switching keeps the page where it has the tenant, else opens the home", async () => {
  const responses = { "GET /session": sessionOf(tenantOf("acme"), tenantOf("globex")) };
  for (const [path, options, target] of [
    ["/desk/acme/files?id=1", {}, "/desk/globex/files"],
    ["/desk/acme/files", { keepPage: false }, "/t/globex/"],
    ["/somewhere", {}, "/t/globex/"],
    ["/desk/ended/files", { from: "ended" }, "/desk/globex/files"],
  ]) {
    const page = await openPage(path, responses);
    await page.portal.switchTo("globex", options);
    assert.deepEqual(page.assigned, [target]);
  }
});

test("switching to a sign-in that has ended tries it silently first", async () => {
  const page = await openPage("/desk/acme/files", { "GET /session": sessionOf(tenantOf("acme")) });
  page.portal.switchTo("globex");
  await settled();
  const url = new URL(page.assigned[0]);
  assert.equal(url.pathname, "/t/globex/login");
  assert.deepEqual(Object.fromEntries(url.searchParams), { prompt: "none", return_to: "/desk/globex/files" });
});

// --- events

test("events of the portal reach the page and the other tabs", async () => {
  const page = await openPage("/desk/acme/");
  const got = [];
  const others = [];
  const forget = page.portal.on("expiring", (event) => got.push(event));
  new BroadcastChannel("portal").onmessage = ({ data }) => others.push(data);
  page.sources[0].send("expiring", { tenant: null, expires_at: 17 });
  forget();
  page.sources[0].send("expiring", { tenant: "acme", expires_at: 18 });
  assert.deepEqual(got, [{ type: "expiring", tenant: null, expires_at: 17 }]);
  assert.equal(others.length, 2);
});

test("F6: messages of other origins, and of another form, are ignored", async () => {
  const page = await openPage("/desk/acme/");
  const got = [];
  for (const type of ["signed_in", "ended", "expiring", "switched"]) page.portal.on(type, (event) => got.push(event));
  page.message({ type: "ended", tenant: "acme" }, "https://evil.example");
  for (const message of [
    null, 7, "ended", [], {}, { type: "constructor" }, { type: ["ended"], tenant: 1 }, { type: "ended", tenant: "../x" },
    { type: "ended", tenant: ["acme"] }, { type: "ended", tenant: { toString: () => "acme" } }, { type: "__proto__" },
  ]) page.message(message);
  assert.deepEqual(got, []);
  page.message({ type: "ended", tenant: "acme", expires_at: "soon", more: "<b>" });
  assert.deepEqual(got, [{ type: "ended", tenant: "acme", expires_at: null }]);
});

test("a connection that the portal refused is tried again later, and at once after a sign-in", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const page = await openPage("/desk/acme/");
  page.portal.on("ended", () => {});
  const fail = (source) => Object.assign(source, { readyState: 2 }).onerror();
  fail(page.sources[0]);
  mock.timers.tick(14_999);
  assert.equal(page.sources.length, 1);
  mock.timers.tick(1);
  assert.equal(page.sources.length, 2);
  fail(page.sources[1]);
  page.message({ type: "signed_in", tenant: "acme" });
  mock.timers.tick(60_000);
  assert.equal(page.sources.length, 3);
  mock.timers.reset();
});

const heard = (page) => {
  const got = [];
  for (const type of ["signed_in", "ended"]) page.portal.on(type, (event) => got.push([event.type, event.tenant]));
  return got;
};

test("what happened between two streams is reported when the next one opens, once, and to all tabs", async () => {
  const later = sessionOf(tenantOf("acme", { signed_in_at: 2 }), tenantOf("globex"), tenantOf("hooli"));
  const page = await openPage("/desk/acme/", {
    "GET /session": [sessionOf(tenantOf("acme"), tenantOf("initech")), later, later],
  });
  const got = heard(page);
  const others = [];
  new BroadcastChannel("portal").onmessage = ({ data }) => others.push([data.type, data.tenant]);
  page.sources[0].onopen();
  await settled();
  assert.deepEqual(got, [], "nothing is known to have changed");
  page.sources[0].onopen(); // the browser has opened the stream again
  await settled();
  const expected = [["ended", "initech"], ["signed_in", "acme"], ["signed_in", "globex"], ["signed_in", "hooli"]];
  assert.deepEqual(got, expected);
  assert.deepEqual(others, expected);
  page.sources[0].onopen();
  await settled();
  assert.deepEqual(got, expected);
});

test("a sign-in that the page has read itself is reported all the same", async () => {
  const two = sessionOf(tenantOf("acme"), tenantOf("globex"));
  const page = await openPage("/desk/acme/", { "GET /session": [sessionOf(tenantOf("acme")), two, two] });
  const got = heard(page);
  await page.portal.session();
  await page.portal.session();
  page.sources[0].onopen();
  await settled();
  assert.deepEqual(got, [["signed_in", "globex"]]);
});

test("what the stream or another tab has told is not reported again", async () => {
  const page = await openPage("/desk/acme/", {
    "GET /session": [sessionOf(tenantOf("acme"), tenantOf("initech")), sessionOf(tenantOf("acme"), tenantOf("globex"))],
  });
  const got = heard(page);
  await page.portal.session();
  page.sources[0].send("ended", { tenant: "initech" });
  page.message({ type: "signed_in", tenant: "globex", at: 1 });
  page.sources[0].onopen();
  await settled();
  assert.deepEqual(got, [["ended", "initech"], ["signed_in", "globex"]]);
});

test("a sign-in that another tab has told, and that ended before the stream opened again, is reported as ended", async () => {
  const one = sessionOf(tenantOf("acme"));
  const page = await openPage("/desk/acme/", { "GET /session": [one, one] });
  const got = heard(page);
  await page.portal.session();
  page.message({ type: "signed_in", tenant: "globex" }); // the page at the end of a sign-in does not say when
  page.sources[0].onopen();
  await settled();
  assert.deepEqual(got, [["signed_in", "globex"], ["ended", "globex"]]);
});

test("a session that ended while no stream was open is reported once", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const page = await openPage("/desk/acme/", { "GET /session": [sessionOf(tenantOf("acme")), sessionOf()] });
  const got = heard(page);
  await page.portal.session();
  for (const number of [0, 1]) {
    Object.assign(page.sources[number], { readyState: 2 }).onerror(); // 204: there is no session
    await settled();
    mock.timers.tick(15_000);
  }
  assert.deepEqual(got, [["ended", "acme"], ["ended", null]]);
  assert.equal(page.requests.length, 2);
  mock.timers.reset();
});

test("a session that cannot be read when the stream opens is read later", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const two = sessionOf(tenantOf("acme"), tenantOf("globex"));
  const page = await openPage("/desk/acme/", {
    "GET /session": [sessionOf(tenantOf("acme")), () => problem(503, {}), two],
  });
  const got = heard(page);
  await page.portal.session();
  page.sources[0].onopen();
  await settled();
  mock.timers.tick(15_000);
  await settled();
  assert.deepEqual(got, [["signed_in", "globex"]]);
  mock.timers.reset();
});

// --- sockets

test("a socket opens itself again after a pause, but not after a refusal or close()", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const page = await openPage("/desk/acme/");
  const socket = page.portal.socket({ tenant: "acme", path: "/live" }, ["chat"]);
  const got = [];
  for (const type of ["open", "message", "close"]) socket.addEventListener(type, (event) => got.push(event.data ?? event.code ?? type));
  assert.equal(page.sockets[0].url, "wss://portal.example/t/acme/api/live");
  page.sockets[0].onopen();
  page.sockets[0].onmessage({ data: "hello" });
  await page.sockets[0].end(1006);
  mock.timers.tick(1_000);
  assert.equal(page.sockets.length, 2);
  page.sockets[1].onopen();
  await page.sockets[1].end(4403);
  mock.timers.tick(60_000);
  assert.equal(page.sockets.length, 2);
  assert.deepEqual(got, ["open", "hello", 1006, "open", 4403]);
  const other = page.portal.socket("/t/acme/api/live");
  other.close(1000, "done");
  await page.sockets[2].end(1000);
  mock.timers.tick(60_000);
  assert.deepEqual([page.sockets.length, page.sockets[2].closed], [3, [1000, "done"]]);
  mock.timers.reset();
});

test("pauses grow while a socket does not open", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  mock.method(Math, "random", () => 1);
  const page = await openPage("/desk/acme/", { "GET /session": sessionOf(tenantOf("acme")) });
  page.portal.socket("/t/acme/api/live");
  for (const pause of [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]) {
    const before = page.sockets.length;
    await page.sockets.at(-1).end(1006);
    mock.timers.tick(pause - 1);
    assert.equal(page.sockets.length, before);
    mock.timers.tick(1);
    assert.equal(page.sockets.length, before + 1);
  }
  mock.restoreAll();
  mock.timers.reset();
});

test("a socket that was cut with the sign-in says so and waits for the next one", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const page = await openPage("/desk/acme/");
  const ended = [];
  page.portal.on("ended", ({ tenant }) => ended.push(tenant));
  page.portal.socket("/t/acme/api/live");
  page.sockets[0].onopen();
  await page.sockets[0].end(4401);
  mock.timers.tick(60_000);
  assert.deepEqual([ended, page.sockets.length], [["acme"], 1]);
  page.message({ type: "signed_in", tenant: "globex" });
  assert.equal(page.sockets.length, 1);
  page.message({ type: "signed_in", tenant: "acme" });
  assert.equal(page.sockets.length, 2);
  mock.timers.reset();
});

test("a handshake that is refused after the sign-in ended is the same as a cut", async () => {
  const page = await openPage("/desk/acme/", { "GET /session": [sessionOf(tenantOf("acme")), sessionOf()] });
  const ended = [];
  page.portal.on("ended", ({ tenant }) => ended.push(tenant));
  await page.portal.session();
  page.portal.socket("/t/acme/api/live");
  await page.sockets[0].end(1006);
  assert.deepEqual(ended, ["acme"]);
});
