"""Logout tokens: a valid one, and one test for each broken rule of Back-Channel Logout 2.6."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jose import jwe as jose_jwe

from portal.oidc import logout_token
from portal.oidc.client_keys import ClientKey, ClientKeySet
from portal.oidc.errors import LogoutTokenRejected, MetadataRejected
from portal.oidc.issuer import IssuerTemplate
from portal.oidc.jose import jwe
from portal.oidc.keys import KeySet
from portal.oidc.logout_token import EVENT, LogoutKeyUnknown, LogoutNotice
from portal.oidc.provider import IdTokenEncryption, Provider
from portal.oidc.refetch_budget import BURST
from portal.secret import Secret
from tests.unit.oidc.encryption import encrypted
from tests.unit.oidc.party import acme
from tests.unit.oidc.sample_client_keys import make_client_keys
from tests.unit.oidc.signing import (
    CLIENT_ID,
    CLIENT_SECRET,
    ISSUER,
    NOW,
    key_set,
    login_claims,
    private_key,
    public_jwk,
    registration,
    signed,
)
from tests.unit.outbound.wire import http_response

SID = "08a5019c-17e1-4977-8f42-65a12843ea02"


def logout_claims(**changes: Any) -> dict[str, Any]:
    """Return the claims of a valid logout token; a change to None removes the claim."""
    claims = {
        "iss": ISSUER,
        "sub": "user-1",
        "aud": CLIENT_ID,
        "iat": int(NOW) - 2,
        "exp": int(NOW) + 118,
        "jti": "bWJq",
        "sid": SID,
        "events": {EVENT: {}},
        **changes,
    }
    return {name: value for name, value in claims.items() if value is not None}


def validate(token: Secret, provider: Provider | None = None, keys: KeySet | None = None) -> LogoutNotice:
    return logout_token.validate(token, provider or registration(), keys or key_set(), now=NOW)


def registration_of(token: Secret, providers: list[Provider]) -> Provider:
    """Return the registration that is found; none of them encrypts."""
    found, signed_token = logout_token.find_registration(token, providers, decrypt=lambda token, _: token)
    assert signed_token == token
    return found


def rule_of(token: Secret, provider: Provider | None = None, keys: KeySet | None = None) -> str:
    with pytest.raises(LogoutTokenRejected) as rejection:
        validate(token, provider, keys)
    assert rejection.value.status == 400
    assert rejection.value.provider == "default"
    assert rejection.value.detail.startswith(f"{rejection.value.rule}: ")
    return rejection.value.rule


def test_a_valid_logout_token_identifies_session_and_subject() -> None:
    assert validate(signed(logout_claims())) == LogoutNotice(
        provider=registration(),
        issuer=ISSUER,
        jti="bWJq",
        sid=SID,
        subject="user-1",
        acceptable_until=NOW + 118 + 60,
    )


@pytest.mark.parametrize(
    ("changes", "sid", "subject"),
    [({"sub": None}, SID, None), ({"sid": None}, None, "user-1")],
)
def test_a_logout_token_names_a_session_or_a_subject_or_both(
    changes: dict[str, Any], sid: str | None, subject: str | None
) -> None:
    notice = validate(signed(logout_claims(**changes)))
    assert (notice.sid, notice.subject) == (sid, subject)


@pytest.mark.parametrize("length", [1, 2_048])
def test_a_jti_may_have_any_length_to_the_limit(length: int) -> None:
    assert validate(signed(logout_claims(jti="j" * length))).jti == "j" * length


@pytest.mark.parametrize("typ", [None, "JWT", "logout+jwt", "Logout+JWT", "application/logout+jwt"])
def test_a_logout_token_may_have_its_own_type_or_none(typ: str | None) -> None:
    assert validate(signed(logout_claims(), header={"typ": typ} if typ else None)).sid == SID


@pytest.mark.parametrize(
    "typ", ["at+jwt", "dpop+jwt", "secevent+jwt", "application/at+jwt", 7, ["logout+jwt"]]
)
def test_a_token_of_another_type_is_rejected(typ: object) -> None:
    assert rule_of(signed(logout_claims(), header={"typ": typ})) == "typ"


def test_other_events_and_an_audience_list_with_the_api_are_accepted() -> None:
    provider = registration(audience="https://api.acme.example", resources=("https://r.example",))
    aud = [CLIENT_ID, "https://api.acme.example", "https://r.example"]
    events = {EVENT: {"reason": "x"}, "https://x.example/e": 1}
    assert validate(signed(logout_claims(aud=aud, events=events)), provider)


BROKEN: list[tuple[dict[str, Any], str]] = [
    ({"iss": None}, "iss"),
    ({"iss": ISSUER.rstrip("/")}, "iss"),
    ({"iss": "https://login.globex.example/"}, "iss"),
    ({"iss": [ISSUER]}, "iss"),
    ({"aud": None}, "aud"),
    ({"aud": "another-client"}, "aud"),
    ({"aud": []}, "aud"),
    ({"aud": {"0": CLIENT_ID}}, "aud"),
    ({"aud": [CLIENT_ID, 7]}, "aud"),
    ({"aud": [CLIENT_ID, "stranger"]}, "aud_unknown"),
    ({"iat": None}, "iat"),
    ({"iat": str(int(NOW))}, "iat"),
    ({"iat": True}, "iat"),
    ({"iat": NOW + 61}, "iat_future"),
    ({"iat": NOW - 661}, "iat_too_old"),
    ({"iat": NOW * 1000}, "iat"),
    ({"exp": str(int(NOW) + 60)}, "exp"),
    ({"exp": NOW - 60}, "exp"),
    ({"nbf": NOW + 61}, "nbf"),
    ({"nbf": "soon"}, "nbf"),
    ({"sid": None, "sub": None}, "sid_or_sub"),
    ({"sid": ""}, "sid"),
    ({"sid": 7}, "sid"),
    ({"sid": [SID]}, "sid"),
    ({"sid": "x" * 2049}, "sid"),
    ({"sid": "a\0b"}, "sid"),
    ({"sid": "ü"}, "sid"),
    ({"sub": ""}, "sub"),
    ({"sub": {"$ne": ""}}, "sub"),
    ({"sub": "x" * 2049}, "sub"),
    ({"events": None}, "events"),
    ({"events": {}}, "events"),
    ({"events": EVENT}, "events"),
    ({"events": [EVENT]}, "events"),
    ({"events": {EVENT: True}}, "events"),
    ({"events": {EVENT: []}}, "events"),
    ({"events": {EVENT.upper(): {}}}, "events"),
    ({"nonce": "n"}, "nonce"),
    ({"jti": None}, "jti"),
    ({"jti": ""}, "jti"),
    ({"jti": 7}, "jti"),
    ({"jti": "x" * 2049}, "jti"),
]


@pytest.mark.parametrize(("changes", "rule"), BROKEN, ids=lambda value: str(value)[:40])
def test_a_logout_token_that_breaks_one_rule_is_rejected_for_it(changes: dict[str, Any], rule: str) -> None:
    assert rule_of(signed(logout_claims(**changes))) == rule


@pytest.mark.parametrize("name", ["sid", "sub", "nonce", "jti", "events"])
def test_a_null_claim_is_not_treated_as_missing(name: str) -> None:
    rule = rule_of(signed({**logout_claims(), name: None}))
    assert rule == name


def test_a_logout_token_and_its_notice_are_valid_for_ten_minutes() -> None:
    notice = validate(signed(logout_claims(iat=NOW - 660, exp=NOW + 10**6)))
    assert notice.acceptable_until == NOW
    for claims in (logout_claims(iat=NOW + 60, exp=NOW - 59), logout_claims(iat=NOW - 5, exp=NOW + 5)):
        token = signed(claims)
        until = validate(token).acceptable_until
        logout_token.validate(token, registration(), key_set(), now=until - 1)
        with pytest.raises(LogoutTokenRejected):
            logout_token.validate(token, registration(), key_set(), now=until + 1)


@pytest.mark.parametrize("age", [0, 300, 600])
def test_a_logout_token_without_exp_is_valid_for_ten_minutes_after_its_iat(age: int) -> None:
    token = signed(logout_claims(iat=int(NOW) - age, exp=None))
    notice = validate(token)
    assert (notice.sid, notice.has_exp) == (SID, False)
    assert notice.acceptable_until == int(NOW) - age + 660
    with pytest.raises(LogoutTokenRejected) as rejection:
        logout_token.validate(token, registration(), key_set(), now=notice.acceptable_until + 1)
    assert rejection.value.rule in {"exp", "iat_too_old"}
    assert validate(signed(logout_claims())).has_exp


def test_a_logout_token_without_exp_and_iat_is_rejected() -> None:
    assert rule_of(signed(logout_claims(iat=None, exp=None))) == "iat"
    assert rule_of(signed({**logout_claims(), "exp": None})) == "exp"


def test_an_id_token_is_rejected_as_a_logout_token() -> None:
    token = signed(login_claims(sid=SID, jti="id"))
    assert rule_of(token) == "events"
    assert rule_of(signed({**login_claims(sid=SID, jti="id"), "events": {EVENT: {}}})) == "nonce"


# --- the signature


@pytest.mark.parametrize("alg", ["none", "HS256", "RS512"])
def test_only_algorithms_registered_for_id_tokens_sign_logout_tokens(alg: str) -> None:
    secret = CLIENT_SECRET.encode() if alg == "HS256" else None
    assert rule_of(signed(logout_claims(), alg=alg, secret=secret)) == "alg"


def test_none_is_refused_even_when_a_registration_lists_it() -> None:
    assert (
        rule_of(signed(logout_claims(), alg="none"), registration(id_token_algs=("none", "RS256"))) == "alg"
    )


def test_another_key_with_the_same_kid_is_rejected() -> None:
    assert rule_of(signed(logout_claims(), which=1)) == "signature"


def test_only_an_hmac_is_accepted_when_it_is_registered() -> None:
    provider = registration(id_token_algs=("HS256",))
    assert validate(signed(logout_claims(), alg="HS256", secret=CLIENT_SECRET.encode()), provider).sid == SID
    assert rule_of(signed(logout_claims()), provider) == "alg"


@pytest.mark.parametrize(
    ("header", "rule"),
    [({"crit": ["exp"]}, "crit"), ({"zip": "DEF"}, "zip"), ({"kid": 7}, "kid"), ({"alg": ["RS256"]}, "alg")],
)
def test_a_header_that_breaks_a_rule_is_refused(header: dict[str, Any], rule: str) -> None:
    assert rule_of(signed(logout_claims(), header=header)) == rule


def test_an_unknown_key_has_its_own_error_so_that_keys_can_be_fetched_again() -> None:
    with pytest.raises(LogoutKeyUnknown):
        validate(signed(logout_claims(), kid="new"))


def test_keys_in_the_token_header_are_ignored() -> None:
    header = {"jwk": public_jwk(which=1), "jku": "https://evil.example/keys", "x5u": "https://evil.example/"}
    assert rule_of(signed(logout_claims(), which=1, header=header)) == "signature"
    assert private_key("RSA", 1) is not private_key("RSA")


# --- the form


def test_a_repeated_member_is_rejected() -> None:
    text = json.dumps(logout_claims())
    twice = text[:-1] + ', "sid": "another"}'
    assert rule_of(signed(twice.encode())) == "duplicate_member"
    assert rule_of(signed(logout_claims(), header=b'{"alg":"RS256","alg":"RS256"}')) == "duplicate_member"


def test_a_lone_surrogate_is_refused() -> None:
    text = json.dumps(logout_claims(sid="SID")).replace('"SID"', r'"\ud800"')
    assert rule_of(signed(text.encode())) == "claims"


@pytest.mark.parametrize(
    ("token", "rule"),
    [
        ("", "form"),
        ("a.b", "form"),
        ("aaaa.bbbb.cccc", "header"),
        ("a.b.c.d.e", "encrypted"),
        ("A" * 65_537, "size"),
    ],
)
def test_a_malformed_token_is_rejected(token: str, rule: str) -> None:
    assert rule_of(Secret(token)) == rule


def test_no_rejection_reveals_the_token() -> None:
    token = signed(logout_claims(), which=1)
    with pytest.raises(LogoutTokenRejected) as rejection:
        validate(token)
    text = f"{rejection.value!r} {rejection.value} {rejection.value.detail}"
    assert not any(part in text for part in [*token.reveal().split("."), SID, "user-1"])


@given(st.text(alphabet=st.characters(max_codepoint=0x2FF), max_size=200))
def test_no_text_breaks_the_validation(text: str) -> None:
    for read in (validate, lambda token: registration_of(token, [registration()])):
        with pytest.raises(LogoutTokenRejected):
            read(Secret(text))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=60)
@given(st.sampled_from(sorted({*logout_claims(), "nbf", "nonce"})), JSON)
def test_no_value_of_a_claim_breaks_the_validation(name: str, value: Any) -> None:
    try:
        notice = validate(signed({**logout_claims(), name: value}))
    except LogoutTokenRejected:
        return
    assert notice.issuer == ISSUER
    assert notice.sid or notice.subject


# --- finding the registration


def test_the_registration_is_found_by_issuer_and_client() -> None:
    staff, partners = registration(id="staff"), registration(id="partners", client_id="partners-client")
    other = registration(id="other", issuer="https://login.globex.example/")
    providers = [other, partners, staff]
    assert registration_of(signed(logout_claims()), providers) == staff
    assert registration_of(signed(logout_claims(aud=["partners-client"])), providers) == partners
    assert registration_of(signed(logout_claims(iss=other.issuer)), providers) == other


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"iss": "https://x.example/"}, "iss"),
        ({"aud": "x"}, "aud"),
        ({"aud": 7}, "aud"),
        ({"iss": None}, "iss"),
    ],
)
def test_a_token_of_no_registration_is_rejected_before_keys_are_fetched(
    changes: dict[str, Any], rule: str
) -> None:
    with pytest.raises(LogoutTokenRejected) as rejection:
        registration_of(signed(logout_claims(**changes)), [registration()])
    assert rejection.value.rule == rule


def test_a_token_for_another_client_of_a_known_issuer_is_rejected_for_its_audience() -> None:
    others = [registration(id=name, issuer=f"https://{name}.example/") for name in ("a", "b")]
    with pytest.raises(LogoutTokenRejected) as rejection:
        registration_of(signed(logout_claims(aud="x")), [others[0], registration(), others[1]])
    assert rejection.value.rule == "aud"


def test_the_notice_has_the_issuer_of_the_directory() -> None:
    tid = "72f988bf-86f1-41af-91ab-2d7cd011db47"
    template = "https://login.microsoftonline.example/{tenantid}/v2.0"
    provider = registration(issuer=template, issuer_template=IssuerTemplate(template, frozenset({tid})))
    stated = template.replace("{tenantid}", tid)
    token = signed(logout_claims(iss=stated, tid=tid))
    assert registration_of(token, [provider]) == provider
    assert validate(token, provider).issuer == stated


def test_an_encrypted_logout_token_is_decrypted_for_the_registration_that_encrypts() -> None:
    own = ClientKeySet([ClientKey("enc-1", "enc", "RSA", 0.0, private_key("RSA", 2), {})], clock=lambda: NOW)
    plain = registration(id="plain")
    encrypting = registration(
        id="encrypting",
        client_id="another-client",
        id_token_encryption=IdTokenEncryption("RSA-OAEP-256", "A256GCM"),
    )
    inner = signed(logout_claims(aud="another-client"))
    sealed = jose_jwe.encrypt(
        inner.reveal(), public_jwk("RSA", which=2), encryption="A256GCM", algorithm="RSA-OAEP-256"
    )

    def decrypt(token: Secret, provider: Provider) -> Secret:
        return jwe.open_token(token, provider, own)

    token = Secret(sealed.decode())
    found, opened = logout_token.find_registration(token, [plain, encrypting], decrypt=decrypt)
    assert (found, opened) == (encrypting, inner)
    assert validate(opened, found).sid == SID
    for providers, sent in (([plain], token), ([encrypting], inner)):
        with pytest.raises(LogoutTokenRejected):
            logout_token.find_registration(sent, providers, decrypt=decrypt)


# --- with keys of a provider


def party_token(party: Any, **signing: Any) -> Secret:
    return signed(logout_claims(iss=party.wire.url("")), **signing)


@pytest.mark.gen_test
async def test_a_logout_token_with_a_new_key_causes_one_more_fetch() -> None:
    async with acme() as party:
        provider = party.provider()
        assert (await party.relying_party.read_logout_token([provider], party_token(party))).sid == SID
        party.keys = [public_jwk(kid="key-2", which=1)]
        token = party_token(party, kid="key-2", which=1)
        assert (await party.relying_party.read_logout_token([provider], token)).sid == SID
        for _ in range(BURST + 3):
            with pytest.raises(LogoutKeyUnknown):
                await party.relying_party.read_logout_token([provider], party_token(party, kid="key-3"))
        assert party.calls("/jwks_uri") == 1 + BURST
        # invented keys in logout tokens leave the budget of logins unchanged
        party.keys, party.signing = [public_jwk(kid="key-4")], {"kid": "key-4"}
        assert (await party.finish()).subject == "user-1"


@pytest.mark.gen_test
async def test_an_encrypted_logout_token_is_decrypted_with_the_keys_of_the_portal() -> None:
    async with acme(client_keys=make_client_keys()) as party:
        provider = party.provider(id_token_encryption=IdTokenEncryption("RSA-OAEP-256", "A128CBC-HS256"))
        sealed = encrypted(party_token(party).reveal())
        assert (await party.relying_party.read_logout_token([provider], sealed)).sid == SID


@pytest.mark.gen_test
async def test_a_logout_token_is_not_validated_without_metadata() -> None:
    async with acme(failing={"/.well-known/openid-configuration": http_response(404)}) as party:
        with pytest.raises(MetadataRejected):
            await party.relying_party.read_logout_token([party.provider()], party_token(party))


def test_a_token_with_large_claims_within_the_limit_is_accepted() -> None:
    events = {EVENT: {"text": "x" * 30_000}}
    assert validate(signed(logout_claims(events=events))).sid == SID
    assert rule_of(signed(logout_claims(events={EVENT: {"text": "x" * 50_000}}))) == "size"
