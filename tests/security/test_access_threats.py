"""THREATS A8: a claim that only resembles the required value never satisfies an access rule."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

import portal
from portal.demo.compact import JsonObject
from portal.tenancy.checks.live import api as live_api
from portal.web.api_proxy.upstream import UpstreamCall
from tests.kit.raw import change_tenant, stored
from tests.kit.world import World

ABSENT = object()
EMAIL = {"claim": "email", "ends_with": "@acme.example", "verified_by": "email_verified"}
ROLES = {"claim": "realm_access.roles", "contains_any": ["staff", "partner"]}
PLAN = {"claim": ["https://acme.example/plan"], "equals": "gold"}
LEVEL = {"claim": "level", "equals": 1}
HD = {"claim": "hd", "one_of": ["acme.example"]}
VALID: JsonObject = {
    "email": "ada@acme.example",
    "email_verified": True,
    "realm_access": {"roles": ["staff"]},
    "https://acme.example/plan": "gold",
    "level": 1,
    "hd": "acme.example",
}
INVALID: dict[str, list[object]] = {
    "email": [
        *(ABSENT, None, True, ["ada@acme.example"], {"@acme.example": "ada@acme.example"}, ""),
        *("ada@evil.example", "ada@evilacme.example", "ada@ACME.EXAMPLE", "ada@\u0430cme.example"),
        *("ada@acme.example.evil.example", "ada@acme\u3002example", "ada\uff20acme.example"),
        *("ada@evil.example\u0000@acme.example", "ada@evil.example@acme.example", "@acme.example"),
        *('"ada@evil.example"@acme.example', "ada@evil.example\n@acme.example", "\u0430da@acme.example"),
    ],
    "email_verified": [ABSENT, None, False, "true", "True", 1, [True], {"email": True}],
    "realm_access": [
        *(ABSENT, None, "staff", ["staff"], {"roles": "staff"}, {"roles": [["staff"]]}, {"roles": []}),
        *({"roles": {"staff": True}}, {"roles": ["Staff"]}, [{"roles": ["staff"]}], {"Roles": ["staff"]}),
    ],
    "https://acme.example/plan": [ABSENT, "Gold", ["gold"], {"gold": True}, "gold\u200b", "g\u043eld"],
    "level": [ABSENT, True, "1", 1.5, [1], 10, None],
    "hd": [ABSENT, "ACME.example", "acme.example.", ["acme.example"], "\u0430cme.example", True],
}


def with_claims(world: World, claims: JsonObject) -> None:
    def mutate(header: JsonObject, token: JsonObject) -> None:
        for name in VALID:
            token.pop(name, None)
        token |= {name: value for name, value in claims.items() if value is not ABSENT}

    world.acme.faults.mutate_id_token = mutate


async def try_to_sign_in(world: World) -> int:
    world.acme.automatic_user = "alice"
    try:
        return (await world.browser().open(world.at("/t/acme/login"))).status
    finally:
        world.acme.automatic_user = None


@pytest.mark.parametrize("claim", INVALID)
@pytest.mark.gen_test(timeout=60)
async def test_A8_a_claim_that_only_resembles_the_required_one_is_refused(world: World, claim: str) -> None:
    change_tenant(world, "acme", access={"require": [EMAIL, ROLES, PLAN, LEVEL, HD]})
    for value in INVALID[claim]:
        with_claims(world, {**VALID, claim: value})
        assert await try_to_sign_in(world) == 403, value
    assert not stored(world)["logins"]
    assert not stored(world)["sessions"]
    with_claims(world, VALID)
    assert await try_to_sign_in(world) == 200, "the other claims are valid"


@pytest.mark.reads_source
def test_A8_every_call_of_an_api_is_checked_where_it_is_made() -> None:
    """One class opens streams to APIs with tokens, and its constructor checks the path rules.

    The live check of an API and the calls of a development server send no token.
    """
    folder = Path(portal.__file__).parent
    opening = [
        path.relative_to(folder).as_posix()
        for path in sorted(folder.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "open_stream"
    ]
    assert opening == [
        "tenancy/checks/live/api.py",
        "web/api_proxy/upstream.py",
        "web/front_ends/development.py",
        "web/websocket/serving.py",
    ]
    assert "uthorization" not in inspect.getsource(live_api)
    assert "check_path_access" in UpstreamCall.__init__.__code__.co_names


@pytest.mark.reads_source
def test_A8_every_login_that_is_read_is_checked() -> None:
    """Handlers get logins only from SessionService and LiveLogins; the other readers return none.

    IdleLimits reads the login again that it extends, and SessionWatch tells only that a login began or ended.

    `Subjects` serves a command of the operator, and uses no token of a login.
    `LogoutService.find_login` returns one to the console, which ends it. `move_login` compares the tokens of
    one that it has written.
    """
    folder = Path(portal.__file__).parent
    reading = {
        path.relative_to(folder).as_posix()
        for path in sorted(folder.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"read", "list_logins"}
        and "store" in ast.unparse(node.func.value)
    }
    assert reading == {
        "admin/subjects.py",
        "sessions/idle_limits.py",
        "sessions/live_logins.py",
        "sessions/login_moving.py",
        "sessions/login_storing.py",
        "sessions/logout.py",
        "sessions/reader.py",
        "sessions/refresh_lease.py",
        "sessions/service.py",
        "sessions/session_watch.py",
        "stores/server_check.py",
        "sessions/token_storing.py",
    }
