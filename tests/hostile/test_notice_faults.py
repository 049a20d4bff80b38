"""Every single fault of a logout token and of a UserInfo response."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.oidc import logout_token, userinfo
from portal.oidc.errors import IdTokenRejected, LogoutTokenRejected, UserInfoRejected
from portal.oidc.jose.jwe import open_token
from portal.oidc.keys import KeySet, parse_key_set
from portal.outbound.client import OutboundResponse
from portal.secret import Secret
from tests.hostile import minting
from tests.hostile.documents import Json, Members, members, number, unreadable, write
from tests.hostile.fault_report import FaultReport
from tests.hostile.faults import Fault, added_faults, byte_faults, member_faults
from tests.hostile.header_faults import header_faults
from tests.hostile.minting import compact, rsa_jwk, rsa_key
from tests.hostile.samples import ANY_JSON, HEADER, QUICK, SHORT, registration
from tests.hostile.token_oracle import (
    API,
    CLIENT_ID,
    ISSUER,
    NOW,
    SUBJECT,
    broken_header_rule,
    broken_rule,
    is_identifier,
)


@pytest.fixture(scope="module")
def keys() -> KeySet:
    return _keys()


def _keys() -> KeySet:
    return parse_key_set(write(members(keys=[rsa_jwk()])).encode())


# --- the logout token (OpenID Connect Back-Channel Logout 1.0, 2.4 and 2.6)

EVENT = "http://schemas.openid.net/event/backchannel-logout"
LOGOUT_HEADER = HEADER.changed("typ", "logout+jwt")
LOGOUT = members(
    iss=ISSUER,
    aud=[CLIENT_ID],
    iat=NOW - 2,
    exp=NOW + 120,
    jti="bWJq",
    sub=SUBJECT,
    sid="08a5019c-17e1-4977-8f42-65a12843ea02",
    events=Members(((EVENT, Members(())),)),
)
SID_ONLY, SUB_ONLY = LOGOUT.without("sub"), LOGOUT.without("sid")


def broken_logout_rule(header: Members, claims: Members) -> str | None:
    """Return the rule of Back-Channel Logout 2.6 that a correctly signed token breaks, or None."""
    for part in (header, claims):
        if why := unreadable(part):
            return why
    if (len(write(header).encode()) + len(write(claims).encode())) * 4 / 3 > 16_384 - 400:
        return "more than 16 KB"
    return (
        broken_header_rule(header, own_type="logout+jwt")
        or _broken_logout_times(claims)
        or _broken_logout_claims(claims)
    )


def _broken_logout_times(claims: Members) -> str | None:
    for name, needed in (("iat", True), ("exp", False), ("nbf", False)):
        if not needed and not claims.has(name):
            continue
        moment = number(claims.get(name))
        if moment is None or not 0 <= moment <= 1e11:
            return f"2.4: {name} is not a time in seconds"
        if name == "exp" and moment <= NOW - 60:
            return "2.6 step 3: expired"
        if name != "exp" and moment > NOW + 60:
            return f"2.6 step 3: {name} is in the future"
        if name == "iat" and NOW - moment > 660:
            return "2.6 step 3: issued too long ago"
    return None


def _broken_logout_claims(claims: Members) -> str | None:
    aud = claims.get("aud")
    audiences = aud if isinstance(aud, list) else [aud]
    if claims.get("iss") != ISSUER:
        return "2.6 step 3: another issuer"
    if CLIENT_ID not in audiences or any(one not in (CLIENT_ID, API) for one in audiences):
        return "2.6 step 3: another audience"
    if not claims.has("sub") and not claims.has("sid"):
        return "2.6 step 4: neither sub nor sid"
    if any(claims.has(name) and not is_identifier(claims.get(name)) for name in ("sub", "sid")):
        return "2.4: sub or sid is invalid"
    events = claims.get("events")
    if not isinstance(events, Members) or not isinstance(events.get(EVENT), Members):
        return "2.6 step 5: not a logout event"
    if claims.has("nonce"):
        return "2.6 step 6: a nonce"
    jti = claims.get("jti")
    return None if isinstance(jti, str) and 1 <= len(jti) <= 2048 else "2.4: jti is needed, and bounded"


def end(token: str, keys: KeySet) -> object:
    """Process a logout token as the portal does."""
    decrypt = partial(open_token, client_keys=None)
    provider, signed = logout_token.find_registration(Secret(token), [registration()], decrypt=decrypt)
    return logout_token.validate(signed, provider, keys, now=float(NOW))


@pytest.mark.parametrize("base", [LOGOUT, SID_ONLY, SUB_ONLY], ids=["sid and sub", "sid", "sub"])
def test_every_single_fault_of_a_logout_token_is_handled_as_specified(
    base: Members, keys: KeySet, report: FaultReport
) -> None:
    with report.trial("logout tokens", LogoutTokenRejected) as trial:
        for fault in [*added_faults(base), *member_faults(base), *_event_faults(base)]:
            token = compact(write(LOGOUT_HEADER), fault.data)
            why = broken_logout_rule(LOGOUT_HEADER, fault.document)
            trial.attempt(fault.name, why, end, token, keys)


def _event_faults(base: Members) -> list[Fault]:
    events: list[Json] = [
        [EVENT],
        EVENT,
        members(),
        Members(((EVENT + "/", Members(())),)),
        Members(((EVENT.upper(), Members(())),)),
        Members((("http://schemas.openid.net/event/frontchannel-logout", Members(())),)),
        *(Members(((EVENT, value),)) for value in (None, True, "")),
        Members(((EVENT, []),)),
        Members(((EVENT, members(reason="x")),)),
        Members(((EVENT, Members(())), ("urn:other", Members(())))),
        Members(((EVENT, Members(())), (EVENT, Members(())))),
    ]
    nonces: list[Json] = ["x", "", None, 1, []]
    changed = [Fault(f"events = {write(value)[:60]}", base.changed("events", value)) for value in events]
    added = [Fault(f"nonce = {write(value)}", base.plus("nonce", value)) for value in nonces]
    return [*changed, *added, Fault("neither sid nor sub", base.without("sid").without("sub"))]


def test_every_single_fault_of_the_header_of_a_logout_token_is_handled_as_specified(
    keys: KeySet, report: FaultReport
) -> None:
    with report.trial("logout tokens", LogoutTokenRejected) as trial:
        for fault in [*added_faults(LOGOUT_HEADER), *member_faults(LOGOUT_HEADER), *header_faults()]:
            token = compact(fault.data, write(LOGOUT))
            why = broken_logout_rule(fault.document, LOGOUT)
            trial.attempt(f"header: {fault.name}", why, end, token, keys)
        for name, data, why in byte_faults(write(LOGOUT).encode()):
            token = compact(write(LOGOUT_HEADER), data)
            trial.attempt(f"bytes: {name}", why, end, token, keys)


def test_every_other_signature_of_a_logout_token_is_rejected(keys: KeySet, report: FaultReport) -> None:
    header, payload = write(LOGOUT_HEADER), write(LOGOUT)
    cases = {
        "another key of the same kid": compact(header, payload, key=rsa_key("an attacker's")),
        "PS256 under the name of RS256": minting.compact_pss(header, payload),
        "none": minting.unsigned(write(LOGOUT_HEADER.changed("alg", "none")), payload),
        "an ID token": compact(write(HEADER), write(SHORT)),
        **{
            f"HS256 with the public key as {form}": minting.compact_hmac(
                write(LOGOUT_HEADER.changed("alg", "HS256")), payload, public
            )
            for form, public in minting.public_forms()
        },
        **{
            f"the text {text[:10]!r}": text
            for text in ("", "x", "..", "a.b.c", "." * 9_999, "\0", "🙂.🙂.🙂")
        },
    }
    with report.trial("logout tokens", LogoutTokenRejected) as trial:
        for name, token in cases.items():
            trial.attempt(name, "not the provider's logout token", end, token, keys)


@QUICK
@given(name=st.sampled_from([*LOGOUT.names(), "nonce", "nbf", "unknown"]), value=ANY_JSON)
def test_any_value_of_any_claim_of_a_logout_token_is_handled_as_specified(
    name: str, value: Json, report: FaultReport
) -> None:
    claims = LOGOUT.changed(name, value)
    token = compact(write(LOGOUT_HEADER), write(claims))
    with report.trial("logout tokens", LogoutTokenRejected) as trial:
        why = broken_logout_rule(LOGOUT_HEADER, claims)
        trial.attempt(f"{name} = {write(value)[:80]}", why, end, token, _keys())


# --- UserInfo (OIDC Core 5.3)

PERSON = members(sub=SUBJECT, name="Jane Doe", email="jane@acme.example", address=members(country="DE"))
SIGNED_PERSON = Members((*PERSON.pairs, ("iss", ISSUER), ("aud", CLIENT_ID), ("exp", NOW + 300)))
ID_TOKEN = {"iss": ISSUER, "sub": SUBJECT}
USERINFO_ERRORS = (UserInfoRejected, IdTokenRejected)


def broken_userinfo_rule(claims: Members) -> str | None:
    """Return the rule of Core 5.3.2 that a response breaks, or None."""
    if why := unreadable(claims):
        return why
    return None if claims.get("sub") == SUBJECT else "Core 5.3.2: about another user"


def broken_signed_userinfo_rule(header: Members, claims: Members) -> str | None:
    """Return the rule of Core 5.3.2 that a signed response breaks, or None."""
    if why := broken_rule(header, SHORT) or broken_userinfo_rule(claims):
        return why
    if len(write(claims).encode()) * 4 / 3 > 65_536 - 600:
        return "more than 64 KB"
    aud = claims.get("aud")
    if claims.has("iss") and claims.get("iss") != ISSUER:
        return "Core 5.3.2: another issuer"
    if claims.has("aud") and CLIENT_ID not in (aud if isinstance(aud, list) else [aud]):
        return "Core 5.3.2: for another client"
    if not claims.has("exp"):
        return None
    exp = number(claims.get("exp"))
    return None if exp is not None and NOW - 60 < exp <= 1e11 else "expired, or no time in seconds"


def ask(data: bytes, keys: KeySet, *, media_type: str = "application/json") -> object:
    """Process a response as the portal does."""
    response = OutboundResponse(200, (("Content-Type", media_type),), data)
    claims = userinfo.read(response, registration(userinfo=True), keys, id_token=ID_TOKEN, now=float(NOW))
    merged = userinfo.merged(ID_TOKEN, claims)
    assert merged["sub"] == SUBJECT
    assert merged["iss"] == ISSUER
    return merged


def test_every_single_fault_of_a_userinfo_response_is_handled_as_specified(
    keys: KeySet, report: FaultReport
) -> None:
    with report.trial("UserInfo responses", USERINFO_ERRORS) as trial:
        for fault in [*added_faults(PERSON), *member_faults(PERSON, huge=60_000)]:
            why = broken_userinfo_rule(fault.document)
            trial.attempt(fault.name, why, ask, fault.data, keys)
        for name, data, why in byte_faults(write(PERSON).encode()):
            trial.attempt(f"bytes: {name}", why, ask, data, keys)
        for media_type in (
            "text/html",
            "",
            "application/jwt",
            "application/json5",
            "text/plain; a=application/json",
        ):
            trial.attempt(
                f"as {media_type!r}",
                "Core 5.3.2: neither JSON nor a token",
                ask,
                write(PERSON).encode(),
                keys,
                media_type=media_type,
            )


def test_every_single_fault_of_a_signed_userinfo_response_is_handled_as_specified(
    keys: KeySet, report: FaultReport
) -> None:
    def ask_signed(token: str) -> object:
        return ask(token.encode(), keys, media_type="application/jwt")

    with report.trial("UserInfo responses", USERINFO_ERRORS) as trial:
        for fault in [*added_faults(SIGNED_PERSON), *member_faults(SIGNED_PERSON, huge=100_000)]:
            token = compact(write(HEADER), fault.data)
            why = broken_signed_userinfo_rule(HEADER, fault.document)
            trial.attempt(f"signed: {fault.name}", why, ask_signed, token)
        for fault in [*member_faults(HEADER, huge=100_000), *header_faults()]:
            token = compact(fault.data, write(SIGNED_PERSON))
            why = broken_signed_userinfo_rule(fault.document, SIGNED_PERSON)
            trial.attempt(f"signed, header: {fault.name}", why, ask_signed, token)
        why = "not the provider's signature"
        forged = compact(write(HEADER), write(SIGNED_PERSON), key=rsa_key("an attacker's"))
        trial.attempt("signed with another key", why, ask_signed, forged)
        unsigned = minting.unsigned(write(HEADER.changed("alg", "none")), write(SIGNED_PERSON))
        trial.attempt("unsigned", why, ask_signed, unsigned)


@QUICK
@given(name=st.sampled_from([*SIGNED_PERSON.names(), "_claim_sources", "nbf", "unknown"]), value=ANY_JSON)
def test_any_value_of_any_claim_of_a_userinfo_response_is_handled_as_specified(
    name: str, value: Json, report: FaultReport
) -> None:
    claims = SIGNED_PERSON.changed(name, value)
    token, keys = compact(write(HEADER), write(claims)), _keys()
    with report.trial("UserInfo responses", USERINFO_ERRORS) as trial:
        why = broken_userinfo_rule(claims)
        trial.attempt(f"{name} = {write(value)[:80]}", why, ask, write(claims).encode(), keys)
        why = broken_signed_userinfo_rule(HEADER, claims)
        trial.attempt(
            f"signed: {name} = {write(value)[:80]}",
            why,
            ask,
            token.encode(),
            keys,
            media_type="application/jwt",
        )
