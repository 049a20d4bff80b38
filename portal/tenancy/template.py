"""A template for a new tenant file."""

from __future__ import annotations

from portal.tenancy.presets import Preset


def name_for(slug: str) -> str:
    """The name of a tenant until somebody writes another."""
    return slug.replace("-", " ").title()


def tenant_template(slug: str, preset: Preset) -> str:
    """Return a commented tenant file for a slug and a preset, with values to fill in."""
    variable = f"{slug.upper().replace('-', '_')}_CLIENT_SECRET"
    secret = f"file:/run/secrets/{slug}      # read again when it changes; ${{{variable}}} needs a restart"
    return f"""\
# yaml-language-server: $schema=./tenant.schema.json
# The tenant {slug}. Check this file with: portal tenant check
name: {name_for(slug)}

# The provider, and the portal's client there. Register this redirect URI ("callback URL"):
# https://<portal>/t/{slug}/callback
# For several providers, use `providers`; each then has a separate redirect URI, such as
# https://<portal>/t/{slug}/callback/staff
preset: {preset.name}
{_address(slug, preset)}
client:
{_client(preset, secret)}
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


def _client(preset: Preset, secret: str) -> str:
    """Return the keys of `client` that the preset asks for."""
    lines = []
    for one in preset.fields.values():
        if one.key[0] != "client" or one.optional:
            continue
        value = {"id": '"the client id"', "secret": secret}.get(one.key[-1], one.example)
        lines += [f"{'  ' * depth}{key}:" for depth, key in enumerate(one.key[1:-1], 1)]
        lines.append(f"{'  ' * (len(one.key) - 1)}{one.key[-1]}: {value}")
    return "\n".join(lines)


def _access(slug: str, preset: Preset) -> str:
    if "hosted_domain" in preset.fields:
        return f"hosted_domain: {slug}.example      # the organisation's domain at Google Workspace"
    return f"""\
# access:
#   require:
#     - {{claim: email, ends_with: "@{slug}.example", verified_by: email_verified}}"""


def _address(slug: str, preset: Preset) -> str:
    if preset.default_issuer:
        lines = [f"# issuer: {preset.default_issuer} (set by the preset)"]
    elif preset.issuer_needs == ["domain"] and "issuer" not in preset.fields:
        lines = [f"domain: {preset.fields['domain'].example.replace('acme', slug)}"]
    else:
        lines = [f"issuer: {preset.issuer_rules.example}"]
    values = [
        f'{name}: "<{one.label}>"'
        for name, one in preset.fields.items()
        if one.key == ("fields", name) and not one.optional and name not in preset.issuer_needs
    ]
    return "\n".join([*lines, *([f"fields: {{{', '.join(values)}}}"] if values else [])])
