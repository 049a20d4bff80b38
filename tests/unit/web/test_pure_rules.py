"""Sites, origins, client addresses and scopes: rules without I/O."""

from __future__ import annotations

import re
from dataclasses import replace
from http.cookies import Morsel
from ipaddress import ip_network
from pathlib import Path

import pytest
from tornado.httputil import HTTPHeaders

import portal
from portal.secret import Secret
from portal.sessions.login_warnings import missing_scopes
from portal.tenancy.index import Index
from portal.web.api_proxy.upstream import UpstreamCall
from portal.web.client_address import client_address, counted_client
from portal.web.cookies import set_cookie_header
from portal.web.origin import Origin, origin_of
from portal.web.server.request_body import declared_length
from portal.web.sites import Sites
from tests.kit.samples import sample_provider, sample_tenant, sample_tokens

PORTAL = "https://portal.example"


@pytest.mark.parametrize(
    ("header", "length"),
    [
        (None, None),
        ("", None),
        ("0", 0),
        ("007", 7),
        ("-1", None),
        ("1_0", None),
        ("\xb2", None),
        ("9" * 18, 10**18 - 1),
        ("9" * 19, 1 << 60),
        ("9" * 5000, 1 << 60),
    ],
)
def test_the_length_that_a_request_states(header: str | None, length: int | None) -> None:
    assert declared_length(HTTPHeaders({} if header is None else {"Content-Length": header})) == length


def test_the_length_of_a_request_is_read_in_one_place() -> None:
    folder = Path(portal.__file__).parent / "web"
    reads = re.compile(r"""headers(?:\.get\(|\[)['"]Content-Length""")
    found = {
        path.relative_to(folder).as_posix(): len(reads.findall(path.read_text()))
        for path in folder.rglob("*.py")
    }
    assert {name: count for name, count in found.items() if count} == {
        "server/request_body.py": 2,  # has_body, declared_length
        "server/http_exchange.py": 1,  # of a response
        "api_proxy/handler.py": 1,  # of a response
    }


@pytest.mark.parametrize(
    ("headers", "origin"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, Origin.SAME),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"}, Origin.SAME),
        ({"Sec-Fetch-Site": "same-site"}, Origin.OTHER),
        ({"Sec-Fetch-Site": "cross-site", "Origin": PORTAL}, Origin.OTHER),
        ({"Sec-Fetch-Site": "none"}, Origin.OTHER),
        ({"Sec-Fetch-Site": ""}, Origin.OTHER),
        ({"Origin": PORTAL}, Origin.SAME),
        ({"Origin": "null"}, Origin.OTHER),
        ({"Origin": "https://sibling.portal.example"}, Origin.OTHER),
        ({"Origin": "http://portal.example"}, Origin.OTHER),
        ({}, Origin.UNKNOWN),
    ],
)
def test_the_headers_decide_the_origin_of_a_request(headers: dict[str, str], origin: Origin) -> None:
    assert origin_of(HTTPHeaders(headers), PORTAL) is origin


def test_two_fetch_site_headers_are_not_trusted() -> None:
    headers = HTTPHeaders()
    headers.add("Sec-Fetch-Site", "same-origin")
    headers.add("Sec-Fetch-Site", "same-origin")
    assert origin_of(headers, PORTAL) is Origin.OTHER


def test_L7_an_unknown_host_header_changes_no_link() -> None:
    sites = Sites(PORTAL, lambda host: None)
    for host in (
        "evil.example",
        "portal.example:9999",
        "portal.example.evil.example",
        "",
        "[::1]",
        "[::1]:80",
    ):
        assert sites.find(host).callback_url(sample_tenant(), "default") == f"{PORTAL}/t/acme/callback"


def test_T1_each_of_several_providers_has_its_own_redirect_uri() -> None:
    site = Sites(PORTAL, lambda host: None).main
    alone = sample_tenant(providers={"staff": sample_provider(id="staff")})
    assert site.callback_url(alone, "staff") == f"{PORTAL}/t/acme/callback"
    two = replace(alone, providers={**alone.providers, "partners": sample_provider(id="partners")})
    assert site.callback_url(two, "staff") == f"{PORTAL}/t/acme/callback/staff"
    assert site.callback_url(two, "partners") == f"{PORTAL}/t/acme/callback/partners"


def test_a_tenants_own_host_serves_only_that_tenant() -> None:
    acme = sample_tenant("acme")
    sites = Sites("https://portal.example:8443", {"portal.acme.example": acme}.get)
    site = sites.find("Portal.Acme.Example:8443")
    assert site.origin == "https://portal.acme.example:8443"
    assert site.serves("acme")
    assert not site.serves("globex")


ODD_HOSTS = [
    "own.example:1:2", "own.example:1:", "own.example::1", "own.example.", "own.example.:1", "own.example:",
    "own.example:99999999", "own.example:٣", "own.example: 1", " own.example", "own.example:1\n",
    "own.example\n", "x@own.example", "own.example/",
]  # fmt: skip


@pytest.mark.parametrize("host", ODD_HOSTS)
def test_L7_a_host_header_that_only_resembles_a_tenants_own_changes_no_link(host: str) -> None:
    sites = Sites(PORTAL, Index([sample_tenant(hosts=("own.example",))]).by_host)
    assert sites.find("own.example").origin == "https://own.example"
    assert sites.find("Own.Example:8443").origin == "https://own.example"
    assert sites.find(host) is sites.main


