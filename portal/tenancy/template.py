"""A template for a new tenant file."""

from __future__ import annotations

from portal.tenancy.presets import PRESETS, Preset

_DOMAINS = {"auth0": "{slug}.eu.auth0.com", "okta": "{slug}.okta.com", "gitlab": "gitlab.{slug}.example"}


def tenant_template(slug: str, preset_name: str) -> str:
    """Return a commented tenant file for a slug and a preset, with values to fill in."""
    preset = PRESETS[preset_name]
    variable = f"{slug.upper().replace('-', '_')}_CLIENT_SECRET"
    return f"""\
# yaml-language-server: $schema=./tenant.schema.json
# The tenant {slug}. Check this file with: portal tenant check
name: {slug.replace("-", " ").title()}

# The provider, and the portal's client there. Register this redirect URI ("callback URL"):
# https://<portal>/t/{slug}/callback
# For several providers, use `providers`; each then has a separate redirect URI, such as
# https://<portal>/t/{slug}/callback/staff
preset: {preset.name}
{_address(slug, preset)}
client:
  id: "the client id"
  secret: ${{{variable}}}      # or file:/run/secrets/{slug}
scopes: [{", ".join(preset.scopes)}]

# Who may sign in with an account at the provider.
{_access(slug, preset)}

# audience: https://api.{slug}.example      # the API that access tokens are intended for (Auth0)

# The API that the portal calls with the user's access token.
api:
  base_url: https://api.{slug}.example
  example_paths: [/]

# email_domains: [{slug}.example]           # users find the tenant by their e-mail address
# branding: {{color: "#1f6feb"}}
"""


def _access(slug: str, preset: Preset) -> str:
    if preset.name == "google":
        return f"hosted_domain: {slug}.example      # the organisation's domain at Google Workspace"
    return f"""\
# access:
#   require:
#     - {{claim: email, ends_with: "@{slug}.example", verified_by: email_verified}}"""


def _address(slug: str, preset: Preset) -> str:
    if preset.name in _DOMAINS:
        return f"domain: {_DOMAINS[preset.name].format(slug=slug)}"
    if preset.fixed_issuer:
        return f"# issuer: {preset.fixed_issuer} (set by the preset)"
    return f"issuer: {preset.issuer_form}"
