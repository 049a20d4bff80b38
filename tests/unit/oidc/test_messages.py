"""Errors show the received and the expected value, and never a token, code, secret, nonce or state."""

from __future__ import annotations

import ast
import json
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import portal.oidc
from portal.errors import PortalError
from portal.oidc import (
    authorization_response,
    discovery,
    id_token,
    logout_token,
    quoting,
    signed_response,
    token_response,
    userinfo,
)
from portal.oidc.errors import IdTokenRejected, KeysRejected, MetadataRejected
from portal.oidc.id_token import LoginExpectations, RefreshExpectations
from portal.oidc.interaction import Interaction
from portal.oidc.issuer import IssuerTemplate
from portal.oidc.jose import json_reading, jwe, jws
from portal.oidc.jose.algorithms import half_hash
from portal.oidc.keys import KeySource
from portal.oidc.logout_token import EVENT
from portal.oidc.provider import IdTokenEncryption, ProviderMetadata, ResponseMode
from portal.oidc.quoting import LONGEST, address, hiding, kind_of, mismatch, quoted
from portal.outbound.client import OutboundResponse
from portal.secret import Secret
from tests.kit.samples import ManualClock
from tests.unit.oidc.encryption import encrypted
from tests.unit.oidc.party import acme
from tests.unit.oidc.sample_client_keys import make_client_keys
from tests.unit.oidc.signing import (
    CLIENT_ID,
    CLIENT_SECRET,
    ISSUER,
    NONCE,
    NOW,
    key_set,
    login_claims,
    public_jwk,
    registration,
    signed,
)
from tests.unit.outbound.wire import calling, http_response, serving

# --- every raise statement

BOTH_VALUES = re.compile(
    r"\b(?:mismatch|length_of|times|audience_not_listed|invalid_identifier|_issuer_mismatch)\("
    r"|expected|this tenant accepts|at most|more than|longer than|deeper than|that of the login is|keys are"
    r"|is accepted"
)
"""Matches the source of a message that shows the received and the expected value."""

NOTHING_TO_COMPARE = {
    "the response has neither a code nor an error",
    "NaN or an infinity is not JSON",
    "not a JSON object",
    "not UTF-8 text",
    "not JSON",
    "a member is given twice",
    "a member is given twice, with two values",
    "the token cannot be decrypted",
    "the token is encrypted, and the portal has no client keys",
    "a part of the token is not base64url",
    "the decrypted content is not a signed token",
    "a member of the header is given twice",
    "a member of the {name} is given twice",
    "the {name} is not base64url",
    "the ephemeral key is not a public key on P-256",
    "the token is encrypted, and no key for it is registered",
    "the {alg} signature does not match the provider's key",
    "the token has no kid, and its signature does not match the only {header.alg} key",
    "there is no refresh token",
    "the signed response cannot be read",
    "the response is not a token",
    "{member} is missing",
    "{responded} without JSON",
    "{method} {address(url)}: the provider responded with {response.status}",
}
"""Messages of rules without an expected value. Is a value missing in a new message?"""

PASSED_ON = re.compile(r"^(?:str\()?(?:error|rejection|refusal)\b|\{error(?:\.detail)?\}|detail\.partition")
"""Matches messages that come from another error."""

NOT_OF_PROVIDERS = {
    "algorithms": "KeyUnusable: the caller ignores the key",
    "certificate_key": "the portal's own keys",
    "client_authentication": "missing settings of the tenant file",
    "dpop": "the portal's own keys",
    "key_material": "the portal's own keys",
    "client_keys": "the portal's own keys",
    "provider_signature": "the portal's own keys",
    "quoting": "makes the messages",
    "recent_failures": "repeats an error",
}
"""Modules that do not compare values of a provider, and why."""


ERRORS = frozenset(
    name
    for module in (portal.oidc.errors, id_token, json_reading, logout_token, signed_response)
    for name, value in vars(module).items()
    if isinstance(value, type) and issubclass(value, Exception) and name != "ProviderDenied"
)
"""Errors of rules; ProviderDenied repeats the provider's text."""


