"""Sample entries of every kind; those that expire are live at `NOW` and some time after."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any, TypedDict

from portal.clock import now
from portal.stores.model import Login, LoginAttempt, LogoutStep, Session
from portal.stores.tenant_records import (
    DomainClaim,
    Draft,
    Event,
    Revision,
    SetupLink,
    TenantRecord,
    TenantStatus,
    event_id,
)

NOW = now()
"""The real time: a MongoDB server deletes expired entries by its own clock."""


def at(seconds: float) -> float:
    """The time `seconds` after NOW, rounded like all times."""
    return round(NOW + seconds, 3)


def key_of(entry: LoginAttempt | LogoutStep) -> dict[str, Any]:
    """The arguments, in addition to the id, to take an attempt or a logout step now."""
    return {"tenant": entry.tenant, "binding_hash": entry.binding_hash, "now": NOW}


class OfProvider(TypedDict):
    """The arguments that restrict the deletion of logins to one tenant and registration."""

    tenant: str
    registration: str


def provider_of(login: Login) -> OfProvider:
    """The arguments that restrict the deletion of logins to the registration of this one."""
    return {"tenant": login.tenant, "registration": login.registration}


def new_attempt(**changes: Any) -> LoginAttempt:
    attempt = LoginAttempt(
        id=secrets.token_hex(32),
        tenant="acme",
        provider="default",
        registration="r" * 64,
        binding_hash="b" * 64,
        nonce="nonce",
        sealed="sealed verifier",
        redirect_uri="https://portal.example/t/acme/callback",
        return_to="/t/acme/?q=ü&x=%00#“",
        expires_at=at(600.123),
    )
    return replace(attempt, **changes)


def new_step(**changes: Any) -> LogoutStep:
    step = LogoutStep(
        id=secrets.token_hex(32),
        tenant="acme",
        binding_hash="b" * 64,
        next_url="sealed address",
        expires_at=at(600.456),
    )
    return replace(step, **changes)


def new_session(**changes: Any) -> Session:
    session = Session(
        id=secrets.token_urlsafe(16),
        secret_hash=secrets.token_hex(32),
        created_at=at(-10.001),
        last_seen_at=at(0),
        idle_expires_at=at(3600.007),
        absolute_expires_at=at(43200.999),
        device="Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    )
    return replace(session, **changes)


def new_login(session: Session | str | None = None, **changes: Any) -> Login:
    """A login of a session, given as object or id; by default of a session that does not exist."""
    if session is None:
        session = secrets.token_urlsafe(16)
    login = Login(
        session=session if isinstance(session, str) else session.id,
        tenant="acme",
        provider="default",
        registration="r" * 64,
        issuer="https://login.acme.example/",
        subject="auth0|5f7c8ec7c33c6c004bbafe82",
        sid="sid-1",
        claims={"sub": "auth0|5f7c8ec7c33c6c004bbafe82", "name": "Ada"},
        tokens="sealed token set",
        access_expires_at=at(299.5),
        signed_in_at=at(-0.25),
        expires_at=at(43200.125),
        version=secrets.randbits(48),
    )
    return replace(login, **changes)


def new_tenant(slug: str = "initech", **changes: Any) -> TenantRecord:
    return replace(TenantRecord(slug, TenantStatus.LIVE, 0, at(-5.001), at(-5.001)), **changes)


def new_revision(number: int = 1, tenant: str = "initech", **changes: Any) -> Revision:
    revision = Revision(
        tenant=tenant,
        number=number,
        content=f"name: Initech ü “{number}”\nissuer: https://login.initech.example/\n",
        format=1,
        author='{"type":"operator","subject":"1"}',
        reason="because: <b>$ne</b>\n\u202e",
        test='{"sub":"1"}',
        published_at=at(number / 1000),
    )
    return replace(revision, **changes)


def new_draft(version: int = 1, tenant: str = "initech", **changes: Any) -> Draft:
    draft = Draft(
        tenant=tenant,
        content="name: [not, yet: valid\n",
        format=1,
        version=version,
        based_on=0,
        author='{"type":"admin"}',
        test="",
        changed_at=at(1.25),
    )
    return replace(draft, **changes)


def new_link(tenant: str = "initech", **changes: Any) -> SetupLink:
    link = SetupLink(
        id=secrets.token_hex(8),
        tenant=tenant,
        token_hash=secrets.token_hex(32),
        name="Ms. Ü of IT",
        author='{"type":"operator"}',
        browser_hash="",
        created_at=at(0),
        expires_at=at(604_800.5),
        revoked_at=0.0,
    )
    return replace(link, **changes)


def new_claim(name: str = "initech.example", tenant: str = "initech", **changes: Any) -> DomainClaim:
    claim = DomainClaim(
        name=name,
        tenant=tenant,
        kind="email_domains",
        token=secrets.token_hex(16),
        proof="",
        proven_at=0.0,
        checked_at=0.0,
        created_at=at(0.5),
    )
    return replace(claim, **changes)


def new_event(kind: str = "tenant_changed", seconds: float = 0.0, **changes: Any) -> Event:
    """An event `seconds` after NOW."""
    event = Event(
        id=event_id(at(seconds)),
        at=at(seconds),
        tenant="initech",
        kind=kind,
        outcome="done",
        actor='{"type":"operator","subject":"ü"}',
        target="revision 1",
        reason="why not",
        request_id="r-1",
        client="192.0.2.0/24",
        device="Firefox",
    )
    return replace(event, **changes)
