"""Issuers that offer accounts to the general public, with any preset.

A tenant with such an issuer must state who may sign in. Add an issuer here if anyone can create an account
there, or can sign in with an account that is unrelated to the organisation.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from portal.oidc.provider import Provider
from portal.tenancy.presets import Preset
from portal.tenancy.presets.entra_hooks import PERSONAL_ACCOUNTS

_MICROSOFT = "https://login.microsoftonline.com"
PUBLIC_ISSUERS: Mapping[str, str] = MappingProxyType(
    {
        "https://accounts.google.com": "Google",
        "https://appleid.apple.com": "Apple",
        "https://www.linkedin.com": "LinkedIn",
        "https://www.linkedin.com/oauth": "LinkedIn",
        "https://gitlab.com": "GitLab.com",
        "https://www.facebook.com": "Facebook",
        "https://slack.com": "Slack",
        "https://id.twitch.tv/oauth2": "Twitch",
        "https://api.login.yahoo.com": "Yahoo",
        "https://access.line.me": "LINE",
        "https://kauth.kakao.com": "Kakao",
        "https://orcid.org": "ORCID",
        "https://login.salesforce.com": "Salesforce",
        f"{_MICROSOFT}/{PERSONAL_ACCOUNTS}/v2.0": "Microsoft (personal accounts)",
    }
)
"""Issuer without a trailing slash, and the name of the provider."""


def public_name(provider: Provider, preset: Preset) -> str | None:
    """Return the name of a provider that offers accounts to the general public, otherwise None."""
    if preset.public_accounts:
        return preset.title
    template = provider.issuer_template
    if template is not None and template.tenant_ids is None:
        return "Microsoft"
    if template is not None and PERSONAL_ACCOUNTS in (template.tenant_ids or ()):
        return "Microsoft (personal accounts)"
    return PUBLIC_ISSUERS.get(provider.issuer.rstrip("/"))


def missing_access_message(name: str, *, hosted_domain: bool) -> str:
    """Return the message for a tenant file without `access`; `hosted_domain`: mention that key too."""
    google = ", or hosted_domain: acme.example for a Google Workspace organisation" if hosted_domain else ""
    return (
        f"access is missing, but anyone can create an account at {name}. State who may sign in: "
        'access: {require: [{claim: email, ends_with: "@acme.example", verified_by: email_verified}]}'
        f"{google}, or access: {{require: [...]}} with other claims; "
        "access: anyone accepts every account"
    )
