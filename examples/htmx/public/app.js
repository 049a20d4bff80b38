import * as portal from "/static/portal.js";

const [, , tenant] = location.pathname.split("/"); // /app/{tenant}/
const message = document.getElementById("message");

/** A row; text is escaped by the browser. */
function row({ customer, item, quantity }) {
  return Object.assign(document.createElement("li"), { textContent: `${customer}: ${quantity} × ${item}` }).outerHTML;
}

document.body.addEventListener("htmx:configRequest", ({ detail }) => {
  detail.path = `/t/${tenant}/api/${detail.path}`;
  detail.headers["X-Portal-CSRF"] = "1";
  detail.headers["Content-Type"] = "application/json";
});

// The form is sent as JSON.
htmx.defineExtension("json", {
  encodeParameters: (xhr, parameters) =>
    JSON.stringify({ ...Object.fromEntries(parameters), quantity: 1, total: "1.00", currency: "EUR", status: "new" }),
});

document.body.addEventListener("htmx:beforeSwap", ({ detail }) => {
  if (!detail.shouldSwap) return;
  const made = JSON.parse(detail.serverResponse);
  detail.serverResponse = (made.orders ?? [made]).map(row).join("");
  if (detail.requestConfig.verb === "post") {
    detail.requestConfig.elt.reset();
    message.textContent = "Placed.";
  }
});

// The portal's own 401: sign in through a window, then the same element sends its request again. The form stays.
document.body.addEventListener("htmx:beforeOnLoad", async (event) => {
  const { xhr, requestConfig } = event.detail;
  if (xhr.status !== 401 || xhr.getResponseHeader("X-Portal-Problem") !== "1") return;
  event.preventDefault();
  try {
    await portal.login({ tenant, popup: true });
    htmx.trigger(requestConfig.elt, requestConfig.verb === "post" ? "submit" : "load-orders");
  } catch (error) {
    message.textContent = error.message;
  }
});

document.body.addEventListener("htmx:responseError", ({ detail }) => {
  message.textContent = `The API responded with ${detail.xhr.status}.`;
});

const { tenants } = await portal.session();
const current = tenants.find(({ slug }) => slug === tenant);
const who = document.getElementById("who");
if (current) {
  who.textContent = `${current.user}, ${current.name}`;
  htmx.trigger(document.body, "load-orders");
} else {
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: "Sign in" });
  button.addEventListener("click", () => portal.login({ tenant }));
  who.append(button);
}
