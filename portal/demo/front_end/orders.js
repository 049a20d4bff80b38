// The list of orders and the form for a new one.

import * as portal from "/static/portal.js";
import { $, element, name, say, tenant } from "./page.js";
import { reasonOf, signIn } from "./sign-in.js";
import { count, money, t } from "./words.js";

const list = $("order-list");
const form = $("order-form");
const empty = $("order-empty");
const send = $("order-send");
const orders = { tenant, path: "/orders" };
const shown = new Map();
/** Rows of orders that are being sent, by the reference that the page gave them. */
const waiting = new Map();

function rowOf(order) {
  const state = order.pending ? t("placing") : t(`status_${order.status}`);
  const item = element("li", { className: order.pending ? "pending" : "" });
  item.append(
    element("span", { className: "strong" }, name(order.customer)),
    element("span", { className: "strong", textContent: money(order.total, order.currency) }),
    element("span", { className: "soft" }, name(t("times", { quantity: count(order.quantity), item: order.item }))),
    element("span", { className: "soft", textContent: order.id ? `${order.id} · ${state}` : state }),
  );
  return item;
}

/** Adds an order at the end of the list, once: it comes from the form and from the stream of events, in any order. */
export function add(order) {
  if (shown.has(order.id)) return;
  empty.hidden = true;
  list.hidden = false;
  const item = rowOf(order);
  item.classList.add("new");
  shown.set(order.id, item);
  const row = waiting.get(order.reference);
  waiting.delete(order.reference);
  if (row) row.replaceWith(item);
  else list.append(item);
  item.scrollIntoView({ block: "nearest" });
  setTimeout(() => item.classList.remove("new"), 2000);
}

/** What to show in place of the list. */
function instead(title, text, again = false) {
  $("order-empty-title").textContent = title;
  $("order-empty-text").textContent = text;
  $("order-again").hidden = !again;
  list.hidden = true;
  empty.hidden = false;
  list.ariaBusy = "false";
}

export async function load() {
  let response;
  try {
    response = await portal.fetch(orders, { signIn });
  } catch (error) {
    return instead(t("notLoaded"), reasonOf(error) || t("failedText"), true);
  }
  if (response.status === 404) return instead(t("noOrderApi"), t("noOrderApiText"));
  if (response.status === 403) return instead(t("notLoaded"), t("notAllowed"));
  if (!response.ok) return instead(t("notLoaded"), t("failure", { status: response.status }), true);
  const found = (await response.json()).orders;
  // What arrived or was sent in the meantime stays.
  for (const order of found) {
    shown.set(order.id, rowOf(order));
    waiting.delete(order.reference);
  }
  list.replaceChildren(...shown.values(), ...waiting.values());
  list.hidden = false;
  list.ariaBusy = "false";
  empty.hidden = true;
  if (!list.children.length) instead(t("noOrders"), t("noOrdersText"));
}

const needs = { customer: "needCustomer", item: "needItem", quantity: "needQuantity", price: "needPrice" };

/** A price as people write it, such as 12.50 or 12,50; NaN for anything else, and beyond 0.01 to 99999. */
function priceOf(text) {
  const price = /^\s*\d{1,5}(?:[.,]\d{1,2})?\s*$/.test(text) ? Number(text.replace(",", ".")) : NaN;
  return price >= 0.01 && price <= 99999 ? price : NaN;
}

const isWrong = (field) =>
  !field.value.trim() || !field.validity.valid || (field.id === "price" && Number.isNaN(priceOf(field.value)));

/** Says at each field what it needs; returns whether the form can be sent. */
function check(fields) {
  const wrong = fields.filter(isWrong);
  for (const field of fields) {
    const bad = wrong.includes(field);
    field.setAttribute("aria-invalid", bad);
    $(`${field.id}-error`).textContent = bad ? t(needs[field.id]) : "";
  }
  wrong[0]?.focus();
  return !wrong.length;
}

async function place(order) {
  let needsRight = false;
  const signInFor = (how) => {
    needsRight = new URL(how.loginUrl, location.origin).searchParams.has("scope");
    return signIn(how);
  };
  try {
    return await sendOrder(order, signInFor);
  } catch (error) {
    if (needsRight && error.code === "sign_in_cancelled") throw new Error(t("mayNotPlace"));
    throw error;
  }
}

async function sendOrder(order, signIn) {
  const response = await portal.fetch(orders, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(order),
    signIn,
  });
  if (response.ok) return response.json();
  const problem = response.headers.get("X-Portal-Problem") ? await response.json() : {};
  if (problem.code === "login_ended_during_call") throw new Error(t("unsure"));
  if (response.status === 403) throw new Error(t("mayNotPlace"));
  throw new Error(t("notPlaced", { reason: problem.title ?? t("failure", { status: response.status }) }));
}

async function submitted(event) {
  event.preventDefault();
  const fields = [...form.elements].filter((field) => field.name);
  if (send.ariaDisabled === "true" || !check(fields)) return;
  const { customer, item, quantity, price } = Object.fromEntries(new FormData(form));
  const total = (quantity * priceOf(price)).toFixed(2);
  const reference = crypto.randomUUID();
  const order = { customer, item, quantity: Number(quantity), total, currency: "EUR", status: "new", reference };
  const row = rowOf({ ...order, pending: true });
  waiting.set(reference, row);
  list.append(row);
  row.scrollIntoView({ block: "nearest" });
  send.ariaDisabled = "true";
  $("order-error").textContent = "";
  try {
    const made = await place(order);
    add(made);
    form.reset();
    say(t("placed", { id: made.id }));
    form.elements.customer.focus();
  } catch (error) {
    const offline = error instanceof TypeError && t("notPlaced", { reason: t("offline") });
    $("order-error").textContent = offline || reasonOf(error) || error.message;
  } finally {
    waiting.delete(reference);
    row.remove();
    send.ariaDisabled = "false";
  }
}

export function begin() {
  form.addEventListener("submit", submitted);
  $("order-again").addEventListener("click", load);
  return load();
}
