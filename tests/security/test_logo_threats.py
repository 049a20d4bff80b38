"""THREATS T4, T6 and T7: the address and the content of a tenant's logo."""

from __future__ import annotations

import asyncio
import gzip
import re
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from portal.config.logo_content import LARGEST_TENANT_LOGO, LogoRefused, logo_of
from portal.outbound.client import OutboundClient
from portal.tenancy.logos import FETCH_SECONDS, TenantLogos
from portal.tenancy.model import Branding, Tenant
from tests.kit.logos import SVG, png
from tests.kit.raw import change_tenant
from tests.kit.samples import sample_tenant
from tests.kit.world import World
from tests.security.test_outbound_threats import FORBIDDEN, Names
from tests.unit.outbound.wire import Received, Response, calling, http_response, serving, until
from tests.unit.tenancy.files import ACME, problems

SCRIPT = "<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
IMAGE = [("Content-Type", "image/png")]


def branded(url: str, slug: str = "acme") -> Tenant:
    return sample_tenant(slug, branding=Branding(None, url))


# --- T4


@pytest.mark.gen_test
async def test_T4_a_logo_can_neither_act_as_the_portal_nor_be_taken_for_something_else(world: World) -> None:
    async with serving(lambda _: http_response(200, SVG, [("Set-Cookie", "a=b"), *IMAGE])) as wire:
        change_tenant(world, "acme", branding={"logo_url": wire.url("/logo")})
        response = await world.browser().step(world.at("/t/acme/logo"))
    assert (response.status, response.text) == (200, SVG)
    assert response.headers["Content-Type"] == "image/svg+xml; charset=utf-8"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    policy = response.headers["Content-Security-Policy"].split("; ")
    assert {"default-src 'none'", "sandbox"} <= set(policy)
    assert not any(rule.startswith(("script-src", "connect-src")) for rule in policy)
    assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert response.headers.get_list("Set-Cookie") == []


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "content",
    [
        b"<!DOCTYPE html><script>alert(1)</script>",
        b"alert(document.domain)",
        b"<html xmlns='http://www.w3.org/1999/xhtml'><svg xmlns='http://www.w3.org/2000/svg'/></html>",
        SCRIPT.encode(),
        b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
        b"<svg xmlns='http://www.w3.org/2000/svg'><image href='https://tracker.example/'/></svg>",
        b"GIF89a/*" + b"\0" * 20 + b"*/=alert(1)",
        png(32, 32)[:60] + b"<script>alert(1)</script>",
        b"",
    ],
)
async def test_T4_what_only_claims_to_be_a_picture_is_not_served(world: World, content: bytes) -> None:
    async with serving(lambda _: http_response(200, content, IMAGE)) as wire:
        change_tenant(world, "acme", branding={"logo_url": wire.url("/logo.png")})
        response = await world.browser().step(world.at("/t/acme/logo"))
        page = await world.browser().open(world.at("/t/acme/"))
    assert len(wire.received) == 1
    assert response.status == 404
    assert response.headers["Content-Type"] == "application/problem+json"
    assert "avatar-logo" not in page.text


def document(inside: str, start: str = "") -> bytes:
    return f'{start}<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9">{inside}</svg>'.encode()


@pytest.mark.parametrize(
    "content",
    [
        document("", '<?xml version="1.0" encoding="gbk"?>'),
        document("", "<?xml version='1.0' encoding='UTF-16'?>"),
        document("", '<?xml version="1.0" encoding="x-user-defined"?>'),
    ],
)
def test_T4_an_svg_logo_is_read_by_browsers_as_it_was_checked(content: bytes) -> None:
    with pytest.raises(LogoRefused, match="another encoding than UTF-8"):
        logo_of(content)
    assert logo_of(document("", '<?xml version="1.0" encoding="utf-8"?>')).kind == "svg"


@pytest.mark.parametrize("namespace", ["1999/xhtml", "1998/Math/MathML", "2001/XInclude", "2001/xml-events"])
def test_T4_an_svg_logo_has_no_elements_of_other_languages(namespace: str) -> None:
    with pytest.raises(LogoRefused, match="a foreign element"):
        logo_of(document(f'<x:form xmlns:x="http://www.w3.org/{namespace}" action="https://evil.example"/>'))


# --- T6


@pytest.mark.parametrize(("url", "rule"), FORBIDDEN)
def test_T6_a_logo_at_a_forbidden_address_is_refused_in_the_file(tmp_path: Path, url: str, rule: str) -> None:
    found = problems(tmp_path, f"{ACME}branding:\n  logo_url: {url}\n")
    assert [one.partition(" branding.logo_url ")[0] for one in found] == ["acme.yaml:7:13:"]


