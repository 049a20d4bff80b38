"""The position and message for every kind of mistake in a tenant file."""

from __future__ import annotations

from pathlib import Path

import pytest

from portal.tenancy.presets import built_in
from tests.unit.tenancy.files import ACME, problems

NAMES = built_in().names()


def added(text: str) -> str:
    return ACME + text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        # keys
        (
            added("audiance: x\n"),
            'acme.yaml:6:1: unknown key "audiance"; did you mean "audience"?',
        ),
        (
            added("Hosts: [a.b]\n"),
            'acme.yaml:6:1: unknown key "Hosts"; did you mean "hosts"?',
        ),
        (
            added("api: {base_url: https://a.example, bas_url: x}\n"),
            'acme.yaml:6:36: unknown key "bas_url" in api; did you mean "base_url"?',
        ),
        (
            added("session: {zzz: 1h}\n"),
            "acme.yaml:6:11: unknown key in session; expected one of: absolute, idle",
        ),
        (
            added("auth: none\n"),
            'acme.yaml:6:1: "auth" belongs in client',
        ),
        (
            added("backchannel_logout_uri: https://portal.example/t/acme/backchannel-logout\n"),
            'acme.yaml:6:1: "backchannel_logout_uri" is registered at the provider, not written here; '
            "see: portal key show",
        ),
        (
            added("api: {base_url: https://api.acme.example, timeout: 0s}\n"),
            "acme.yaml:6:52: api.timeout must be between 1s and 1h",
        ),
        (
            added("api: {base_url: https://api.acme.example, idle_timeout: 2h}\n"),
            "acme.yaml:6:57: api.idle_timeout must be between 1s and 1h",
        ),
        (
            ACME.replace("name: Acme Corporation\n", ""),
            'acme.yaml:1:1: this file lacks the key "name": the organisation\'s name, as shown to users',
        ),
        (
            ACME.replace("  id: portal\n", ""),
            'acme.yaml:3:1: client lacks the key "id": the client id that the provider issued',
        ),
        (
            added("audience:\n"),
            "acme.yaml:6:1: audience has no value; leave it out, or quote what begins with #",
        ),
        (
            added("branding:\n  color: #1f6feb\n"),
            "acme.yaml:7:3: branding.color has no value; leave it out, or quote what begins with #",
        ),
        # types of values
        (
            ACME.replace("portal", "12"),
            "acme.yaml:4:7: client.id must be text, found a number; put it in quotes",
        ),
        (
            added("audience: true\n"),
            "acme.yaml:6:11: audience must be text, found true; put it in quotes",
        ),
        (
            added("discovery: no\n"),
            "acme.yaml:6:12: discovery must be true or false, found text",
        ),
        (
            added("scopes: openid\n"),
            "acme.yaml:6:9: scopes must be a list, found text; write it in brackets, with commas: [one, two]",
        ),
        (
            added("api: https://a.example\n"),
            "acme.yaml:6:6: api must be a mapping, found text",
        ),
        (
            added("hosts: [[a]]\n"),
            "acme.yaml:6:9: hosts[1] must be text, found a list",
        ),
        (
            added("authorize_params: [a]\n"),
            "acme.yaml:6:19: authorize_params must be a mapping, found a list",
        ),
        (
            added("authorize_params: {prompt: 1}\n"),
            "acme.yaml:6:28: authorize_params.<name> must be text, found a number; put it in quotes",
        ),
        (
            added("id_token_algs: []\n"),
            "acme.yaml:6:16: id_token_algs must have at least 1 entry, found 0",
        ),
        (
            added(f"acr_values: [{', '.join('a' * 21)}]\n"),
            "acme.yaml:6:13: acr_values must have at most 20 entries, found 21",
        ),
        # enumerated values
        (
            added("preset: keyclaok\n"),
            'acme.yaml:6:9: preset is "keyclaok"; expected one of: '
            + ", ".join(NAMES)
            + '; did you mean "keycloak"?',
        ),
        (
            added("id_token_algs: [none]\n"),
            "acme.yaml:6:17: id_token_algs[1] must be one of: RS256, RS384, RS512, "
            "PS256, PS384, PS512, ES256, ES384, ES512, EdDSA, HS256, HS384, HS512",
        ),
        (
            ACME + "  auth: basic\n",
            "acme.yaml:6:9: client.auth must be one of: client_secret_basic, "
            "client_secret_post, client_secret_jwt, private_key_jwt, tls_client_auth, "
            "self_signed_tls_client_auth, none",
        ),
        # names
        (
            ACME.replace("Acme Corporation", "''"),
            "acme.yaml:1:7: name must be one line of 1 to 100 visible characters, found text",
        ),
        (
            ACME.replace("Acme Corporation", '"a\\u202eb"'),
            "acme.yaml:1:7: a character that changes the direction of text is not allowed",
        ),
        (
            ACME.replace("Acme Corporation", "x" * 101),
            "acme.yaml:1:7: name must be one line of 1 to 100 visible characters, found text",
        ),
        # URLs
        (
            added("api: {base_url: http://api.acme.example}\n"),
            "acme.yaml:6:17: api.base_url must be an https URL (http only to localhost, with "
            "allow_private_networks: true in the portal's settings), found text",
        ),
        (
            added("api: {base_url: https://u:pw@api.acme.example}\n"),
            "acme.yaml:6:17: api.base_url is refused: the URL must not contain a user name or password",
        ),
        (
            added("api: {base_url: http://u:pw@api.acme.example}\n"),
            "acme.yaml:6:17: api.base_url is refused: the URL must not contain a user name or password",
        ),
        (
            added('api: {base_url: "https://api.acme.example/?a=b"}\n'),
            'acme.yaml:6:17: api.base_url must be a URL without "?"; query parameters are those of '
            "each call, found text",
        ),
        (
            added('api: {base_url: "https://api.acme.example/#a"}\n'),
            "acme.yaml:6:17: api.base_url is refused: the URL must not have a fragment (#)",
        ),
        (
            added("api: {base_url: https://api.acme.example/a/%2E./b}\n"),
            "acme.yaml:6:17: api.base_url must be a URL without . or .. in its path, found text",
        ),
        (
            added('api: {base_url: "https://api.acme.example/{x}"}\n'),
            'acme.yaml:6:17: api.base_url must be a URL without any of < > " \\ ^ ` { | }',
        ),
        (
            added("api: {base_url: /v1}\n"),
            "acme.yaml:6:17: api.base_url must be an https URL (http only to localhost, with "
            "allow_private_networks: true in the portal's settings), found text",
        ),
        (
            added("api: {base_url: https://10.0.0.7}\n"),
            "acme.yaml:6:17: api.base_url is refused: it leads to a private address, "
            "unless the portal's settings have allow_private_networks: true",
        ),
        (
            added("api: {base_url: https://169.254.169.254}\n"),
            "acme.yaml:6:17: api.base_url is refused: it leads to a link-local address",
        ),
        (
            added("api: {base_url: https://a.example, example_paths: [orders]}\n"),
            "acme.yaml:6:52: api.example_paths[1] must be a path that begins with one /, such as "
            "/orders?limit=10, found text",
        ),
        (
            added("api: {base_url: https://a.example, example_paths: [//evil.example]}\n"),
            "acme.yaml:6:52: api.example_paths[1] must be a path that begins with one /, such as "
            "/orders?limit=10, found text",
        ),
        (
            ACME.replace("realms/staff", "?a"),
            'acme.yaml:2:9: issuer must be an issuer URL without "?", found text',
        ),
        (
            added('logout: {url: "https://a.example/{id}"}\n'),
            "acme.yaml:6:15: logout.url must have no placeholders but {client_id} and {return_to}",
        ),
        # hosts, domains, colours
        (
            added("hosts: [https://portal.acme.example]\n"),
            "acme.yaml:6:9: hosts[1] must be a host name alone, such as portal.acme.example, without "
            "https:// and path, found text",
        ),
        (
            added('hosts: ["portal.acme.example:8443"]\n'),
            "acme.yaml:6:9: hosts[1] must be a host name without a port, found text",
        ),
        (
            added("hosts: [portäl.example]\n"),
            "acme.yaml:6:9: hosts[1] must be a host name in its ASCII form (xn--…), found text",
        ),
        (
            added("hosts: [ä..example]\n"),
            "acme.yaml:6:9: hosts[1] must be a host name in its ASCII form (xn--…), found text",
        ),
        (
            added("hosts: [10.0.0.7]\n"),
            "acme.yaml:6:9: hosts[1] must be a host name such as portal.acme.example, found text",
        ),
        (
            added("hosts: [a_b.example]\n"),
            "acme.yaml:6:9: hosts[1] must be a host name such as portal.acme.example, found text",
        ),
        (
            added("email_domains: [ann@acme.example]\n"),
            "acme.yaml:6:17: email_domains[1] must be the part after the @ of an e-mail address, "
            "such as acme.example, found text",
        ),
        (
            added("email_domains: [acme]\n"),
            "acme.yaml:6:17: email_domains[1] must be a domain such as acme.example, found text",
        ),
        (
            added("branding: {color: blue}\n"),
            'acme.yaml:6:19: branding.color must be a colour such as "#1f6feb" (in quotes: # begins '
            "a comment), found text",
        ),
        # durations
        (
            added("session: {idle: 30}\n"),
            "acme.yaml:6:17: session.idle must be a duration such as 90s, 10m, 12h or 7d, at most "
            "366d, found a number",
        ),
        (
            added("session: {idle: 1h30m}\n"),
            "acme.yaml:6:17: session.idle must be a duration such as 90s, 10m, 12h or 7d, at most "
            "366d, found text",
        ),
        (
            added("session: {idle: 400d}\n"),
            "acme.yaml:6:17: session.idle must be a duration such as 90s, 10m, 12h or 7d, at most "
            "366d, found text",
        ),
        (
            added("session: {idle: 0s}\n"),
            "acme.yaml:6:17: session.idle must be at least 1s",
        ),
        (
            added("session: {idle: 2h, absolute: 1h}\n"),
            "acme.yaml:6:17: session.idle is longer than absolute",
        ),
        # scopes and parameters
        (
            added("scopes: [profile]\n"),
            'acme.yaml:6:9: scopes lacks "openid", which every sign-in needs; add it',
        ),
        (
            added("scopes: []\n"),
            'acme.yaml:6:9: scopes lacks "openid", which every sign-in needs; add it',
        ),
        (
            added("scopes: [openid, a b]\n"),
            "acme.yaml:6:18: scopes[2] must be one scope, without spaces or quotes, found text",
        ),
        (
            added("authorize_params:\n  state: x\n"),
            "acme.yaml:7:3: authorize_params.<name> is set by the portal to protect the login "
            "and cannot be set here",
        ),
        (
            added("authorize_params:\n  scope: x\n"),
            'acme.yaml:7:3: authorize_params.<name> has a separate key: write "scopes" next to '
            "authorize_params",
        ),
        (
            added("authorize_params:\n  max_age: x\n"),
            'acme.yaml:7:3: authorize_params.<name> has a separate key: write "max_age" next to '
            "authorize_params",
        ),
        (
            added("authorize_params: {a b: x}\n"),
            "acme.yaml:6:20: authorize_params.<name> is not the name of a parameter: letters, digits "
            "and _ . : - only",
        ),
        (
            added("acr_values: [gold]\nauthorize_params: {acr_values: gold}\n"),
            "acme.yaml:6:13: acr_values is also in authorize_params; keep one of the two",
        ),
        # client
        (
            ACME.replace("  secret: ${ACME_SECRET}\n", ""),
            "acme.yaml:3:1: client.secret is missing: write ${NAME} or file:/path, or auth: none for "
            "a public client",
        ),
        (
            ACME + "  auth: none\n",
            "acme.yaml:5:11: client.secret is not used with auth: none; remove one of the two",
        ),
        (
            ACME + "  auth: client_secret_jwt\n",
            "acme.yaml:5:11: client.secret has 14 bytes, and auth: client_secret_jwt needs 32: create one "
            "with openssl rand -base64 32 and register it at the provider",
        ),
        (
            ACME + "  auth: tls_client_auth\n",
            "acme.yaml:3:1: client.certificate is missing: auth: tls_client_auth needs it; write file:/path",
        ),
        # keys that need each other
        (
            added("discovery: false\nendpoints: {token: https://a.example}\n"),
            "acme.yaml:6:12: discovery is false, which needs endpoints with authorization, token and jwks",
        ),
        (
            ACME.replace("secret: ${ACME_SECRET}", "auth: none") + "id_token_algs: [HS256]\n",
            "acme.yaml:6:16: id_token_algs lists an HS algorithm, which needs a client secret",
        ),
        # several providers
        (
            "name: Acme\nproviders: {}\n",
            "acme.yaml:2:12: providers must have at least 1 entry, found 0",
        ),
        (
            "name: Acme\naudience: x\nproviders: {a: {issuer: https://a.example, client: {id: x}}}\n",
            'acme.yaml:2:1: "audience" belongs inside each of providers, not beside it',
        ),
        (
            "name: Acme\nauth: none\nproviders: {a: {issuer: https://a.example, client: {id: x}}}\n",
            'acme.yaml:2:1: "auth" belongs in client, inside each of providers',
        ),
        (
            "name: Acme\nproviders:\n  a:\n    issuer: https://a.example\n    client: {id: x, auht: none}\n",
            'acme.yaml:5:21: unknown key "auht" in providers.<name>.client; did you mean "auth"?',
        ),
        (
            "name: Acme\nproviders:\n  A b:\n    issuer: https://a.example\n    client: {id: x}\n",
            "acme.yaml:3:3: providers.<name> must be small letters, digits and hyphens, at most 63, "
            "found text",
        ),
        (
            added("admins: [{claim: email, value: admin@acme.example}]\n"),
            "acme.yaml:6:25: unknown key in admins[1]; expected one of: claim, contains, contains_all, "
            "contains_any, ends_with, equals, one_of, present, provider, verified_by",
        ),
        (
            added('branding: {color: "#FA0", logo_url: "http://acme.example/logo.svg"}\n'),
            "acme.yaml:6:37: branding.logo_url must be an https URL (http only to localhost, with "
            "allow_private_networks: true in the portal's settings), found text",
        ),
        (
            "name: Acme\nproviders: {a: {issuer: https://a.example, client: {id: x, auth: none}}}\n"
            "admins: [{claim: sub, equals: x, provider: b}]\n",
            "acme.yaml:3:9: admins has an entry whose provider is not a provider of this tenant",
        ),
    ],
)
def test_a_mistake_is_reported_with_its_position_and_remedy(tmp_path: Path, text: str, problem: str) -> None:
    assert problem in problems(tmp_path, text)
