"""THREATS S8: an attacker who has the database but not the key ring learns and can do nothing."""

from __future__ import annotations

import asyncio
import base64
import binascii
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from portal.keys.key_ring import KeyRing
from tests.kit.browser import Browser
from tests.kit.provider_logout import Provider, calls, sid_of
from tests.kit.raw import PATIENCE, stored
from tests.kit.world import World

# --- S8: a dump of the database


def _texts(data: bytes) -> Iterator[bytes]:
    """The data, and the decoded base64 and hex texts in it."""
    yield data
    for match in re.finditer(rb"[A-Za-z0-9+/_-]{16,}", data):
        run = match[0].replace(b"-", b"+").replace(b"_", b"/")
        for start in range(4):
            part = run[start:]
            with_padding = part[: len(part) // 4 * 4]
            yield base64.b64decode(with_padding)
    for match in re.finditer(rb"(?:[0-9a-fA-F]{2}){16,}", data):
        yield binascii.unhexlify(match[0])


def _secrets(world: World, browsers: list[Browser]) -> dict[str, str]:
    """Every secret that a thief could use, by its kind."""
    found: dict[str, str] = {}
    for provider in (world.acme, world.globex):
        for number, value in enumerate(provider.state.issued):
            found[f"issued {number}"] = value
        for number, request in enumerate(provider.received):
            for name in ("state", "code", "code_verifier", "refresh_token", "client_secret", "token"):
                for value in request.parameters.get(name, ()):
                    found[f"{name} {number}"] = value
        found[f"secret of {provider.settings.id}"] = str(provider.settings.clients[0].client_secret)
    for number, browser in enumerate(browsers):
        for name, value in browser.cookies.get("localhost", {}).items():
            if name != "portal-xsrf":
                found[f"cookie {name} {number}"] = value.split(".")[-1]
    parts = {
        f"{what}, part {number}": part
        for what, value in found.items()
        if value.count(".") == 2
        for number, part in enumerate(value.split(".")[1:], 1)
    }
    return {what: value for what, value in (found | parts).items() if len(value) > 15}


@pytest.mark.gen_test
async def test_S8_a_dump_of_the_database_contains_no_secret(world: World, tmp_path: Path) -> None:
    browser, another, signing_out = world.browser(), world.browser(), world.browser()
    for tenant in ("acme", "globex"):
        await world.quick_sign_in(browser, tenant)
        await world.quick_sign_in(signing_out, tenant)
        await world.expire_access_token(browser, tenant)
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200
    await world.stop_before_callback(another, "acme")
    logout = await signing_out.step(world.at("/logout"), "POST", "", site="same-origin")
    state = parse_qs(urlsplit(logout.headers["Location"]).query)["state"][0]
    secrets = _secrets(world, [browser, another, signing_out]) | {"state of a logout": state}
    for tenant in ("acme", "globex"):
        secrets[f"sid at {tenant}"] = await sid_of(world, browser, tenant)
    kinds = {re.sub(r" \d+", "", what) for what in secrets}
    assert {"issued", "issued, part", "state", "code", "code_verifier", "refresh_token", "token"} <= kinds
    assert {"cookie portal", "cookie portal-attempt", "secret of acme", "state of a logout"} <= kinds

    rows = stored(world)
    assert all(rows[name] for name in ("attempts", "sessions", "logins", "logouts"))
    dump = json.dumps(rows, default=str).encode()
    for file in sorted(tmp_path.glob("portal.db*")):
        dump += file.read_bytes()
    assert b"acme-001" in dump, "the dump lacks the data of the portal"
    for text in _texts(dump):
        for what, value in secrets.items():
            assert value.encode() not in text, what


@pytest.mark.gen_test
async def test_S8_no_value_of_a_dump_signs_a_user_out(world: World, log_lines: io.StringIO) -> None:
    browser, provider = world.browser(), Provider(world)
    await world.quick_sign_in(browser, "acme")
    login = await world.login_of(browser, "acme")
    assert login is not None
    assert login.sid is not None
    texts = set(re.findall(r"[ -~]{8,255}", json.dumps(stored(world), default=str)))
    texts |= {part for text in texts for part in re.split(r"[^A-Za-z0-9:._~|-]+", text)} | {login.sid}
    assert len(texts) > 20
    for text in filter(None, texts):
        await provider.frame(iss=provider.issuer, sid=text[:255])
    assert await calls(world, browser, "acme") == 200
    sid = await sid_of(world, browser)
    assert sid not in (await browser.open(world.at("/t/acme/"))).text
    assert (await provider.frame(iss=provider.issuer, sid=sid)).status == 200
    assert await calls(world, browser, "acme") == 401
    assert sid not in log_lines.getvalue()


@pytest.mark.parametrize("when", ["before a rotation", "by an earlier version", "without a sid"])
@pytest.mark.gen_test
async def test_S8_a_login_is_found_by_its_sid_in_every_stored_form(world: World, when: str) -> None:
    browser, provider = world.browser(), Provider(world)
    await world.quick_sign_in(browser, "acme")
    sid, login = await sid_of(world, browser), await world.login_of(browser, "acme")
    assert login is not None
    if when == "before a rotation":
        kid = KeyRing.rotate(world.settings.keys)
        await _until(lambda: _sealing_kid(world) == kid)
        assert world.running.vault.sid_hash("acme", login.issuer, sid) != login.sid
    else:
        stored_sid = sid if when == "by an earlier version" else None
        await world.running.portal.store.put_login(replace(login, sid=stored_sid))
    await provider.frame(iss=provider.issuer, sid=sid)
    assert await calls(world, browser, "acme") == (200 if when == "without a sid" else 401)


@pytest.mark.gen_test
async def test_S8_sealed_values_do_not_open_in_another_row(world: World) -> None:
    """An attacker with write access moves Bob's tokens into Alice's login: they do not open."""
    alice, bob = world.browser(), world.browser()
    await world.sign_in(alice, "acme", "alice")
    await world.sign_in(bob, "acme", "bob")
    store = world.running.portal.store
    hers, his = await world.login_of(alice, "acme"), await world.login_of(bob, "acme")
    assert hers is not None
    assert his is not None
    await store.put_login(replace(hers, tokens=his.tokens))
    response = await alice.fetch(world.at("/t/acme/api/echo"))
    assert response.status == 401
    assert world.acme_api.calls.total() == 0


def _sealing_kid(world: World) -> str:
    header = world.running.vault.seal("document", "text").split(".")[0]
    kid: str = json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))["kid"]
    return kid


