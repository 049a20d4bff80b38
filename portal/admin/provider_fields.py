"""The fields of the form for a provider: what its preset asks for, and a few further settings."""

from __future__ import annotations

from collections.abc import Mapping

from portal.admin.content import names_secret
from portal.admin.editing import Keys
from portal.admin.provider_form import Asked
from portal.oidc.provider import ClientAuth
from portal.sentences import sentence
from portal.tenancy.presets import Preset
from portal.tenancy.presets.templates import placeholders

_BLOCKS = frozenset({"private_key", "certificate"})
"""Keys whose values are PEM, with several lines."""
_AUTH_LABELS: Mapping[ClientAuth, str] = {
    ClientAuth.CLIENT_SECRET_BASIC: "client_secret_basic (header)",
    ClientAuth.CLIENT_SECRET_POST: "client_secret_post (body)",
    ClientAuth.CLIENT_SECRET_JWT: "client_secret_jwt (assertion)",
    ClientAuth.PRIVATE_KEY_JWT: "private_key_jwt (portal’s key)",
    ClientAuth.NONE: "none (public client)",
}


def asked_fields(preset: Preset, *, several: bool) -> tuple[Asked, ...]:
    """Return the fields of the form for a provider. Parameters: several, whether the tenant has several."""
    keys = {one.key for one in preset.fields.values()}
    fields = [_of_preset(preset, name, others=keys) for name in preset.fields]
    further = (one for one in _further(preset, several=several) if one.key not in keys)
    fixed_issuer = not placeholders(preset.provider.get("issuer", "{issuer}"))
    return (*fields, *(one for one in further if not (fixed_issuer and one.key == ("issuer",))))


def _of_preset(preset: Preset, name: str, *, others: set[Keys]) -> Asked:
    found = preset.fields[name]
    secret, lines = names_secret(found.key), found.key[-1] in _BLOCKS
    alternative = found.key == ("domain",) and ("issuer",) in others
    determines_issuer = name in preset.issuer_needs or found.key == ("issuer",)
    optional = (found.optional and found.key != ("issuer",)) or found.default is not None or alternative
    return Asked(
        name=name,
        label=found.label,
        key=found.key,
        help=found.help,
        example="" if secret or lines else found.default or found.example,
        required=not optional and not determines_issuer and not secret,
        optional=optional,
        secret=secret,
        lines=lines,
        more=alternative,
        or_access=preset.public_accounts and found.key == ("hosted_domain",),
        makes_issuer=found.key == ("domain",)
        and str(preset.provider.get("issuer")).rstrip("/") == f"https://{{{name}}}",
    )


def _further(preset: Preset, *, several: bool) -> tuple[Asked, ...]:
    standard = ClientAuth(preset.client_auth)
    default = ("", sentence("As usual: %(standard)s", standard=standard))
    choices = (default, *((one.value, label) for one, label in _AUTH_LABELS.items()))
    return (
        Asked(
            "more-label",
            "Name on the sign-in page",
            ("label",),
            help="What users choose by, since this organisation has several providers."
            if several
            else "What users choose by when this organisation has several providers.",
            example="Staff",
            more=not several,
        ),
        Asked(
            "more-issuer",
            "Issuer",
            ("issuer",),
            help="In place of what determines it above, to the letter.",
            example=preset.issuer_rules.example,
            more=True,
        ),
        Asked(
            "more-scopes",
            "Scopes",
            ("scopes",),
            help=sentence(
                "With spaces between them. Without a value: %(scopes)s", scopes=" ".join(preset.scopes)
            ),
            listed=True,
            more=True,
        ),
        Asked(
            "more-step-up-scopes",
            "Scopes for a step-up",
            ("step_up_scopes",),
            help="With spaces between them. Sign-ins do not ask for them; a user is asked when the API wants "
            "one of them.",
            example="delete:orders",
            listed=True,
            more=True,
        ),
        Asked(
            "more-acr-values",
            "Authentication context classes",
            ("acr_values",),
            help="With spaces between them, in order of preference: how users should authenticate, as the "
            "provider names it (acr_values).",
            example="urn:example:mfa",
            listed=True,
            more=True,
        ),
        Asked(
            "more-max-age",
            "Maximum age of the authentication",
            ("max_age",),
            help="A number with s, m, h or d. Who authenticated at the provider longer ago does so again at "
            "a sign-in; 0s means always.",
            example="8h",
            more=True,
        ),
        Asked(
            "more-audience",
            "Audience",
            ("audience",),
            help="The API that access tokens are for, where the provider wants it as audience.",
            more=True,
        ),
        Asked(
            "more-auth",
            "How the portal authenticates",
            ("client", "auth"),
            help="With the secret in the header or the body of requests, with an assertion that the secret "
            "or a key of the portal signs, or not at all.",
            choices=choices,
            more=True,
        ),
        Asked(
            "more-api",
            "Base URL of your API",
            ("api", "base_url"),
            help="The API that the portal calls with the user's access token. The whole organisation has it.",
            example="https://api.example.com/v1",
            more=True,
            of_tenant=True,
        ),
    )
