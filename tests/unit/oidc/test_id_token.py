from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jose.backends.base import Key

from portal.oidc import id_token
from portal.oidc.errors import IdTokenRejected, ReauthenticationMissing
from portal.oidc.id_token import Claims, KeyUnknown, LoginExpectations, RefreshExpectations
from portal.oidc.interaction import Interaction
from portal.oidc.jose.algorithms import half_hash, public_key
from portal.oidc.jose.jws import verified_claims
from portal.oidc.keys import KeySet
from portal.oidc.provider import Provider
from portal.secret import Secret
from tests.unit.oidc.signing import (
    ACCESS_TOKEN,
    CLIENT_ID,
    CLIENT_SECRET,
    CODE,
    NONCE,
    NOW,
    b64,
    key_set,
    login_claims,
    public_jwk,
    registration,
    signed,
)


def at_login(
    token: Secret, provider: Provider | None = None, keys: KeySet | None = None, max_age: int | None = None
) -> Claims:
    asked = Interaction(NOW, max_age)
    expected = LoginExpectations(nonce=NONCE, code=CODE, access_token=ACCESS_TOKEN, interaction=asked)
    return id_token.validate_at_login(token, provider or registration(), keys or key_set(), expected, now=NOW)


def at_refresh(token: Secret, previous: Secret | None, subject: str = "user-1") -> Claims:
    expected = RefreshExpectations(subject=subject, previous=previous, access_token=ACCESS_TOKEN)
    return id_token.validate_at_refresh(token, registration(), key_set(), expected, now=NOW)


def test_a_valid_token_returns_all_its_claims() -> None:
    claims = login_claims(
        name="Zoë 🙂", roles=["a", "b"], auth_time=NOW - 5, nbf=NOW, azp=CLIENT_ID, sid="s-1"
    )
    assert at_login(signed(claims)) == claims


@pytest.mark.parametrize(
    ("alg", "kind"),
    [
        ("RS256", "RSA"),
        ("RS384", "RSA"),
        ("RS512", "RSA"),
        ("PS256", "RSA"),
        ("PS384", "RSA"),
        ("PS512", "RSA"),
        ("ES256", "P-256"),
        ("ES384", "P-384"),
        ("ES512", "P-521"),
        ("EdDSA", "Ed25519"),
        ("EdDSA", "Ed448"),
    ],
)
def test_every_algorithm_is_verified_with_its_hashes(alg: str, kind: str) -> None:
    provider, keys = registration(id_token_algs=(alg,)), key_set(public_jwk(kind))

    def token(**changes: Any) -> Secret:
        hashes = {
            "at_hash": half_hash(ACCESS_TOKEN.reveal(), alg, curve=kind),
            "c_hash": half_hash(CODE.reveal(), alg, curve=kind),
        }
        return signed(login_claims(**{**hashes, **changes}), alg=alg, kind=kind)

    assert at_login(token(), provider, keys)["sub"] == "user-1"
    refresh = RefreshExpectations("user-1", None, ACCESS_TOKEN)
    assert id_token.validate_at_refresh(token(), provider, keys, refresh, now=NOW)["sub"] == "user-1"
    for name in ("at_hash", "c_hash"):
        with pytest.raises(IdTokenRejected) as rejection:
            at_login(token(**{name: half_hash("another", alg, curve=kind)}), provider, keys)
        assert rejection.value.rule == name
    other_key = key_set(public_jwk(kind, which=1))
    with pytest.raises(IdTokenRejected) as rejection:
        at_login(token(), provider, other_key)
    assert rejection.value.rule == "signature"


@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512"])
def test_an_hmac_is_verified_with_the_client_secret_when_registered(alg: str) -> None:
    provider = registration(id_token_algs=(alg,))
    assert at_login(signed(login_claims(), alg=alg, secret=CLIENT_SECRET.encode()), provider, KeySet(()))
    with pytest.raises(IdTokenRejected):
        at_login(signed(login_claims(), alg=alg, secret=b"another secret"), provider, KeySet(()))


def test_a_signature_by_another_algorithm_than_the_expected_one_is_rejected() -> None:
    key = public_key(public_jwk(), "RS256")
    with pytest.raises(IdTokenRejected, match="signature"):
        verified_claims(signed(login_claims()).reveal(), "RS384", [key])


@pytest.mark.parametrize(
    ("signature", "rule"),
    [
        ("", "signature"),
        ("AAAA", "signature"),
        ("A", "form"),
        ("A" * 342, "signature"),
        ("A" * 400, "signature"),
    ],
)
@pytest.mark.parametrize(
    ("alg", "kind"), [("RS256", "RSA"), ("PS256", "RSA"), ("ES256", "P-256"), ("EdDSA", "Ed25519")]
)
def test_a_token_with_an_unfit_signature_is_rejected(alg: str, kind: str, signature: str, rule: str) -> None:
    token = signed(login_claims(), alg=alg, kind=kind).reveal().rpartition(".")[0] + f".{signature}"
    provider = registration(id_token_algs=(alg,))
    with pytest.raises(IdTokenRejected) as rejection:
        at_login(Secret(token), provider, key_set(public_jwk(kind)))
    assert rejection.value.rule == rule