@pytest.mark.gen_test
@pytest.mark.parametrize(("url", "rule"), FORBIDDEN)
async def test_T6_a_logo_at_a_forbidden_address_is_never_requested(url: str, rule: str) -> None:
    """Also if the address came past the schema."""
    names = Names(("127.0.0.1",))
    async with calling(OutboundClient(lookup=names)) as client:
        assert await TenantLogos(client).get(branded(url)) is None
    assert names.lookups == []


@pytest.mark.gen_test
@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["203.0.113.1", "10.0.0.1"], ["fd00::1"]])
async def test_T6_a_name_of_a_logo_that_resolves_to_a_forbidden_address_is_refused(
    addresses: Sequence[str],
) -> None:
    async with serving(lambda _: http_response(200, SVG)) as wire:
        client = OutboundClient(lookup=Names(addresses))
        async with calling(client):
            url = f"https://logo.acme.example:{wire.port}/logo"
            assert await TenantLogos(client).get(branded(url)) is None
    assert (wire.connections, wire.received) == (0, [])


@pytest.mark.gen_test
async def test_T6_a_tenant_without_the_right_to_private_networks_gets_no_logo_from_them() -> None:
    async with serving(lambda _: http_response(200, SVG)) as wire:
        client = OutboundClient(allow_private_networks=True, is_trusted=lambda slug: slug == "acme")
        async with calling(client):
            logos = TenantLogos(client)
            assert await logos.get(branded(wire.url("/logo"), "stored")) is None
            assert wire.received == []
            assert await logos.get(branded(wire.url("/logo"), "acme")) is not None


@pytest.mark.gen_test
@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_T6_a_redirect_of_a_logo_is_not_followed(status: int) -> None:
    def respond(request: Received) -> Response:
        if request.target == "/other":
            return http_response(200, SVG)
        return http_response(status, SVG, [("Location", "/other")])

    async with serving(respond) as wire, calling() as client:
        assert await TenantLogos(client).get(branded(wire.url("/logo"))) is None
    assert wire.targets() == ["/logo"]


# --- T7

PATH = '<path d="M0 0" fill="url(#p0)"/>'
STYLED = '<path class="st1"/>'
RECT = '<rect width="9" height="9"/>'


def chain(element: str, inside: str, *, links: int = 10) -> str:
    """Elements a1 … a9, each of which has ten times what `inside` makes of the one before."""
    made = "".join(
        f'<{element} id="a{number}">{inside.replace("#a", f"#a{number - 1}") * 10}</{element}>'
        for number in range(1, links)
    )
    return f'<g id="a0">{RECT}</g>{made}{inside.replace("#a", f"#a{links - 1}")}'


