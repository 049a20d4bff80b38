"""Authorization responses: in the URL or in a form, signed or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from portal.demo.compact import JsonObject, sign_rs256
from portal.demo.provider_model import ReturnPath
from tests.kit.faulty.forged_tokens import other_signature, unsigned
from tests.kit.faulty.provider import FaultyProvider
from tests.kit.faulty.provider_faults import OTHER_PARTY

FORM_SCRIPT = 'document.getElementById("response").submit();'
_SIGNED_SECONDS = 300


def response_parameters(
    provider: FaultyProvider, path: ReturnPath, response: Mapping[str, str]
) -> dict[str, str]:
    """Return the response with state and issuer, or one signed token with all of them (JARM)."""
    faults = provider.faults
    parameters = dict(response)
    if path.state is not None:
        parameters["state"] = "another-state" if faults.wrong_state else path.state
    if faults.response_iss != "missing":  # RFC 9207 2
        parameters["iss"] = OTHER_PARTY if faults.response_iss == "wrong" else provider.issuer
    if not path.response_mode.endswith("jwt") or faults.response_signature == "none at all":
        return parameters
    return {"response": _signed(provider, path, parameters)}


def is_form(provider: FaultyProvider, path: ReturnPath) -> bool:
    """Whether the response is posted as a form (OAuth 2.0 Form Post Response Mode)."""
    return path.response_mode.startswith("form_post") and not provider.faults.response_in_url


def form_page(action: str, parameters: Mapping[str, str], *, script: str) -> str:
    """Return a page that posts a response to the client. Parameters: script, URL of FORM_SCRIPT."""
    fields = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'
        for name, value in parameters.items()
    )
    return _page(
        "One moment",
        f'<form id="response" method="post" action="{escape(action)}">{fields}'
        f'<button>Continue</button></form><script src="{script}"></script>',
    )


def frames_page(addresses: Sequence[str], target: str | None) -> str:
    """Return a page that loads the logout URLs of clients in frames."""
    frames = "".join(
        f'<iframe src="{escape(address)}" title="Signing out of an application"></iframe>'
        for address in addresses
    )
    link = f'<p><a href="{escape(target)}">Continue</a></p>' if target else ""
    return _page("You are signed out", frames + link)


def _page(heading: str, content: str) -> str:
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{heading}</title>'
        f'<link rel="icon" href="data:,"><main><h1>{heading}</h1>{content}</main></html>'
    )


def _signed(provider: FaultyProvider, path: ReturnPath, parameters: Mapping[str, str]) -> str:
    key, faults = provider.keys.current, provider.faults
    header: JsonObject = {"alg": "RS256", "kid": key.kid}
    claims: JsonObject = {
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
    return other_signature(token) if faults.response_signature == "bad_signature" else token
