"""The words for events in the console, and the groups in which they are looked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from portal.admin.events import EventKind
from portal.display_text import display_text
from portal.sentences import message
from portal.sessions.ended import EndReason
from portal.stores.tenant_records import Event


@dataclass(frozen=True, slots=True)
class EventGroup:
    """Kinds of events that belong together."""

    name: str
    """In the address of the page; no kind has it."""
    label: str
    kinds: Mapping[EventKind, str]
    """With the words for each."""


GROUPS = (
    EventGroup(
        "logins",
        message("Sign-ins and their ends"),
        {
            EventKind.SIGNED_IN: message("User signed in"),
            EventKind.SIGN_IN_REFUSED: message("Sign-in refused"),
            EventKind.SIGNED_OUT: message("User signed out"),
            EventKind.SESSION_ENDED: message("Login ended by itself or by the provider"),
            EventKind.LOGIN_ENDED: message("Login ended"),
            EventKind.LOGINS_ENDED: message("All logins ended"),
            EventKind.LOGIN_EXPIRED: message("Login expired"),
            EventKind.REGISTRATION_ENDED: message("Logins of a provider ended"),
        },
    ),
    EventGroup(
        "changes",
        message("Changes of the organisation"),
        {
            EventKind.TENANT_ADDED: message("Tenant added"),
            EventKind.TENANT_PUBLISHED: message("Tenant published"),
            EventKind.PUBLISHED_WITHOUT_TEST: message("Published without test"),
            EventKind.TENANT_ROLLED_BACK: message("Tenant rolled back"),
            EventKind.TENANT_STATUS_CHANGED: message("Tenant status changed"),
            EventKind.TENANT_REMOVED: message("Tenant removed"),
            EventKind.DRAFT_SAVED: message("Draft saved"),
            EventKind.DRAFT_DISCARDED: message("Draft discarded"),
            EventKind.DRAFT_PROPOSED: message("Publication of a draft proposed"),
            EventKind.TEST_LOGIN: message("Test login"),
        },
    ),
    EventGroup(
        "files",
        message("Tenant files"),
        {
            EventKind.TENANT_FILE_ADDED: message("Tenant file added"),
            EventKind.TENANT_FILE_CHANGED: message("Tenant file changed"),
            EventKind.TENANT_FILE_REFUSED: message("Tenant file refused"),
            EventKind.TENANT_FILE_REMOVED: message("Tenant file removed"),
        },
    ),
    EventGroup(
        "domains",
        message("Domains"),
        {
            EventKind.DOMAIN_APPROVED: message("Domain approved"),
            EventKind.DOMAIN_PROVEN: message("Domain proven"),
            EventKind.DOMAIN_RECORD_MISSING: message("Record of a domain missing"),
            EventKind.DOMAIN_PROOF_LOST: message("Proof of a domain lost"),
            EventKind.DOMAIN_RELEASED: message("Domain released"),
        },
    ),
    EventGroup(
        "links",
        message("Setup links"),
        {
            EventKind.SETUP_LINK_MADE: message("Setup link made"),
            EventKind.SETUP_LINK_OPENED: message("Setup link opened"),
            EventKind.SETUP_LINK_REOPENED: message("Setup link opened again"),
            EventKind.SETUP_LINK_REFUSED: message("Setup link refused"),
            EventKind.SETUP_LINK_REVOKED: message("Setup link revoked"),
        },
    ),
    EventGroup(
        "persons",
        message("Data of persons"),
        {
            EventKind.SUBJECT_EXPORTED: message("Subject exported"),
            EventKind.SUBJECT_ERASED: message("Subject erased"),
        },
    ),
    EventGroup("limits", message("Limits"), {EventKind.LIMIT_REACHED: message("Limit reached")}),
)
_WORDS: dict[str, str] = {kind: words for group in GROUPS for kind, words in group.kinds.items()}
_BY_PROVIDER = message("The provider ended it.")
_WHY_ENDED: dict[str, str] = {
    EndReason.ENDED_BY_USER: message("The user ended it from another browser."),
    EndReason.BACK_CHANNEL_LOGOUT: _BY_PROVIDER,
    EndReason.FRONT_CHANNEL_LOGOUT: _BY_PROVIDER,
    EndReason.GLOBAL_TOKEN_REVOCATION: message("The provider ended all logins of the user."),
    EndReason.PROVIDER_SESSION_ENDED: _BY_PROVIDER,
    EndReason.TOO_MANY_SESSIONS: message("The user signed in on too many devices; the oldest login ended."),
    EndReason.NO_REFRESH_TOKEN: message("Its access token expired, and it had no refresh token."),
    EndReason.REFRESH_REFUSED: message("The provider refused to renew it."),
    EndReason.ACCESS_RULE: message("An access rule no longer allows the account."),
    EndReason.NOT_STORED: message("The database did not store its new tokens."),
}


def kind_in_words(kind: str) -> str:
    """What happened: a message; for a kind that this version does not know, its name."""
    return _WORDS.get(kind) or display_text(kind.replace("_", " "), limit=64).capitalize()


def reason_in_words(event: Event) -> str:
    """Why it happened: a message where the portal gave the reason, else what was written then."""
    if event.kind == EventKind.SESSION_ENDED and event.reason in _WHY_ENDED:
        return _WHY_ENDED[event.reason]
    return display_text(event.reason, limit=1_000)


def kinds_of(choice: str) -> frozenset[str] | None:
    """The kinds of a choice of the page: a group or a kind; empty for all, None for what is neither."""
    if not choice:
        return frozenset()
    for group in GROUPS:
        if choice == group.name:
            return frozenset(group.kinds)
    return frozenset({choice}) if choice in _WORDS else None
