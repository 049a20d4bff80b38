// What the parts of the order desk share: the address, elements, and the line that screen readers hear.

const [, , slug = "", part = ""] = location.pathname.split("/");

/** The organisation and the section of this address: /desk/{tenant}/{view}. */
export const tenant = slug;
export const firstView = part;

export const $ = (id) => document.getElementById(id);

/** A new element. Text is set as text, never as HTML. */
export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** A name that may be written from right to left. */
export const name = (text) => element("bdi", { textContent: text });

export function say(text) {
  $("status").textContent = text;
}
