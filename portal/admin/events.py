"""What the portal records of acts on tenants: one kind of event for each of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from portal.admin.actors import Actor
from portal.stores.tenant_records import Event, event_id


class EventKind(StrEnum):
    """What happened. The docstrings are the sentences of the reference."""

    TENANT_ADDED = "tenant_added"
    """A tenant of the database was made."""
    TENANT_PUBLISHED = "tenant_published"
    """A revision of a tenant became live."""
    PUBLISHED_WITHOUT_TEST = "published_without_test"
    """An operator published a draft although test logins were missing."""
    TENANT_ROLLED_BACK = "tenant_rolled_back"
    """An earlier revision of a tenant became live again, as a new one."""
    TENANT_STATUS_CHANGED = "tenant_status_changed"
    """A tenant was suspended, closed to new logins, or resumed."""
    TENANT_REMOVED = "tenant_removed"
    """A tenant was removed from the database."""
    DRAFT_SAVED = "draft_saved"
    """The draft of a tenant was changed."""
    DRAFT_DISCARDED = "draft_discarded"
    """The draft of a tenant was deleted without being published."""
    DRAFT_PROPOSED = "draft_proposed"
    """Somebody who may not publish asked for the publication of a draft."""
    TEST_LOGIN = "test_login"
    """Somebody finished a test login with a draft; refused: it failed, and the reason says why."""
    LOGIN_ENDED = "login_ended"
    """An admin or operator ended the login of a user."""
    LOGINS_ENDED = "logins_ended"
    """An admin or operator ended all logins at a tenant."""
    SUBJECT_EXPORTED = "subject_exported"
    """An operator exported what is stored of a person; the target is the subject."""
    SUBJECT_ERASED = "subject_erased"
    """An operator erased a person; the target is the pseudonym that records have in place of the person."""
    SIGNED_IN = "signed_in"
    """A user signed in. Users see it on the account page."""
    SIGN_IN_REFUSED = "sign_in_refused"
    """A sign-in was not finished; the target is the rule: the code of the error and, after a colon, the rule
    of a specification that a token broke. The reason has the access rule that refused the account. Each
    process records at most 100 a minute for each tenant."""
    SIGNED_OUT = "signed_out"
    """A user signed out. Users see it on the account page."""
    SESSION_ENDED = "session_ended"
    """The login of a user ended; the reason says why: the provider ended it or refused to renew it, or the
    user ended it on another device. Users see it on the account page."""
    LOGIN_EXPIRED = "login_expired"
    """A login reached the end of its lifetime, or was not used for too long. The reason has the time when it
    expired; `at` is when the portal found it, one to three minutes later."""
    REGISTRATION_ENDED = "registration_ended"
    """Logins ended because their provider was removed, or its issuer or client changed; the target is the
    provider, and the reason says how many logins ended."""
    LIMIT_REACHED = "limit_reached"
    """A limit refused something or made it wait; the target is the name of the limit, as in the metric
    `portal_limit_hits_total`. Each process records at most one a minute for each limit and tenant."""
    TENANT_FILE_ADDED = "tenant_file_added"
    """A tenant file is new, also one that came while no portal ran."""
    TENANT_FILE_CHANGED = "tenant_file_changed"
    """A tenant file has another content, or is accepted again."""
    TENANT_FILE_REFUSED = "tenant_file_refused"
    """A tenant file cannot be used; the reason is its first problem. The last valid content stays live."""
    TENANT_FILE_REMOVED = "tenant_file_removed"
    """A tenant file is gone, and its tenant with it."""
    DOMAIN_APPROVED = "domain_approved"
    """An operator approved a host name or an e-mail domain of a tenant."""
    DOMAIN_PROVEN = "domain_proven"
    """The TXT record of a host name or an e-mail domain was found."""
    DOMAIN_RECORD_MISSING = "domain_record_missing"
    """The TXT record of a proven domain was not found; the domain counts for three more days."""
    DOMAIN_PROOF_LOST = "domain_proof_lost"
    """The TXT record of a domain was missing for three days; the domain no longer counts."""
    DOMAIN_RELEASED = "domain_released"
    """A tenant gave up a domain, or no longer states it; another tenant can prove it."""
    SETUP_LINK_MADE = "setup_link_made"
    """An operator made a setup link for a tenant."""
    SETUP_LINK_OPENED = "setup_link_opened"
    """A setup link was opened in a browser for the first time, and works in that browser only."""
    SETUP_LINK_REOPENED = "setup_link_reopened"
    """A setup link was opened again in its browser; each process records it at most once a minute."""
    SETUP_LINK_REFUSED = "setup_link_refused"
    """A setup link was not accepted; the reason says why. Each process records one a minute for each link."""
    SETUP_LINK_REVOKED = "setup_link_revoked"
    """An operator revoked a setup link."""


class Outcome(StrEnum):
    """What became of an act."""

    DONE = "done"
    """It was done."""
    REFUSED = "refused"
    """It was not done."""


@dataclass(frozen=True, slots=True)
class Act:
    """An act on a tenant: who, why, and the request with which it was done, if there was one."""

    actor: Actor
    reason: str = ""
    request_id: str = ""
    client: str = ""
    """The network of the client, not its full address."""
    device: str = ""

    def event(
        self,
        kind: EventKind,
        *,
        tenant: str,
        target: str = "",
        at: float,
        outcome: Outcome = Outcome.DONE,
    ) -> Event:
        """The event of this act. Parameters: target, what it was done to; at, seconds, UTC."""
        return Event(
            id=event_id(at),
            at=at,
            tenant=tenant,
            kind=kind,
            outcome=outcome,
            actor=self.actor.as_json(),
            target=target,
            reason=self.reason,
            request_id=self.request_id,
            client=self.client,
            device=self.device,
        )
