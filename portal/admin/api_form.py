"""The forms for the APIs of a tenant: the list of them, and the settings of one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from portal.admin.editing import Keys, Root
from portal.admin.provider_form import Asked
from portal.config.field_types import is_slug
from portal.oidc.api_target import MAX_APIS
from portal.sentences import message, sentence
from portal.tenancy.presets.templates import value_at

DEFAULT_API = "api"
"""The key of the API that calls without a name reach; also its place in the console."""
FURTHER = "apis"
_BASE_URL = "base_url"

ADDRESS_FIELDS = (
    Asked(
        "base-url",
        "Base URL",
        (_BASE_URL,),
        help="The portal adds the path of each call to it.",
        example="https://api.example.com/v1",
        optional=False,
    ),
    Asked(
        "example-paths",
        "Example paths",
        ("example_paths",),
        help="One a line, such as /orders?limit=10. The page for developers offers them.",
        example="/orders?limit=10",
        lines=True,
        listed=True,
        by_line=True,
    ),
)
TOKEN_FIELDS = (
    Asked(
        "access",
        "Whose calls it gets",
        ("access",),
        help="Without a token, or with one of the portal itself, the API shows everybody the same.",
        choices=(
            ("", message("As usual: of users who are signed in")),
            ("user", message("Of users who are signed in, with their access token")),
            ("anonymous", message("Of anybody on the portal's pages, without a token")),
            ("client", message("Of anybody on the portal's pages, with a token of the portal")),
        ),
    ),
    Asked(
        "audience",
        "Audience",
        ("audience",),
        help="What the access token must be for, if this is not what sign-ins ask for anyway. Type it as the "
        "provider knows the API.",
        example="https://billing.example.com",
    ),
    Asked(
        "resource",
        "Resource",
        ("resource",),
        help="In place of the audience, for providers with resource indicators (RFC 8707): the URI of the "
        "API. Not both.",
        example="https://billing.example.com",
    ),
    Asked(
        "scopes",
        "Scopes",
        ("scopes",),
        help="What access tokens for this API are requested with. With spaces between them.",
        example="read:invoices",
        listed=True,
    ),
    Asked(
        "token",
        "How the portal gets the access token",
        ("token",),
        help="Usually the portal finds out by itself.",
        choices=(
            ("", message("As usual: what the provider supports")),
            ("auto", message("auto (what the provider supports)")),
            ("shared", message("shared (the one of the sign-in)")),
            ("refresh", message("refresh (with the refresh token)")),
            ("exchange", message("exchange (token exchange, RFC 8693)")),
            ("login", message("login (one more sign-in, which the page starts)")),
        ),
    ),
    Asked(
        "mtls",
        "The portal's certificate",
        ("mtls",),
        help="For access tokens that are bound to a certificate (RFC 8705). The provider's settings must "
        "have the certificate.",
        truth=True,
        choices=(
            ("", message("As usual: calls do not present it")),
            ("true", message("Calls present it")),
            ("false", message("Calls do not present it")),
        ),
    ),
)
LIMIT_FIELDS = (
    Asked(
        "timeout",
        "Longest wait for a response",
        ("timeout",),
        help="A number with s, m or h, from 1s to 1h: until the response begins. Without a value: 60s.",
        example="60s",
    ),
    Asked(
        "idle-timeout",
        "Longest pause in a transfer",
        ("idle_timeout",),
        help="A number with s, m or h, from 1s to 1h. Without a value: 60s. An event stream must send "
        "something more often.",
        example="60s",
    ),
    Asked(
        "max-body",
        "Largest request body",
        ("max_body",),
        help="A number with KB, MB or GB. Without a value: 1024GB.",
        example="10MB",
    ),
)
CONNECTION_FIELDS = (
    Asked(
        "request-headers",
        "Further headers that the API gets",
        ("request_headers",),
        help="One a line: Referer, Sec-GPC, and client hints (Sec-CH-…). All that are harmless pass anyway.",
        example="Referer",
        lines=True,
        listed=True,
    ),
    Asked(
        "response-headers",
        "Further headers that browsers get",
        ("response_headers",),
        help="One a line: Content-Location, Server and X-Powered-By. All that are harmless pass anyway.",
        example="Content-Location",
        lines=True,
        listed=True,
    ),
    Asked(
        "ca",
        "Certificate authority",
        ("tls", "ca"),
        help="Paste its certificate (PEM) if the API's certificate is not from a public authority.",
        secret=True,
        lines=True,
    ),
)
API_FIELDS = (*ADDRESS_FIELDS, *TOKEN_FIELDS, *LIMIT_FIELDS, *CONNECTION_FIELDS)
"""The fields of one API."""


@dataclass(frozen=True, slots=True)
class ApiEntry:
    """An API of a content. `name`: empty for the default API."""

    name: str
    base_url: str
    access: str

    @property
    def place(self) -> str:
        """Where its form is, below the draft: `api` or `apis/billing`."""
        return place_of(self.name)


def place_of(name: str) -> str:
    """The place of an API below the draft. Parameters: name, empty for the default API."""
    return f"{FURTHER}/{name}" if name else DEFAULT_API


def keys_of_api(name: str) -> Keys:
    """The keys that lead to an API in a content. Parameters: name, empty for the default API."""
    return (FURTHER, name) if name else (DEFAULT_API,)


def apis_in(root: Mapping[str, object]) -> tuple[ApiEntry, ...]:
    """The APIs of a content, the default one first. What no form can show is left out."""
    further = root.get(FURTHER)
    names = [name for name in further if is_slug(name)] if isinstance(further, Mapping) else []
    found = ["", *names] if isinstance(root.get(DEFAULT_API), Mapping) else names
    return tuple(
        _entry(root, name) for name in found if isinstance(value_at(root, keys_of_api(name)), Mapping)
    )


def _entry(root: Mapping[str, object], name: str) -> ApiEntry:
    base_url = value_at(root, (*keys_of_api(name), _BASE_URL))
    access = value_at(root, (*keys_of_api(name), "access"))
    return ApiEntry(
        name,
        base_url if isinstance(base_url, str) else "",
        access if isinstance(access, str) else "",
    )


def name_problem(name: str, root: Mapping[str, object]) -> str | None:
    """The sentence for a name that a further API cannot have; an empty one means the default API."""
    taken = {one.name for one in apis_in(root)}
    if not name:
        return message("Type a short name: there is a default API already.") if "" in taken else None
    if not is_slug(name):
        return message("Use small letters, digits and hyphens, at most 63, such as billing.")
    if name in taken:
        return message("There is an API with this short name already.")
    if len(taken - {""}) >= MAX_APIS:
        return sentence("An organisation can have %(most)s further APIs.", most=MAX_APIS)
    return None


def added(name: str, base_url: str) -> dict[Keys, object]:
    """The change that adds an API."""
    return {keys_of_api(name): {_BASE_URL: base_url}}


def removed(root: Root, places: Iterable[str]) -> dict[Keys, object]:
    """The changes that remove APIs, if they are there. Parameters: places, see `ApiEntry.place`."""
    here = {one.place: one.name for one in apis_in(root)}
    return {keys_of_api(here[place]): None for place in places if place in here}
