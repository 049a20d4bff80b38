"""Every single fault of an ID token, at login and at a refresh."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.oidc.errors import IdTokenRejected
from portal.oidc.id_token import (
    RefreshExpectations,
    validate_at_refresh,
)
from portal.oidc.keys import KeySet, parse_key_set
from portal.secret import Secret
from tests.hostile import minting
from tests.hostile.documents import Json, Members, members, write
from tests.hostile.fault_report import EITHER, FaultReport, Trial
from tests.hostile.faults import Fault, added_faults, byte_faults, member_faults
from tests.hostile.header_faults import header_faults
from tests.hostile.minting import compact, rsa_jwk, rsa_key
from tests.hostile.samples import ANY_JSON, FULL, HEADER, QUICK, SEVERAL, SHORT, registration, sign_in
from tests.hostile.token_oracle import (
    ACCESS_TOKEN,
    CLIENT_SECRET,
    NOW,
    SUBJECT,
    Asked,
    broken_rule,
)

TOKENS = {"a short token": SHORT, "a full token": FULL, "a token for several": SEVERAL}


@pytest.fixture(scope="module")
def keys() -> KeySet:
    return parse_key_set(write(members(keys=[rsa_jwk()])).encode())


def on_trial(report: FaultReport) -> AbstractContextManager[Trial]:
    return report.trial("ID tokens", IdTokenRejected)


def refresh(token: str, keys: KeySet) -> object:
    """Validate a token as the portal does at a refresh."""
    previous = FULL.changed("iat", NOW - 3_000)
    expected = RefreshExpectations(
        subject=SUBJECT,
        previous=Secret(compact(write(HEADER), write(previous))),
        access_token=Secret(ACCESS_TOKEN),
    )
    return validate_at_refresh(Secret(token), registration(), keys, expected, now=float(NOW))


def all_faults(base: Members) -> Iterator[Fault]:
    yield from added_faults(base)
    yield from member_faults(base, huge=1_000_000)


@pytest.mark.parametrize("kind", TOKENS)
def test_every_single_fault_of_a_claim_is_handled_as_specified(
    kind: str, keys: KeySet, report: FaultReport
) -> None:
    with on_trial(report) as trial:
        for asked in (Asked(), Asked(max_age=300)) if kind == "a full token" else (Asked(),):
            for fault in all_faults(TOKENS[kind]):
                token = compact(write(HEADER), fault.data)
                why = broken_rule(HEADER, fault.document, asked)
                trial.attempt(f"{kind}: {fault.name}", why, sign_in, token, keys, asked)


def test_every_single_fault_of_a_claim_at_a_refresh_is_handled_as_specified(
    keys: KeySet, report: FaultReport
) -> None:
    with on_trial(report) as trial:
        for fault in all_faults(FULL):
            token = compact(write(HEADER), fault.data)
            why = broken_rule(HEADER, fault.document, Asked(at_login=False))
            trial.attempt(f"refresh: {fault.name}", why, refresh, token, keys)


def test_every_single_fault_of_the_header_is_handled_as_specified(keys: KeySet, report: FaultReport) -> None:
    with on_trial(report) as trial:
        for fault in [*all_faults(HEADER), *header_faults()]:
            token = compact(fault.data, write(FULL))
            why = broken_rule(fault.document, FULL)
            trial.attempt(f"header: {fault.name}", why, sign_in, token, keys)


def test_a_claim_in_the_header_is_ignored(keys: KeySet, report: FaultReport) -> None:
    with on_trial(report) as trial:
        for asked in (Asked(), Asked(max_age=300)):
            for name, value in FULL.pairs:
                header, claims = HEADER.plus(name, value), FULL.without(name)
                token = compact(write(header), write(claims))
                why = broken_rule(header, claims, asked)
                trial.attempt(f"{name} moved to the header", why, sign_in, token, keys, asked)


def test_every_other_signature_is_rejected(keys: KeySet, report: FaultReport) -> None:
    with on_trial(report) as trial:
        payload = write(FULL)
        both = registration(id_token_algs=("RS256", "HS256"))
        header = write(HEADER)
        stranger = compact(header, payload, key=rsa_key("an attacker's"))
        why = "Core 3.1.3.7 step 6: not the provider's signature"
        cases = {
            "another key of the same kid": stranger,
            "another key, carried in the header": compact(
                write(HEADER.plus("jwk", rsa_jwk("an attacker's"))), payload, key=rsa_key("an attacker's")
            ),
            "PS256 under the name of RS256": minting.compact_pss(header, payload),
            "ES256": minting.compact_es256(write(HEADER.changed("alg", "ES256")), payload),
            "ES256 under the name of RS256": minting.compact_es256(header, payload),
            "the signature of another token": unsigned_like(payload, stranger),
            "the signature of a token a second younger": unsigned_like(
                payload, compact(header, write(FULL.changed("iat", NOW - 1)))
            ),
            "an HMAC of the client secret under RS256": minting.compact_hmac(
                header, payload, CLIENT_SECRET.encode()
            ),
        }
        for alg in ("none", "None", "NONE", "nOnE", ""):
            named = write(HEADER.changed("alg", alg))
            cases[f"{alg!r} and no signature"] = minting.unsigned(named, payload)
            cases[f"{alg!r} and a signature"] = minting.unsigned(named, payload, "AAAA")
            cases[f"{alg!r} and its true signature"] = compact(named, payload)
        for form, public in minting.public_forms():
            for alg, digest in (("HS256", "sha256"), ("HS384", "sha384"), ("HS512", "sha512")):
                named = write(HEADER.changed("alg", alg))
                cases[f"{alg} with the public key as {form}"] = minting.compact_hmac(
                    named, payload, public, digest
                )
        for name, token in cases.items():
            trial.attempt(f"signature: {name}", why, sign_in, token, keys)
            trial.attempt(
                f"signature, HS256 registered: {name}",
                why,
                sign_in,
                token,
                keys,
                provider=both,
            )


def unsigned_like(payload: str, other: str) -> str:
    return minting.unsigned(write(HEADER), payload, other.rpartition(".")[2])


def test_an_hmac_with_the_client_secret_is_accepted_only_when_registered(
    keys: KeySet, report: FaultReport
) -> None:
    with on_trial(report) as trial:
        named = write(HEADER.changed("alg", "HS256").without("kid"))
        token = minting.compact_hmac(named, write(FULL), CLIENT_SECRET.encode())
        trial.attempt("HS256 unregistered", "not the registered algorithm", sign_in, token, keys)
        hs256 = registration(id_token_algs=("HS256",))
        trial.attempt("HS256 registered", None, sign_in, token, keys, provider=hs256)


def test_every_change_of_one_character_of_the_token_is_rejected(keys: KeySet, report: FaultReport) -> None:
    with on_trial(report) as trial:
        token = compact(write(HEADER), write(SHORT))
        # the last character of 256 bytes contains four unused bits (RFC 4648 3.5)
        for place, letter in enumerate(token):
            for other in {"A", "B", "_", "-", "."} - {letter}:
                changed = token[:place] + other + token[place + 1 :]
                why = EITHER if place == len(token) - 1 else "the signature is of another text"
                trial.attempt(f"character {place} as {other}", why, sign_in, changed, keys)


def test_every_other_form_of_the_token_is_rejected(keys: KeySet, report: FaultReport) -> None:
    with on_trial(report) as trial:
        good = compact(write(HEADER), write(SHORT))
        header, payload, signature = good.split(".")
        forms = {
            "nothing": "",
            "dots": "..",
            "four dots": "....",
            "no signature": f"{header}.{payload}",
            "an empty signature": f"{header}.{payload}.",
            "no header": f".{payload}.{signature}",
            "no payload": f"{header}..{signature}",
            "four parts": f"{good}.{signature}",
            "five parts": f"{good}.{header}.{payload}",
            "header and payload changed over": f"{payload}.{header}.{signature}",
            "padded": f"{header}==.{payload}==.{signature}==",
            "a padded signature": f"{good}==",
            "a trailing line break": f"{good}\n",
            "a trailing NUL": f"{good}\0",
            "a trailing character": f"{good}A",
            "a trailing byte": f"{good}AA",
            "leading white space": f" {good}",
            "white space inside": f"{header}. {payload}.{signature}",
            "Bearer before it": f"Bearer {good}",
            "the other base64 alphabet": good.replace("-", "+").replace("_", "/") + "+/",
            "quotes": f'"{good}"',
            "JSON serialization": write(members(protected=header, payload=payload, signature=signature)),
            "percent-encoded": good.replace(".", "%2e"),
            "full-width dots": good.replace(".", "．"),
            "an unpaired surrogate": good + "\ud800",
            "64 KB of signature": f"{header}.{payload}.{'A' * 65_536}",
            "1 MB of payload": f"{header}.{'A' * 1_000_000}.{signature}",
            "100,000 dots": "." * 100_000,
            "a header that is no base64url": f"A.{payload}.{signature}",
            **{f"cut to {cut}": good[:cut] for cut in range(0, len(good), 7)},
        }
        for name, token in forms.items():
            trial.attempt(f"form: {name}", "RFC 7515 7.1: not a token", sign_in, token, keys)


@pytest.mark.parametrize("part", ["header", "claims"])
def test_every_fault_of_the_bytes_of_header_and_claims_is_handled_as_rfc_8259_requires(
    part: str, keys: KeySet, report: FaultReport
) -> None:
    with on_trial(report) as trial:
        base = HEADER if part == "header" else SHORT
        for name, data, why in byte_faults(write(base).encode()):
            token = compact(data, write(SHORT)) if part == "header" else compact(write(HEADER), data)
            trial.attempt(f"bytes of the {part}: {name}", why, sign_in, token, keys)


@QUICK
@given(
    name=st.sampled_from([*FULL.names(), "unknown", "crit", "cnf", "events"]),
    value=ANY_JSON,
    max_age=st.sampled_from([None, 0, 300]),
)
def test_any_value_of_any_claim_is_handled_as_specified(
    name: str, value: Json, max_age: int | None, report: FaultReport
) -> None:
    with on_trial(report) as trial:
        claims, asked = FULL.changed(name, value), Asked(max_age=max_age)
        token = compact(write(HEADER), write(claims))
        keys = parse_key_set(write(members(keys=[rsa_jwk()])).encode())
        trial.attempt(
            f"{name} = {write(value)[:80]}",
            broken_rule(HEADER, claims, asked),
            sign_in,
            token,
            keys,
            asked,
        )


@QUICK
@given(name=st.sampled_from([*HEADER.names(), "jku", "jwk", "x5c", "cty", "unknown"]), value=ANY_JSON)
def test_any_value_of_any_header_is_handled_as_specified(name: str, value: Json, report: FaultReport) -> None:
    with on_trial(report) as trial:
        header = HEADER.changed(name, value)
        token = compact(write(header), write(FULL))
        keys = parse_key_set(write(members(keys=[rsa_jwk()])).encode())
        why = broken_rule(header, FULL)
        trial.attempt(f"header {name} = {write(value)[:80]}", why, sign_in, token, keys)


@QUICK
@given(text=st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_any_text_instead_of_the_token_is_rejected(text: str, report: FaultReport) -> None:
    with on_trial(report) as trial:
        trial.attempt(f"text {text[:60]!r}", "RFC 7515 7.1: not a token", sign_in, text, KeySet(()))
