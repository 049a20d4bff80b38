"""Single faults over real sockets: the whole relying party against the hostile provider."""

from __future__ import annotations

import pytest

from portal.errors import OutboundRefused
from portal.oidc.errors import LoginRejected, ProviderUnavailable
from tests.hostile.document_oracle import broken_key_set_rule, broken_metadata_rule
from tests.hostile.documents import write
from tests.hostile.fault_report import EITHER, FaultReport
from tests.hostile.faults import Fault, added_faults, byte_faults, member_faults
from tests.hostile.header_faults import header_faults
from tests.hostile.key_faults import key_faults, neighbour_faults
from tests.hostile.provider import (
    DISCOVERY,
    DOCUMENTS,
    JWKS,
    PARTS,
    TOKEN,
    HostileProvider,
    hostile_provider,
    http_faults,
)
from tests.hostile.response_oracle import TOKENS, broken_token_response_rule
from tests.hostile.samples import FLAGS, HEADER, NEEDED, OPTIONAL, SHORT
from tests.hostile.token_oracle import broken_rule

FAMILIES = (LoginRejected, OutboundRefused, ProviderUnavailable)
SUBJECT_OF_TRIAL = "logins over sockets"


def _sample(faults: list[Fault], step: int) -> list[Fault]:
    return faults[::step]


async def _log_in(provider: HostileProvider) -> None:
    authentication = await provider.log_in()
    assert authentication.issuer == provider.issuer


@pytest.mark.gen_test(timeout=60)
@pytest.mark.parametrize("document", DOCUMENTS)
async def test_every_fault_of_the_http_response_ends_the_login_cleanly(
    document: str, report: FaultReport
) -> None:
    path = DOCUMENTS[document]
    success = frozenset(range(200, 300)) if path == TOKEN else frozenset({200})
    async with hostile_provider() as provider:
        with report.trial(SUBJECT_OF_TRIAL, FAMILIES) as trial:
            for name, raw, responses in http_faults(provider.body(path), success=success):
                provider.behave()
                provider.raw[path] = raw
                why = {True: None, False: "not an HTTP response with this document", None: EITHER}[responses]
                await trial.attempt_async(f"{document}: {name}", why, _log_in, provider)
                assert set(provider.wire.targets()) <= set(DOCUMENTS.values()), name
                assert provider.wire.targets().count(TOKEN) <= 1, f"{name}: the code was sent twice"
                assert all(request.header("Cookie") is None for request in provider.wire.received), name


@pytest.mark.gen_test(timeout=60)
async def test_a_faulty_discovery_document_ends_the_login_before_another_request_is_sent(
    report: FaultReport,
) -> None:
    faults = [*_sample(list(added_faults(PARTS)), 2), *_sample(list(member_faults(PARTS, huge=300_000)), 4)]
    async with hostile_provider() as provider:
        with report.trial(SUBJECT_OF_TRIAL, FAMILIES) as trial:
            for fault in faults:
                why = broken_metadata_rule(fault.document)
                if why is None and _leads_elsewhere(fault):
                    continue
                provider.behave()
                provider.bodies[DISCOVERY] = data = provider.own(fault.data)
                why = "more than 256 KB" if len(data) > 256_000 else why
                await trial.attempt_async(f"discovery: {fault.name}", why, _log_in, provider)
                if why is not None:
                    assert set(provider.wire.targets()) == {DISCOVERY}, fault.name


def _leads_elsewhere(fault: Fault) -> bool:
    names = (*NEEDED, *OPTIONAL, *FLAGS)
    return any(fault.document.get(name) != PARTS.get(name) for name in names)


@pytest.mark.gen_test(timeout=60)
async def test_a_faulty_key_set_ends_the_login(report: FaultReport) -> None:
    faults = [*_sample(list(key_faults()), 8), *_sample(list(neighbour_faults()), 10)]
    async with hostile_provider() as provider:
        with report.trial(SUBJECT_OF_TRIAL, FAMILIES) as trial:
            for fault in faults:
                provider.behave()
                provider.bodies[JWKS] = fault.data
                why = broken_key_set_rule(fault.document)
                if len(fault.data) > 120_000:
                    why = "more than 500 KB" if len(fault.data) > 500_000 else EITHER
                await trial.attempt_async(f"keys: {fault.name}", why, _log_in, provider)
                assert provider.wire.targets().count(JWKS) <= 2, fault.name


@pytest.mark.gen_test(timeout=60)
async def test_a_faulty_id_token_ends_the_login(report: FaultReport) -> None:
    claims = [*added_faults(SHORT), *member_faults(SHORT, huge=100_000)]
    headers = [*header_faults(), *member_faults(HEADER, huge=100_000)]
    async with hostile_provider() as provider:
        tokens = [
            *(
                (fault.name, provider.token(HEADER, fault.data), broken_rule(HEADER, fault.document))
                for fault in _sample(claims, 6)
            ),
            *(
                (
                    f"header: {fault.name}",
                    provider.token(fault.data, write(SHORT)),
                    broken_rule(fault.document, SHORT),
                )
                for fault in _sample(headers, 8)
            ),
        ]
        with report.trial(SUBJECT_OF_TRIAL, FAMILIES) as trial:
            for name, token, why in tokens:
                provider.behave()
                provider.bodies[TOKEN] = provider.body(TOKEN, token)
                too_large = len(provider.bodies[TOKEN]) > 500_000
                await trial.attempt_async(
                    f"ID token: {name}", "more than 500 KB" if too_large else why, _log_in, provider
                )
                assert set(provider.wire.targets()) <= set(DOCUMENTS.values()), name


@pytest.mark.gen_test(timeout=60)
async def test_a_faulty_token_response_ends_the_login(report: FaultReport) -> None:
    async with hostile_provider() as provider:
        base = TOKENS.changed("id_token", provider.token(HEADER, write(SHORT)))
        faults = [*_sample(list(added_faults(base)), 3), *_sample(list(member_faults(base)), 5)]
        with report.trial(SUBJECT_OF_TRIAL, FAMILIES) as trial:
            for fault in faults:
                provider.behave()
                provider.bodies[TOKEN] = fault.data
                why = broken_token_response_rule(fault.document)
                if fault.document.get("id_token") != base.get("id_token"):
                    why = "OIDC Core 3.1.3.3: no ID token, or another"
                too_large = len(fault.data) > 500_000
                await trial.attempt_async(
                    f"tokens: {fault.name}",
                    "more than 500 KB" if too_large else why,
                    _log_in,
                    provider,
                )
            for name, data, why in byte_faults(provider.body(TOKEN)):
                provider.behave()
                provider.bodies[TOKEN] = data
                await trial.attempt_async(f"tokens: {name}", why, _log_in, provider)
