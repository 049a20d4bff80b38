import * as portal from "/static/portal.js";

const [, , tenant] = location.pathname.split("/"); // /app/{tenant}/
const ORDERS = { tenant, path: "/orders" };
const $ = (id) => document.getElementById(id);

function item({ customer, item, quantity }) {
  return Object.assign(document.createElement("li"), { textContent: `${customer}: ${quantity} × ${item}` });
}

function button(text, act) {
  const made = Object.assign(document.createElement("button"), { type: "button", textContent: text });
  made.addEventListener("click", act);
  return made;
}

async function load() {
  const response = await portal.fetch(ORDERS);
  if (!response.ok) return ($("message").textContent = `The API responded with ${response.status}.`);
  const { orders } = await response.json();
  $("orders").replaceChildren(...orders.map(item));
}

$("new").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  const order = { ...Object.fromEntries(new FormData(form)), quantity: 1, total: "1.00", currency: "EUR", status: "new" };
  try {
    const headers = { "Content-Type": "application/json" };
    const response = await portal.fetch(ORDERS, { method: "POST", headers, body: JSON.stringify(order) });
    if (!response.ok) throw new Error(`The API responded with ${response.status}.`);
    $("orders").append(item(await response.json()));
    $("message").textContent = "Placed.";
    form.reset();
  } catch (error) {
    $("message").textContent = error.message; // the form still has what was typed
  }
});

const { tenants } = await portal.session();
const current = tenants.find(({ slug }) => slug === tenant);
if (current) {
  $("who").textContent = `${current.user}, ${current.name}`;
  $("switch").append(
    ...tenants.filter((one) => one !== current).map(({ slug, name }) => button(name, () => portal.switchTo(slug))),
    button("Sign out", () => portal.logout({ tenant })),
  );
  await load();
} else {
  $("who").append(button("Sign in", () => portal.login({ tenant })));
}
portal.on("ended", (event) => {
  if (event.tenant === tenant) $("message").textContent = "Your sign-in has ended. You will be asked when you go on.";
});
