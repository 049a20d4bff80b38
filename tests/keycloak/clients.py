"""The portal's registrations at Keycloak, each with one client and one tenant."""

from __future__ import annotations

import yaml

from tests.keycloak.server import REALMS, SECRET, Client, Keycloak
from tests.kit.several_apis import NAMES as API_NAMES

NAME = "Keycloak"
"""Name of the provider in docs/interoperability.yaml."""
DEPLOYED = REALMS
"""Tenants of docker-compose.yml, one per realm."""


def _signing(alg: str, **more: str) -> dict[str, str]:
    return {"token.endpoint.auth.signing.alg": alg, **more}


AUTHENTICATION = (
    Client("post", "client-secret", {"auth": "client_secret_post", "secret": SECRET}),
    Client(
        "secret-jwt",
        "client-secret-jwt",
        {"auth": "client_secret_jwt", "secret": SECRET},
        _signing("HS256"),
    ),
    *(
        Client(
            f"key-{alg.lower()}", "client-jwt", {"auth": "private_key_jwt", "signing_alg": alg}, _signing(alg)
        )
        for alg in ("RS256", "PS256", "ES256", "EdDSA")
    ),
    Client("public", "none", {"auth": "none"}),
    Client(
        "certificate",
        "client-x509",
        {"auth": "tls_client_auth", "certificate": "file:portal.pem", "private_key": "file:portal.key"},
        {
            "x509.subjectdn": "CN=portal.example",
            "x509.casubjectdn": "CN=the authority of acme",
            "x509.allow.regex.pattern.comparison": "false",
        },
        {
            "tls": {"ca": "file:authority.pem"},
            # Its issuer and the endpoints in its metadata use plain http here.
            "endpoints": {
                "token": "{mtls_url}/realms/acme/protocol/openid-connect/token",
                "revocation": "{mtls_url}/realms/acme/protocol/openid-connect/revoke",
            },
        },
    ),
)
_BASIC = {"auth": "client_secret_basic", "secret": SECRET}
_CLIENT_KEY = {"auth": "private_key_jwt", "signing_alg": "PS256"}
PUSHED = Client(
    "pushed", "client-secret", _BASIC, {"require.pushed.authorization.requests": "true"}, {"par": True}
)
POSTED = Client("posted", "client-secret", _BASIC, file={"response_mode": "form_post"})
BOUND = Client("bound", "client-secret", _BASIC, {"dpop.bound.access.tokens": "true"}, {"dpop": True})
SIGNED_REQUEST = Client(
    "signed-request",
    "client-secret",
    {**_BASIC, "signing_alg": "ES256"},
    {"request.object.required": "request only", "request.object.signature.alg": "ES256"},
    {"request_object": "signed"},
)
SIGNED_RESPONSE = Client(
    "signed-response",
    "client-secret",
    _BASIC,
    {"authorization.signed.response.alg": "PS256"},
    {"response_mode": "query.jwt", "response_algs": ["PS256"]},
)
SEALED = Client(
    "sealed",
    "client-secret",
    _BASIC,
    {
        "id.token.signed.response.alg": "ES256",
        "id.token.encrypted.response.alg": "RSA-OAEP",
        "id.token.encrypted.response.enc": "A256GCM",
    },
    {"id_token_algs": ["ES256"], "id_token_encryption": {"alg": "RSA-OAEP", "enc": "A256GCM"}},
)
USERINFO = Client(
    "userinfo",
    "client-secret",
    _BASIC,
    {"user.info.response.signature.alg": "RS256"},
    {"userinfo": True, "userinfo_algs": ["RS256"]},
)
FAPI = Client(
    "fapi",
    "client-jwt",
    _CLIENT_KEY,
    {
        "token.endpoint.auth.signing.alg": "PS256",
        "require.pushed.authorization.requests": "true",
        "dpop.bound.access.tokens": "true",
        "id.token.signed.response.alg": "PS256",
        "access.token.signed.response.alg": "PS256",
    },
    {"par": True, "dpop": True, "id_token_algs": ["PS256"]},
)
FRAMED = Client("framed", "client-secret", _BASIC, settings={"frontchannelLogout": True})
RESOURCES = tuple(Client(name, "client-secret", _BASIC) for name in API_NAMES)
"""Clients of the realm that stand for APIs: their ids are audiences."""
EXCHANGING = Client(
    "exchanging",
    "client-secret",
    _BASIC,
    {"standard.token.exchange.enabled": "true"},
    settings={
        "protocolMappers": [
            {
                "name": f"audience {name}",
                "protocol": "openid-connect",
                "protocolMapper": "oidc-audience-mapper",
                "config": {"included.client.audience": name, "access.token.claim": "true"},
            }
            for name in API_NAMES
        ]
    },
)
OPTIONS = (PUSHED, POSTED, BOUND, SIGNED_REQUEST, SIGNED_RESPONSE, SEALED, USERINFO, FAPI)
CLIENTS = (*AUTHENTICATION, *OPTIONS, FRAMED, EXCHANGING, *RESOURCES)


def tenant_file(client: Client, keycloak: Keycloak) -> str:
    """Return the tenant file."""
    text = yaml.safe_dump(
        {
            "name": f"Acme ({client.slug})",
            "issuer": keycloak.issuer("acme"),
            "preset": "keycloak",
            "client": {"id": client.slug, **client.client},
            "scopes": ["openid", "profile", "email"],
            "claims": {"roles": "roles"},
            "api": {"base_url": keycloak.issuer("acme")},
            **client.file,
        }
    )
    return text.replace("{mtls_url}", keycloak.mtls_url)
