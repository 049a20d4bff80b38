from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.errors import OutboundRefused
from portal.outbound.url_rules import (
    MAX_URL_LENGTH,
    check_address,
    check_url,
    is_loopback_name,
    is_plain_path,
)


def rule_of(url: str, *, allow_private_networks: bool = False) -> str | None:
    """The name of the rule that a URL breaks; None when it is accepted."""
    try:
        check_url(url, allow_private_networks=allow_private_networks)
    except OutboundRefused as error:
        return error.detail.partition(":")[0]
    return None


@pytest.mark.parametrize(
    "url",
    [
        "https://login.acme.example",
        "https://login.acme.example/",
        "https://LOGIN.acme.example:8443/realms/a%2Fb?x=1;y=2",
        "https://login.acme.example.?x",
        "https://xn--bcher-kva.example/",
        "https://my_host.example/",
        "https://93.184.215.14/",
        "https://[2606:4700::6810:84e5]:443/",
        "https://[64:ff9b::5db8:d70e]/",
    ],
)
def test_public_https_urls_are_accepted(url: str) -> None:
    assert rule_of(url) is None


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("file:///etc/passwd", "scheme"),
        ("ftp://a.example/", "scheme"),
        ("gopher://127.0.0.1:27017/_x", "scheme"),
        ("javascript:alert(1)", "scheme"),
        ("//a.example/", "scheme"),
        ("/relative", "scheme"),
        ("", "characters"),
        ("http://a.example/", "scheme"),
        ("http://localhost/", "scheme"),
        ("https:a.example", "host"),
        ("https:///a.example", "host"),
        ("https://", "host"),
        ("https://user@a.example/", "userinfo"),
        ("https://user:password@a.example/", "userinfo"),
        ("https://a.example\\@b.example/", "userinfo"),
        ("https://a.example\\b", "host"),
        ("https://a.example%2eb/", "host"),
        ("https://a.example:/", "host"),
        ("https://a.example:0/", "port"),
        ("https://a.example:65536/", "port"),
        ("https://a.example:99999/", "port"),
        ("https://a.example:8a/", "host"),
        ("https://a.example/#part", "fragment"),
        ("https://a.example/ b", "characters"),
        ("https://a.example/\r\nHost: b", "characters"),
        ("https://a.example/\x00", "characters"),
        ("https://bücher.example/", "characters"),
        ("https://a..example/", "host"),
        ("https://-a.example/", "host"),
        ("https://.example/", "host"),
        (f"https://{'a' * 64}.example/", "host"),
        (f"https://a.example/{'a' * MAX_URL_LENGTH}", "length"),
        ("https://localhost/", "loopback"),
        ("https://LOCALHOST./", "loopback"),
        ("https://db.localhost/", "loopback"),
    ],
)
def test_urls_that_break_a_rule_are_refused_with_its_name(url: str, rule: str) -> None:
    assert rule_of(url) == rule


@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "127.1",
        "0177.0.0.1",
        "127.0.0.01",
        "127.0.0.1.",
        "1.2.3.4.5",
        "256.1.1.1",
        "0x",
        "1.2.3.0x4",
    ],
)
def test_an_ipv4_address_in_another_notation_is_refused_even_where_private_ones_are_allowed(
    host: str,
) -> None:
    assert rule_of(f"https://{host}/") == "address-form"
    assert rule_of(f"https://{host}/", allow_private_networks=True) == "address-form"


PRIVATE = {
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "10.0.0.1": "private",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.168.1.1": "private",
    "100.64.0.1": "private",
    "198.18.0.1": "private",
    "192.0.2.1": "private",
    "::1": "loopback",
    "fd00::1": "private",
    "::ffff:10.0.0.1": "private",
    "::ffff:127.0.0.1": "loopback",
    "64:ff9b::a00:1": "private",
    "64:ff9b::7f00:1": "loopback",
    "2002:7f00:1::": "loopback",
    "2002:a00:1::": "private",
    "::127.0.0.1": "loopback",
    "2001:0:5db8:d70e::1": "private",
}
NEVER = {
    "0.0.0.0": "unspecified",
    "0.1.2.3": "unspecified",
    "::": "unspecified",
    "::ffff:0.0.0.0": "unspecified",
    "169.254.169.254": "link-local",
    "fe80::1": "link-local",
    "::ffff:169.254.169.254": "link-local",
    "64:ff9b::a9fe:a9fe": "link-local",
    "224.0.0.1": "multicast",
    "ff02::1": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "reserved",
    "fec0::1": "reserved",
    "64:ff9b:1::a00:1": "reserved",
    "4000::1": "reserved",
}


@pytest.mark.parametrize(("address", "rule"), [*PRIVATE.items(), *NEVER.items()])
def test_addresses_inside_networks_are_refused_with_the_name_of_their_kind(address: str, rule: str) -> None:
    with pytest.raises(OutboundRefused, match=f"^{rule}: "):
        check_address(address, allow_private_networks=False)
    literal = f"[{address}]" if ":" in address else address
    assert rule_of(f"https://{literal}/") == rule


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_accepted_when_the_operator_allows_them(address: str) -> None:
    check_address(address, allow_private_networks=True)


@pytest.mark.parametrize("address", NEVER)
def test_link_local_and_meaningless_addresses_are_refused_even_then(address: str) -> None:
    with pytest.raises(OutboundRefused):
        check_address(address, allow_private_networks=True)


@pytest.mark.parametrize("address", ["fe80::1%eth0", "not an address", "", "1.2.3"])
def test_invalid_addresses_are_refused(address: str) -> None:
    with pytest.raises(OutboundRefused):
        check_address(address, allow_private_networks=True)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8080/",
        "http://demo.localhost:1/a",
        "http://127.0.0.1/",
        "http://127.8.9.1/",
        "http://[::1]:80/",
    ],
)
def test_http_is_for_loopback_names_in_development_only(url: str) -> None:
    assert rule_of(url, allow_private_networks=True) is None
    assert rule_of(url) == "scheme"


@pytest.mark.parametrize(
    "url",
    ["http://10.0.0.1/", "http://db.internal/", "http://localhost.evil.example/", "http://notlocalhost/"],
)
def test_http_to_private_addresses_stays_refused(url: str) -> None:
    assert rule_of(url, allow_private_networks=True) == "scheme"


def test_only_localhost_and_names_below_it_are_loopback_names() -> None:
    assert is_loopback_name("LocalHost.")
    assert is_loopback_name("a.b.localhost")
    assert not is_loopback_name("localhost.example")
    assert not is_loopback_name("mylocalhost")


def test_a_plain_path_holds_visible_ascii_and_no_fragment() -> None:
    assert is_plain_path("/a%2Fb;c?x=%3B&y='\"|\\")
    assert not any(
        is_plain_path(path) for path in ["", "a", "?x", "/#", "/a b", "/\n", "/a\n", "/é", "/\x7f"]
    )


@given(st.ip_addresses())
def test_an_address_is_refused_whenever_python_calls_it_not_global(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    literal = f"[{address}]" if address.version == 6 else str(address)
    if not address.is_global or address.is_multicast:
        assert rule_of(f"https://{literal}/") is not None


@given(st.text(max_size=60))
def test_any_text_is_either_refused_or_an_https_url(text: str) -> None:
    for url in (text, f"https://{text}", f"https://a.example{text}"):
        if rule_of(url) is None:
            assert url.lower().startswith("https://")
            assert url.isascii()
            assert "#" not in url
