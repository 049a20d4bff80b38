"""Sign-ins with presets whose providers differ from the standard, on real sockets."""

from __future__ import annotations

import io
import json

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from jose import JWTError, jwt

from tests.handlers.test_odd_providers import lines_of
from tests.kit.raw import change_tenant
from tests.kit.world import World


def configure_apple(world: World, key: ec.EllipticCurvePrivateKey) -> None:
    """Let acme's tenant file use preset apple at the development provider."""
    folder = world.parts.tenants_folder
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "AuthKey.p8").write_bytes(pem)
    (folder / "AuthKey.p8").chmod(0o600)
    path = folder / "acme.yaml"
    before = yaml.safe_load(path.read_text())
    document = {
        **{name: before[name] for name in ("name", "api", "issuer", "audience")},
        "preset": "apple",
        "fields": {"team_id": "A1B2C3D4E5", "key_id": "F6G7H8I9J0"},
        "client": {"id": before["client"]["id"], "signed_secret": {"private_key": "file:AuthKey.p8"}},
        "scopes": ["openid", "email"],
        "access": "anyone",
    }
    path.write_text(json.dumps(document))
    world.running.portal.registry.load()
    assert not world.running.portal.registry.problems


@pytest.mark.gen_test
async def test_a_sign_in_with_apple_posts_the_response_and_signs_the_client_secret(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    secrets: list[str] = []

    def accepts(registered: str | None, secret: str | None) -> bool:
        try:
            claims = jwt.decode(secret or "", public, "ES256", audience=world.acme.issuer)
        except JWTError:
            return False
        secrets.append(secret or "")
        return bool(claims["iss"] == "A1B2C3D4E5" and claims["exp"] - claims["iat"] == 300)

    monkeypatch.setattr("portal.demo.provider_endpoints._secret_matches", accepts)
    configure_apple(world, key)
    browser = world.browser()
    home = await world.sign_in(browser, "acme")
    assert home.url == world.at("/t/acme/")
    requested = next(one for one in world.acme.received if one.endpoint == "authorize").parameters
    assert (requested["response_mode"], requested["scope"]) == (["form_post"], ["openid email"])
    assert len(secrets) == 1
    assert jwt.get_unverified_header(secrets[0])["kid"] == "F6G7H8I9J0"


@pytest.mark.gen_test
async def test_a_sign_in_that_the_user_cancelled_at_apple_says_so(world: World) -> None:
    configure_apple(world, ec.generate_private_key(ec.SECP256R1()))
    world.acme.faults.authorization_error = ("user_cancelled_authorize", "")
    browser = world.browser()
    world.acme.automatic_user = "alice"
    page = await browser.open(world.at("/t/acme/login"))
    done = await browser.submit(page.form("/t/acme/callback"))
    assert done.status == 200
    assert "Sign-in was cancelled" in done.text


@pytest.mark.gen_test
async def test_a_preset_that_does_not_know_the_code_shows_the_general_page(world: World) -> None:
    change_tenant(world, "acme", preset="okta")
    world.acme.faults.authorization_error = ("something_new", "")
    browser = world.browser()
    callback = await world.stop_before_callback(browser, "acme")
    page = await browser.step(callback, site="cross-site")
    assert page.status == 400
    assert "Sign-in was denied" in page.text


@pytest.mark.gen_test
async def test_the_log_says_what_to_do_about_known_errors(world: World, log_lines: io.StringIO) -> None:
    change_tenant(world, "acme", preset="okta")
    world.acme.faults.authorization_error = ("invalid_scope", "One or more scopes are not configured")
    browser = world.browser()
    callback = await world.stop_before_callback(browser, "acme")
    page = await browser.step(callback, site="cross-site")
    assert "grant type Refresh Token" not in page.text, "that is for the administrator"
    world.acme.faults.authorization_error = None
    change_tenant(world, "acme", client={"secret": "wrong"})
    callback = await world.stop_before_callback(browser, "acme")
    await browser.step(callback, site="cross-site")
    first, second = (line["detail"] for line in lines_of(log_lines, "request_failed"))
    assert first == (
        "the provider responded with error=invalid_scope: One or more scopes are not configured; The "
        "authorization server does not have one of the scopes, or offline_access is not allowed because the "
        "grant type Refresh Token is not selected."
    )
    assert second.endswith(
        "Client authentication failed.; The client secret is wrong, or the application uses another client "
        "authentication than Client secret."
    )
