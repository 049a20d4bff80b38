"""What providers offer by their metadata, for cells of docs/interoperability.md that say "not offered"."""

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
    """Those of the capabilities that the metadata of a provider name.

    "refresh after a key change" is in no metadata, so it is never among them.
    """
    methods = _strings(metadata, "token_endpoint_auth_methods_supported") or {"client_secret_basic"}
    named = {capability for capability, known in _METHODS.items() if methods & known}
    named |= {capability for capability, member in _MEMBERS.items() if metadata.get(member)}
    named |= _strings(metadata, "response_modes_supported") & {"form_post"}
    return [capability for capability in capabilities if capability in named]


def said_not_to_be_offered(provider: str) -> list[str]:
    """The capabilities that docs/interoperability.yaml says the provider does not offer."""
    document = yaml.safe_load((ROOT / "docs" / "interoperability.yaml").read_text())
    (entry,) = [one for one in document["providers"] if one["name"] == provider]
    return [name for name, text in entry["capabilities"].items() if text == "not offered"]


def _strings(metadata: Mapping[str, object], name: str) -> set[str]:
    values = metadata.get(name)
    return {str(value) for value in values} if isinstance(values, list) else set()
