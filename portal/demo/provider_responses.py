"""How the development provider's answers travel to the client: in the URL, in a form, signed or not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from portal.demo.compact import sign_rs256, unsigned
from portal.demo.faults import STRANGER
from portal.demo.provider_model import ReturnPath

if TYPE_CHECKING:
    from portal.demo.provider import DevelopmentProvider

_SIGNED_SECONDS = 300


def response_parameters(
    provider: DevelopmentProvider, path: ReturnPath, response: Mapping[str, str]
) -> dict[str, str]:
    """What the client is sent: response, state and issuer, or one signed token with all of them (JARM)."""
    faults = provider.faults
    parameters = dict(response)
    if path.state is not None:
        parameters["state"] = "state-of-somebody-else" if faults.wrong_state else path.state
    if faults.response_iss != "missing":  # RFC 9207 2
        parameters["iss"] = STRANGER if faults.response_iss == "wrong" else provider.issuer
    if not path.response_mode.endswith("jwt") or faults.response_signature == "none at all":
        return parameters
    return {"response": _signed(provider, path, parameters)}


def is_form(provider: DevelopmentProvider, path: ReturnPath) -> bool:
    """Whether the response goes as a form (OAuth 2.0 Form Post Response Mode)."""
    return path.response_mode.startswith("form_post") and not provider.faults.response_in_url


def with_response(redirect_uri: str, parameters: Mapping[str, str]) -> str:
    """The redirect URI with a response in its query."""
    separator = "&" if urlsplit(redirect_uri).query else "?"
    return f"{redirect_uri}{separator}{urlencode(parameters)}"


def _signed(provider: DevelopmentProvider, path: ReturnPath, parameters: Mapping[str, str]) -> str:
    key, faults = provider.keys.current, provider.faults
    header: dict[str, object] = {"alg": "RS256", "kid": key.kid}
    claims: dict[str, object] = {
        **parameters,
        "aud": path.client_id,
        "exp": int(provider.settings.clock()) + _SIGNED_SECONDS,
    }
    if faults.mutate_signed_response is not None:
        faults.mutate_signed_response(header, claims)
    if faults.response_signature == "alg_none":
        return unsigned({"alg": "none"}, claims)
    token = sign_rs256(header, claims, key.key)
    provider.state.issued.append(token)
    if faults.response_signature == "bad_signature":
        text, _, signature = token.rpartition(".")
        return f"{text}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"
    return token
