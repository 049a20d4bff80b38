"""The field types of settings and tenant files.

Every validator fails with `expected` (the message then includes the kind of the value found) or with
`refused`. Never pass them the value or a part of it: no message quotes a file (see validation.py).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, PlainValidator, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from portal.config.api_paths import SLUG, leads_to_api_path
from portal.config.load_context import LoadContext
from portal.errors import OutboundRefused
from portal.outbound.dot_segments import decode_fully, has_dot_segment
from portal.outbound.url_rules import check_url

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"([0-9]{1,9})([smhd])")
_SIZE = re.compile(r"([0-9]{1,13})([KMG]?B)")
_SIZE_UNITS = {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}
_LARGEST_SIZE = 1 << 40
_RESOURCE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[\x21\x22\x24-\x7e]{1,500}")
_HEADER = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,99}")
_SLUG = re.compile(SLUG)
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_COLOR = re.compile(r"#([0-9a-f]{3}|[0-9a-f]{6})")
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,200}")
_PARAM = re.compile(r"[A-Za-z0-9_.:-]{1,100}")
_NOT_IN_URLS = re.compile(r'[<>"\\^`{|}]')  # RFC 3986 2
_IN_ANGLE_BRACKETS = re.compile(r"<[^<>]+>")
_PLACEHOLDER = re.compile(
    r"<.+>|\{.*\}|\$\{?\w+\}?|\.\.\.|…|x{3,}|changeme|todo"
    r"|(the |your |my )?(client|application|app)[ _-]?(id|identifier)"
    r"|your[ _-].*|insert[ _-].*|replace[ _-].*",
    re.IGNORECASE,
)
_API_PATH = re.compile(r"/(?!/)[A-Za-z0-9\-._~:/?@!$&'()*+,;=%]{0,500}")
_KINDS_OF_ADDRESSES = ("private", "loopback", "link-local", "multicast", "unspecified", "reserved")
_LONGEST_DURATION = 366 * 86400.0


def expected(what: str) -> PydanticCustomError:
    """Make the error `<key> must be <what>, found <kind of value>`."""
    return PydanticCustomError("expected", "{what}", {"what": what})


def refused(sentence: str, *, key: str | None = None) -> PydanticCustomError:
    """Make the error `<key> <sentence>`, reported at the inner `key` of the value when given."""
    return PydanticCustomError("refused", "{sentence}", {"sentence": sentence, "key": key})


def unknown_word(words: Sequence[str]) -> PydanticCustomError:
    """Make the error for a word that is none of `words`, with the nearest of them."""
    return PydanticCustomError("unknown_word", "{words}", {"words": list(words)})


def parse_duration(text: object) -> float:
    """Return the seconds of a duration such as `90s`, `10m`, `12h` or `7d`."""
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    seconds = float(match[1]) * _UNITS[match[2]] if match else -1.0
    if not 0 <= seconds <= _LONGEST_DURATION:
        raise expected("a duration such as 90s, 10m, 12h or 7d, at most 366d")
    return seconds


def parse_size(text: object) -> int:
    """Return the bytes of a size such as `500KB`, `10MB` or `2GB`; the units are powers of 1024."""
    match = _SIZE.fullmatch(text) if isinstance(text, str) else None
    size = int(match[1]) * _SIZE_UNITS[match[2]] if match else 0
    if not 1 <= size <= _LARGEST_SIZE:
        raise expected("a size such as 500KB, 10MB or 2GB, at most 1024GB")
    return size


def is_slug(text: str) -> bool:
    """Whether `text` can be the slug of a tenant: small letters, digits and hyphens, at most 63."""
    return _SLUG.fullmatch(text) is not None


def check_outbound(url: str, *, allow_private_networks: bool, key: str | None = None) -> str:
    """Return `url` if the portal may send requests to it; else raise `expected` or `refused`."""
    try:
        check_url(url, allow_private_networks=allow_private_networks)
    except OutboundRefused as error:
        rule, why = refusal(error)
    else:
        return url
    if rule in ("private", "loopback"):
        unless = "unless the portal's settings have allow_private_networks: true"
        raise refused(f"is refused: {why}, {unless}", key=key)
    if rule == "scheme" and "@" not in url:
        local = (
            "" if allow_private_networks else ", with allow_private_networks: true in the portal's settings"
        )
        raise expected(f"an https URL (http only to localhost{local})")
    raise refused(f"is refused: {why}", key=key)


def refusal(error: OutboundRefused) -> tuple[str, str]:
    """The rule that a URL breaks, and a reason that does not quote the URL."""
    rule, _, why = error.detail.partition(": ")
    return rule, f"it leads to a {rule} address" if rule in _KINDS_OF_ADDRESSES else why


def outbound_url(text: str, info: ValidationInfo, key: str | None = None) -> str:
    """Return `text` if it is a URL to which the portal may send requests in this context."""
    private = isinstance(info.context, LoadContext) and info.context.allow_private_networks
    return check_outbound(text, allow_private_networks=private, key=key)


def _base_url(text: str, info: ValidationInfo) -> str:
    parts = urlsplit(_plain_url(text, info))
    if "?" in text:
        raise expected('a URL without "?"; query parameters are those of each call')
    decoded = decode_fully(parts.path)
    if decoded is None or has_dot_segment(decoded):
        raise expected("a URL without . or .. in its path")
    return text.rstrip("/")


def _client_id(text: str) -> str:
    if _PLACEHOLDER.fullmatch(text):
        raise refused("still has a placeholder; write the client id that the provider issued")
    return text


def _plain_url(text: str, info: ValidationInfo) -> str:
    if _IN_ANGLE_BRACKETS.search(text):
        raise refused("still has a placeholder in < >; replace it, and the brackets, with your own value")
    if _NOT_IN_URLS.search(text):
        raise refused('must be a URL without any of < > " \\ ^ ` { | }')
    return outbound_url(text, info)


def _issuer(text: str, info: ValidationInfo) -> str:
    # OIDC Discovery 3: an issuer has no query or fragment component.
    if "?" in _plain_url(text, info):
        raise expected('an issuer URL without "?"')
    return text


def _logout_template(text: str, info: ValidationInfo) -> str:
    filled = re.sub(r"\{(client_id|return_to)\}", "x", text)
    if "{" in filled or "}" in filled:
        raise refused("must have no placeholders but {client_id} and {return_to}")
    _plain_url(filled, info)
    return text


def _host_name(text: str) -> str:
    host = text.lower()
    if "://" in text or "/" in text:
        raise expected("a host name alone, such as portal.acme.example, without https:// and path")
    if ":" in text:
        raise expected("a host name without a port")
    if not host.isascii():
        raise expected("a host name in its ASCII form (xn--…)")
    if len(host) > 253 or not _HOST.fullmatch(host) or host.replace(".", "").isdigit():
        raise expected("a host name such as portal.acme.example")
    return host


def _domain(text: str) -> str:
    if _IN_ANGLE_BRACKETS.search(text):
        raise refused("still has a placeholder in < >; replace it, and the brackets, with your own value")
    if "://" in text or "/" in text:
        raise expected("a host name alone, such as acme.eu.auth0.com; write a whole URL as issuer")
    return _host_name(text)


def _email_domain(text: str) -> str:
    if "@" in text:
        raise expected("the part after the @ of an e-mail address, such as acme.example")
    domain = _host_name(text)
    if "." not in domain:
        raise expected("a domain such as acme.example")
    return domain


def _color(text: str) -> str:
    color = text.lower()
    if not _COLOR.fullmatch(color):
        raise expected('a colour such as "#1f6feb" (in quotes: # begins a comment)')
    return color if len(color) == 7 else "#" + "".join(digit * 2 for digit in color[1:])


def _scope(text: str) -> str:
    # RFC 6749 3.3: scope-token
    if not _SCOPE.fullmatch(text):
        raise expected("one scope, without spaces or quotes")
    return text


def _resource(text: str) -> str:
    # RFC 8707 2: an absolute URI without a fragment
    if not _RESOURCE.fullmatch(text):
        raise expected("an absolute URI without #, such as https://billing.acme.example")
    return text


def _header_name(text: str) -> str:
    if not _HEADER.fullmatch(text):
        raise expected("the name of a header: letters, digits and hyphens")
    return text


def _param_name(text: str) -> str:
    if not _PARAM.fullmatch(text):
        raise refused("is not the name of a parameter: letters, digits and _ . : - only")
    return text


def _slug(text: str) -> str:
    if not is_slug(text):
        raise expected("small letters, digits and hyphens, at most 63")
    return text


def _line(limit: int) -> AfterValidator:
    def check(text: str) -> str:
        text = text.strip()
        if not 0 < len(text) <= limit or any(
            unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") for c in text
        ):
            raise expected(f"one line of 1 to {limit} visible characters")
        return text

    return AfterValidator(check)


def _path(text: str) -> str:
    if not _API_PATH.fullmatch(text):
        raise expected("a path that begins with one /, such as /orders?limit=10")
    return text


def _link(text: str) -> str:
    parts = urlsplit(text) if text.isascii() and text.isprintable() else urlsplit("")
    is_url = parts.scheme == "https" and parts.hostname is not None and "@" not in parts.netloc
    if not (_API_PATH.fullmatch(text) or is_url) or _NOT_IN_URLS.search(text) or " " in text:
        raise expected("an https URL, or a path of the portal such as /desk/acme/")
    if leads_to_api_path(parts.path):
        raise refused(
            "has the path of an API of the portal (/t/…/api/ or /t/…/apis/…/); link to a page; an API's "
            "response is data, not a page"
        )
    return text


def _text(**schema: object) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", **schema})


Duration = Annotated[
    float,
    PlainValidator(parse_duration),
    _text(title="duration", pattern="^[0-9]+[smhd]$", examples=["90s", "10m", "12h", "7d"]),
]
Size = Annotated[
    int,
    PlainValidator(parse_size),
    _text(title="size", pattern="^[0-9]+[KMG]?B$", examples=["500KB", "10MB", "2GB"]),
]
Slug = Annotated[str, AfterValidator(_slug), _text(title="slug", pattern=f"^{_SLUG.pattern}$")]
Name = Annotated[str, _line(100), _text(minLength=1, maxLength=100)]
Text = Annotated[str, _line(500), _text(minLength=1, maxLength=500)]
ClientId = Annotated[str, _line(500), AfterValidator(_client_id), _text(minLength=1, maxLength=500)]
IssuerUrl = Annotated[str, AfterValidator(_issuer), _text(title="URL", format="uri", pattern="^https?://")]
OutboundUrl = Annotated[
    str, AfterValidator(_plain_url), _text(title="URL", format="uri", pattern="^https?://")
]
BaseUrl = Annotated[
    str, AfterValidator(_base_url), _text(title="URL", format="uri", pattern="^https?://[^?#]*$")
]
LogoutTemplate = Annotated[str, AfterValidator(_logout_template), _text(title="URL", pattern="^https?://")]
HostName = Annotated[str, AfterValidator(_host_name), _text(title="host name", pattern="^[A-Za-z0-9.-]+$")]
LinkUrl = Annotated[
    str,
    _line(500),
    AfterValidator(_link),
    _text(title="URL or path", pattern="^(https://|/([^/]|$))", maxLength=500),
]
ProviderDomain = Annotated[str, AfterValidator(_domain), _text(title="host name", pattern="^[A-Za-z0-9.-]+$")]
EmailDomain = Annotated[
    str, AfterValidator(_email_domain), _text(title="domain", pattern="^[A-Za-z0-9-]+(\\.[A-Za-z0-9-]+)+$")
]
Color = Annotated[
    str, AfterValidator(_color), _text(title="colour", pattern="^#([0-9A-Fa-f]{3}|[0-9A-Fa-f]{6})$")
]
ScopeToken = Annotated[str, AfterValidator(_scope), _text(title="scope", pattern='^[^\\s"\\\\]+$')]
ResourceUri = Annotated[
    str, AfterValidator(_resource), _text(title="URI", pattern="^[A-Za-z][A-Za-z0-9+.-]*:[^\\s#]+$")
]
HeaderName = Annotated[
    str, AfterValidator(_header_name), _text(title="header name", pattern=f"^{_HEADER.pattern}$")
]
ParamName = Annotated[str, AfterValidator(_param_name), _text(pattern=f"^{_PARAM.pattern}$")]
ApiPath = Annotated[str, AfterValidator(_path), _text(title="path", pattern="^/([^/].*)?$")]
