// Shows points in time in the reader's zone and form. Without this script they stay as the server wrote them, in UTC.

const LOCALE = document.documentElement.lang;
const FORMS = {
  minute: new Intl.DateTimeFormat(LOCALE, { dateStyle: "long", timeStyle: "short" }),
  second: new Intl.DateTimeFormat(LOCALE, { timeStyle: "medium" }),
};

for (const element of document.querySelectorAll("time[data-time]")) {
  const form = FORMS[element.dataset.time];
  const at = new Date(element.dateTime);
  if (form && !Number.isNaN(at.getTime())) {
    element.title = element.textContent;
    element.textContent = form.format(at);
  }
}