class FailingKey(Key):
    """A key whose library reports an unfit signature by an error of its own."""

    def __init__(self) -> None:
        """Needs no key material."""

    def verify(self, msg: bytes, sig: bytes) -> bool:
        raise OverflowError("unfit")


def test_a_key_that_fails_to_verify_does_not_verify_and_hides_no_other_key() -> None:
    token = signed(login_claims()).reveal()
    with pytest.raises(IdTokenRejected, match="signature"):
        verified_claims(token, "RS256", [FailingKey()])
    assert (
        verified_claims(token, "RS256", [FailingKey(), public_key(public_jwk(), "RS256")])["sub"] == "user-1"
    )


def test_the_same_header_is_checked_for_each_registration_anew() -> None:
    token = signed(login_claims())
    assert at_login(token)
    with pytest.raises(IdTokenRejected) as rejection:
        at_login(token, registration(id_token_algs=("ES256",)))
    assert rejection.value.rule == "alg"


def test_at_hash_matches_the_example_of_the_specification() -> None:
    # OIDC Core A.4
    token = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y"
    assert half_hash(token, "RS256") == "77QmUPtjPfzWtF2AnpK9RQ"


def test_the_hash_for_an_edwards_curve_is_that_of_its_signatures() -> None:
    # RFC 8032 5.1 and 5.2
    sha512, shake256 = hashlib.sha512(b"code").digest(), hashlib.shake_256(b"code").digest(114)
    assert half_hash("code", "EdDSA", curve="Ed25519") == b64(sha512[:32])
    assert half_hash("code", "EdDSA", curve="Ed448") == b64(shake256[:57])


@pytest.mark.parametrize("value", ["", 1, None, ["x"]])
def test_a_hash_that_is_not_a_string_is_rejected(value: object) -> None:
    claims = {**login_claims(), "at_hash": value}
    with pytest.raises(IdTokenRejected) as rejection:
        at_login(signed(claims))
    assert rejection.value.rule == "at_hash"


def test_auth_time_is_required_and_checked_when_max_age_was_sent() -> None:
    assert at_login(signed(login_claims(auth_time=NOW - 360)), max_age=300)
    for changes, rule in [({}, "auth_time"), ({"auth_time": NOW - 361}, "auth_time_too_old")]:
        with pytest.raises(IdTokenRejected) as rejection:
            at_login(signed(login_claims(**changes)), max_age=300)
        assert rejection.value.rule == rule


def test_the_end_of_the_providers_session_is_a_time_in_the_future() -> None:
    assert at_login(signed(login_claims(session_expiry=NOW + 1)))["session_expiry"] == NOW + 1
    for value, rule in [
        (NOW, "session_expiry_past"),
        (0, "session_expiry_past"),
        ("soon", "session_expiry"),
        (True, "session_expiry"),
        (None, "session_expiry"),
        (-1, "session_expiry"),
        (NOW * 1000, "session_expiry"),
        ([NOW + 1], "session_expiry"),
    ]:
        with pytest.raises(IdTokenRejected) as rejection:
            at_login(signed({**login_claims(), "session_expiry": value}))
        assert rejection.value.rule == rule, value


def test_a_refresh_may_state_an_end_that_has_passed_but_no_other_kind_of_value() -> None:
    claims = {name: value for name, value in login_claims().items() if name != "nonce"}
    assert at_refresh(signed({**claims, "session_expiry": NOW - 5}), None)["session_expiry"] == NOW - 5
    with pytest.raises(IdTokenRejected) as rejection:
        at_refresh(signed({**claims, "session_expiry": "soon"}), None)
    assert rejection.value.rule == "session_expiry"


def test_max_age_of_zero_is_checked_too() -> None:
    with pytest.raises(IdTokenRejected) as rejection:
        at_login(signed(login_claims(auth_time=NOW - 61)), max_age=0)
    assert rejection.value.rule == "auth_time_too_old"


@pytest.mark.parametrize(
    ("name", "last_accepted", "first_rejected"),
    [
        ("exp", NOW - 59, NOW - 60),
        ("iat", NOW + 60, NOW + 61),
        ("iat", NOW - 600, NOW - 601),
        ("nbf", NOW + 60, NOW + 61),
    ],
)
def test_times_may_differ_by_a_minute_and_a_token_is_at_most_ten_minutes_old(
    name: str, last_accepted: float, first_rejected: float
) -> None:
    assert at_login(signed(login_claims(**{name: last_accepted})))
    with pytest.raises(IdTokenRejected, match=name):
        at_login(signed(login_claims(**{name: first_rejected})))