def messages() -> Iterator[tuple[str, int, str]]:
    """Yield module, line and source of the message of every error that portal/oidc raises or returns."""
    for path in sorted(Path(portal.oidc.__path__[0]).rglob("*.py")):
        if path.stem in NOT_OF_PROVIDERS:
            continue
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                for line, message in _raised(function):
                    yield path.stem, line, message


def _raised(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[tuple[int, str]]:
    values = {
        target.id: ast.unparse(node.value)
        for node in ast.walk(function)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(function):
        made = (
            node.exc if isinstance(node, ast.Raise) else node.value if isinstance(node, ast.Return) else None
        )
        if not isinstance(made, ast.Call) or not made.args or ast.unparse(made.func) not in ERRORS:
            continue
        names = [one.id for one in ast.walk(made.args[-1]) if isinstance(one, ast.Name) and one.id in values]
        parts = [values[name] for name in names]
        if not isinstance(made.args[-1], ast.Name):
            parts.insert(0, ast.unparse(made.args[-1]))
        yield made.lineno, " ".join(parts) or ast.unparse(made.args[-1])


@pytest.mark.reads_source
def test_every_error_shows_both_values_or_has_none_to_show() -> None:
    found, lacking, used = 0, [], set()
    for module, line, source in messages():
        found += 1
        plain = source.removeprefix("f").strip("'\"")
        known = max((text for text in NOTHING_TO_COMPARE if plain.startswith(text)), key=len, default=None)
        if known is not None:
            used.add(known)
        elif not BOTH_VALUES.search(source) and not PASSED_ON.search(plain):
            lacking.append(f"{module}.py:{line}: {source[:120]}")
    assert found > 80
    assert not lacking, "show the received and the expected value, see portal/oidc/quoting.py"
    unused = NOTHING_TO_COMPARE - used
    assert not unused, "no such message"


# --- texts of the messages

CODE, ACCESS_TOKEN = Secret("c0de-that-nobody-may-read"), Secret("access-token-that-nobody-may-read")
AT = "2027-01-15T"
"""The date of NOW."""
HERE = f"the time here is {AT}08:00:00Z"


def at_login(claims: Mapping[str, Any], *, interaction: Interaction | None = None, **changes: Any) -> None:
    signing, keys = changes.pop("signing", {}), changes.pop("keys", key_set())
    expected = LoginExpectations(NONCE, CODE, ACCESS_TOKEN, interaction)
    token = signed(login_claims(**claims), **signing)
    id_token.validate_at_login(token, registration(**changes), keys, expected, now=NOW)


def at_refresh(previous: Mapping[str, Any], **claims: Any) -> None:
    expected = RefreshExpectations("user-1", signed(login_claims(**previous)), ACCESS_TOKEN)
    id_token.validate_at_refresh(signed(login_claims(**claims)), registration(), key_set(), expected, now=NOW)


def at_logout(**claims: Any) -> None:
    good = {"jti": "j", "events": {EVENT: {}}, "nonce": None, **claims}
    token = signed({name: value for name, value in login_claims(**good).items() if value is not None})
    logout_token.validate(token, registration(), key_set(), now=NOW)


def at_decryption(header: Mapping[str, Any], *, alg: str = "RSA-OAEP-256", text: str | None = None) -> None:
    provider = registration(id_token_encryption=IdTokenEncryption(alg, "A128CBC-HS256"))
    token = Secret(text) if text else encrypted("a.b.c", alg=alg, header=header)
    jwe.open_token(token, provider, make_client_keys())


def of_userinfo(claims: Mapping[str, Any] | Secret, *, content_type: str = "", **changes: Any) -> None:
    is_signed = isinstance(claims, Secret)
    body = claims.reveal() if isinstance(claims, Secret) else json.dumps(claims)
    kind = content_type or ("application/jwt" if is_signed else "application/json")
    received = OutboundResponse(200, (("Content-Type", kind),), body.encode())
    userinfo.read(received, registration(**changes), key_set(), id_token=login_claims(), now=NOW)


def at_signed_response(*, signing: Mapping[str, Any] | None = None, **claims: Any) -> None:
    token = signed({"iss": ISSUER, "aud": CLIENT_ID, "exp": NOW + 60, **claims}, **(signing or {}))
    signed_response.open_response(token, registration(), key_set(), now=NOW)


def response(parameters: Mapping[str, str], **changes: Any) -> None:
    metadata = ProviderMetadata(ISSUER, ISSUER, ISSUER, ISSUER, iss_parameter_supported=True)
    values = {name: [value] for name, value in parameters.items()}
    authorization_response.accept_response(values, registration(**changes), metadata)


def tokens(**members: object) -> None:
    good = {"access_token": "at", "token_type": "Bearer", "expires_in": 60} | members
    token_response.read_token_set(
        OutboundResponse(200, (), json.dumps(good).encode()), requested_scopes=(), now=NOW
    )


DIRECTORY = "2f1c1a3e-0000-4000-8000-00000000000a"
TEMPLATE = IssuerTemplate("https://entra.example/{tenantid}/v2.0", None)
PUBLIC_KEY = b"-----BEGIN PUBLIC KEY-----"

MESSAGES: list[tuple[Callable[[], object], str]] = [
    (
        lambda: at_login({}, signing={"alg": "ES512", "kind": "P-521"}),
        "alg: alg is ES512; this tenant accepts RS256 (id_token_algs)",
    ),
    (
        lambda: at_login({}, signing={"kid": "key-9"}),
        "kid_unknown: kid is key-9; the provider's RS256 keys are key-1",
    ),
    (
        lambda: at_login({}, signing={"kid": None}, keys=key_set(public_jwk(), public_jwk(kid="key-2"))),
        "kid_missing: kid is missing; the provider's RS256 keys are key-1, key-2",
    ),
    (
        lambda: at_login({}, signing={"header": {"typ": "at+jwt"}}),
        "typ: typ is at+jwt; expected JWT or missing",
    ),
    (
        lambda: at_login(
            {},
            signing={"alg": "HS256", "secret": PUBLIC_KEY},
            client_secret=Secret(PUBLIC_KEY.decode()),
            id_token_algs=("HS256",),
        ),
        "key: the client secret cannot be used for HS256",
    ),
    (
        lambda: at_login(
            {"iss": f"https://entra.example/{DIRECTORY}/v2.0", "tid": DIRECTORY},
            keys=key_set(public_jwk(issuer="https://x.example")),
            issuer_template=TEMPLATE,
        ),
        "key_issuer: issuer of the signing key is https://x.example; "
        f"expected https://entra.example/{DIRECTORY}/v2.0",
    ),
    (
        lambda: at_login({"tid": "organizations"}, issuer_template=TEMPLATE),
        "tid: tid is organizations; expected a GUID in lower case",
    ),
    (
        lambda: at_login(
            {"iss": f"https://entra.example/{DIRECTORY}/v2.0", "tid": DIRECTORY},
            issuer_template=IssuerTemplate(TEMPLATE.text, frozenset({"another", "a-third"})),
        ),
        f"tid_not_allowed: tid is {DIRECTORY}; this tenant accepts a-third, another (tenant_ids)",
    ),
    (
        lambda: at_login({}, signing={"header": {"crit": ["exp"]}}),
        "crit: the header demands exp; no extension is accepted",
    ),
    (lambda: at_login({}, signing={"header": {"zip": "DEF"}}), "zip: zip is DEF; expected missing"),
    (lambda: at_login({}, signing={"kid": "x" * 1_025}), "kid: kid has 1025 characters; expected 1 to 1024"),
    (lambda: at_login({"iss": "https://x.example/"}), f"iss: iss is https://x.example/; expected {ISSUER}"),
    (lambda: at_login({"iss": None}), f"iss: iss is missing; expected {ISSUER}"),
    (lambda: at_login({"aud": ["x", "y"]}), f"aud: aud is x, y; expected {CLIENT_ID}"),
    (
        lambda: at_login({"aud": [CLIENT_ID, 7]}),
        f"aud: aud is {CLIENT_ID}, 7; expected a string, or a list of strings",
    ),
    (
        lambda: at_login({"aud": [CLIENT_ID, "stranger"]}),
        f"aud_unknown: aud is {CLIENT_ID}, stranger; this tenant accepts {CLIENT_ID} (client.id, ",
    ),
    (
        lambda: at_login({"aud": [CLIENT_ID, "api"]}, audience="api"),
        f"azp_missing: aud is {CLIENT_ID}, api, and azp is missing; expected {CLIENT_ID}",
    ),
    (lambda: at_login({"azp": "x"}), f"azp: azp is x; expected {CLIENT_ID}"),
    (lambda: at_login({"exp": NOW - 100}), f"exp: exp is {AT}07:58:20Z; {HERE}, 100 s apart"),
    (lambda: at_login({"iat": NOW + 100}), f"iat_future: iat is {AT}08:01:40Z; {HERE}"),
    (lambda: at_login({"iat": NOW - 700}), f"iat_too_old: iat is {AT}07:48:20Z; {HERE}"),
    (lambda: at_login({"sub": "x" * 3000}), "sub: sub is a text of 3000 characters; expected 1 to 2048"),
    (lambda: at_login({"sid": 7}), "sid: sid is a number; expected 1 to 2048 printable"),
    (lambda: at_login({"exp": "soon"}), "exp: exp is soon; expected a number of seconds"),
    (lambda: at_login({"exp": 1_800_000_000_000}), "exp: exp is 1800000000000; expected seconds since 1970"),
    (lambda: at_login({"nonce": 7}), "nonce: nonce is a number; expected the one of the login attempt"),
    (
        lambda: at_login({"at_hash": "AAAA"}),
        f"at_hash: at_hash (by RS256) is AAAA; expected {quoted(half_hash(ACCESS_TOKEN.reveal(), 'RS256'))}",
    ),
    (lambda: at_login({}, essential_acr=()), "acr: acr is missing; expected 'any text'"),
    (lambda: at_login({"acr": "pwd"}, essential_acr=("mfa", "hwk")), "acr: acr is pwd; expected mfa or hwk"),
    (
        lambda: at_login({}, interaction=Interaction(NOW, 300)),
        "auth_time: auth_time is missing; expected 'max_age 300 s'",
    ),
    (
        lambda: at_login({"auth_time": NOW - 900}, interaction=Interaction(NOW, 300)),
        f"auth_time_too_old: auth_time is {AT}07:45:00Z; expected no earlier than {AT}07:55:00Z",
    ),
    (
        lambda: at_login({"auth_time": NOW - 900}, interaction=Interaction(NOW, login=True)),
        f"auth_time_too_old: auth_time is {AT}07:45:00Z; expected no earlier than {AT}08:00:00Z",
    ),
    (lambda: at_refresh({}, sub="user-2"), "sub_changed: sub is user-2; expected user-1"),
    (
        lambda: at_refresh({"iss": "https://x.example/"}),
        f"iss_changed: iss is {ISSUER}; expected https://x.example/",
    ),
    (
        lambda: at_refresh({"azp": "former-client"}, azp=CLIENT_ID),
        f"azp_changed: azp is {CLIENT_ID}; that of the login is former-client",
    ),
    (
        lambda: at_refresh({"nonce": "another"}),
        "nonce_changed: nonce is a text of 21 characters; that of the login is a text of 7 characters",
    ),
    (
        lambda: at_refresh({"auth_time": 1_800_000_000}, auth_time=1_799_999_000),
        "auth_time_changed: auth_time is 2027-01-15T07:43:20Z; that of the login is 2027-01-15T08:00:00Z",
    ),
    (
        lambda: at_refresh({"aud": [CLIENT_ID]}, aud=[CLIENT_ID, "https://api.acme.example"], azp=CLIENT_ID),
        "aud_",
    ),
    (lambda: at_logout(events={"urn:x": {}}), f"events: events is urn:x; expected {EVENT}"),
    (lambda: at_logout(nonce="n"), "nonce: nonce is a text of 1 characters; expected none in a logout token"),
    (lambda: at_logout(jti=""), "jti: jti has 0 characters; expected 1 to 2048"),
    (lambda: at_logout(aud="x"), f"aud: aud is x; expected {CLIENT_ID}"),
    (
        lambda: at_signed_response(iss="https://x.example/"),
        f"iss: iss is https://x.example/; expected {ISSUER}",
    ),
    (
        lambda: at_signed_response(signing={"alg": "PS256"}),
        "alg: alg is PS256; this tenant accepts RS256 (response_algs)",
    ),
    (
        lambda: at_signed_response(signing={"kid": "a: b"}),
        "kid_unknown: kid is 'a: b'; the provider's RS256 keys are key-1",
    ),
    (
        lambda: at_signed_response(signing={"header": {"typ": "a: b+jwt"}}),
        "typ: typ is 'a: b+jwt'; expected JWT or missing",
    ),
    (lambda: of_userinfo({"sub": 7}), "sub: sub is a number; expected a text"),
    (
        lambda: of_userinfo({}, content_type="text/html"),
        "content_type: the response is text/html; expected application/json or application/jwt",
    ),
    (
        lambda: of_userinfo({}, userinfo_algs=("ES256",)),
        "unsigned: the response is application/json; expected a token signed with ES256 (userinfo_algs)",
    ),
    (
        lambda: of_userinfo(signed({"iss": "https://x.example/"})),
        f"iss: iss is https://x.example/; expected {ISSUER}",
    ),
    (lambda: of_userinfo(signed({"aud": "x"})), f"aud: aud is x; expected {CLIENT_ID}"),
    (lambda: of_userinfo(signed({"exp": NOW - 100})), f"exp: exp is {AT}07:58:20Z; {HERE}, 100 s apart"),
    (lambda: at_signed_response(code=["c"]), "code: code is a list; expected a text"),
    (lambda: at_signed_response(aud=["x"]), f"aud: aud is x; expected {CLIENT_ID}"),
    (lambda: jws.read_header("", {"RS256"}), "form: the token has 0 parts; expected 3 parts of base64url"),
    (
        lambda: jws.read_header("x" * 65_537, {"RS256"}),
        "size: the token has 65537 characters; expected 1 to 65536",
    ),
    (
        lambda: at_decryption({}, text="x" * 131_072 + "...."),
        "size: the token has 131076 characters; expected 1 to 131072",
    ),
    (
        lambda: logout_token.find_registration(Secret("x" * 16_385), [], decrypt=lambda token, _: token),
        "size: the token has 16385 characters; expected 1 to 16384",
    ),
    (lambda: jws.read_header("a.b", {"RS256"}), "form: the token has 2 parts; expected 3 parts of base64url"),
    (lambda: at_login({}, signing={"header": {"x": math.nan}}), "header: NaN or an infinity is not JSON"),
    (lambda: at_decryption({"x": math.nan}), "header: NaN or an infinity is not JSON"),
    (
        lambda: at_decryption({"alg": "RSA1_5"}),
        "encryption_alg: alg is RSA1_5; expected RSA-OAEP-256",
    ),
    (lambda: at_decryption({"kid": 7}), "kid: kid is a number; expected 1 to 1024 characters"),
    (
        lambda: at_decryption({"kid": "another"}),
        "encryption_key: kid is another; expected the kid of a published RSA key of the portal",
    ),
    (
        lambda: at_decryption({"epk": {"kty": "EC", "crv": "P-384"}}, alg="ECDH-ES"),
        "epk: crv of epk is P-384; expected P-256",
    ),
    (
        lambda: at_decryption({"apu": 7}, alg="ECDH-ES"),
        "apu: apu is a number; expected at most 1024 of base64url",
    ),
    (lambda: at_decryption({"enc": "A256GCM"}), "encryption_enc: enc is A256GCM; expected A128CBC-HS256"),
    (lambda: at_decryption({"crit": ["exp"]}), "crit: the header demands exp; no extension is accepted"),
    (lambda: at_decryption({"zip": "DEF"}), "zip: zip is DEF; expected missing"),
    (
        lambda: at_decryption({}, text="a.b.c"),
        "not_encrypted: the token is not encrypted; expected RSA-OAEP-256 with A128CBC-HS256 (id_token_",
    ),
    (
        lambda: response({"code": "c", "iss": "https://x.example"}),
        f"iss of the response is https://x.example; expected {ISSUER}",
    ),
    (
        lambda: response({"code": "c", "iss": "https://x.example"}, issuer_template=TEMPLATE),
        f"iss of the response is https://x.example; expected '{TEMPLATE.text}'",
    ),
    (lambda: response({"code": "c"}), f"iss of the response is missing; expected {ISSUER}"),
    (
        lambda: response({"code": "c", "iss": "https%3A%2F%2Flogin.acme.example%2F"}),
        "iss of the response is 'https%3A%2F%2Flogin.acme.example%2F', which is URL-encoded twice; expected",
    ),
    (
        lambda: authorization_response.check_delivery({"code": ["c"]}, ResponseMode.FORM_POST, posted=False),
        "the response came in the URL; expected a form (response_mode: form_post)",
    ),
    (
        lambda: authorization_response.known_parameters({"state": ["x" * 4_097]}),
        "state has 4097 characters; expected 1 to 4096",
    ),
    (
        lambda: response({"code": "é", "iss": ISSUER}),
        "code is a text of 1 characters; expected 1 to 8192 printable ASCII characters",
    ),
    (lambda: tokens(token_type="mac"), "token_type is mac; expected Bearer"),
    (lambda: tokens(refresh_token=7), "refresh_token is a number; expected printable ASCII characters"),
    (lambda: tokens(expires_in=-5), "expires_in is -5; expected a number of seconds, 0 or more"),
    (
        lambda: discovery.parse_document(b'{"issuer": "https://x.example"}', ISSUER),
        f"issuer of the metadata is https://x.example; expected {ISSUER}",
    ),
]


@pytest.mark.parametrize(("fail", "message"), MESSAGES, ids=[message[:40] for _, message in MESSAGES])
def test_a_message_shows_both_values(fail: Callable[[], object], message: str) -> None:
    with pytest.raises(PortalError) as failure:
        fail()
    assert failure.value.detail.startswith(message)
    assert len(failure.value.detail) < 1_000


@pytest.mark.gen_test
async def test_the_url_of_a_404_is_shown_without_query_and_user() -> None:
    async with serving(lambda _: http_response(404)) as wire, calling() as client:
        url = wire.url("/keys?token=s3cret")
        with pytest.raises(KeysRejected) as rejection:
            await KeySource(client, clock=ManualClock()).get(registration(), url)
        assert rejection.value.detail == f"{wire.url('/keys')} responded with 404; expected 200 and a key set"
    async with acme(failing={"/.well-known/openid-configuration": http_response(404)}) as party:
        with pytest.raises(MetadataRejected) as refusal:
            await party.finish()
        where = party.wire.url("/.well-known/openid-configuration")
        assert refusal.value.detail == f"{where} responded with 404; expected 200 and metadata"
    assert address("https://user:pass@a.example/t?code=c#f") == "https://a.example/t"


# --- truncated, printable, without secrets


@given(value=st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists))
def test_any_value_is_quoted_truncated_and_printable(value: object) -> None:
    text = mismatch("x", value, "y")
    assert len(text) < 10 * LONGEST + 200
    assert text.isprintable()
    assert quoted(value)


@pytest.mark.parametrize(
    ("value", "shown", "kind"),
    [
        (None, "missing", "missing"),
        (True, "true", "true or false"),
        (False, "false", "true or false"),
        (1.5, "1.5", "a number"),
        ("text", "text", "a text of 4 characters"),
        (["a", ["b"], {}], "a, a list, an object", "a list"),
        ([], "none", "a list"),
        ({}, "an object", "an object"),
        (list(range(9)), "0, 1, 2, 3, 4, 5, 6, 7, 1 more", "a list"),
        ("eyJhbGciOiJub25lIn0.e30.", "'…'", "a text of 24 characters"),
    ],
)
def test_each_kind_of_value_is_shown_in_its_own_way(value: object, shown: str, kind: str) -> None:
    assert (quoted(value), kind_of(value)) == (shown, kind)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (NOW, f"{AT}08:00:00Z"),
        (-1, "-1"),
        (NOW * 1000, "1800000000000.0"),
        ("soon", "soon"),
        (True, "true"),
    ],
)
def test_a_time_is_shown_in_utc_and_any_other_value_as_it_is(
    value: object, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        assert quoting.quoted_time(value) == shown
    time.tzset()


def test_a_value_cannot_imitate_a_word_of_the_message() -> None:
    for word in ("missing", "true", "7", "", "a b", "a; expected x"):
        assert quoted(word).startswith("'")
    assert quoted("x" * 500) == f"'{'x' * (LONGEST - 1)}…' (500 characters)"


SECRETS = {
    "nonce": NONCE,
    "code": CODE.reveal(),
    "access token": ACCESS_TOKEN.reveal(),
    "client secret": CLIENT_SECRET,
    "ID token": signed(login_claims()).reveal(),
}


@settings(max_examples=200, deadline=None)
@given(
    secret=st.sampled_from(sorted(SECRETS)),
    place=st.sampled_from(
        [
            *("iss", "sub", "aud", "azp", "exp", "iat", "nbf", "nonce", "acr", "auth_time", "at_hash"),
            *("c_hash", "sid", "header kid", "header typ", "header alg", "header crit", "header zip"),
        ]
    ),
    around=st.sampled_from(["{}", "before {} after", "https://x.example/?v={}", "x" * (LONGEST - 30) + "{}"]),
    in_list=st.booleans(),
)
def test_a_secret_in_any_claim_is_in_no_message(secret: str, place: str, around: str, in_list: bool) -> None:
    revealed = SECRETS[secret]
    value: object = around.format(revealed)
    value = [value] if in_list else value
    claims, header = ({}, {place[7:]: value}) if place.startswith("header ") else ({place: value}, {})
    try:
        at_login(
            claims,
            interaction=Interaction(NOW, 300),
            essential_acr=("mfa",),
            signing={"header": header},
            client_secret=Secret(CLIENT_SECRET),
        )
    except IdTokenRejected as error:
        text = f"{error.detail} {error} {error!r} {error.explanation}"
        assert revealed[:16] not in text, text


@pytest.mark.parametrize("secret", ["access token", "client secret"])
def test_a_secret_is_in_no_message_at_a_refresh(secret: str) -> None:
    with pytest.raises(IdTokenRejected) as rejection:
        at_refresh({}, sub=SECRETS[secret])
    assert rejection.value.detail.startswith("sub_changed: sub is ")
    assert SECRETS[secret][:16] not in rejection.value.detail


def test_hiding_changes_no_other_message() -> None:
    with pytest.raises(IdTokenRejected) as rejection, hiding("a secret of somebody", None, "short"):
        raise IdTokenRejected("iss", "short and 'a secret of somebody else' and 'a secret o'")
    assert rejection.value.detail == "iss: short and '…' and 'a secret o'"
    assert rejection.value.args == (rejection.value.detail,)
    with pytest.raises(IdTokenRejected) as rejection, hiding("12characters"):
        raise IdTokenRejected("iss", "'12characters and what follows'")
    assert rejection.value.detail == "iss: '…'"
    assert quoting.without_truncated_secrets(["a secret of somebody"], "nothing") == "nothing"
