"""THREATS D1 and D5: neither rules of a tenant nor claims of its provider hold the event loop."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Sequence
from types import SimpleNamespace
from urllib.parse import quote

import pytest

from portal.access.paths import path_refusal
from portal.access.rules import LONGEST_TEXT, AccessRules, Comparison, PathRules, Rule, sign_in_refusal
from portal.errors import PortalError
from portal.oidc.jose import jws
from portal.oidc.jose.json_reading import read_object
from portal.ops.metrics import Metrics
from portal.sessions.live_logins import LiveLogins
from portal.stores.claims_codec import decode_claims, encode_claims
from portal.stores.model import Login
from portal.stores.stored_entries import EntryReader
from portal.tenancy.schema.access import MOST_PATH_RULES, MOST_PATHS, MOST_RULES, MOST_VALUES, AccessFile
from portal.web.api_proxy.live_calls import LiveCalls
from tests.kit.loop_monitor import Hold, LoopMonitor
from tests.kit.samples import (
    START,
    ManualClock,
    SampleDirectory,
    sample_login,
    sample_provider,
    sample_session,
    sample_tenant,
)
from tests.kit.tracing import untraced

LONGEST = 0.010
"""Seconds of CPU time of one thread that one turn of the loop may take (docs/architecture.md, rule 6)."""
HASH_MODULUS = (1 << 61) - 1
"""Whole numbers that differ by a multiple of it have the same hash in CPython."""
WANTED = tuple(f"g{number}" for number in range(MOST_VALUES))


async def long_holds(work: Callable[[], Coroutine[object, object, object]]) -> list[Hold]:
    """Turns of the loop that took longer than LONGEST, in the best of three tries: CPUs are shared."""
    for _ in range(3):
        with untraced(), LoopMonitor().watching() as monitor:
            await asyncio.create_task(work())
        found = [hold for hold in monitor.holds if hold.cpu > LONGEST]
        if not found:
            break
    return found


def fastest(run: Callable[[], object]) -> float:
    """Seconds of CPU time of this thread, in the best of three tries."""
    best = float("inf")
    with untraced():
        for _ in range(3):
            started = time.thread_time()
            run()
            best = min(best, time.thread_time() - started)
    return best


def read(claims: dict[str, object]) -> dict[str, object]:
    text = json.dumps(claims).encode()
    assert len(text) <= jws.MAX_BYTES
    return read_object(text)


def in_every_group() -> dict[str, object]:
    return read({"groups": [*WANTED, *(f"{number:x}" for number in range(4_800))]})


def all_groups() -> Rule:
    return Rule(("groups",), Comparison.CONTAINS_ALL, WANTED)


@pytest.mark.parametrize("step", [HASH_MODULUS, 1 << 40])
def test_D1_numbers_that_look_alike_to_a_hash_table_take_no_longer(step: int) -> None:
    claims = read({"groups": [number * step for number in range(2_500)]})
    access = (AccessRules((Rule(("groups",), Comparison.CONTAINS_ANY, (1, 2, 3)),)),)
    assert sign_in_refusal(access, claims) is not None
    assert fastest(lambda: sign_in_refusal(access, claims)) < LONGEST


def test_D1_a_long_list_is_read_once_for_all_rules() -> None:
    claims = in_every_group()
    access = (AccessRules((all_groups(),) * MOST_RULES),) * 2
    assert sign_in_refusal(access, claims) is None
    assert fastest(lambda: sign_in_refusal(access, claims)) < LONGEST


def test_D1_rules_of_nested_paths_hold_the_loop_no_longer_than_others() -> None:
    """Of nested paths in another spelling, every rule counts."""
    claims = in_every_group()
    each = (all_groups(),) * (MOST_PATH_RULES // MOST_PATHS)
    parts = tuple(PathRules("/a" * number, each) for number in range(1, MOST_PATHS + 1))
    access = (AccessRules(paths=parts),) * 2
    assert path_refusal(access, claims, "/A" * MOST_PATHS) is None
    assert fastest(lambda: path_refusal(access, claims, "/A" * MOST_PATHS)) < LONGEST


def test_D1_a_long_text_is_not_looked_through_for_each_rule() -> None:
    endings = (*(f"@{number}.example" for number in range(MOST_VALUES - 1)), "@acme.example")
    rule = Rule(("email",), Comparison.ENDS_WITH, endings)
    each = (rule,) * (MOST_PATH_RULES // MOST_PATHS)
    parts = tuple(PathRules("/a" * number, each) for number in range(1, MOST_PATHS + 1))
    access = (AccessRules(paths=parts),) * 2
    for length in (LONGEST_TEXT, jws.MAX_BYTES - 100):
        claims = read({"email": "@acme.example".rjust(length, "a")})
        assert (path_refusal(access, claims, "/A" * MOST_PATHS) is None) == (length == LONGEST_TEXT)
        assert fastest(lambda claims=claims: path_refusal(access, claims, "/A" * MOST_PATHS)) < LONGEST  # type: ignore[misc]


def test_D1_the_rules_of_all_paths_together_are_bounded() -> None:
    rule = {"claim": "groups", "contains": "a"}
    paths = [{"path": f"/{number}", "require": [rule] * MOST_RULES} for number in range(MOST_PATHS)]
    with pytest.raises(ValueError, match=f"at most {MOST_PATH_RULES}"):
        AccessFile.model_validate({"paths": paths})
    AccessFile.model_validate({"paths": paths[: MOST_PATH_RULES // MOST_RULES]})


def test_D1_a_path_is_read_once_for_all_rules_and_each_character_once() -> None:
    """U+FDFA stands for eighteen characters."""
    parts = tuple(PathRules("/a" * number, (all_groups(),) * 4) for number in range(1, MOST_PATHS + 1))
    access = (AccessRules(paths=parts),) * 2
    path = "/A" * MOST_PATHS + "/" + quote("\ufdfa" * 870)
    assert len(path) < 8_000
    assert path_refusal(access, in_every_group(), path) is None
    assert fastest(lambda: path_refusal(access, in_every_group(), path)) < LONGEST


CALLS = 200


def many_logins() -> list[Login]:
    claims = in_every_group()
    return [sample_login(session=f"{number:022}", claims=dict(claims)) for number in range(CALLS)]


def live_logins(logins: Sequence[Login], rules: tuple[AccessRules, ...]) -> LiveLogins:
    class Store:
        async def read(self, sessions: object, ids: object, *, now: float) -> object:
            return (
                {login.session: sample_session(id=login.session) for login in logins},
                {login.id: login for login in logins},
            )

    directory = SampleDirectory({"default": sample_provider()}, rules)
    return LiveLogins(store=Store(), directory=directory, clock=lambda: START)  # type: ignore[arg-type]


@pytest.mark.gen_test
async def test_D5_looking_at_many_calls_of_one_tenant_lets_others_have_their_turn() -> None:
    logins = many_logins()
    live = live_logins(logins, (AccessRules((all_groups(),) * MOST_RULES),) * 2)
    assert await live.as_stored(logins) == logins
    assert not (found := await long_holds(lambda: live.as_stored(logins))), found


@pytest.mark.gen_test
async def test_D5_looking_at_the_paths_of_many_calls_lets_others_have_their_turn() -> None:
    logins = many_logins()
    each = (all_groups(),) * (MOST_PATH_RULES // MOST_PATHS)
    parts = tuple(PathRules("/a" * number, each) for number in range(1, MOST_PATHS + 1))
    rules = (AccessRules((all_groups(),) * MOST_RULES, parts),) * 2
    tenant = sample_tenant(access={"default": rules})
    registry = SimpleNamespace(get=lambda slug: tenant)
    clock = ManualClock(0.0)
    calls = LiveCalls(
        logins=live_logins(logins, rules),
        registry=registry,  # type: ignore[arg-type]
        metrics=Metrics(),
        monotonic=clock,
    )
    assert tenant.api is not None
    cut: list[PortalError] = []
    for login in logins:
        calls.add(login, tenant.api, "/A" * MOST_PATHS, cut.append)
    clock.advance(60.0)
    assert not (found := await long_holds(calls.check)), found
    assert not cut


@pytest.mark.gen_test
async def test_D5_reading_many_large_logins_lets_others_have_their_turn() -> None:
    stored = [encode_claims({"groups": [f"{n:015x}" for n in range(4_800)]})] * CALLS

    def read() -> Coroutine[object, object, list[dict[str, object]]]:
        return EntryReader().read_all(decode_claims, stored, kind=dict)

    assert len(await read()) == CALLS
    assert not (found := await long_holds(read)), found
