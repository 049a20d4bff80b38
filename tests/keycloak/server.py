"""A real Keycloak in a child process, with the realms of docker-compose.yml and clients for all options."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.integration.child import ROOT, Child
from tests.integration.served import free_port
from tests.kit.browser import Browser, Response
from tests.unit.outbound.certificates import issue

HOME = ROOT / ".cache" / "keycloak"
REALMS = ("acme", "globex")
SECRET = "a secret that is long enough for HS256 %41:+/&=~?"
_ADMIN = "admin"
_START_SECONDS = 100.0


@dataclass(frozen=True, slots=True)
class Client:
    """A client of the realm `acme`, and the portal's tenant of the same name.

    `file` are keys of the tenant file, with {mtls_url} for the port on which Keycloak requests certificates;
    `client` are keys of its `client`. `attributes` and `settings` are the attributes and other settings of
    the client in Keycloak.
    """

    slug: str
    authenticator: str
    client: Mapping[str, object]
    attributes: Mapping[str, str] = field(default_factory=dict)
    file: Mapping[str, object] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)


class Keycloak:
    """A Keycloak process. The constructor starts it; `ready` waits for it.

    Parameters: folder, for its data; portal_url, for the redirect URIs of the clients.
    """

    def __init__(self, folder: Path, portal_url: str, clients: Sequence[Client]) -> None:
        port, tls_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.mtls_url = f"https://localhost:{tls_port}"
        self.certificates = _certificates(folder)
        self._client: Browser | None = None
        home = _home(folder)
        for realm in REALMS:
            text = json.dumps(_realm(realm, portal_url, clients if realm == "acme" else ()))
            (home / "data" / "import" / f"{realm}-realm.json").write_text(text, encoding="utf-8")
        options = [
            *("start", "--optimized", "--import-realm", "--cache=local", "--http-enabled=true"),
            *("--http-host=127.0.0.1", f"--http-port={port}", f"--hostname={self.url}"),
            f"--https-port={tls_port}",
            f"--https-certificate-file={self.certificates / 'server.pem'}",
            f"--https-certificate-key-file={self.certificates / 'server.key'}",
            f"--truststore-paths={self.certificates / 'authority.pem'}",
            # Each test starts a new portal on the same port, so old connections cannot be reused.
            "--spi-connections-http-client--default--reuse-connections=false",
        ]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("KC_")}
        self._child = Child(
            "keycloak",
            ("bash", Path(__file__).with_name("run.sh"), home, *options),
            folder,
            environment={
                **environment,
                "KC_BOOTSTRAP_ADMIN_USERNAME": _ADMIN,
                "KC_BOOTSTRAP_ADMIN_PASSWORD": _ADMIN,
                **{f"{realm.upper()}_CLIENT_SECRET": SECRET for realm in REALMS},
                "JAVA_OPTS_KC_HEAP": "-Xms64m -Xmx400m",
                "JAVA_OPTS_APPEND": "-XX:-UseG1GC -XX:+UseSerialGC -XX:TieredStopAtLevel=1",
            },
        )

    def issuer(self, realm: str) -> str:
        return f"{self.url}/realms/{realm}"

    async def ready(self) -> None:
        """Wait until it is ready."""
        child = self._child
        await child.ready(lambda: "Listening on: http" in child.output, seconds=_START_SECONDS)

    def end(self) -> None:
        self._child.end()
        print(self._child.output[-4000:], self._child.errors)

    # --- its pages

    async def complete_sign_in(self, browser: Browser, page: Response, user: str, password: str) -> Response:
        """Sign in if required; submit the form that Keycloak's script would submit."""
        if page.url.startswith(self.url) and shows_sign_in_form(page):
            filled = {"username": user, "password": password}
            page = await browser.submit(page.form("/login-actions/authenticate"), filled)
        if page.url.startswith(self.url) and any("/callback" in form.action for form in page.forms):
            page = await browser.submit(page.form("/callback"))
        return page

    # --- administration

    async def end_sessions(self, realm: str, username: str) -> None:
        """End all sessions of a user."""
        (user,) = await self._administer("GET", realm, f"users?username={username}&exact=true")
        await self._administer("POST", realm, f"users/{user['id']}/logout")

    async def change_keys(self, realm: str) -> None:
        """Add an RSA key that signs from now on; the previous one stays published."""
        key = {
            "name": "another key",
            "providerId": "rsa-generated",
            "providerType": "org.keycloak.keys.KeyProvider",
            "config": {"priority": ["200"]},
        }
        await self._administer("POST", realm, "components", key)

    async def _administer(self, method: str, realm: str, path: str, document: Any = None) -> Any:
        """Send a request to the admin API; return the JSON of the response."""
        client = Browser()
        try:
            form = {
                "grant_type": "password",
                "client_id": "admin-cli",
                "username": _ADMIN,
                "password": _ADMIN,
            }
            token_url = f"{self.issuer('master')}/protocol/openid-connect/token"
            granted = json.loads((await _send(client, token_url, "POST", urlencode(form))).body)
            headers = {"Authorization": f"Bearer {granted['access_token']}"}
            if document is not None:
                headers["Content-Type"] = "application/json"
            body = None if method == "GET" else json.dumps(document) if document is not None else ""
            url = f"{self.url}/admin/realms/{realm}/{path}"
            response = await _send(client, url, method, body, headers)
            return json.loads(response.body) if response.body else None
        finally:
            client.close()

    async def use_refresh_token(self, realm: str, client_id: str, refresh_token: str) -> None:
        """Use a stolen refresh token together with the client secret."""
        client = Browser()
        try:
            form = {
                "grant_type": "refresh_token",
                "refresh_token": refresh_token,
                "client_id": client_id,
                "client_secret": SECRET,
            }
            url = f"{self.issuer(realm)}/protocol/openid-connect/token"
            await _send(client, url, "POST", urlencode(form))
        finally:
            client.close()


