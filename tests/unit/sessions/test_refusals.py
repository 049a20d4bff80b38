"""The second refusal of a token set ends its login; a tenant evicts only its own refusals."""

from __future__ import annotations

from dataclasses import replace

from portal.sessions.refusals import RETRY_SECONDS, Refusals
from tests.kit.samples import sample_login

NOW = 1_800_000_000.0


def test_the_second_refusal_of_a_token_set_is_reported_as_repeated() -> None:
    refusals, login = Refusals(), sample_login(tokens="sealed 1")
    renewed = replace(login, tokens="sealed 2")
    assert not refusals.record(login, NOW)
    assert not refusals.record(renewed, NOW)
    assert refusals.record(renewed, NOW)
    assert not refusals.record(renewed, NOW)


def test_a_refusal_is_recent_for_a_few_seconds_and_only_for_its_token_set() -> None:
    refusals, login = Refusals(), sample_login(tokens="sealed 1")
    assert not refusals.is_recent(login, NOW)
    refusals.record(login, NOW)
    assert refusals.is_recent(login, NOW + RETRY_SECONDS - 0.1)
    assert not refusals.is_recent(login, NOW + RETRY_SECONDS)
    assert not refusals.is_recent(replace(login, tokens="sealed 2"), NOW)
    refusals.forget(login.id)
    assert not refusals.is_recent(login, NOW)


def test_a_tenant_evicts_its_own_refusals_first() -> None:
    refusals, login = Refusals(), sample_login(tenant="acme")
    refusals.record(login, NOW)
    for number in range(7_000):
        refusals.record(sample_login(tenant="globex", session=str(number)), NOW)
    assert refusals.record(login, NOW)
    assert not refusals.record(sample_login(tenant="globex", session="0"), NOW)
