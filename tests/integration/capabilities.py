"""Checks "not offered" cells of docs/interoperability.md against the metadata of providers."""

from __future__ import annotations

from collections.abc import Mapping

import yaml

from tests.integration.child import ROOT

_MEMBERS = {
    "RP logout": "end_session_endpoint",
    "back-channel logout": "backchannel_logout_supported",
    "front-channel logout": "frontchannel_logout_supported",
    "PAR": "pushed_authorization_request_endpoint",
    "DPoP": "dpop_signing_alg_values_supported",
}
_METHODS = {
    **{
        method: {method}
        for method in (
            "client_secret_basic",
            "client_secret_post",
            "client_secret_jwt",
            "private_key_jwt",
            "none",
        )
    },
    "mTLS": {"tls_client_auth", "self_signed_tls_client_auth"},
}


def offered(metadata: Mapping[str, object], capabilities: list[str]) -> list[str]:
    """Return the capabilities that the metadata of a provider announce.

    Metadata never announce "refresh after a key change".
    """
    methods = _strings(metadata, "token_endpoint_auth_methods_supported") or {"client_secret_basic"}
    named = {capability for capability, known in _METHODS.items() if methods & known}
    named |= {capability for capability, member in _MEMBERS.items() if metadata.get(member)}
    named |= _strings(metadata, "response_modes_supported") & {"form_post"}
    return [capability for capability in capabilities if capability in named]


def documented_as_not_offered(provider: str) -> list[str]:
    """Return the capabilities that docs/interoperability.yaml lists as not offered by the provider."""
    document = yaml.safe_load((ROOT / "docs" / "interoperability.yaml").read_text())
    (entry,) = [one for one in document["providers"] if one["name"] == provider]
    return [name for name, text in entry["capabilities"].items() if text == "not offered"]


def _strings(metadata: Mapping[str, object], name: str) -> set[str]:
    values = metadata.get(name)
    return {str(value) for value in values} if isinstance(values, list) else set()
