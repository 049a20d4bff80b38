// The button that closes the window of a sign-in (portal.js). The browser closes only a window that a script has
// opened; in any other, a link replaces the button.

const button = document.querySelector("[data-close]");
const stay = document.querySelector("[data-stay]");

function offer(what) {
  button.hidden = what !== button;
  stay.hidden = what !== stay;
}

if (button) {
  offer(button);
  button.addEventListener("click", () => {
    window.close();
    setTimeout(() => {
      offer(stay);
      stay.focus();
    }, 300);
  });
}
