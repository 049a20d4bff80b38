// The words of the order desk, in the language of the portal's pages, and until that is known in the browser's.

const dictionaries = {
  en: {
    skip: "Skip to the content",
    desk: "Order desk",
    organisation: "Organisation:",
    organisations: "Organisations",
    account: "Account of",
    switchTo: "Your organisations",
    another: "Another organisation …",
    yourAccount: "Your account",
    signOut: "Sign out",
    signIn: "Sign in",
    signInAgain: "Sign in again",
    find: "Find your organisation",
    notices: "Notices",
    sections: "Sections",
    orders: "Orders",
    files: "Files",
    invoices: "Invoices",
    roles: "Roles: {roles}",
    chooseTitle: "Which organisation?",
    chooseText: "You are signed in to these organisations:",
    nobodyTitle: "You are not signed in",
    nobodyText: "Find your organisation and sign in there. Then come back to the order desk.",
    gateTitle: "Sign in first",
    gateText: "You are not signed in to this organisation. You come back here afterwards.",
    failedTitle: "The portal does not respond",
    failedText: "Check your connection and load the page again.",
    endsAt: "You will be signed out at {time}, because nothing was done here for a while.",
    loginEndsAt: "Your sign-in to {name} ends at {time}.",
    stay: "Stay signed in",
    stayed: "You stay signed in.",
    notStayed: "That did not work. Try again, or sign in again later: what you have typed stays here.",
    ended: "Your sign-in to {name} has ended. What you have typed stays here.",
    blocked: "Your browser blocked the sign-in window. Allow windows of this page, then try again.",
    cancelled: "The sign-in was not finished, and nothing was sent. Try again when you are ready.",
    otherAccount: "You signed in with another account, so nothing was sent. Check the form and send it again.",
    signedIn: "You are signed in to {name}.",
    noOrders: "No orders yet",
    noOrdersText: "Place the first one with the form “New order”.",
    noOrderApi: "No orders here",
    noOrderApiText: "The API of this organisation has no orders.",
    notLoaded: "The orders could not be loaded",
    notAllowed: "Your account may not see the orders. Ask your administrator for the right to read orders.",
    tryAgain: "Try again",
    newOrder: "New order",
    customer: "Customer",
    item: "Item",
    quantity: "Quantity",
    price: "Price each (€)",
    placeOrder: "Place the order",
    placing: "Being sent …",
    placed: "Order {id} was placed.",
    mayNotPlace: "Your account may not place orders. Ask your administrator for that right.",
    notPlaced: "The order was not placed: {reason} What you have typed is still here.",
    unsure: "Your sign-in ended while the order was sent. Look at the list before you send it again.",
    needCustomer: "Say who orders.",
    needItem: "Say what is ordered.",
    needQuantity: "A whole number from 1 to 999.",
    needPrice: "A price from 0.01 to 99999, such as 12.50.",
    times: "{quantity} × {item}",
    status_new: "new",
    status_packing: "packing",
    status_shipped: "shipped",
    live: "Live",
    liveEmpty: "New orders and messages appear here as they happen.",
    liveOn: "connected",
    liveOff: "connecting …",
    liveOrder: "{customer}: {quantity} × {item}",
    sayLabel: "Message to everybody here",
    sayHint: "Say something …",
    say: "Send",
    notSaid: "There is no connection at the moment. Try again in a few seconds.",
    chooseFile: "A file for the organisation’s API",
    fileHint: "It is sent in one piece, of any size. The API responds with its size and checksum and keeps nothing.",
    upload: "Upload",
    stop: "Stop",
    needFile: "Choose a file first.",
    uploaded: "{name} was uploaded.",
    notUploaded: "The file was not uploaded: {reason} It is still chosen; try again.",
    stopped: "Stopped. Nothing was kept.",
    bytes: "{size} bytes",
    paid: "paid",
    due: "due {date}",
    open: "not paid yet",
    invoiceOf: "Order {order}",
    noInvoices: "No invoices.",
    noRightToInvoices: "Your sign-in does not include the invoices. Try again to sign in for them; if that fails, ask your administrator.",
    invoicesFailed: "The invoices could not be loaded: the API responded with {status}.",
    offline: "the portal does not respond.",
    failure: "the API responded with {status}.",
  },
  de: {
    skip: "Zum Inhalt",
    desk: "Bestellungen",
    organisation: "Organisation:",
    organisations: "Organisationen",
    account: "Konto von",
    switchTo: "Ihre Organisationen",
    another: "Andere Organisation …",
    yourAccount: "Ihr Konto",
    signOut: "Abmelden",
    signIn: "Anmelden",
    signInAgain: "Erneut anmelden",
    find: "Organisation finden",
    notices: "Hinweise",
    sections: "Bereiche",
    orders: "Bestellungen",
    files: "Dateien",
    invoices: "Rechnungen",
    roles: "Rollen: {roles}",
    chooseTitle: "Welche Organisation?",
    chooseText: "Sie sind bei diesen Organisationen angemeldet:",
    nobodyTitle: "Sie sind nicht angemeldet",
    nobodyText: "Suchen Sie Ihre Organisation, melden Sie sich dort an und kommen Sie dann hierher zurück.",
    gateTitle: "Melden Sie sich an",
    gateText: "Sie sind bei dieser Organisation nicht angemeldet. Nach der Anmeldung kommen Sie hierher zurück.",
    failedTitle: "Das Portal ist nicht erreichbar",
    failedText: "Prüfen Sie Ihre Verbindung und laden Sie die Seite neu.",
    endsAt: "Um {time} werden Sie abgemeldet, weil hier eine Weile nichts geschehen ist.",
    loginEndsAt: "Ihre Anmeldung bei {name} endet um {time}.",
    stay: "Angemeldet bleiben",
    stayed: "Sie bleiben angemeldet.",
    notStayed: "Das hat nicht geklappt. Versuchen Sie es noch einmal oder melden Sie sich später neu an: Ihre Eingaben bleiben stehen.",
    ended: "Ihre Anmeldung bei {name} ist beendet. Ihre Eingaben bleiben stehen.",
    blocked: "Ihr Browser hat das Anmeldefenster blockiert. Erlauben Sie Fenster dieser Seite und versuchen Sie es noch einmal.",
    cancelled: "Die Anmeldung wurde nicht abgeschlossen, und nichts wurde gesendet. Versuchen Sie es noch einmal, wenn Sie so weit sind.",
    otherAccount: "Sie haben sich mit einem anderen Konto angemeldet; nichts wurde gesendet. Prüfen Sie das Formular und senden Sie es erneut.",
    signedIn: "Sie sind bei {name} angemeldet.",
    noOrders: "Noch keine Bestellungen",
    noOrdersText: "Geben Sie die erste unter „Neue Bestellung“ auf.",
    noOrderApi: "Hier gibt es keine Bestellungen",
    noOrderApiText: "Die API dieser Organisation kennt keine Bestellungen.",
    notLoaded: "Die Bestellungen konnten nicht geladen werden",
    notAllowed: "Ihr Konto darf die Bestellungen nicht sehen. Bitten Sie Ihren Administrator um das Recht dazu.",
    tryAgain: "Noch einmal versuchen",
    newOrder: "Neue Bestellung",
    customer: "Kunde",
    item: "Artikel",
    quantity: "Menge",
    price: "Stückpreis (€)",
    placeOrder: "Bestellen",
    placing: "Wird gesendet …",
    placed: "Bestellung {id} ist aufgegeben.",
    mayNotPlace: "Ihr Konto darf nicht bestellen. Bitten Sie Ihren Administrator um das Recht dazu.",
    notPlaced: "Die Bestellung wurde nicht aufgegeben: {reason} Ihre Eingaben stehen noch da.",
    unsure: "Ihre Anmeldung endete, während die Bestellung gesendet wurde. Sehen Sie in der Liste nach, bevor Sie sie noch einmal senden.",
    needCustomer: "Wer bestellt?",
    needItem: "Was wird bestellt?",
    needQuantity: "Eine ganze Zahl von 1 bis 999.",
    needPrice: "Ein Preis von 0,01 bis 99999, zum Beispiel 12,50.",
    times: "{quantity} × {item}",
    status_new: "neu",
    status_packing: "wird verpackt",
    status_shipped: "versandt",
    live: "Live",
    liveEmpty: "Neue Bestellungen und Nachrichten erscheinen hier sofort.",
    liveOn: "verbunden",
    liveOff: "verbindet …",
    liveOrder: "{customer}: {quantity} × {item}",
    sayLabel: "Nachricht an alle hier",
    sayHint: "Nachricht …",
    say: "Senden",
    notSaid: "Gerade besteht keine Verbindung. Versuchen Sie es in einigen Sekunden noch einmal.",
    chooseFile: "Eine Datei für die API der Organisation",
    fileHint: "Sie wird in einem Stück gesendet, in jeder Größe. Die API nennt Größe und Prüfsumme und behält nichts.",
    upload: "Hochladen",
    stop: "Abbrechen",
    needFile: "Wählen Sie zuerst eine Datei.",
    uploaded: "{name} ist hochgeladen.",
    notUploaded: "Die Datei wurde nicht hochgeladen: {reason} Sie ist noch ausgewählt; versuchen Sie es noch einmal.",
    stopped: "Abgebrochen. Nichts wurde behalten.",
    bytes: "{size} Byte",
    paid: "bezahlt",
    due: "fällig am {date}",
    open: "noch nicht bezahlt",
    invoiceOf: "Bestellung {order}",
    noInvoices: "Keine Rechnungen.",
    noRightToInvoices: "Ihre Anmeldung umfasst die Rechnungen nicht. Versuchen Sie es noch einmal, um sich dafür anzumelden; sonst fragen Sie Ihren Administrator.",
    invoicesFailed: "Die Rechnungen konnten nicht geladen werden: Die API antwortete mit {status}.",
    offline: "das Portal ist nicht erreichbar.",
    failure: "die API antwortete mit {status}.",
  },
};

