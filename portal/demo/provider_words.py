"""The texts of the development provider's pages: English in the pages, German here.

Not in the catalogues of the portal, whose languages are for users of a real deployment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tornado.escape import xhtml_escape

from portal.web.languages.choice import accepted_tags, requested_tags

GERMAN: Mapping[str, str] = {
    # every page
    "Development sign-in service. Not for real passwords.": (
        "Anmeldedienst zum Entwickeln. Nicht für echte Passwörter."
    ),
    "You are signed in as <strong>%(name)s</strong>.": "Sie sind als <strong>%(name)s</strong> angemeldet.",
    "Cancel": "Abbrechen",
    # sign-in
    "Sign in": "Anmelden",
    "to continue to <strong>%(name)s</strong>": "um mit <strong>%(name)s</strong> fortzufahren",
    "The user name or the password is wrong. Try again.": (
        "Benutzername oder Passwort ist falsch. Versuchen Sie es noch einmal."
    ),
    "User name": "Benutzername",
    "Password": "Passwort",
    "Sample users": "Beispielkonten",
    # second factor
    "Second factor": "Zweiter Faktor",
    "Confirm that it is you": "Bestätigen Sie, dass Sie es sind",
    "This needs a second factor: enter the code of your code device.": (
        "Hierfür ist ein zweiter Faktor nötig: Geben Sie den Code Ihres Codegeräts ein."
    ),
    "The code is wrong. Try again.": "Der Code ist falsch. Versuchen Sie es noch einmal.",
    "Code": "Code",
    "Confirm": "Bestätigen",
    "In this demo, every code device shows <code>%(code)s</code>.": (
        "In dieser Demo zeigt jedes Codegerät <code>%(code)s</code>."
    ),
    # consent
    "Allow access": "Zugriff erlauben",
    "Allow %(name)s?": "%(name)s zulassen?",
    "This application requests:": "Diese Anwendung bittet um:",
    "Optional access:": "Freiwilliger Zugriff:",
    "Allow": "Erlauben",
    "Do not allow": "Nicht erlauben",
    "Know who you are": "Wissen, wer Sie sind",
    "Your name and user name": "Ihr Name und Benutzername",
    "Your e-mail address": "Ihre E-Mail-Adresse",
    "Your roles in the organisation": "Ihre Rollen in der Organisation",
    "Stay signed in without asking you again": "Angemeldet bleiben, ohne Sie erneut zu fragen",
    "See the orders": "Bestellungen sehen",
    "Place orders": "Bestellungen aufgeben",
    "Delete orders": "Bestellungen löschen",
    "See the invoices": "Rechnungen sehen",
    "See the projects": "Projekte sehen",
    "Start projects": "Projekte beginnen",
    "See the reports": "Berichte sehen",
    # front page
    "Your sign-in": "Ihre Anmeldung",
    "Hello, %(name)s": "Hallo, %(name)s",
    "Sign out of %(name)s": "Bei %(name)s abmelden",
    "This also signs you out of every application that uses this sign-in (back-channel logout).": (
        "Das meldet Sie auch bei jeder Anwendung ab, die diese Anmeldung verwendet (Back-Channel-Logout)."
    ),
    "You are not signed in": "Sie sind nicht angemeldet",
    "Applications send you here to sign in. Start at the application.": (
        "Anwendungen leiten Sie zum Anmelden hierher. Beginnen Sie bei der Anwendung."
    ),
    "For administrators: the application %(name)s": "Für die Administration: die Anwendung %(name)s",
    "Issuer": "Issuer",
    "Client ID": "Client-ID",
    "Client secret": "Client-Geheimnis",
    "Scopes": "Scopes",
    "Audience of the API": "Audience der API",
    "Registered callback URL": "Eingetragene Callback-URL",
    "A real provider shows these values in its console, and nobody else sees them.": (
        "Ein echter Anbieter zeigt diese Werte in seiner Konsole, und sonst sieht sie niemand."
    ),
    "Provider metadata for applications": "Metadaten des Anbieters für Anwendungen",
    # sign-out
    "Sign out": "Abmelden",
    "Sign out?": "Abmelden?",
    "<strong>%(client)s</strong> asks to sign you out of %(name)s.": (
        "<strong>%(client)s</strong> möchte Sie bei %(name)s abmelden."
    ),
    "Stay signed in": "Angemeldet bleiben",
    "Signed out": "Abgemeldet",
    "You are signed out": "Sie sind abgemeldet",
    "The applications that use this sign-in have been notified.": (
        "Die Anwendungen, die diese Anmeldung verwenden, wurden benachrichtigt."
    ),
    # errors
    "Something went wrong": "Etwas ist schiefgegangen",
    "Nothing was changed.": "Es wurde nichts geändert.",
    "This page does not exist or has expired. Go back to the application and sign in again.": (
        "Diese Seite gibt es nicht, oder sie ist abgelaufen. Gehen Sie zurück zur Anwendung und melden Sie "
        "sich erneut an."
    ),
    "This form has expired or came from another site. Go back to the application and start again.": (
        "Dieses Formular ist abgelaufen oder kam von einer anderen Website. Gehen Sie zurück zur Anwendung "
        "und beginnen Sie von vorn."
    ),
    "This did not work. Go back to the application and start again.": (
        "Das hat nicht funktioniert. Gehen Sie zurück zur Anwendung und beginnen Sie von vorn."
    ),
    "A parameter of this request was sent more than once.": (
        "Ein Parameter dieser Anfrage wurde mehrfach gesendet."
    ),
    "The application that sent you here is not registered.": (
        "Die Anwendung, die Sie hierher geleitet hat, ist nicht registriert."
    ),
    "The address to come back to is not registered for this application.": (
        "Die Rücksprungadresse ist für diese Anwendung nicht registriert."
    ),
    "The id_token_hint was issued to another application.": (
        "Der id_token_hint wurde für eine andere Anwendung ausgestellt."
    ),
    "The id_token_hint is invalid.": "Der id_token_hint ist ungültig.",
    "The post_logout_redirect_uri is not registered.": "Die post_logout_redirect_uri ist nicht registriert.",
}
"""Messages with HTML have it in both languages; their values are escaped."""


@dataclass(frozen=True, slots=True)
class Words:
    """One language of the pages. Parameters: tag, of BCP 47; translations, of the English messages."""

    tag: str
    translations: Mapping[str, str]

    def text(self, message: str) -> str:
        """Return a message in this language; what is not in the table stays as it is."""
        return self.translations.get(message, message)

    def html(self, message: str, **values: str) -> str:
        """Return a message of this language as HTML. Parameters: values, text in place of `%(name)s`."""
        return message % {name: xhtml_escape(value) for name, value in values.items()}


ENGLISH = Words("en", {})
LANGUAGES = {"en": ENGLISH, "de": Words("de", GERMAN)}


def words_for(*, ui_locales: str, accept_language: str) -> Words:
    """Return the language of a request; English when it asks for none of these.

    Parameters: ui_locales, of the authorization or logout request (OIDC Core 3.1.2.1, RP-Initiated Logout 2),
    which counts first; accept_language, the header (RFC 9110 12.5.4).
    """
    asked: Iterable[str] = (*requested_tags(ui_locales), *accepted_tags(accept_language))
    known = (LANGUAGES.get(tag.partition("-")[0]) for tag in asked)
    return next((found for found in known if found is not None), ENGLISH)
