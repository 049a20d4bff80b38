"""Microsoft Entra ID: one issuer for several directories, and error codes inside of descriptions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import urlsplit

from portal.oidc.issuer import PLACEHOLDER
from portal.tenancy.presets.hooks import Hooks

PERSONAL_ACCOUNTS = "9188040d-6c67-4c5b-b112-36a304b66dad"
"""The directory that Entra keeps personal Microsoft accounts in."""
_HOST = "https://login.microsoftonline.com"
_SHARED = ("organizations", "common")
"""Values of `domain` that cover all directories; each is a segment of the issuer's path."""
_AADSTS = re.compile(r"AADSTS([0-9]{4,7})\b")
# https://learn.microsoft.com/entra/identity-platform/reference-error-codes
_CODES: Mapping[str, str] = MappingProxyType(
    {
        "50020": "access_denied",  # the account is of another directory
        "50058": "login_required",  # a silent sign-in without a session
        "50105": "access_denied",  # the user is not assigned to the application
        "65001": "consent_required",
        "65004": "access_denied",  # the user declined to consent
        "90094": "consent_required",  # an administrator has to consent
    }
)


_SPECIFIC = frozenset(
    {"login_required", "interaction_required", "consent_required", "account_selection_required"}
)
"""Codes of OIDC Core 3.1.2.6. They also decide whether a silent sign-in is repeated with interaction."""


class EntraHooks(Hooks):
    """Applications for several directories: `domain: organizations` or `common`, with `tenant_ids`."""

    def shared_issuer(self, domain: str) -> str | None:
        """Return the issuer of `organizations` and `common`."""
        return f"{_HOST}/{domain}/v2.0" if domain in _SHARED else None

    def check_issuer(self, issuer: str) -> str | None:
        """Refuse `consumers`: tokens of personal accounts have the issuer of their directory."""
        if "consumers" not in urlsplit(issuer).path.split("/"):
            return None
        return (
            "is not the issuer in tokens of personal accounts; write issuer: "
            f"{_HOST}/{PERSONAL_ACCOUNTS}/v2.0"
        )

    def issuer_template(self, issuer: str) -> str | None:
        """Return the template of an issuer that all directories share."""
        parts = urlsplit(issuer).path.split("/")
        shared = next((part for part in _SHARED if part in parts), None)
        return None if shared is None else issuer.replace(f"/{shared}/", f"/{PLACEHOLDER}/")

    def error_code(self, error: str, description: str) -> str | None:
        """Return the registered code for the AADSTS number in the description.

        Microsoft may change the numbers, so a code that is already specific is kept.
        """
        if error in _SPECIFIC:
            return None
        found = _AADSTS.search(description)
        return _CODES.get(found[1]) if found else None
