// The button that closes the window of a sign-in (portal.js). A sentence beside it says the same without scripts.

const button = document.querySelector("[data-close]");
if (button) {
  button.hidden = false;
  button.addEventListener("click", () => window.close());
}