@pytest.mark.parametrize("max_age", [None, 600])
@pytest.mark.parametrize("secure", [True, False])
@pytest.mark.parametrize("same_site", ["Lax", "None"])
def test_a_cookie_is_set_as_tornado_would_set_it(max_age: int | None, secure: bool, same_site: str) -> None:
    morsel: Morsel[str] = Morsel()
    morsel.set("__Host-portal", "a.B-9_~", "a.B-9_~")
    morsel.update({"path": "/", "samesite": same_site, "httponly": "yes", "secure": "yes" if secure else ""})
    if max_age is not None:
        morsel["max-age"] = str(max_age)
    header = set_cookie_header(
        "__Host-portal", "a.B-9_~", max_age=max_age, secure=secure, same_site=same_site
    )
    assert header == morsel.OutputString()


@pytest.mark.parametrize("value", ["", "a b", "a;Path=/t", "a\r\nSet-Cookie: b", 'a"b', "a,b", "é", "a\n"])
def test_a_cookie_value_that_would_need_quoting_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="a cookie's value"):
        set_cookie_header("portal", value, max_age=None, secure=True, same_site="Lax")


def test_the_cookie_name_has_the_host_prefix_on_https_and_none_on_loopback() -> None:
    assert Sites(PORTAL, lambda host: None).main.cookie_name("portal") == "__Host-portal"
    assert Sites("http://localhost:8080", lambda host: None).main.cookie_name("portal") == "portal"


@pytest.mark.parametrize(
    ("remote_ip", "forwarded", "client"),
    [
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "1.2.3.4, 198.51.100.1, 10.0.0.7", "198.51.100.1"),
        ("10.0.0.1", "nonsense", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.3", "10.0.0.3"),
    ],
)
def test_L7_only_a_trusted_proxy_can_state_the_client_address(
    remote_ip: str, forwarded: str, client: str
) -> None:
    assert client_address(remote_ip, forwarded, [ip_network("10.0.0.0/8")]) == client


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("192.0.2.7:50000", "192.0.2.7"),
        ("[2001:db8::7]:443", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("198.51.100.1:1, 10.0.0.9:8080", "198.51.100.1"),
        ("192.0.2.7:", "10.0.0.1"),
        ("192.0.2.7:80:80", "10.0.0.1"),
        ("192.0.2.7:x", "10.0.0.1"),
        ("[2001:db8::7", "10.0.0.1"),
        ("[192.0.2.7]:80", "10.0.0.1"),
        ("2001:db8::7:443", "2001:db8::7:443"),
    ],
)
def test_S15_a_proxy_may_state_the_port_of_the_client(forwarded: str, client: str) -> None:
    """As Azure Application Gateway does: no client would be known otherwise, and none limited."""
    assert client_address("10.0.0.1", forwarded, [ip_network("10.0.0.0/8")]) == client


def test_L7_a_proxy_is_trusted_at_a_socket_for_both_versions_of_ip() -> None:
    trusted = [ip_network("10.0.0.0/8")]
    assert client_address("::ffff:10.0.0.1", "192.0.2.7", trusted) == "192.0.2.7"
    assert client_address("::ffff:11.0.0.1", "192.0.2.7", trusted) == "::ffff:11.0.0.1"
    assert client_address("10.0.0.1", "192.0.2.7, ::ffff:10.0.0.2", trusted) == "192.0.2.7"
    assert client_address("::ffff:10.0.0.1", "192.0.2.7", [ip_network("::ffff:10.0.0.1")]) == "192.0.2.7"


def test_without_trusted_proxies_the_remote_address_is_the_client() -> None:
    assert client_address("10.0.0.1", "1.2.3.4", []) == "10.0.0.1"


@pytest.mark.parametrize(
    ("granted", "refresh_token", "missing"),
    [
        (("read:orders",), Secret("r"), ()),
        (("read:orders",), None, ("offline_access",)),
        (("openid", "email"), Secret("r"), ("read:orders",)),
        (("openid", "profile", "email", "address", "phone", "offline_access", "read:orders"), None, ()),
        ((), None, ("offline_access", "read:orders")),
    ],
)
def test_scopes_for_claims_are_not_missing_when_the_grant_lists_only_api_scopes(
    granted: tuple[str, ...], refresh_token: Secret | None, missing: tuple[str, ...]
) -> None:
    identity = ("openid", "profile", "email", "address", "phone")
    provider = sample_provider(scopes=(*identity, "offline_access", "read:orders"))
    tokens = sample_tokens(scope=granted, refresh_token=refresh_token)
    assert missing_scopes(provider, tokens) == missing


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.7", "192.0.2.7/32"),
        ("::ffff:192.0.2.7", "192.0.2.7/32"),
        ("64:ff9b::c000:207", "192.0.2.7/32"),
        ("64:ff9b:1::c000:207", "64:ff9b:1::/64"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("unix:", ""),
        ("192.0.2.07", ""),
        ("0.0.0.0", ""),
        ("::", ""),
    ],
)
def test_D5_a_client_is_an_address_or_a_network_of_one_machine(address: str, counted: str) -> None:
    assert counted_client(address) == counted


def test_D5_a_trusted_proxy_at_a_unix_socket_tells_clients_apart() -> None:
    assert client_address("0.0.0.0", "203.0.113.9", [ip_network("0.0.0.0")]) == "203.0.113.9"


@pytest.mark.parametrize(
    ("network", "place"), [("", ("acme", "")), ("192.0.2.0/24", ("acme", "network 192.0.2.0/24"))]
)
def test_D5_sockets_of_unknown_clients_are_not_counted_as_those_of_one(
    network: str, place: tuple[str, str]
) -> None:
    call = UpstreamCall.__new__(UpstreamCall)
    call.login, call._network = None, network
    call._tenant = sample_tenant()
    assert call.place == place
