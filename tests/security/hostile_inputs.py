"""Inputs that may be slow to parse, and a table of every parser of untrusted input (THREATS D1)."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import re
import struct
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from dns.message import make_query
from tornado.escape import parse_qs_bytes
from tornado.httputil import HTTPHeaders, HTTPInputError, HTTPServerRequest, RequestStartLine

from portal.access import path_reading, paths, rules
from portal.admin import editing, list_editing, setup_cookie, setup_links
from portal.config import api_paths, logo_content, yaml_document, yaml_mistakes
from portal.display_text import display_text
from portal.errors import PortalError
from portal.keys.key_ring import KeyRing
from portal.keys.vault import Vault
from portal.oidc import (
    authorization_response,
    cache,
    discovery,
    dpop,
    form_encoding,
    global_revocation,
    id_token,
    issuer,
    keys,
    logout_token,
    provider_errors,
    quoting,
    signed_response,
    token_response,
    userinfo,
)
from portal.oidc import step_up as oidc_step_up
from portal.oidc.jose import json_reading, jwe, jws
from portal.oidc.keys import KeySet
from portal.oidc.provider import IdTokenEncryption, ProviderMetadata
from portal.outbound import dot_segments, request, txt_records, url_rules
from portal.outbound import websocket as client_websocket
from portal.outbound.client import OutboundResponse
from portal.outbound.read_pace import READ_BYTES
from portal.outbound.resolver import Resolver
from portal.outbound.response_parser import MAX_HEAD_BYTES, ResponseHead, ResponseParser
from portal.routes import LARGEST_FORM, body_rules, routes
from portal.secret import Secret
from portal.sessions import credentials
from portal.sessions.login_size import MAX_LOGIN_BYTES
from portal.tenancy import finding, index
from portal.tenancy.checks.live import page_text
from portal.tenancy.index import Index
from portal.tenancy.model import ClaimNames
from portal.tenancy.presets import built_in
from portal.tenancy.presets.entra_hooks import EntraHooks
from portal.trace_context import parse_traceparent
from portal.web import (
    account,
    browser_name,
    cards,
    client_limits,
    cookies,
    forms,
    kept_form,
    logged_path,
    markup,
    origin,
    problems,
    redirects,
    return_to,
    session,
    sites,
    switching,
)
from portal.web import client_address as peer
from portal.web.admin import form as admin_form
from portal.web.admin.fields import NAME_FIELD, SLUG_FIELD
from portal.web.api_proxy import challenges, step_up
from portal.web.api_proxy import response as api_response
from portal.web.api_proxy import rules as proxy_rules
from portal.web.client_address import Network
from portal.web.forward_auth import identity, original_request
from portal.web.front_ends import conditions
from portal.web.front_ends import paths as front_end_paths
from portal.web.languages import choice, load_languages, problem_texts, stored_texts
from portal.web.page_addresses import PageAddresses
from portal.web.remembered import RememberedOrganisations
from portal.web.server import request_body
from portal.web.server.chunked_body import ChunkedBody
from portal.web.server.client_connection import CHUNKS_AT_ONCE
from portal.web.server.request_fields import FieldsCache
from portal.web.server.request_parser import RequestParser
from portal.web.websocket import handshake
from tests.kit.samples import sample_login, sample_tenant
from tests.unit.oidc.sample_client_keys import make_client_keys
from tests.unit.oidc.signing import CLIENT_SECRET, ISSUER, registration

EXPECTED_ERRORS = (
    *(PortalError, json_reading.JsonUnreadable, HTTPInputError, ValueError),
    logo_content.LogoRefused,
    txt_records.LookupFailed,
)
_SVG = '<svg xmlns="http://www.w3.org/2000/svg">'

HEADER_BYTES = 32 * 1024
"""The largest request head that the portal reads."""
BODY_BYTES = LARGEST_FORM
"""The largest form."""
CLIENT_READ_BYTES = 256 * 1024
"""What asyncio and uvloop read of a client at a time."""
FILE_BYTES = yaml_document.MAX_BYTES

Write = Callable[[int], str]
"""A function that makes a text of about this many characters."""


def repeated(piece: str, before: str = "", after: str = "") -> Write:
    """Repeat the same piece."""
    return lambda size: before + piece * (max(size - len(before) - len(after), 0) // len(piece)) + after


def numbered(piece: str, before: str = "", after: str = "") -> Write:
    """Repeat a piece, replacing `#` by a new number each time."""

    def write(size: int) -> str:
        pieces: list[str] = []
        length = len(before) + len(after)
        while length < size:
            pieces.append(piece.replace("#", f"{len(pieces):x}"))
            length += len(pieces[-1])
        return before + "".join(pieces) + after

    return write


JSON = {
    "a repeated member": repeated('"a":1,', "{", '"a":1}'),
    "two alternating members": repeated('"a":1,"b":1,', "{", '"a":1}'),
    "a repeated long member": repeated(f'"iss":{json.dumps("i" * 500)},', "{", '"iss":1}'),
    "many members, the first repeated": numbered('"#":1,', '{"z":1,', '"z":1}'),
    "many members, the last repeated": numbered('"#":1,', "{", '"z":1,"z":1}'),
    "many different members": numbered('"#":1,', "{", '"z":1}'),
    "a member that may be repeated, and others": numbered('"#":1,', "{", '"iss":1,"iss":1}'),
    "objects of many members": repeated('{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6,"g":7},', '{"a":[', "{}]}"),
    "numbers": repeated("1,", '{"a":[', "1]}"),
    "floats": repeated("1e9,", '{"a":[', "1]}"),
    "long numbers": repeated("9" * 4_000 + ",", '{"a":[', "1]}"),
    "a long number": repeated("9", '{"a":', "}"),
    "a long fraction": repeated("9", '{"a":0.', "}"),
    "a long exponent": repeated("9", '{"a":1e', "}"),
    "empty strings": repeated('"",', '{"a":[', '""]}'),
    "escapes": repeated("\\u00e9", '{"a":"', '"}'),
    "pairs of surrogates": repeated("\\ud83d\\ude42", '{"a":"', '"}'),
    "characters beyond the first plane": repeated("\U0001f642", '{"a":"', '"}'),
    "an open string of backslashes": repeated("\\", "[" * 40 + '"'),
    "an open string of quotes": repeated('\\"', "[" * 40 + '"'),
    "quotes": repeated('"', "[" * 40),
    "quotes and brackets": repeated('"["', "[" * 40),
    "open lists": repeated("["),
    "open objects": repeated('{"a":'),
    "closed lists": repeated("]", "[" * 40),
    "spaces": repeated(" ", "{", "}"),
}

TEXT = {
    "letters": repeated("a"),
    "digits": repeated("9"),
    "spaces": repeated(" "),
    "spaces within": repeated(" ", "a", "a"),
    "tabs and spaces": repeated(" \t"),
    "commas": repeated(","),
    "commas and spaces": repeated(", "),
    "semicolons": repeated(";"),
    "ampersands": repeated("&"),
    "parameters": repeated("a=b&"),
    "different parameters": numbered("#=&"),
    "equals signs": repeated("="),
    "percent signs": repeated("%"),
    "escapes": repeated("%41"),
    "escaped escapes": repeated("%25"),
    "plus signs": repeated("+"),
    "slashes": repeated("/"),
    "a path": repeated("/a"),
    "dot segments": repeated("/.."),
    "encoded dot segments": repeated("/%2e%2e"),
    "dots": repeated("."),
    "labels": repeated("a."),
    "colons": repeated(":"),
    "brackets": repeated("["),
    "quotes": repeated('"'),
    "backslashes": repeated("\\"),
    "quotes and backslashes": repeated('"\\'),
    "at signs": repeated("@"),
    "dashes": repeated("-"),
    "a letter and dashes": repeated("-", "a"),
    "line breaks": repeated("\n"),
    "control characters": repeated("\x01"),
    "alternating combining marks of two classes": repeated("\u0301\u031b"),
    "letters with a long normal form": repeated("\ufdfa"),
    "direction marks": repeated("\u202e"),
    "a scheme and letters": repeated("a", "https://"),
    "a URL of labels": repeated("a.", "https://"),
    "a URL of user names": repeated("a@", "https://"),
    "a URL of digits": repeated("1", "https://a.example:"),
    "a URL with a long path": repeated("/a", "https://a.example"),
    "a URL of brackets": repeated("[", "https://"),
    "an address of colons": repeated("1:", "https://["),
    "directives": repeated("max-age=", "x, "),
    "directives with spaces": repeated("max-age ", "x, "),
    "one directive with spaces": repeated(" ", "max-age"),
    "almost matching directives": repeated(",no-stor"),
    "addresses": repeated("10.0.0.1,"),
    "IPv6 addresses": repeated("::1, "),
    "cookies": repeated("portal=a;"),
    "other cookies": repeated("a=b; "),
    "challenges": repeated("dpop "),
    "errors in challenges": repeated("error ", "dpop "),
    "almost secret-like codes": repeated("a" * 39 + " "),
}

_OK = "HTTP/1.1 200 OK\r\n"
_CHUNKED = f"{_OK}Transfer-Encoding: chunked\r\n\r\n"

RESPONSE = {
    "a status line": repeated("a", "HTTP/1.1 200 "),
    "a version": repeated("1", "HTTP/1."),
    "a name": repeated("a", _OK),
    "a value": repeated("a", f"{_OK}a: ", "\r\n\r\n"),
    "spaces around a value": repeated(" ", f"{_OK}a: ", "a\r\n\r\n"),
    "header lines": repeated("a: b\r\n", _OK, "\r\n"),
    "different header lines": numbered("a#: b\r\n", _OK, "\r\n"),
    "lengths": repeated("Content-Length: 1\r\n", _OK, "\r\n"),
    "digits of a length": repeated("9", f"{_OK}Content-Length: ", "\r\n\r\n"),
    "codings": repeated("chunked,", f"{_OK}Transfer-Encoding: ", "\r\n\r\n"),
    "options of a connection": repeated("close, ", f"{_OK}Connection: ", "\r\n\r\n"),
    "connections": repeated("Connection: a\r\n", _OK, "\r\n"),
    "interim responses": repeated("HTTP/1.1 100 Continue\r\n\r\n"),
    "header lines of interim responses": repeated("a: b\r\n", "HTTP/1.1 103 Early Hints\r\n", "\r\n"),
    "line breaks": repeated("\r\n", _OK),
    "ends of lines": repeated("\n", _OK),
    "folded lines": repeated("\r\n b", f"{_OK}a: b"),
    "chunks of one byte": repeated("1\r\na\r\n", _CHUNKED, "0\r\n\r\n"),
    "zeros of a chunk size": repeated("0", _CHUNKED),
    "an extension": repeated("a", f"{_CHUNKED}1;", "\r\na\r\n"),
    "extensions": repeated(";a=b", f"{_CHUNKED}1", "\r\na\r\n"),
    "a quoted extension": repeated('\\"', f'{_CHUNKED}1;a="', '"\r\na\r\n'),
    "trailers": repeated("a: b\r\n", f"{_CHUNKED}0\r\n", "\r\n"),
    "a counted body": repeated("a", f"{_OK}Content-Length: 99999\r\n\r\n"),
    "a body until the end": repeated("a", f"{_OK}\r\n"),
    "responses after the response": repeated("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
}

YAML = {
    "keys": numbered("k#: 1\n"),
    "the same key": repeated("a: 1\n"),
    "two alternating keys": repeated("a: 1\nb: 1\n"),
    "a flow mapping": numbered("k#: 1, ", "{", "}"),
    "a flow mapping of the same key": repeated("a: 1, ", "{", "}"),
    "items": repeated("- 1\n"),
    "open flow lists": repeated("["),
    "open flow mappings": repeated("{a: "),
    "nested items": repeated("- "),
    "question marks": repeated("? "),
    "explicit keys": repeated("? a\n"),
    "anchors": numbered("- &a# x\n"),
    "aliases": repeated("- *a\n", "- &a x\n"),
    "comments": repeated("# x\n"),
    "one long comment": repeated("#"),
    "a long plain value": repeated("a", "a: "),
    "a long value of words": repeated("a ", "a: "),
    "a value over many lines": repeated("  a\n", "a:\n"),
    "a block": repeated("  a\n", "a: |\n"),
    "a folded block": repeated("  a\n", "a: >\n"),
    "empty lines in a block": repeated("\n", "a: |\n", "  a\n"),
    "a quoted value": repeated("\\x41", 'a: "', '"'),
    "an open quote": repeated("a", 'a: "'),
    "quotes": repeated("'"),
    "tags": repeated("!a "),
    "one long tag": repeated("a", "a: !"),
    "documents": repeated("---\n"),
    "directives": repeated("%YAML 1.1\n"),
    "tabs": repeated("\t"),
    "spaces": repeated(" ", "a: "),
    "colons": repeated(":"),
    "keys without values": numbered("k#:\n"),
    "a long number": repeated("9", "a: "),
    "a long number in base 60": repeated("59:", "a: ", "59"),
    "underscores in a number": repeated("_", "a: 1", "1"),
    "line breaks": repeated("\n"),
    "growing indentation": lambda size: "".join(" " * n + "a:\n" for n in range(int((2 * size) ** 0.5))),
}
BROKEN_YAML = {
    "comments": repeated("# x\n", "a: 1\n"),
    "empty lines": repeated("\n", "a: 1\n"),
    "one long comment": repeated("#", "a: 1\n"),
    "a block": repeated("   a\n", "a: |\n"),
    "a long key": repeated("a", "a: 1\n", ": 1"),
    "dashes in a comment": repeated("- ", "a: 1\n#"),
    "a quoted value": repeated("a", 'a: "', '"'),
}
"""Texts that are YAML; a line that is not follows."""


TXT_QUERY = make_query("acme.example", "TXT", id=7)


def _txt_response(records: Callable[[int], list[bytes]]) -> Write:
    """Responses with the records that `records` makes, of about this many bytes in all."""

    def write(size: int) -> str:
        question = TXT_QUERY.to_wire()[12:]
        answer = records(size - 12 - len(question))
        header = struct.pack("!6H", 7, 0x8180, 1, len(answer), 0, 0)
        return b"".join([header, question, *answer]).decode("latin-1")

    return write


def _txt_record(data: bytes, name: bytes = b"\xc0\x0c") -> bytes:
    return name + struct.pack("!HHIH", 16, 1, 60, len(data)) + data


DNS = {
    "one record of short texts": _txt_response(lambda size: [_txt_record(b"\1a" * ((size - 12) // 2))]),
    "one record of long texts": _txt_response(
        lambda size: [_txt_record((b"\xff" + b"a" * 255) * ((size - 12) // 256))]
    ),
    "records of long names": _txt_response(
        lambda size: [_txt_record(b"\1a", b"\1a" * 127 + b"\0")] * (size // 267)
    ),
    "records at the name": _txt_response(
        lambda size: [_txt_record(b"\xa0" + f"{number:0160}".encode()) for number in range(size // 173)]
    ),
    "labels": repeated("\1a", struct.pack("!6H", 7, 0x8180, 100, 0, 0, 0).decode("latin-1")),
    "pointers": repeated("\xc0\x0c", struct.pack("!6H", 7, 0x8180, 100, 0, 0, 0).decode("latin-1")),
}
"""Responses of name servers, as latin-1."""


@dataclass(frozen=True, slots=True)
class Parser:
    """A function that parses untrusted text.

    `function` identifies the parser in the checks for completeness; `run` is measured; `largest` is the
    number of characters it can receive. `thread`: it never runs on the event loop.
    """

    function: Any
    run: Callable[[str], object]
    shapes: dict[str, Write]
    largest: int
    thread: bool = False


def b64(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode("utf-8", "surrogatepass")).rstrip(b"=").decode()


def signed_with_secret(claims: str, header: str = '{"alg":"HS256"}') -> Secret:
    signed = f"{b64(header)}.{b64(claims)}"
    return Secret(f"{signed}.{_mac(signed)}")


def _mac(signed: str) -> str:
    digest = hmac.digest(CLIENT_SECRET.encode(), signed.encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


HS256 = registration(id_token_algs=("HS256",), response_algs=("HS256",))
NO_KEYS = KeySet(())
TOKEN_JSON = jws.MAX_BYTES * 3 // 4 - 200
LOGOUT_JSON = logout_token.LARGEST * 3 // 4 - 200
METADATA = ProviderMetadata(ISSUER, f"{ISSUER}authorize", f"{ISSUER}token", f"{ISSUER}jwks")
TRUSTED: tuple[Network, ...] = tuple(ip_network(text) for text in ("10.0.0.0/8", "::1/128"))
ENCRYPTING = registration(id_token_encryption=IdTokenEncryption("ECDH-ES", "A128GCM"))
OWN_KEYS = make_client_keys()


def response(text: str, content_type: str = "application/json", status: int = 200) -> OutboundResponse:
    return OutboundResponse(status, (("Content-Type", content_type),), text.encode("utf-8", "surrogatepass"))


def headers(name: str, value: str) -> HTTPHeaders:
    made = HTTPHeaders()
    made.add(name, value)
    return made


def _in_token(run: Callable[[Secret], object]) -> Callable[[str], object]:
    return lambda text: run(signed_with_secret(text))


def _target(text: str) -> str:
    return proxy_rules.target_url("https://api.example", f"/{text}", text)


def _address(text: str) -> object:
    return original_request.AuthzAddress.of(f"/t/acme/authz/{text}")


def _original(uri: str) -> object:
    made = HTTPHeaders({"X-Original-Method": "GET", "X-Original-Host": "portal.example"})
    made.add("X-Original-Uri", uri)
    return original_request.original_request(made, method="GET", appended="")


def _all_outcomes(text: str) -> object:
    """Evaluate every rule on a text, on a list of the same length, and on a list of the maximum length."""
    values = (text, list(text), list(text[: rules.LONGEST_LIST]))
    return [list(rules.outcomes(RULES, {"claim": value})) for value in values]


def _location(text: str) -> object:
    return proxy_rules.passed_headers(
        [("Location", text), ("Connection", text)],
        target="https://api.example/a",
        base_url="https://api.example",
        public_base="/t/acme/api",
    )


def _upgrade(text: str) -> object:
    third = text[: len(text) // 3]  # three fields in one head
    made = HTTPHeaders(
        {
            "Connection": third,
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==",
            "Sec-WebSocket-Extensions": f"permessage-deflate;{third}",
            "Sec-WebSocket-Protocol": f"a,{third}",
        }
    )
    handshake.asks_for_websocket(made)
    return handshake.read_handshake("GET", "HTTP/1.1", made)


def _choice(text: str) -> object:
    half = text[: len(text) // 2]
    made = client_websocket.ClientHandshake(client_websocket.WebSocketOffer((), ("permessage-deflate",)))
    fields = [("Upgrade", "websocket"), ("Connection", f"Upgrade,{half}")]
    fields.append(("Sec-WebSocket-Accept", client_websocket.accept_of(made.key)))
    fields.append(("Sec-WebSocket-Extensions", f"permessage-deflate;{half}"))
    return made.choice(ResponseHead(101, "", fields))


def _accept(text: str) -> object:
    text = text[: len(text) // 4]  # four parameters in one head
    response = {"state": [text], "code": [text], "error": [text], "error_description": [text]}
    return authorization_response.accept_response(response, HS256, METADATA)


def _form_request(text: str) -> HTTPServerRequest:
    start_line = RequestStartLine("POST", "/admin/", "HTTP/1.1")
    form = HTTPHeaders(
        {"Host": "a", "Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}
    )
    request = HTTPServerRequest(start_line=start_line, headers=form, body=text.encode())
    request._parse_body()
    return request


def _posted(text: str) -> object:
    return forms.posted_form(_form_request(text))


def _kept(text: str) -> object:
    return kept_form.kept_form(_form_request(text), origin="https://a")


_SHOWING = sample_tenant(claims=ClaimNames(show=("text",), page=("text",)))


def _claims_of_pages(text: str) -> object:
    return session.claims_for_pages(_SHOWING, sample_login(claims={"text": text}))


def _chosen_claims(text: str) -> object:
    return account.chosen_claims(_SHOWING, sample_login(claims={"text": text}))


def _outbound_head(text: str) -> bytes:
    origin, target = request.split_url(f"https://api.example/{text[:8_000]}")
    return request.OutboundRequest("GET", origin, target, [("Cookie", text)], None, "acme").head()


def _resolved(text: str) -> object:
    async def lookup(host: str) -> Sequence[str]:
        raise OSError(host)

    loop = asyncio.new_event_loop()  # asyncio.run would replace the loop of other tests
    with contextlib.closing(loop):
        return loop.run_until_complete(Resolver(lookup).addresses(text, tenant="acme"))


def _fed_in_pieces(piece: int) -> Callable[[str], object]:
    """Feed a response parser pieces of this many bytes."""

    def run(text: str) -> object:
        parser, data = ResponseParser("GET"), text.encode("latin-1")
        return [parser.feed(data[place : place + piece]) for place in range(0, len(data), piece)]

    return run


def _checked(name: str, value: str) -> None:
    api_response.ResponseHeaders([(name, value)])


BODY_RULES = body_rules()
LOGIN_BODY = request_body.BodyRule(re.compile("/"), BODY_BYTES, cookies=("portal",))
RULES = tuple(
    rules.Rule(("claim",), comparison, ("@acme.example",) * 100)
    for comparison in rules.Comparison
    for _ in range(3)
)
ACCESS = (rules.AccessRules(RULES, tuple(rules.PathRules(f"/{number}/a/b", RULES) for number in range(50))),)
with tempfile.TemporaryDirectory() as _folder:
    VAULT = Vault(KeyRing.create(Path(_folder) / "keys.json"))
SITES = sites.Sites("https://portal.example", Index(()).by_host)

CHECK_TEXTS = stored_texts.StoredTexts(load_languages().all[1].stored_messages)
FINDINGS = {
    "many beginnings": repeated("the provider does not know the client "),
    "many separators": repeated("; the tenant file has ", " is "),
    "colons": repeated(": ", "the token endpoint refuses the client; client.id is wrong, or "),
}
PAGE_ADDRESSES: PageAddresses = next(
    rule.target_kwargs["pages"] for rule in routes() if rule.target_kwargs.get("pages")
)
PROBLEM_TEXTS = load_languages().all[1]._problems
PROBLEMS = {
    "many beginnings": repeated("client.secret must be at least "),
    "many separators": repeated("; ", "client.auth is "),
    "colons": repeated(": ", "acme:3:1: client.auth "),
}
LANGUAGES = {
    "many tags": repeated("de;q=0.1,"),
    "many parts of a tag": repeated("-de", "de"),
    "long quality": repeated("0", "de;q=0."),
    "spaces": repeated(" ", "de;"),
}

FIELDS = {
    "header lines": repeated("A: b\r\n"),
    "short header lines": repeated("A:\r\n"),
    "different header lines": numbered("A#:\r\n"),
    "names": repeated("a"),
    "spaces": repeated(" ", "A:"),
    "folded lines": repeated("\r\n ", "A:"),
    "line ends": repeated("\r\n", "A:"),
    "lengths": repeated("Content-Length: 1\r\n"),
    "codings": repeated("Transfer-Encoding: chunked\r\n"),
    "hosts": repeated("Host: x\r\n"),
}
CHUNKS = {
    "small chunks": repeated("1\r\nx\r\n"),
    "chunks of 64 bytes": repeated("40\r\n" + "x" * 64 + "\r\n"),
    "a size": repeated("0"),
    "one chunk": repeated("x", "3ffff\r\n"),
    "an extension": repeated("a", "1;"),
    "line ends": repeated("\r\n"),
    "trailers": repeated("a:b\r\n", "0\r\n"),
}


def read_head(fields: str, target: str = "/") -> object:
    parser = RequestParser(FieldsCache())
    text = f"GET {target} HTTP/1.1\r\n{fields}\r\n\r\n"
    parser.receive(text.encode("latin-1", "replace"))
    return parser.read_head()


ADVISED = [replace(HS256, error_advice=preset.error_advice) for preset in built_in().all()]
"""A provider of each preset, whose patterns search for known errors."""
ENTRIES = {
    "entries": numbered("k#: v\n", "a:\n  b: 1\n"),
    "long entries": numbered("k#: " + "v" * 400 + "\n", "a: {b: 1}\n"),
    "comments": repeated("# c\n", "a:\n  b: 1\n", "name: x\n"),
    "blank lines": repeated("\n", "a:\n  b: 1\n", "name: x\n"),
    "a long block": repeated("  x\n", "name: |\n"),
}
"""Contents that can be edited."""

LINKS = ({"title": "t", "url": "/x"}, {"title": "new", "url": "/u1"}, {"title": "t1", "url": "/u1"})
LISTS = {
    "links": numbered("  - {title: t#, url: /u#}\n", "links:\n"),
    "links of several lines": numbered("- title: t#\n  url: /u#\n", "links:\n"),
    "comments between links": repeated("  # c\n", "links:\n  - {title: t, url: /u}\n", "  - {url: /v}\n"),
    "a link with many lines": repeated("    # c\n", "links:\n  - title: t\n", "    url: /u\n"),
}
"""Contents with a list that can be edited."""

PAGES = {
    "references": repeated("&a;"),
    "long references": repeated("&" + "a" * 31 + " "),
    "numbers": repeated("&#1;"),
    "open tags": repeated("<input "),
    "tags": repeated("<input name=a value='b'>"),
    "attributes": repeated('a="', "<input "),
    "scripts": repeated("<script"),
    "words": repeated("a "),
}
"""Pages of a provider."""

CHALLENGES = {
    "parameters": numbered("a#=b,", "Bearer "),
    "a repeated parameter": repeated("a=b,", "Bearer "),
    "schemes": repeated("a,"),
    "schemes with parameters": repeated("a b=c,"),
    "an open quoted string": repeated("a", 'Bearer a="'),
    "escapes": repeated("\\a", 'Bearer a="', '"'),
    "escapes without an end": repeated("\\", 'Bearer a="'),
    "quoted commas": repeated(",", 'Bearer a="', '"'),
    "spaces before a name": repeated(" ", "Bearer", "a=b"),
    "spaces around the sign": repeated(" ", "Bearer a", "=b"),
    "commas and tabs": repeated(",\t", "Bearer"),
    "token68": repeated("=", "Bearer a"),
    "many values": repeated("a ", 'Bearer error="insufficient_user_authentication",acr_values="', '"'),
    "long values": repeated("a", 'Bearer error="insufficient_user_authentication",max_age="', '"'),
}
"""WWW-Authenticate of an API."""


def _challenge(text: str) -> object:
    return challenges.read_challenges([("WWW-Authenticate", text)])


def _step_up(text: str) -> object:
    return step_up.required_step_up(401, [("WWW-Authenticate", text)])


PARSERS = (
    Parser(
        json_reading.read_object,
        lambda text: json_reading.read_object(text.encode("utf-8", "surrogatepass")),
        JSON,
        json_reading.MAX_BYTES,
    ),
    Parser(
        json_reading.read_object,
        lambda text: json_reading.read_object(text.encode(), repeatable=("iss", "a")),
        JSON,
        json_reading.MAX_BYTES,
    ),
    Parser(
        discovery.parse_document, lambda text: discovery.parse_document(text.encode(), ISSUER), JSON, 65_536
    ),
    Parser(
        discovery.read_metadata,
        lambda text: discovery.read_metadata(
            {"authorization_endpoint": text},
            HS256,
            lambda url: url_rules.check_url(url, allow_private_networks=False),
        ),
        TEXT,
        65_536,
    ),
    Parser(quoting.mismatch, lambda text: quoting.mismatch("iss", text, "https://a.example"), TEXT, 65_536),
    Parser(keys.parse_key_set, lambda text: keys.parse_key_set(text.encode()), JSON, 128_000),
    Parser(
        token_response.read_token_set,
        lambda text: token_response.read_token_set(response(text), requested_scopes=(), now=0.0),
        JSON,
        json_reading.MAX_BYTES,
    ),
    Parser(form_encoding.form_of, lambda text: form_encoding.form_of([("a", text)]), TEXT, 65_536),
    Parser(form_encoding.query_of, lambda text: form_encoding.query_of([("a", text)]), TEXT, 65_536),
    Parser(
        userinfo.read,
        lambda text: userinfo.read(response(text), HS256, NO_KEYS, id_token={"sub": "a"}, now=0.0),
        JSON,
        userinfo.LARGEST,
    ),
    Parser(jws.stored_claims, _in_token(lambda token: jws.stored_claims(token.reveal())), JSON, TOKEN_JSON),
    Parser(
        jws.read_header, lambda text: jws.read_header(f"{b64(text)}.e30.e30", {"HS256"}), JSON, TOKEN_JSON
    ),
    Parser(jws.read_header, lambda text: jws.read_header(text, {"HS256"}), TEXT, jws.MAX_BYTES),
    Parser(
        id_token.signed_claims,
        _in_token(lambda token: id_token.signed_claims(token, HS256, NO_KEYS)),
        JSON,
        TOKEN_JSON,
    ),
    Parser(signed_response.unverified_state, _in_token(signed_response.unverified_state), JSON, TOKEN_JSON),
    Parser(
        signed_response.open_response,
        _in_token(lambda token: signed_response.open_response(token, HS256, NO_KEYS, now=0.0)),
        JSON,
        TOKEN_JSON,
    ),
    Parser(
        logout_token.find_registration,
        _in_token(
            lambda token: logout_token.find_registration(token, [HS256], decrypt=lambda token, _: token)
        ),
        JSON,
        LOGOUT_JSON,
    ),
    Parser(
        global_revocation.find_registration,
        _in_token(lambda token: global_revocation.find_registration(token, [HS256])),
        JSON,
        global_revocation.LARGEST * 3 // 4 - 200,
    ),
    Parser(
        global_revocation.read_subject,
        lambda text: global_revocation.read_subject(
            text.encode("utf-8", "surrogatepass"), issuer="https://a.example"
        ),
        JSON,
        global_revocation.LARGEST,
    ),
    Parser(
        jwe.open_token,
        lambda text: jwe.open_token(Secret(f"{b64(text)}..YQ.YQ.YQ"), ENCRYPTING, OWN_KEYS),
        JSON,
        jwe.MAX_BYTES * 3 // 4 - 100,
    ),
    Parser(
        jwe.open_token, lambda text: jwe.open_token(Secret(text), ENCRYPTING, OWN_KEYS), TEXT, jwe.MAX_BYTES
    ),
    Parser(authorization_response.accept_response, _accept, TEXT, HEADER_BYTES),
    Parser(
        authorization_response.known_parameters,
        lambda text: authorization_response.known_parameters({"code": [text]}),
        TEXT,
        BODY_BYTES,
    ),
    Parser(
        authorization_response.response_state,
        lambda text: authorization_response.response_state({"response": [text]}),
        TEXT,
        BODY_BYTES,
    ),
    Parser(
        provider_errors.denial,
        lambda text: provider_errors.denial(text, text, sent_values=[text]),
        TEXT,
        65_536,
    ),
    Parser(
        EntraHooks.error_code,
        lambda text: EntraHooks().error_code(text, text),
        TEXT,
        4_096,  # authorization_response passes on no more
    ),
    Parser(
        provider_errors.advice_about,
        lambda text: [provider_errors.advice_about(one, text, text) for one in ADVISED],
        TEXT,
        65_536,
    ),
    Parser(
        provider_errors.redacted,
        lambda text: provider_errors.redacted(text, [text[: len(text) // 2]]),
        TEXT,
        BODY_BYTES,
    ),
    Parser(
        cache.lifetime,
        lambda text: cache.lifetime(OutboundResponse(200, (("Cache-Control", text),), b"")),
        TEXT,
        HEADER_BYTES,
    ),
    Parser(
        dpop.wants_nonce, lambda text: dpop.wants_nonce(401, [("WWW-Authenticate", text)]), TEXT, HEADER_BYTES
    ),
    Parser(dpop.target_uri, dpop.target_uri, TEXT, HEADER_BYTES),
    Parser(issuer.is_directory_id, issuer.is_directory_id, TEXT, BODY_BYTES),
    Parser(
        url_rules.check_url,
        lambda text: url_rules.check_url(text, allow_private_networks=False),
        TEXT,
        BODY_BYTES,
    ),
    Parser(
        url_rules.check_address,
        lambda text: url_rules.check_address(text, allow_private_networks=False),
        TEXT,
        HEADER_BYTES,
    ),
    Parser(url_rules.is_plain_path, url_rules.is_plain_path, TEXT, HEADER_BYTES),
    Parser(url_rules.is_loopback_name, url_rules.is_loopback_name, TEXT, HEADER_BYTES),
    Parser(
        url_rules.same_origin,
        lambda text: url_rules.same_origin(text, text),
        TEXT,
        url_rules.MAX_URL_LENGTH,
    ),
    Parser(credentials.is_binding, credentials.is_binding, TEXT, HEADER_BYTES),
    Parser(credentials.digest, credentials.digest, TEXT, HEADER_BYTES),
    Parser(setup_cookie.SetupCookie.parse, setup_cookie.SetupCookie.parse, TEXT, HEADER_BYTES),
    Parser(
        setup_cookie.SetupCookie.parse,
        lambda text: setup_cookie.SetupCookie.parse(f"{text[:400]}~{'0' * 64}"),
        TEXT,
        HEADER_BYTES,
    ),
    Parser(setup_cookie.digest, setup_cookie.digest, TEXT, HEADER_BYTES),
    Parser(setup_links.is_token, setup_links.is_token, TEXT, HEADER_BYTES),
    Parser(setup_links.is_link_id, setup_links.is_link_id, TEXT, HEADER_BYTES),
    Parser(client_limits.limit_of, client_limits.limit_of, TEXT, HEADER_BYTES),
    Parser(client_limits.limit_of, lambda text: client_limits.limit_of(f"/t/{text}"), TEXT, HEADER_BYTES),
    Parser(
        client_limits.limit_of,
        lambda text: client_limits.limit_of(f"/t/a/callback/{text}"),
        TEXT,
        HEADER_BYTES,
    ),
    Parser(logged_path.logged_path, logged_path.logged_path, TEXT, HEADER_BYTES),
    Parser(logged_path.logged_path, lambda text: logged_path.logged_path(f"/%73{text}"), TEXT, HEADER_BYTES),
    Parser(credentials.SessionCookie.parse, credentials.SessionCookie.parse, TEXT, HEADER_BYTES),
    Parser(index.fold, index.fold, TEXT, index.LONGEST_SEARCH),
    Parser(Index.search, lambda text: Index(()).search(text, most=50), TEXT, HEADER_BYTES),
    Parser(Index.by_host, Index(()).by_host, TEXT, HEADER_BYTES),
    Parser(finding.email_domain, finding.email_domain, TEXT, BODY_BYTES),
    Parser(finding.email_domain, lambda text: finding.email_domain(f"a@{text}"), TEXT, BODY_BYTES),
    Parser(finding.named, lambda text: finding.named(Index(()), text), TEXT, BODY_BYTES),
    Parser(Vault.open_of_browser, lambda text: VAULT.open_of_browser("x", text), TEXT, HEADER_BYTES),
    Parser(
        RememberedOrganisations.read,
        lambda text: RememberedOrganisations(VAULT).read(text, "https://portal.example"),
        TEXT,
        HEADER_BYTES,
    ),
    Parser(switching.kept_page, lambda text: switching.kept_page(f"/t/{text}"), TEXT, HEADER_BYTES),
    Parser(cards.initials, cards.initials, TEXT, BODY_BYTES),
    Parser(
        cookies.read_cookie,
        lambda text: cookies.read_cookie(headers("Cookie", text), "portal"),
        TEXT,
        HEADER_BYTES,
    ),
    Parser(forms.posted_form, _posted, TEXT, BODY_BYTES),
    Parser(kept_form.kept_form, _kept, TEXT, BODY_BYTES),
    Parser(browser_name.browser_name, browser_name.browser_name, TEXT, HEADER_BYTES),
    Parser(session.claims_for_pages, _claims_of_pages, TEXT, MAX_LOGIN_BYTES),
    Parser(account.chosen_claims, _chosen_claims, TEXT, MAX_LOGIN_BYTES),
    Parser(
        forms.decoded,
        lambda text: forms.decoded(parse_qs_bytes(text.encode(), max_num_fields=1_000)),
        TEXT,
        BODY_BYTES,
    ),
    Parser(
        origin.origin_of,
        lambda text: origin.origin_of(headers("Origin", text), "https://portal.example"),
        TEXT,
        HEADER_BYTES,
    ),
    Parser(
        admin_form.read_form,
        lambda text: admin_form.read_form({"slug": [text], "name": [text]}, (SLUG_FIELD, NAME_FIELD)),
        TEXT,
        BODY_BYTES,
    ),
    Parser(
        peer.client_address, lambda text: peer.client_address("10.0.0.1", text, TRUSTED), TEXT, HEADER_BYTES
    ),
    Parser(peer.is_trusted, lambda text: peer.is_trusted(text, TRUSTED), TEXT, HEADER_BYTES),
    Parser(
        problems.problem,
        lambda text: problems.problem(PortalError(explanation=text), "id"),
        TEXT,
        HEADER_BYTES,
    ),
    Parser(original_request.original_request, lambda text: _original(f"/{text}?{text}"), TEXT, HEADER_BYTES),
    Parser(original_request.AuthzAddress.of, _address, TEXT, HEADER_BYTES),
    Parser(identity.encoded_text, identity.encoded_text, TEXT, MAX_LOGIN_BYTES),
    Parser(proxy_rules.target_url, _target, TEXT, HEADER_BYTES),
    Parser(paths.path_refusal, lambda text: paths.path_refusal(ACCESS, {}, text), TEXT, 8_000),
    Parser(paths.rules_for, lambda text: paths.rules_for(ACCESS[0].paths, text), TEXT, 8_000),
    Parser(path_reading.readable_segments, path_reading.readable_segments, TEXT, 8_000),
    Parser(path_reading.written_segments, path_reading.written_segments, TEXT, 8_000),
    Parser(rules.outcomes, _all_outcomes, TEXT, MAX_LOGIN_BYTES),
    Parser(proxy_rules.passed_headers, _location, TEXT, HEADER_BYTES),
    Parser(challenges.read_challenges, _challenge, TEXT | CHALLENGES, MAX_HEAD_BYTES),
    Parser(step_up.required_step_up, _step_up, CHALLENGES, MAX_HEAD_BYTES),
    Parser(
        oidc_step_up.StepUp.read,
        lambda text: oidc_step_up.StepUp.read(acr_values=text, max_age=text, scope=text),
        TEXT,
        HEADER_BYTES,
    ),
    Parser(
        proxy_rules.additional_headers,
        lambda text: proxy_rules.additional_headers(headers("Connection", text), {"referer"}),
        TEXT,
        HEADER_BYTES,
    ),
    Parser(
        parse_traceparent,
        parse_traceparent,
        TEXT | {"fields": lambda size: f"cc-{'a' * 32}-{'b' * 16}-01-{'-' * size}"},
        HEADER_BYTES,
    ),
    Parser(
        proxy_rules.browser_headers,
        lambda text: proxy_rules.browser_headers(headers("Connection", text)),
        TEXT,
        HEADER_BYTES,
    ),
    Parser(handshake.read_handshake, _upgrade, TEXT, HEADER_BYTES),
    Parser(handshake.asks_for_websocket, _upgrade, TEXT, HEADER_BYTES),
    Parser(client_websocket.ClientHandshake.choice, _choice, TEXT, MAX_HEAD_BYTES),
    Parser(
        redirects.leads_to_api,
        lambda text: redirects.leads_to_api(f"https://portal.example/{text}", "https://portal.example"),
        TEXT,
        BODY_BYTES,
    ),
    Parser(
        front_end_paths.file_path,
        lambda text: front_end_paths.file_path(f"/{text}", source_maps=False),
        TEXT,
        HEADER_BYTES,
    ),
    Parser(front_end_paths.is_page, front_end_paths.is_page, TEXT, HEADER_BYTES),
    Parser(front_end_paths.is_hashed, front_end_paths.is_hashed, TEXT, 1024),
    Parser(
        conditions.accepted_codings,
        lambda text: conditions.accepted_codings(text, ("br", "zstd", "gzip")),
        TEXT,
        HEADER_BYTES,
    ),
    Parser(conditions.matches, lambda text: conditions.matches(text, '"a"'), TEXT, HEADER_BYTES),
    Parser(
        conditions.byte_range,
        lambda text: conditions.byte_range(f"bytes={text}", if_range=text, etag='"a"', size=100),
        TEXT,
        HEADER_BYTES,
    ),
    Parser(return_to.safe_return_to, lambda text: return_to.safe_return_to(text, "acme"), TEXT, BODY_BYTES),
    Parser(
        return_to.safe_target,
        lambda text: return_to.safe_target(text, "acme", origin="https://portal.example"),
        TEXT,
        BODY_BYTES,
    ),
    Parser(display_text, display_text, TEXT, BODY_BYTES),
    Parser(markup.escaped, markup.escaped, TEXT, BODY_BYTES),
    Parser(choice.accepted_tags, choice.accepted_tags, TEXT | LANGUAGES, HEADER_BYTES),
    Parser(stored_texts.StoredTexts.translate, CHECK_TEXTS.translate, TEXT | FINDINGS, stored_texts.LONGEST),
    Parser(
        problem_texts.ProblemTexts.translate, PROBLEM_TEXTS.translate, TEXT | PROBLEMS, stored_texts.LONGEST
    ),
    Parser(PageAddresses.nearest, lambda text: PAGE_ADDRESSES.nearest(f"/setup/{text}"), TEXT, HEADER_BYTES),
    Parser(api_paths.leads_to_api_path, api_paths.leads_to_api_path, TEXT, HEADER_BYTES),
    Parser(choice.requested_tags, choice.requested_tags, TEXT | LANGUAGES, HEADER_BYTES),
    Parser(sites.Sites.find, SITES.find, TEXT, HEADER_BYTES),
    Parser(dot_segments.decode_fully, dot_segments.decode_fully, TEXT, HEADER_BYTES),
    Parser(dot_segments.has_dot_segment, dot_segments.has_dot_segment, TEXT, HEADER_BYTES),
    Parser(
        request.split_url,
        lambda text: request.split_url(f"https://{text}"),
        TEXT,
        url_rules.MAX_URL_LENGTH,
    ),
    Parser(request.OutboundRequest.head, _outbound_head, TEXT, HEADER_BYTES),
    Parser(
        txt_records.read_response,
        lambda text: txt_records.read_response(text.encode("latin-1"), TXT_QUERY),
        DNS,
        txt_records.MOST_BYTES,
        thread=True,
    ),
    Parser(Resolver.addresses, _resolved, TEXT, url_rules.MAX_URL_LENGTH),
    Parser(ResponseParser.feed, _fed_in_pieces(READ_BYTES), RESPONSE, MAX_HEAD_BYTES - 100),
    Parser(ResponseParser.feed, _fed_in_pieces(64), RESPONSE, MAX_HEAD_BYTES - 100),
    Parser(api_response.ResponseHeaders.__init__, lambda text: _checked(text, "a"), TEXT, MAX_HEAD_BYTES),
    Parser(api_response.ResponseHeaders.__init__, lambda text: _checked("a", text), TEXT, MAX_HEAD_BYTES),
    Parser(RequestParser.read_head, lambda text: read_head(f"A: {text}"), TEXT, HEADER_BYTES),
    Parser(RequestParser.read_head, lambda text: read_head(f"Host: {text}"), TEXT, HEADER_BYTES),
    Parser(RequestParser.read_head, lambda text: read_head(f"Connection: {text}"), TEXT, HEADER_BYTES),
    Parser(RequestParser.read_head, read_head, FIELDS, HEADER_BYTES),
    Parser(
        FieldsCache.read,
        lambda text: FieldsCache().read(f"\r\n{text}\r\n\r\n".encode("latin-1", "replace")),
        FIELDS,
        HEADER_BYTES,
    ),
    Parser(
        request.encode_headers, lambda text: request.encode_headers([("Accept", text)]), TEXT, HEADER_BYTES
    ),
    Parser(RequestParser.read_head, lambda text: read_head("", target=text), TEXT, HEADER_BYTES),
    Parser(
        ChunkedBody.decode,
        lambda text: ChunkedBody().decode(text.encode("latin-1", "replace"), CHUNKS_AT_ONCE),
        CHUNKS,
        CLIENT_READ_BYTES,
    ),
    Parser(request_body.BodyRules.find, BODY_RULES.find, TEXT, HEADER_BYTES),
    Parser(
        request_body.BodyRules.find,
        lambda text: BODY_RULES.find(f"/t/acme{text}"),
        TEXT,
        HEADER_BYTES,
    ),
    Parser(
        request_body.declared_length,
        lambda text: request_body.declared_length(headers("Content-Length", text)),
        {**TEXT, "digits": repeated("9")},
        HEADER_BYTES,
    ),
    Parser(
        request_body.BodyRule.lacks_cookie,
        lambda text: LOGIN_BODY.lacks_cookie(headers("Cookie", text)),
        TEXT,
        HEADER_BYTES,
    ),
    Parser(
        logo_content.logo_of,
        lambda text: logo_content.logo_of(text.encode("latin-1", "replace")),
        {
            "elements": repeated("<a/>", _SVG, "</svg>"),
            "attributes": numbered(' a#=""', _SVG + "<g", "/></svg>"),
            "a long attribute": repeated("url(#a) ", _SVG + '<g style="', '"/></svg>'),
            "spaces in an address": repeated(" ", _SVG + '<g style="url(', '"/></svg>'),
            "unfinished addresses": repeated("url( ", _SVG + '<g style="', '"/></svg>'),
            "styles": repeated("<style>url(#a)</style>", _SVG, "</svg>"),
            "one style": repeated("u", _SVG + "<style>", "</style></svg>"),
            "uses": numbered('<g id="a#"/><use href="#a#"/>', _SVG, "</svg>"),
            "one element that is used": repeated('<use href="#a"/>', f'{_SVG}<g id="a"/>', "</svg>"),
            "ids that are the same": repeated('<use id="a" href="#a"/>', _SVG, "</svg>"),
            "a chain of uses": numbered('<g id="a#"><use href="#a#"/>', _SVG, "</svg>"),
            "inherited": repeated(
                "<a/>", f"{_SVG}<g style='{'fill:url(#b);' * 200}'>", '</g><g id="b"/></svg>'
            ),
            "rules of a style": numbered(".a#{fill:url(#a)}", _SVG + "<style>", '</style><g id="a"/></svg>'),
            "classes": numbered(
                " a#", _SVG + '<style>.a{fill:url(#b)}</style><g id="b" class="', '"/></svg>'
            ),
            "comments of a style": repeated("/*", _SVG + "<style>url(#a)", "</style></svg>"),
            "strings of a style": repeated("'\n", _SVG + "<style>url(#a)", "</style></svg>"),
            "encoded ids": repeated("url(#%41", _SVG + '<g style="', '"/></svg>'),
            "entities": numbered('<!ENTITY a# "x">', "<!DOCTYPE svg [", f"]>{_SVG}</svg>"),
            "references": repeated("&amp;", _SVG, "</svg>"),
            "segments of a JPEG file": repeated("\xff\xfe\x00\x02", "\xff\xd8", "\xff\xd9"),
        },
        65_536,
        thread=True,
    ),
    Parser(
        yaml_document.parse_document,
        lambda text: yaml_document.parse_document(text.encode(), "acme.yaml"),
        YAML,
        FILE_BYTES,
        thread=True,
    ),
    Parser(
        yaml_mistakes.likely_mistake,
        lambda text: yaml_document.parse_document(f"{text}\n  b: c: d\n".encode(), "acme.yaml"),
        BROKEN_YAML,
        FILE_BYTES,
        thread=True,
    ),
    Parser(
        editing.set_values,
        lambda text: editing.set_values(text, {("a", "b"): "c", ("name",): "d", ("z",): None}),
        YAML | ENTRIES,
        FILE_BYTES,
        thread=True,
    ),
    Parser(
        editing.put_below,
        lambda text: editing.put_below(text, ("a", "name"), ("providers", "b")),
        YAML | ENTRIES,
        FILE_BYTES,
        thread=True,
    ),
    Parser(
        list_editing.set_entries,
        lambda text: list_editing.set_entries(text, "links", LINKS, same=("url", "title")),
        YAML | ENTRIES | LISTS,
        FILE_BYTES,
        thread=True,
    ),
    Parser(
        page_text.visible_text,
        lambda text: page_text.visible_text(text.encode()),
        PAGES,
        page_text.LONGEST_PAGE,
    ),
    Parser(
        page_text.form_fields,
        lambda text: page_text.form_fields(text.encode()),
        PAGES,
        page_text.LONGEST_PAGE,
    ),
)