@pytest.mark.parametrize(
    ("asked", "auth_time", "accepted"),
    [
        (Interaction(NOW - 500, max_age=60), NOW - 490, True),  # signed in, then stayed at the provider
        (Interaction(NOW - 500, max_age=60), NOW - 500 - 120, True),
        (Interaction(NOW - 500, max_age=60), NOW - 500 - 121, False),
        (Interaction(NOW - 500, login=True), NOW - 500 - 60, True),
        (Interaction(NOW - 500, login=True), NOW - 500 - 61, False),
        (Interaction(NOW - 500, max_age=86_400, login=True), NOW - 500 - 61, False),
        (Interaction(NOW - 500, login=True), None, True),  # OIDC Core 2 requires it only with max_age
        (Interaction(NOW - 500, max_age=86_400), None, False),
        (Interaction(NOW - 500), NOW - 1_000_000, True),
        (Interaction(NOW - 500, select_account=True), NOW - 1_000_000, True),
    ],
)
def test_auth_time_is_compared_with_the_time_of_the_request(
    asked: Interaction, auth_time: float | None, accepted: bool
) -> None:
    expected = LoginExpectations(nonce=NONCE, code=CODE, access_token=ACCESS_TOKEN, interaction=asked)
    token = signed(login_claims(auth_time=auth_time))
    if accepted:
        assert id_token.validate_at_login(token, registration(), key_set(), expected, now=NOW)
        return
    with pytest.raises(ReauthenticationMissing):
        id_token.validate_at_login(token, registration(), key_set(), expected, now=NOW)


@pytest.mark.parametrize(
    "sid", [7, True, ["s"], {}, "", "x" * 2049, "a\0b", "a\nb", "\x7f", "ü", "🙂", "\u202e"]
)
def test_a_session_id_is_1_to_2048_printable_ascii_characters(sid: object) -> None:
    with pytest.raises(IdTokenRejected) as rejection:
        at_login(signed(login_claims(sid=sid)))
    assert rejection.value.rule == "sid"
    for good in ("s", "x" * 2048, "08a5 ~!{}"):
        assert at_login(signed(login_claims(sid=good)))["sid"] == good


def test_a_session_id_with_an_unpaired_surrogate_is_rejected() -> None:
    payload = json.dumps(login_claims(sid="SID")).replace('"SID"', r'"\ud800"').encode()
    with pytest.raises(IdTokenRejected) as rejection:
        at_login(signed(payload))
    assert rejection.value.rule == "claims"


def test_an_unknown_key_has_its_own_error_so_that_keys_can_be_fetched_again() -> None:
    with pytest.raises(KeyUnknown):
        at_login(signed(login_claims(), kid="new"))
    with pytest.raises(IdTokenRejected) as rejection:
        at_login(signed(login_claims(), which=1))
    assert not isinstance(rejection.value, KeyUnknown)


def test_a_missing_kid_is_accepted_when_exactly_one_key_matches() -> None:
    keys = key_set(public_jwk("P-256", kid="ec"), public_jwk(), public_jwk(kid="enc", which=1, alg="RS512"))
    assert at_login(signed(login_claims(), kid=None), keys=keys)


def test_any_key_with_a_repeated_kid_may_verify() -> None:
    keys = key_set(public_jwk(which=1), public_jwk())
    assert at_login(signed(login_claims()), keys=keys)


def test_no_rejection_reveals_the_token_or_a_secret() -> None:
    token = signed(login_claims(), which=1)
    with pytest.raises(IdTokenRejected) as rejection:
        at_login(token)
    text = f"{rejection.value!r} {rejection.value} {rejection.value.detail}"
    assert not any(part in text for part in [*token.reveal().split("."), NONCE, CLIENT_SECRET])


@pytest.mark.parametrize("algorithms", [(), ("none",), ("RS1", "dir", "A256GCM")])
def test_only_supported_algorithms_are_accepted_from_a_registration(algorithms: tuple[str, ...]) -> None:
    assert id_token.accepted_algorithms(registration(id_token_algs=algorithms)) == frozenset()


def test_an_hmac_is_accepted_only_from_a_client_with_a_secret() -> None:
    algorithms = ("HS256", "RS256")
    assert id_token.accepted_algorithms(registration(id_token_algs=algorithms)) == set(algorithms)
    without = registration(id_token_algs=algorithms, client_secret=None)
    assert id_token.accepted_algorithms(without) == {"RS256"}


def test_keys_are_needed_unless_every_algorithm_is_an_hmac() -> None:
    assert id_token.needs_no_keys(registration(id_token_algs=("HS256",)))
    assert id_token.needs_no_keys(registration(id_token_algs=("HS256", "HS384", "HS512")))
    assert not id_token.needs_no_keys(registration(id_token_algs=("HS256", "RS256")))


