// The end of a sign-in in a window of its own: tells the tab that waits for it (portal.js), and closes the window.
// The browser closes only a window that a script has opened; in any other, the page stays as it is.

const { tenant } = document.querySelector("[data-tenant]").dataset;
new BroadcastChannel("portal").postMessage({ type: "signed_in", tenant });
window.close();
