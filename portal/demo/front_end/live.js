// What happens at the organisation just now: orders by server-sent events, messages by WebSocket.

import * as portal from "/static/portal.js";
import { add } from "./orders.js";
import { $, element, name, say, tenant } from "./page.js";
import { count, t } from "./words.js";

const log = $("live-log");
const state = $("live-state");
const MOST = 50;
let events;

function note(text) {
  const item = element("p", {}, name(text));
  log.append(item);
  if (log.children.length > MOST) log.firstChild.remove();
  log.scrollTop = log.scrollHeight;
}

function connected(on) {
  state.textContent = t(on ? "liveOn" : "liveOff");
  state.toggleAttribute("data-on", on);
}

/** Server-sent events of the API. The browser connects again by itself, unless the response was an error. */
function listen() {
  events?.close();
  events = new EventSource(`/t/${tenant}/api/events`);
  events.addEventListener("order", ({ data }) => {
    const order = JSON.parse(data);
    add(order);
    note(t("liveOrder", { ...order, quantity: count(order.quantity) }));
  });
  events.onerror = () => {
    if (events.readyState === EventSource.CLOSED) setTimeout(again, 10_000, events);
  };
}

function again(source) {
  if (source === events) listen();
}

/** After a new sign-in. */
export function resume() {
  if (events?.readyState === EventSource.CLOSED) listen();
}

export function begin() {
  const socket = portal.socket({ tenant, path: "/live" });
  connected(false);
  socket.addEventListener("open", () => connected(true));
  socket.addEventListener("close", () => connected(false));
  socket.addEventListener("message", ({ data }) => {
    const { type, text } = JSON.parse(data);
    if (type === "say") note(text);
  });
  $("say-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (socket.readyState !== WebSocket.OPEN) return say(t("notSaid"));
    socket.send(JSON.stringify({ type: "say", text: $("say").value }));
    event.target.reset();
  });
  listen();
}