def shows_sign_in_form(page: Response) -> bool:
    """Whether the page is Keycloak's sign-in form."""
    return any(name == "password" for form in page.forms for name, _ in form.fields)


def skip_reason() -> str | None:
    """Return why Keycloak is not available, or None if it is."""
    if shutil.which("java") is None:
        return "java is not installed"
    if (HOME / ".ready").is_file():
        return None
    missing = HOME / ".missing"
    return missing.read_text().strip() if missing.is_file() else "run scripts/setup.sh test first"


def _certificates(folder: Path) -> Path:
    """Create an authority, and certificates that it issued to Keycloak and the portal."""
    made = folder / "certificates"
    made.mkdir()
    authority = issue("the authority of acme", authority=True)
    (made / "authority.pem").write_text(authority.chain)
    for name, subject in (("server", "localhost"), ("portal", "portal.example")):
        issued = issue(subject, authority)
        (made / f"{name}.pem").write_text(issued.chain)
        (made / f"{name}.key").write_text(issued.private_key())
    return made


def _home(folder: Path) -> Path:
    """Create a Keycloak home with separate data; read-only files are shared."""
    home = folder / "keycloak-home"
    (home / "data" / "import").mkdir(parents=True)
    (home / "bin").mkdir()
    shutil.copy(HOME / "bin" / "kc.sh", home / "bin")
    for shared in ("conf", "lib", "providers", "themes", "version.txt"):
        (home / shared).symlink_to(HOME / shared)
    return home


def _realm(name: str, portal_url: str, clients: Sequence[Client]) -> dict[str, Any]:
    """Return a realm of docker-compose.yml, adapted to the portal of the test, with additional clients."""
    text = (ROOT / "deploy" / "keycloak" / f"{name}-realm.json").read_text(encoding="utf-8")
    realm: dict[str, Any] = json.loads(text.replace("http://portal.localhost:8080", portal_url))
    (deployed,) = realm["clients"]
    deployed["attributes"].update(_logout_urls(portal_url, name))
    for client in clients:
        callback = f"{portal_url}/t/{client.slug}/callback"
        realm["clients"].append(
            {
                **deployed,
                "clientId": client.slug,
                "publicClient": client.authenticator == "none",
                "clientAuthenticatorType": client.authenticator,
                "secret": SECRET,
                "redirectUris": [callback],
                **client.settings,
                "attributes": {
                    "pkce.code.challenge.method": "S256",
                    "post.logout.redirect.uris": f"{portal_url}/t/{client.slug}/signed-out",
                    "use.jwks.url": "true",
                    "jwks.url": f"{portal_url}/.well-known/jwks.json",
                    **_logout_urls(portal_url, client.slug),
                    **client.attributes,
                },
            }
        )
    return realm


def _logout_urls(portal_url: str, slug: str) -> dict[str, str]:
    return {
        "backchannel.logout.url": f"{portal_url}/t/{slug}/backchannel-logout",
        "backchannel.logout.session.required": "true",
        "frontchannel.logout.url": f"{portal_url}/t/{slug}/frontchannel-logout",
        "frontchannel.logout.session.required": "true",
    }


async def _send(
    client: Browser, url: str, method: str, body: str | None, headers: Mapping[str, str] | None = None
) -> Response:
    response = await client.fetch(url, method, headers=headers, body=body, site=None, csrf=False)
    assert response.status in {200, 201, 204}, response.text
    return response
