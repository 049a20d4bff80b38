"""THREATS D1 and D4: unauthenticated requests are refused cheaply and cause one provider request at most."""

from __future__ import annotations

import io

import pytest

from portal.oidc.recent_failures import FIRST_PAUSE
from tests.kit.faulty.endpoints import EndpointFault
from tests.kit.faulty.endpoints import Response as Canned
from tests.kit.raw import change_tenant
from tests.kit.world import World

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.mark.gen_test
async def test_D1_a_response_without_a_binding_cookie_is_refused_before_it_is_parsed(
    world: World, log_lines: io.StringIO
) -> None:
    """The token is malformed: parsing it would log that error instead of the missing cookie."""
    for method in ("GET", "POST"):
        body = "response=no+token" if method == "POST" else None
        query = "" if method == "POST" else "?response=no+token"
        response = await world.browser().fetch(
            world.at(f"/t/acme/callback{query}"), method, headers=FORM, body=body
        )
        assert response.status == 400
    assert log_lines.getvalue().count("the browser sent no valid binding cookie") == 2
    assert "signed_response_rejected" not in log_lines.getvalue()


@pytest.mark.gen_test
async def test_D1_forms_of_many_fields_and_uploads_of_files_are_refused(world: World) -> None:
    callback = world.at("/t/acme/callback")
    many = "&".join(f"a{number}=" for number in range(101))
    response = await world.browser().fetch(callback, "POST", headers=FORM, body=many)
    assert response.status == 400
    assert (await world.browser().fetch(world.at(f"/?{many}"))).status == 400
    upload = b'--x\r\nContent-Disposition: form-data; name="code"\r\n\r\nc\r\n--x--\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    assert (await world.browser().fetch(callback, "POST", headers=kind, body=upload)).status == 400


@pytest.mark.parametrize(
    ("endpoint", "canned", "status"),
    [
        ("discovery", Canned(200, b'{"issuer": "https://another.example"}'), 502),
        ("discovery", Canned(404), 502),
        ("par", Canned(503), 503),
    ],
)
@pytest.mark.gen_test
async def test_D4_many_login_starts_cause_one_request_to_a_failing_provider(
    world: World, endpoint: str, canned: Canned, status: int
) -> None:
    change_tenant(world, "acme", par=True)
    world.acme.faults.endpoints[endpoint] = EndpointFault(response=canned)
    for _ in range(10):
        assert (await world.browser().step(world.at("/t/acme/login"))).status == status
    assert world.acme.requests[endpoint] == 1
    world.acme.faults.clear()
    world.clock.advance(FIRST_PAUSE)
    assert (await world.browser().step(world.at("/t/acme/login"))).status == 303


@pytest.mark.gen_test
async def test_D4_a_changed_tenant_file_is_used_at_once(world: World) -> None:
    world.acme.faults.endpoints["discovery"] = EndpointFault(response=Canned(404))
    assert (await world.browser().step(world.at("/t/acme/login"))).status == 502
    world.acme.faults.clear()
    assert (await world.browser().step(world.at("/t/acme/login"))).status == 502
    change_tenant(world, "acme", scopes=["openid", "email"])
    assert (await world.browser().step(world.at("/t/acme/login"))).status == 303
