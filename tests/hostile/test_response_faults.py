"""Every single fault of a token response, an authorization response and a signed authorization response."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.oidc.authorization_response import accept_response
from portal.oidc.errors import (
    ProviderDenied,
    ResponseIssuerRejected,
    ResponseMalformed,
    ResponseModeRejected,
    SignedResponseRejected,
    TokenRequestRejected,
    TokenResponseMalformed,
)
from portal.oidc.keys import KeySet, parse_key_set
from portal.oidc.provider import ProviderMetadata, ResponseMode, TokenSet
from portal.oidc.signed_response import open_response, unverified_state
from portal.oidc.token_response import read_token_set
from portal.outbound.client import OutboundResponse
from portal.secret import Secret
from tests.hostile import minting
from tests.hostile.documents import Json, Members, members, number, unreadable, write
from tests.hostile.fault_report import FaultReport
from tests.hostile.faults import added_faults, byte_faults, member_faults, other_texts
from tests.hostile.header_faults import header_faults
from tests.hostile.minting import KID, compact, rsa_jwk, rsa_key
from tests.hostile.response_oracle import TOKENS, broken_token_response_rule
from tests.hostile.samples import ANY_JSON, HEADER, QUICK, SHORT, registration
from tests.hostile.token_oracle import CLIENT_ID, CODE, ISSUER, NOW, broken_rule

# --- the token response (RFC 6749 5.1, OIDC Core 3.1.3.3)


def read(data: bytes) -> TokenSet:
    """Read a token response as the portal does."""
    response = OutboundResponse(200, (("Content-Type", "application/json"),), data)
    tokens = read_token_set(response, requested_scopes=("openid",), now=float(NOW))
    assert NOW <= tokens.expires_at <= NOW + 366 * 86_400
    return tokens


def test_every_single_fault_of_a_token_response_is_handled_as_specified(
    report: FaultReport,
) -> None:
    with report.trial("token responses", (TokenResponseMalformed, TokenRequestRejected)) as trial:
        for fault in [*added_faults(TOKENS), *member_faults(TOKENS, huge=100_000)]:
            why = broken_token_response_rule(fault.document)
            trial.attempt(fault.name, why, read, fault.data)
        for name, data, why in byte_faults(write(TOKENS).encode()):
            trial.attempt(f"bytes: {name}", why, read, data)


def test_every_other_type_and_lifetime_of_a_token_is_handled_as_specified(
    report: FaultReport,
) -> None:
    types = (
        "bearer",
        "BEARER",
        "bEaReR",
        "DPoP",
        "dpop",
        "mac",
        "N_A",
        "PoP",
        "Bearer ",
        "Bearer\0",
        "ＢＥＡＲＥＲ",
    )
    lifetimes = (
        "3600",
        "3600.5",
        "",
        " 3600",
        "3600 ",
        "+3600",
        "-1",
        "1e3",
        "0x10",
        "１２３",
        "NaN",
        "9" * 400,
    )
    with report.trial("token responses", (TokenResponseMalformed, TokenRequestRejected)) as trial:
        for name, values in (("token_type", types), ("expires_in", lifetimes)):
            for value in values:
                document = TOKENS.changed(name, value)
                why = broken_token_response_rule(document)
                data = write(document).encode()
                trial.attempt(f"{name} = {value[:20]!r}", why, read, data)


def test_an_error_with_status_200_is_rejected(report: FaultReport) -> None:
    with report.trial("token responses", (TokenResponseMalformed, TokenRequestRejected)) as trial:
        errors: list[Json] = ["invalid_grant", "", None, 1, [], "x" * 10_000, "<script>", "a\r\nb"]
        for error in errors:
            data = write(members(error=error, error_description="x")).encode()
            trial.attempt(f"error {str(error)[:20]!r}", "RFC 6749 5.2", read, data)


@QUICK
@given(name=st.sampled_from([*TOKENS.names(), "error", "authorization_details", "unknown"]), value=ANY_JSON)
def test_any_value_of_any_member_of_a_token_response_is_handled_as_specified(
    name: str, value: Json, report: FaultReport
) -> None:
    document = TOKENS.changed(name, value)
    with report.trial("token responses", (TokenResponseMalformed, TokenRequestRejected)) as trial:
        why = broken_token_response_rule(document)
        trial.attempt(f"{name} = {write(value)[:80]}", why, read, write(document).encode())


# --- the authorization response (OIDC Core 3.1.2.5, RFC 6749 4.1.2, RFC 9207)

Response = Mapping[str, Sequence[str]]
RESPONSE: Response = {
    "code": [CODE],
    "state": ["af0ifjsldkj"],
    "iss": [ISSUER],
    "session_state": ["salted.x"],
}
KNOWN = ("code", "state", "iss", "error", "error_description", "error_uri", "session_state", "response")
RESPONSE_ERRORS = (ResponseMalformed, ResponseIssuerRejected, ResponseModeRejected, ProviderDenied)


def broken_response_rule(response: Response, *, iss_promised: bool) -> str | None:
    """Return the rule that a response with a matching state breaks, or None."""
    if any(len(response.get(name, ())) > 1 for name in KNOWN):
        return "RFC 6749 3.1: a parameter is given twice"
    if response.get("response"):
        return "JARM: an unrequested signed response"
    iss = next(iter(response.get("iss", ())), None)
    if iss != ISSUER and (iss is not None or iss_promised):
        return "RFC 9207 2.4: another issuer, or none where it was promised"
    if response.get("error"):
        return "RFC 6749 4.1.2.1: an error"
    code = next(iter(response.get("code", ())), "")
    if not re.fullmatch(r"[\x20-\x7e]{1,8192}", code):
        return "RFC 6749 A.11: no code"
    return None


def response_faults() -> Iterator[tuple[str, Response]]:
    """Single faults of a response."""
    yield "no fault", RESPONSE
    yield "the other way round", dict(list(RESPONSE.items())[::-1])
    yield "nothing", {}
    for name, values in RESPONSE.items():
        yield f"drop {name}", {key: held for key, held in RESPONSE.items() if key != name}
        yield f"{name} twice", {**RESPONSE, name: [*values, *values]}
        yield f"{name} twice, another first", {**RESPONSE, name: ["stranger", *values]}
        yield f"{name} twice, another last", {**RESPONSE, name: [*values, "stranger"]}
        yield f"{name} 100,000 times", {**RESPONSE, name: [*values] * 100_000}
        for kind, text in other_texts(values[0], huge=1_000_000):
            yield f"{name}: {kind}", {**RESPONSE, name: [text]}
            yield f"{name} and again: {kind}", {**RESPONSE, name: [*values, text]}
        for other in (name.upper(), name + " ", name + "[]", name + "[0]", " " + name, name + "\0"):
            rest = {key: held for key, held in RESPONSE.items() if key != name}
            yield f"{name} called {other!r}", {**rest, other: values}
            yield f"{name} again as {other!r}", {**RESPONSE, other: ["stranger"]}
    for name in (
        "error",
        "error_description",
        "error_uri",
        "response",
        "id_token",
        "access_token",
        "unknown",
    ):
        for kind, text in (
            ("x", "x"),
            ("nothing", ""),
            ("64 KB", "x" * 65_536),
            ("markup", "<script>\u202e\0"),
        ):
            yield f"{name} added: {kind}", {**RESPONSE, name: [text]}
        yield f"{name} added twice", {**RESPONSE, name: ["x", "x"]}
    for error in (
        "access_denied",
        "login_required",
        "server_error",
        "ACCESS_DENIED",
        "__class__",
        "x" * 99_999,
    ):
        yield f"error {error[:20]}", {"error": [error], "state": ["af0ifjsldkj"], "iss": [ISSUER]}


@pytest.mark.parametrize("promised", [True, False])
def test_every_single_fault_of_an_authorization_response_is_handled_as_specified(
    promised: bool, report: FaultReport
) -> None:
    metadata = ProviderMetadata(ISSUER, ISSUER, ISSUER, ISSUER, iss_parameter_supported=promised)
    with report.trial("authorization responses", RESPONSE_ERRORS) as trial:
        for name, response in response_faults():
            why = broken_response_rule(response, iss_promised=promised)
            trial.attempt(
                f"{name}, iss promised: {promised}",
                why,
                accept_response,
                response,
                registration(),
                metadata,
            )


@QUICK
@given(
    changes=st.dictionaries(
        st.sampled_from(KNOWN) | st.text(max_size=12), st.lists(st.text(max_size=40), max_size=3), max_size=1
    ),
    promised=st.booleans(),
)
def test_any_value_of_any_parameter_of_an_authorization_response_is_handled_as_specified(
    changes: Response, promised: bool, report: FaultReport
) -> None:
    metadata = ProviderMetadata(ISSUER, ISSUER, ISSUER, ISSUER, iss_parameter_supported=promised)
    response = {**RESPONSE, **changes}
    with report.trial("authorization responses", RESPONSE_ERRORS) as trial:
        why = broken_response_rule(response, iss_promised=promised)
        trial.attempt(f"{changes!r}", why, accept_response, response, registration(), metadata)


# --- the signed authorization response (JARM 2.1 and 2.4)

SIGNED_RESPONSE = members(
    iss=ISSUER, aud=CLIENT_ID, exp=NOW + 600, iat=NOW - 2, code=CODE, state="af0ifjsldkj"
)


@pytest.fixture(scope="module")
def keys() -> KeySet:
    return parse_key_set(write(members(keys=[rsa_jwk()])).encode())


def with_one_issuer(claims: Members) -> Members:
    """JARM 2.1 and RFC 9207 2 both require `iss`: it may be repeated with the same value."""
    pairs = claims.pairs
    return Members(tuple(pair for at, pair in enumerate(pairs) if pair[0] != "iss" or pair not in pairs[:at]))


def broken_signed_response_rule(header: Members, claims: Members) -> str | None:
    """Return the broken rule of JARM 2.4, then of every authorization response, or None."""
    claims = with_one_issuer(claims)
    # the rules for the header are those of ID tokens: check them with valid claims
    if why := broken_rule(header, SHORT) or unreadable(claims):
        return why
    if len(write(claims).encode()) * 4 / 3 > 65_536 - 500:
        return "more than 64 KB"
    if claims.get("iss") != ISSUER:
        return "JARM 2.4 step 3: another issuer"
    if claims.get("aud") not in (CLIENT_ID, [CLIENT_ID]):
        return "JARM 2.4 step 4: for another client"
    for name, needed in (("exp", True), ("iat", False), ("nbf", False)):
        if not needed and not claims.has(name):
            continue
        moment = number(claims.get(name))
        if moment is None or not 0 <= moment <= 1e11:
            return f"{name} is not a time in seconds"
        if (name == "exp" and moment <= NOW - 60) or (name != "exp" and moment > NOW + 60):
            return f"JARM 2.4 step 5: {name}"
    for name in KNOWN[:-1]:
        if claims.has(name) and not isinstance(claims.get(name), str):
            return f"{name} is not a string"
    if not isinstance(claims.get("state"), str):
        return "no state: the attempt is unknown"
    inside = {name: [str(claims.get(name))] for name in KNOWN[:-1] if claims.has(name)}
    return broken_response_rule(inside, iss_promised=True)


def open_signed(token: str, keys: KeySet) -> Secret:
    """Process a signed response as the portal does."""
    metadata = ProviderMetadata(ISSUER, ISSUER, ISSUER, ISSUER, iss_parameter_supported=True)
    provider = registration(response_mode=ResponseMode.QUERY_JWT)
    unverified_state(Secret(token))
    return accept_response(open_response(Secret(token), provider, keys, now=float(NOW)), provider, metadata)


JARM_ERRORS = (*RESPONSE_ERRORS, SignedResponseRejected)


def test_every_single_fault_of_a_signed_response_is_handled_as_specified(
    keys: KeySet, report: FaultReport
) -> None:
    with report.trial("signed authorization responses", JARM_ERRORS) as trial:
        for fault in [*added_faults(SIGNED_RESPONSE), *member_faults(SIGNED_RESPONSE)]:
            token = compact(write(HEADER), fault.data)
            why = broken_signed_response_rule(HEADER, fault.document)
            trial.attempt(fault.name, why, open_signed, token, keys)
        for fault in [*member_faults(HEADER), *header_faults()]:
            token = compact(fault.data, write(SIGNED_RESPONSE))
            why = broken_signed_response_rule(fault.document, SIGNED_RESPONSE)
            trial.attempt(f"header: {fault.name}", why, open_signed, token, keys)
        for name, data, why in byte_faults(write(SIGNED_RESPONSE).encode()):
            token = compact(write(HEADER), data)
            trial.attempt(f"bytes: {name}", why, open_signed, token, keys)


def test_every_other_signature_of_a_signed_response_is_rejected(keys: KeySet, report: FaultReport) -> None:
    payload = write(SIGNED_RESPONSE)
    cases = {
        "another key of the same kid": compact(write(HEADER), payload, key=rsa_key("an attacker's")),
        "PS256 under the name of RS256": minting.compact_pss(write(HEADER), payload),
        "none": minting.unsigned(write(HEADER.changed("alg", "none")), payload),
        **{
            f"HS256 with the public key as {form}": minting.compact_hmac(
                write(members(alg="HS256", kid=KID)), payload, public
            )
            for form, public in minting.public_forms()
        },
    }
    with report.trial("signed authorization responses", JARM_ERRORS) as trial:
        for name, token in cases.items():
            trial.attempt(name, "not the provider's signature", open_signed, token, keys)


@QUICK
@given(
    name=st.sampled_from([*SIGNED_RESPONSE.names(), "nbf", "error", "session_state", "unknown"]),
    value=ANY_JSON,
)
def test_any_value_of_any_claim_of_a_signed_response_is_handled_as_specified(
    name: str, value: Json, report: FaultReport
) -> None:
    claims = SIGNED_RESPONSE.changed(name, value)
    keys = parse_key_set(write(members(keys=[rsa_jwk()])).encode())
    token = compact(write(HEADER), write(claims))
    with report.trial("signed authorization responses", JARM_ERRORS) as trial:
        why = broken_signed_response_rule(HEADER, claims)
        trial.attempt(f"{name} = {write(value)[:80]}", why, open_signed, token, keys)
