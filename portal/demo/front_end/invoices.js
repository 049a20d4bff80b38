// Invoices of a second API of the organisation, where it has one. It needs an access token of its own, which the portal
// gets when it is first called; the page knows only another address.

import * as portal from "/static/portal.js";
import { $, element, name, tenant } from "./page.js";
import { reasonOf, signIn } from "./sign-in.js";
import { date, money, t } from "./words.js";

const INVOICES = { tenant, api: "billing", path: "/invoices" };
const list = $("invoice-list");
const empty = $("invoice-empty");

function row(invoice) {
  const state = invoice.paid ? t("paid") : invoice.due ? t("due", { date: date(invoice.due) }) : t("open");
  return element(
    "li",
    {},
    element("span", { className: "strong" }, name(invoice.order ? t("invoiceOf", invoice) : invoice.supplier)),
    element("span", { className: "strong", textContent: money(invoice.amount, invoice.currency) }),
    element("span", { className: "soft", textContent: invoice.id }),
    element("span", { className: "soft", textContent: state }),
  );
}

function show(invoices, text = "") {
  list.replaceChildren(...invoices.map(row));
  list.hidden = text !== "";
  empty.hidden = text === "";
  $("invoice-text").textContent = text;
  $("invoice-again").hidden = text === t("noInvoices");
}

/**
 * Loads the invoices; resolves to whether this organisation has that API. A sign-in is asked for only after a click.
 */
export async function load(init = { signIn: "none" }) {
  let response;
  try {
    response = await portal.fetch(INVOICES, init);
  } catch (error) {
    show([], reasonOf(error) || t("failedText"));
    return true;
  }
  if (response.status === 404) {
    await response.body?.cancel(); // nobody reads it, and an unread body keeps its connection
    return false;
  }
  if (!response.ok) {
    const refused = response.status === 401 || response.status === 403;
    show([], refused ? t("noRightToInvoices") : t("invoicesFailed", { status: response.status }));
    return true;
  }
  const { invoices } = await response.json();
  show(invoices, invoices.length ? "" : t("noInvoices"));
  return true;
}

export function begin() {
  $("invoice-again").addEventListener("click", () => load({ signIn }));
  return load();
}
