// The order desk of `portal demo`: a page of a front-end developer, in plain modules, for every organisation.
// Everything it knows about sign-ins it has from portal.js; it never sees a token.

import * as portal from "/static/portal.js";
import * as files from "./files.js";
import * as invoices from "./invoices.js";
import * as live from "./live.js";
import * as orders from "./orders.js";
import { $, element, firstView, name, tenant } from "./page.js";
import { watch } from "./sign-in.js";
import { t, translate, use } from "./words.js";

const VIEWS = ["", "files", "invoices"];
const addressOf = (slug, view) => `/desk/${slug}/${view}`;

let view = "";

function open(next, { focus = true } = {}) {
  view = next;
  for (const one of VIEWS) $(`view-${one}`).hidden = one !== view;
  for (const link of document.querySelectorAll("[data-view]")) {
    if (link.dataset.view === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const title = $(`view-${view}`).querySelector("h1");
  document.title = `${title.textContent} – ${$("tenant-name").textContent}`;
  if (focus) title.focus();
}

function showSections() {
  for (const link of document.querySelectorAll("[data-view]")) {
    link.href = addressOf(tenant, link.dataset.view);
    link.addEventListener("click", (event) => {
      if (event.metaKey || event.ctrlKey || event.shiftKey) return;
      event.preventDefault();
      history.pushState(null, "", link.href);
      open(link.dataset.view);
    });
  }
  addEventListener("popstate", () => open(location.pathname.split("/")[3] ?? ""));
}

/** A colour for each organisation, so that two windows are not mistaken for one another. */
function color(slug) {
  let hue = 0;
  for (const letter of slug) hue = (hue * 31 + letter.charCodeAt(0)) % 360;
  document.documentElement.style.setProperty("--hue", hue);
}

function linkTo({ slug, name: title }) {
  const link = element("a", { href: addressOf(slug, "") }, name(title));
  if (slug === tenant) link.setAttribute("aria-current", "true");
  link.addEventListener("click", (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    if (tenant) portal.switchTo(slug, { from: tenant });
    else location.assign(link.href);
  });
  return element("li", {}, link);
}

/** Who is signed in, and where else: again after each sign-in and each end of one, which may be of another user. */
function showPeople(tenants, current) {
  $("tenants").replaceChildren(...tenants.map(linkTo));
  if (!current) return;
  $("user-name").textContent = $("me-name").textContent = current.user;
  $("me-roles").textContent = current.roles.length ? t("roles", { roles: current.roles.join(", ") }) : "";
}

async function showPeopleNow() {
  try {
    const { tenants } = await portal.session();
    showPeople(tenants, tenants.find(({ slug }) => slug === tenant));
  } catch {
    // The portal does not respond: what is shown stays until the next news.
  }
}

function showHeader(tenants, current) {
  document.documentElement.dataset.ready = "";
  $("switcher").hidden = $("account").hidden = !current;
  if (!current) return;
  $("tenant-name").textContent = current.name;
  showPeople(tenants, current);
  $("sign-out").addEventListener("click", () => portal.logout({ tenant }));
}

/** The page of somebody who is not signed in to the organisation of this address. */
function showGate(title, text, { tenants = [], canSignIn = false } = {}) {
  $("gate-title").textContent = title;
  $("gate-text").textContent = text;
  $("gate-list").replaceChildren(...tenants.map(linkTo));
  $("gate-sign-in").hidden = !canSignIn;
  $("gate-sign-in").addEventListener("click", () => portal.login({ tenant }));
  $("gate").hidden = false;
  document.title = title;
}

/** A menu closes when the focus leaves it, also with Tab. */
function closeLeftMenus() {
  for (const menu of document.querySelectorAll("[popover]")) {
    menu.addEventListener("focusout", ({ relatedTarget }) => {
      const stays = !relatedTarget || menu.contains(relatedTarget) || relatedTarget.popoverTargetElement === menu;
      if (!stays) menu.hidePopover();
    });
  }
}

async function begin() {
  translate();
  closeLeftMenus();
  color(tenant);
  let tenants;
  let language;
  try {
    ({ tenants, language } = await portal.session());
    use(language);
  } catch {
    showHeader([]);
    return showGate(t("failedTitle"), t("failedText"));
  }
  const current = tenants.find(({ slug }) => slug === tenant);
  showHeader(tenants, current);
  if (tenant && !current) return showGate(t("gateTitle"), t("gateText"), { canSignIn: true });
  if (!tenant && tenants.length) return showGate(t("chooseTitle"), t("chooseText"), { tenants });
  if (!tenant) return showGate(t("nobodyTitle"), t("nobodyText"));
  showSections();
  $("desk").hidden = false;
  open(VIEWS.includes(firstView) ? firstView : "", { focus: false });
  for (const type of ["signed_in", "ended"]) portal.on(type, showPeopleNow);
  watch(current.name, () => {
    orders.load();
    live.resume();
  });
  files.begin();
  live.begin();
  await orders.begin();
  const hasInvoices = await invoices.begin();
  document.querySelector('[data-view="invoices"]').hidden = !hasInvoices;
  if (!hasInvoices && view === "invoices") open("", { focus: false });
}

await begin();
