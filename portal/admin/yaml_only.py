"""The keys of a tenant that no form of the console asks for, and why they are edited as YAML.

A key is written as in messages: `apis.<name>.timeout`, `links[].url`. A test compares them with the schema,
so that a new key gets a field, or a reason here. docs/reference/console.md lists them.
"""

from __future__ import annotations

from collections.abc import Mapping

_MODES = "Few providers need it, and its values depend on what the provider's administrator set there."
_EXPERT = "It replaces what the provider's metadata says. Only a provider that departs from OpenID needs it."

YAML_ONLY: Mapping[str, str] = {
    "access.paths": "Rules for parts of an API: lists of rules in a list, which are easier to read as YAML.",
    "shared_email_domains": "Refused in the console: only the operator can vouch that they belong together.",
    "front_end": "Refused in the console: it names a folder of the portal's server.",
    "apis.<name>.step_up_scopes": "Few APIs have such scopes; the form of the provider asks for its own.",
    "forward_auth": "What the operator's reverse proxy learns of users; tokens only in tenant files.",
    "authorize_params": "Parameters of any name, as the provider documents them.",
    "requested_claims": "Claims with requirements of their own (OpenID Connect Core 5.5), nested.",
    "resources": "Several APIs of one access token; the form of each API asks for its resource.",
    "discovery": _EXPERT,
    "endpoints": _EXPERT,
    "logout": _EXPERT,
    "id_token_algs": _EXPERT,
    "userinfo_algs": _EXPERT,
    "response_mode": _MODES,
    "response_algs": _MODES,
    "par": _MODES,
    "request_object": _MODES,
    "dpop": _MODES,
    "userinfo": _MODES,
    "id_token_encryption": _MODES,
    "global_token_revocation": "Few providers send such requests, and each needs the endpoint's URL first.",
    "tls": "A certificate authority of the provider's own, which its preset seldom knows of.",
    "client.signing_key": _MODES,
    "client.signing_alg": _MODES,
    "client.assertion_audience": _MODES,
    "client.signed_secret.issuer": "The form of Sign in with Apple asks for the Team ID, which it is.",
    "client.signed_secret.key_id": "The form of Sign in with Apple asks for it as a field of the preset.",
    "client.signed_secret.expires_at": "Only a reminder: the portal warns before this date.",
    "tenant_ids": "Needed for accounts of several directories of Microsoft Entra ID only.",
}
"""The keys without a form, with all keys below them, and the reason. Those of a provider are without the
`providers.<name>` of several."""

PROVIDERS_OWN_ACCESS = "Rules of one provider beside those of the organisation, which the form asks for."
"""Why `providers.<name>.access` has no form: with one provider, the key is the organisation's."""
