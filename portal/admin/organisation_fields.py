"""The fields of the general settings: what a tenant says of itself, beside its rules, providers and APIs."""

from __future__ import annotations

from portal.admin.provider_form import Asked
from portal.sentences import message

ORGANISATION_FIELDS = (
    Asked("name", "Name of the organisation", ("name",), example="Example Corporation", optional=False),
    Asked(
        "email-domains",
        "E-mail domains",
        ("email_domains",),
        help="One a line, such as example.com. Who types an address there is sent to your sign-in. Each "
        "counts when it is proven under Domains.",
        lines=True,
        listed=True,
    ),
    Asked(
        "hosts",
        "Host names of your own",
        ("hosts",),
        help="One a line, such as portal.example.com: there, the portal shows only your sign-in. Each counts "
        "when it is proven under Domains.",
        lines=True,
        listed=True,
    ),
    Asked(
        "listed",
        "On the start page of the portal",
        ("listed",),
        help="Whether users can find the organisation there by its name. If not, they need its link, or an "
        "e-mail address of its domains.",
        truth=True,
        choices=(
            ("", message("As usual: it can be found")),
            ("true", message("It can be found")),
            ("false", message("It cannot be found by its name")),
        ),
    ),
)
APPEARANCE_FIELDS = (
    Asked(
        "color",
        "Colour",
        ("branding", "color"),
        help="As #rrggbb: of the initials, and of the main buttons on the organisation's pages.",
        example="#1f6feb",
    ),
    Asked(
        "logo",
        "Address of the logo",
        ("branding", "logo_url"),
        help="An https URL of an SVG, PNG, WebP or JPEG file. The portal fetches it once a day and shows it "
        "in place of the initials.",
        example="https://www.example.com/logo.svg",
    ),
)
CLAIM_FIELDS = (
    Asked(
        "claim-name",
        "Claim with the name",
        ("claims", "name"),
        help="Without a value: name.",
        example="preferred_username",
    ),
    Asked(
        "claim-email",
        "Claim with the e-mail address",
        ("claims", "email"),
        help="Without a value: email.",
        example="mail",
    ),
    Asked(
        "claim-roles",
        "Claim with the roles",
        ("claims", "roles"),
        help="Shown on the organisation's page. Without a value: none.",
        example="roles",
    ),
    Asked(
        "claim-show",
        "Claims that users see of themselves",
        ("claims", "show"),
        help="One a line. Without a value: all that are about the user.",
        example="department",
        lines=True,
        listed=True,
        by_line=True,
    ),
    Asked(
        "claim-page",
        "Claims that your front end gets",
        ("claims", "page"),
        help="One a line. Scripts of such a page get these claims of the user from GET /session, and no "
        "others.",
        example="department",
        lines=True,
        listed=True,
        by_line=True,
    ),
)
SESSION_FIELDS = (
    Asked(
        "idle",
        "A login ends when it is unused for",
        ("session", "idle"),
        help="A number with s, m, h or d, such as 30m. It can only be shorter than the portal's own limit.",
        example="30m",
    ),
    Asked(
        "absolute",
        "A login always ends after",
        ("session", "absolute"),
        help="A number with s, m, h or d, such as 12h. It can only be shorter than the portal's own limit.",
        example="12h",
    ),
)
GENERAL_FIELDS = (*ORGANISATION_FIELDS, *APPEARANCE_FIELDS, *CLAIM_FIELDS, *SESSION_FIELDS)