# --- at a refresh


def test_a_refreshed_token_of_the_same_user_is_accepted_without_a_nonce() -> None:
    previous = signed(login_claims(auth_time=NOW - 5000, sid="s"))
    claims = login_claims(nonce=None, auth_time=NOW - 5000)
    assert at_refresh(signed(claims), previous) == claims
    assert at_refresh(signed(login_claims(iat=NOW - 3000)), previous)["iat"] == NOW - 3000
    assert at_refresh(signed(login_claims(aud=[CLIENT_ID])), previous)
    assert at_refresh(signed(claims), None) == claims


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"sub": "user-2"}, "sub_changed"),
        ({"iss": "https://login.other.example/"}, "iss"),
        ({"aud": "another-client"}, "aud"),
        ({"auth_time": NOW - 5001}, "auth_time_changed"),
        ({"auth_time": NOW + 99}, "auth_time_changed"),
        ({"nonce": "another"}, "nonce_changed"),
        ({"exp": NOW - 100}, "exp"),
        ({"iat": NOW + 100}, "iat_future"),
        ({"at_hash": "wrong"}, "at_hash"),
    ],
)
def test_a_refreshed_token_that_differs_is_rejected(changes: dict[str, Any], rule: str) -> None:
    previous = signed(login_claims(auth_time=NOW - 5000))
    with pytest.raises(IdTokenRejected) as rejection:
        at_refresh(signed(login_claims(**changes)), previous)
    assert rejection.value.rule == rule


def test_a_later_auth_time_is_accepted() -> None:
    """Some providers state the last sign-in on any device; rejecting it would keep withdrawn claims."""
    previous = signed(login_claims(auth_time=NOW - 5000))
    assert at_refresh(signed(login_claims(auth_time=NOW - 1)), previous)["auth_time"] == NOW - 1


def test_a_later_auth_time_excuses_no_other_change() -> None:
    previous = signed(login_claims(auth_time=NOW - 5000))
    with pytest.raises(IdTokenRejected) as rejection:
        at_refresh(signed(login_claims(auth_time=NOW - 1, nonce="another")), previous)
    assert rejection.value.rule == "nonce_changed"


def test_a_refreshed_token_keeps_the_whole_audience() -> None:
    provider = registration(audience="https://api.acme.example")
    several = login_claims(aud=[CLIENT_ID, "https://api.acme.example"], azp=CLIENT_ID)
    expected = RefreshExpectations(subject="user-1", previous=signed(several), access_token=ACCESS_TOKEN)
    with pytest.raises(IdTokenRejected) as rejection:
        id_token.validate_at_refresh(signed(login_claims()), provider, key_set(), expected, now=NOW)
    assert rejection.value.rule == "aud_changed"


def test_a_refreshed_token_is_verified_like_any_other() -> None:
    with pytest.raises(IdTokenRejected) as rejection:
        at_refresh(signed(login_claims(), which=1), None)
    assert rejection.value.rule == "signature"


# --- arbitrary input


@given(st.text(alphabet=st.characters(max_codepoint=0x2FF), max_size=200))
def test_no_text_breaks_the_validation(text: str) -> None:
    with pytest.raises(IdTokenRejected):
        at_login(Secret(text))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=60)
@given(
    st.sampled_from(
        ["iss", "sub", "aud", "exp", "iat", "nbf", "nonce", "azp", "auth_time", "at_hash", "sid"]
    ),
    JSON,
)
def test_no_value_of_a_claim_breaks_the_validation(name: str, value: Any) -> None:
    try:
        claims = at_login(signed({**login_claims(), name: value}))
    except IdTokenRejected:
        return
    assert (claims["iss"], claims["nonce"]) == (registration().issuer, NONCE)


# --- acr


@pytest.mark.parametrize(
    ("essential", "acr", "good"),
    [
        (None, None, True),
        (None, 7, True),
        ((), "any", True),
        (("gold", "silver"), "silver", True),
        ((), None, False),
        ((), 7, False),
        (("gold", "silver"), None, False),
        (("gold", "silver"), "bronze", False),
        (("gold",), ["gold"], False),
        (("gold",), "gold silver", False),
    ],
)
def test_acr_is_checked_when_it_is_essential(
    essential: tuple[str, ...] | None, acr: object, good: bool
) -> None:
    """OIDC Core 5.5.1.1."""
    token, provider = signed(login_claims(acr=acr)), registration(essential_acr=essential)
    if good:
        assert at_login(token, provider).get("acr") == acr
        return
    with pytest.raises(IdTokenRejected) as rejection:
        at_login(token, provider)
    assert rejection.value.rule == "acr"