BOMBS = {
    "uses": chain("g", '<use href="#a"/>'),
    "uses with a prefix": chain("g", '<use xmlns:x="http://www.w3.org/1999/xlink" x:href=" #a "/>'),
    "encoded ids": chain("g", '<use href="#a"/>').replace('"#a', '"#%61'),
    "masks": chain("mask", '<rect width="9" height="9" mask="url(#a)"/>'),
    "patterns": chain("pattern", "<rect width='9' height='9' style='fill:URL( \"#a\" )'/>"),
    "inherited": chain("pattern", f'<g fill="url(#a)">{RECT * 9}</g>', links=7),
    "filters with pictures": chain("filter", '<feImage href="#a"/>'),
    "hidden by a string": chain("mask", "<rect style='--a:\"url(#\";mask:url(#a)'/>"),
    "an animation": chain("mask", '<rect><set attributeName="mask" to="url(#a)"/></rect>'),
    "an id with a bracket": re.sub(
        r'id="(a[0-9])"', r'id="\1)"', chain("mask", "<rect mask='url(\"#a)\")'/>")
    ),
    "a loop": '<g id="a"><use href="#b"/></g><g id="b"><use href="#a"/></g>',
    "an element in itself": '<g id="a"><use href="#a"/></g>',
    "vertices": "".join(
        f'<marker id="a{n}"><path d="{"M0 0" * 200}" marker-mid="url(#a{n - 1})"/></marker>' for n in range(5)
    ),
    "a document in an address": '<image href="data:image/svg+xml,x"/>',
    "a document in a style": '<rect fill="url(data:image/svg+xml,x)"/>',
    "classes": "".join(f"<style>.c{n}{{mask:url(#a{n})}}</style>" for n in range(10))
    + "".join(f'<mask id="a{n + 1}">' + f'<rect class="c{n}"/>' * 10 + "</mask>" for n in range(9))
    + '<mask id="a0"><rect/></mask><rect class="c9"/>',
    "rules that are not simple": "<style>g > rect, .x:hover {mask:url(#a)}</style><mask id='a'><g/></mask>",
    "a rule between strings": (
        "<style>.x{y:'/*'} g rect{mask:url(#a)} .x{y:'*/'}</style><mask id='a'><rect/></mask>"
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_T7_a_logo_that_multiplies_what_a_browser_draws_is_refused(name: str) -> None:
    content = document(BOMBS[name])
    assert len(content) < LARGEST_TENANT_LOGO
    with pytest.raises(LogoRefused, match=r"draw more than|animates an address|refers to another"):
        logo_of(content)


@pytest.mark.parametrize(
    "inside",
    [
        # Figma
        f'<g clip-path="url(#clip0)"><g filter="url(#f0)">{PATH * 100}</g></g>'
        '<defs><filter id="f0"><feFlood/><feBlend/></filter><clipPath id="clip0"><rect/></clipPath>'
        '<linearGradient id="p0"><stop/><stop/></linearGradient></defs><path id="Vector (Stroke)"/>',
        # Illustrator
        "<style>.st0{clip-path:url(#SVGID_2_);} .st1{fill:url(#g);font-family:'Arial'}</style>"
        '<g><defs><path id="SVGID_1_"/></defs><clipPath id="SVGID_2_"><use href="#SVGID_1_"/></clipPath>'
        f'<g class="st0">{STYLED * 50}</g></g><radialGradient id="g"><stop/></radialGradient>',
        # Inkscape
        '<metadata><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/></metadata>'
        '<linearGradient id="a"><stop/></linearGradient><linearGradient id="b" href="#a"/>'
        '<path style="fill:url(#b);stroke:url(#missing)"/>',
        # by hand
        '<style>path, rect { fill: url("#g") }</style><linearGradient id="g"><stop/></linearGradient><path/>',
        '<g fill="url(#p)"><pattern id="p"><rect/></pattern><rect/></g>',
        '<a id="a" href="#a"><path/></a><image href="data:image/png;base64,AAAA"/>',
        "<path/>" * 5_000,
    ],
)
def test_T7_logos_of_drawing_programs_are_not_refused(inside: str) -> None:
    assert logo_of(document(inside)).kind == "svg"


async def _silent(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3600)


async def _slow(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.2)


@pytest.mark.gen_test(timeout=60)
@pytest.mark.parametrize("behaviour", [_silent, _slow])
async def test_T7_no_page_waits_for_a_logo_and_no_other_tenant_for_long(
    world: World, behaviour: Response
) -> None:
    def respond(request: Received) -> Response:
        return behaviour if request.target == "/slow" else http_response(200, SVG)

    async with serving(respond) as wire:
        change_tenant(world, "acme", branding={"logo_url": wire.url("/slow")})
        change_tenant(world, "globex", branding={"logo_url": wire.url("/quick")})
        browser, began = world.browser(), time.monotonic()
        for _ in range(20):
            assert (await browser.open(world.at("/t/acme/"))).status == 200
        assert time.monotonic() - began < FETCH_SECONDS / 2
        assert (await browser.step(world.at("/t/globex/logo"))).status == 200
        assert time.monotonic() - began < FETCH_SECONDS
        assert wire.targets().count("/slow") == 1
        assert (await browser.step(world.at("/t/acme/logo"))).status == 404
        assert FETCH_SECONDS - 1 < time.monotonic() - began < FETCH_SECONDS + 4


@pytest.mark.gen_test
async def test_T7_a_huge_logo_is_not_read_to_its_end() -> None:
    sent = 0

    async def huge(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        while sent < 100_000_000 and not writer.is_closing():
            writer.write(bytes(65_536))
            await writer.drain()
            sent += 65_536

    async with serving(lambda _: huge) as wire, calling() as client:
        assert await TenantLogos(client).get(branded(wire.url("/logo"))) is None
        await until(lambda: wire.open_connections == 0)
    assert sent < 50_000_000


@pytest.mark.gen_test
@pytest.mark.parametrize("size", [LARGEST_TENANT_LOGO, LARGEST_TENANT_LOGO + 1])
async def test_T7_a_logo_has_at_most_64_KB(size: int) -> None:
    content = SVG.encode() + b"<!--"
    content += b"x" * (size - len(content) - 3) + b"-->"
    async with serving(lambda _: http_response(200, content)) as wire, calling() as client:
        found = await TenantLogos(client).get(branded(wire.url("/logo")))
    assert (found is not None) is (size == LARGEST_TENANT_LOGO)


@pytest.mark.gen_test
async def test_T7_a_compressed_logo_is_refused_and_never_expanded() -> None:
    bomb = gzip.compress(SVG.encode() + b" " * 30_000_000)
    assert len(bomb) < LARGEST_TENANT_LOGO
    response = http_response(200, bomb, [("Content-Encoding", "gzip")])
    async with serving(lambda _: response) as wire, calling() as client:
        assert await TenantLogos(client).get(branded(wire.url("/logo"))) is None
    assert len(wire.received) == 1
