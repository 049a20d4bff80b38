"""Issuers at which anybody in the world can have an account, whatever preset names them.

A tenant with such an issuer must say who may sign in. Add an issuer here when anybody can make an account
there, or use one that has nothing to do with the organisation.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from portal.oidc.provider import Provider
from portal.tenancy.presets import PERSONAL_ACCOUNTS

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
"""Issuer without a slash at its end, and whose it is."""


def public_name(provider: Provider) -> str | None:
    """Whose accounts a provider signs in when anybody can have one there; None when not anybody can."""
    template = provider.issuer_template
    if template is not None and template.tenant_ids is None:
        return "Microsoft"
    if template is not None and PERSONAL_ACCOUNTS in (template.tenant_ids or ()):
        return "Microsoft (personal accounts)"
    return PUBLIC_ISSUERS.get(provider.issuer.rstrip("/"))


def remedy(name: str, *, hosted_domain: bool) -> str:
    """What a tenant file without `access` is told; `hosted_domain`, whether that key is possible."""
    google = ", or hosted_domain: acme.example for one Google Workspace organisation" if hosted_domain else ""
    return (
        f"access is missing, and anybody in the world can have an account at {name}. Say who may sign in: "
        'access: {require: [{claim: email, ends_with: "@acme.example", verified_by: email_verified}]}'
        f"{google}, or access: {{require: [...]}} with other claims; "
        "access: anyone lets every account in"
    )