async def _until(holds: Callable[[], bool]) -> None:
    end = asyncio.get_running_loop().time() + PATIENCE
    while not holds():
        assert asyncio.get_running_loop().time() < end
        await asyncio.sleep(0.01)


@pytest.mark.gen_test
async def test_S8_a_replaced_key_ring_file_ends_no_login_while_the_portal_runs(
    world: World, log_lines: io.StringIO
) -> None:
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    kid = _sealing_kid(world)
    world.settings.keys.unlink()
    foreign = KeyRing.create(world.settings.keys).newest.kid
    await _until(lambda: _sealing_kid(world) == kid and "key_ring_not_reloaded" in log_lines.getvalue())
    world.running.tokens.forget(f"{world.session_id(browser)}:acme")
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200
    assert _sealing_kid(world) == kid != foreign
    assert "portal key adopt" in log_lines.getvalue()


@pytest.mark.gen_test
async def test_S8_after_a_key_is_removed_users_start_again_without_an_error_500(world: World) -> None:
    """The key was removed from the key ring: users sign in again and see no error 500."""
    browser = world.browser()
    await world.quick_sign_in(browser, "acme")
    await world.quick_sign_in(browser, "globex")
    callback = await world.stop_before_callback(browser, "acme")
    signing_out = world.browser()
    await world.quick_sign_in(signing_out, "acme")
    await world.quick_sign_in(signing_out, "globex")
    logout = await signing_out.step(world.at("/logout"), "POST", "", site="same-origin")
    at_provider = await signing_out.step(logout.headers["Location"], site="cross-site")
    kid = KeyRing.rotate(world.settings.keys)
    await _until(lambda: _sealing_kid(world) == kid)
    ring = json.loads(world.settings.keys.read_text())
    ring["keys"] = [key for key in ring["keys"] if key["use"] != "vault" or key["kid"] == kid]
    world.settings.keys.write_text(json.dumps(ring))
    end = asyncio.get_running_loop().time() + PATIENCE
    status = 200
    while status == 200:
        assert asyncio.get_running_loop().time() < end, "the portal did not reload the key ring"
        for tenant in ("acme", "globex"):
            world.running.tokens.forget(f"{world.session_id(browser)}:{tenant}")
        status = (await browser.fetch(world.at("/t/acme/api/orders"))).status
    assert status == 401
    page = await browser.step(world.at("/t/acme/"))
    assert page.status == 200
    assert "Sign in to" in page.text
    explorer = urlencode({"method": "GET", "path": "/projects"})
    page = await browser.step(world.at("/t/globex/developer"), "POST", explorer, site="same-origin")
    assert page.status == 401
    assert "Sign in to" in page.text
    assert (await browser.step(callback, site="cross-site")).status == 400
    assert (await signing_out.step(at_provider.headers["Location"], site="cross-site")).status == 303
    assert (await browser.step(world.at("/t/globex/logout"), "POST", "", site="same-origin")).status == 303
    await world.quick_sign_in(browser, "acme")
    assert (await browser.fetch(world.at("/t/acme/api/orders"))).status == 200