const languages = navigator.languages.map((name) => name.slice(0, 2));
let language = languages.find((name) => name in dictionaries) ?? "en";
let locale = localeOf(language);

function localeOf(chosen) {
  return navigator.languages.find((name) => name.startsWith(chosen)) ?? chosen;
}

/** Uses the language that the portal's pages have for this reader, as GET /session names it, if it is here. */
export function use(tag = "") {
  const chosen = tag.slice(0, 2);
  if (!Object.hasOwn(dictionaries, chosen) || chosen === language) return;
  language = chosen;
  locale = localeOf(chosen);
  translate();
}

/** The words for a key, with values in the places of their names. */
export function t(key, values = {}) {
  return dictionaries[language][key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

export const money = (amount, currency) => new Intl.NumberFormat(locale, { style: "currency", currency }).format(amount);
export const count = (value) => new Intl.NumberFormat(locale).format(value);
export const time = (seconds) => new Intl.DateTimeFormat(locale, { timeStyle: "short" }).format(seconds * 1000);
export const date = (text) => new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeZone: "UTC" }).format(new Date(text));

/** Puts the words into the page. */
export function translate() {
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
  for (const element of document.querySelectorAll("[data-label]")) element.setAttribute("aria-label", t(element.dataset.label));
  for (const element of document.querySelectorAll("[data-empty]")) {
    element.dataset.emptyKey ??= element.dataset.empty;
    element.dataset.empty = t(element.dataset.emptyKey);
  }
  for (const element of document.querySelectorAll("[data-placeholder]")) element.placeholder = t(element.dataset.placeholder);
}
