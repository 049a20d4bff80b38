"""Every single fault of a discovery document and of a JWK Set."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.oidc.discovery import parse_document, read_metadata
from portal.oidc.errors import IdTokenRejected, KeysRejected, MetadataRejected
from portal.oidc.keys import parse_key_set
from portal.oidc.provider import ProviderMetadata
from portal.outbound.url_rules import check_url
from tests.hostile.document_oracle import PRIVATE, STRANGE_URLS, broken_key_set_rule, broken_metadata_rule
from tests.hostile.documents import Json, write
from tests.hostile.fault_report import FaultReport
from tests.hostile.faults import added_faults, byte_faults, member_faults
from tests.hostile.key_faults import key_faults, neighbour_faults
from tests.hostile.minting import compact, rsa_jwk
from tests.hostile.samples import (
    ANY_JSON,
    EC_MEMBER,
    FLAGS,
    HEADER,
    METADATA,
    NEEDED,
    OPTIONAL,
    QUICK,
    SHORT,
    key_set,
    registration,
    sign_in,
)
from tests.hostile.token_oracle import ISSUER


def read(data: bytes) -> ProviderMetadata:
    """Read a discovery document as the portal does."""
    document = parse_document(data, ISSUER)
    return read_metadata(document, registration(), partial(check_url, allow_private_networks=False))


def test_every_single_fault_of_a_discovery_document_is_handled_as_specified(
    report: FaultReport,
) -> None:
    right = read(write(METADATA).encode())
    with report.trial("discovery documents", MetadataRejected) as trial:
        for fault in [*added_faults(METADATA), *member_faults(METADATA, huge=100_000)]:
            why = broken_metadata_rule(fault.document)
            found = trial.attempt(fault.name, why, read, fault.data)
            known = {name for name, value in METADATA.pairs if fault.document.get(name) == value}
            if found is not None and known.issuperset((*NEEDED, *OPTIONAL, *FLAGS)):
                supported = fault.document.get("claims_parameter_supported") is True
                assert found == replace(right, claims_parameter_supported=supported), fault.name


def test_every_unsafe_url_in_a_discovery_document_is_rejected(report: FaultReport) -> None:
    with report.trial("discovery documents", MetadataRejected) as trial:
        for name in (*NEEDED, *OPTIONAL):
            for url in STRANGE_URLS:
                data = write(METADATA.changed(name, url)).encode()
                trial.attempt(f"{name} = {url[:60]!r}", "no address to go to", read, data)


def test_every_fault_of_the_bytes_of_a_discovery_document_is_handled_as_rfc_8259_requires(
    report: FaultReport,
) -> None:
    with report.trial("discovery documents", MetadataRejected) as trial:
        for name, data, why in byte_faults(write(METADATA).encode()):
            trial.attempt(f"bytes: {name}", why, read, data)


@QUICK
@given(name=st.sampled_from([*METADATA.names(), "mtls_endpoint_aliases", "unknown"]), value=ANY_JSON)
def test_any_value_of_any_member_of_a_discovery_document_is_handled_as_specified(
    name: str, value: Json, report: FaultReport
) -> None:
    document = METADATA.changed(name, value)
    with report.trial("discovery documents", MetadataRejected) as trial:
        why = broken_metadata_rule(document)
        trial.attempt(f"{name} = {write(value)[:80]}", why, read, write(document).encode())


# --- the JWK Set: a token of `key-1` is verified with the remaining keys


def open_with(data: bytes) -> object:
    """Verify a token with a key set as the portal does."""
    return sign_in(compact(write(HEADER), write(SHORT)), parse_key_set(data))


@pytest.mark.parametrize("faults", [key_faults, neighbour_faults], ids=["the key", "its neighbours"])
def test_every_single_fault_of_a_key_is_handled_as_specified(faults: object, report: FaultReport) -> None:
    assert callable(faults)
    with report.trial("JWK Sets", (KeysRejected, IdTokenRejected)) as trial:
        for fault in faults():
            why = broken_key_set_rule(fault.document)
            trial.attempt(fault.name, why, open_with, fault.data)


def test_every_single_fault_of_a_key_set_is_handled_as_specified(report: FaultReport) -> None:
    base = key_set(rsa_jwk(), EC_MEMBER)
    with report.trial("JWK Sets", (KeysRejected, IdTokenRejected)) as trial:
        for fault in [*added_faults(base), *member_faults(base)]:
            why = broken_key_set_rule(fault.document)
            trial.attempt(fault.name, why, open_with, fault.data)
        for name, data, why in byte_faults(write(base).encode()):
            trial.attempt(f"bytes: {name}", why, open_with, data)


def test_a_key_of_another_owner_with_the_same_kid_verifies_nothing(report: FaultReport) -> None:
    with report.trial("JWK Sets", (KeysRejected, IdTokenRejected)) as trial:
        for other in ("an attacker's", "a stranger's"):
            data = write(key_set(rsa_jwk(other))).encode()
            trial.attempt(f"{other} key", "Core 10.1: no key fits", open_with, data)


@QUICK
@given(
    name=st.sampled_from([*rsa_jwk().names(), "key_ops", "x5c", "crv", "unknown", *PRIVATE]), value=ANY_JSON
)
def test_any_value_of_any_member_of_a_key_is_handled_as_specified(
    name: str, value: Json, report: FaultReport
) -> None:
    document = key_set(rsa_jwk().changed(name, value))
    with report.trial("JWK Sets", (KeysRejected, IdTokenRejected)) as trial:
        why = broken_key_set_rule(document)
        trial.attempt(f"{name} = {write(value)[:80]}", why, open_with, write(document).encode())
