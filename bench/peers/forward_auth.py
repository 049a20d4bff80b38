"""Forward authentication: the portal and oauth2-proxy, asked directly and by nginx (`auth_request`)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

from bench.load import run_wrk
from bench.peers import install
from bench.peers.others import oauth2_proxy, unprivileged_user
from bench.peers.portal import running_portal
from bench.peers.product import Candidate, Product, Start, process
from bench.peers.rounds import Figures, Plan, in_rounds
from bench.peers.shared_servers import SharedServers
from bench.peers.tables import Table, number, ratio
from bench.servers import ROOT, free_port

_SETTINGS = "trusted_proxies: [127.0.0.1]\n"
_OWN_NGINX = ROOT / ".cache" / "nginx" / "usr" / "sbin" / "nginx"
_DECISION = "portal, one decision"
_BUILT_IN = "portal, its own proxy"
_MICROSECONDS = "us CPU"
_CONFIGURATION = """\
daemon off;
worker_processes 1;
pid nginx.pid;
error_log errors.log;
{user}
events {{ worker_connections 1024; }}
http {{
  access_log /dev/null combined;
  client_body_temp_path body; proxy_temp_path proxy;
  fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  keepalive_requests 1000000000;
  proxy_http_version 1.1;
  upstream application {{ server {api}; keepalive 64; keepalive_requests 1000000000; }}
  upstream authentication {{ server 127.0.0.1:{asked}; keepalive 64; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port};
    location /api/ {{
      auth_request /_authz;
      auth_request_set $subject $upstream_http_{subject};
      proxy_pass http://application/;
      proxy_set_header Connection "";
      proxy_set_header Cookie "";
      proxy_set_header X-Auth-Subject $subject;
    }}
    location = /_authz {{
      internal;
      proxy_pass http://authentication{path};
      proxy_pass_request_body off;
      proxy_set_header Content-Length "";
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Original-Method $request_method;
      proxy_set_header X-Original-URI $request_uri;
      proxy_set_header X-Original-Host $http_host;
    }}
  }}
}}
"""


def decisions(servers: SharedServers, products: Sequence[Product], plan: Plan) -> Table:
    """CPU time of a decision, and of a request of 200 bytes to an application with a decision before it."""
    headers = {product.name: product.signed_in(servers) for product in products}

    def measure(product: Product) -> Figures:
        before = product.cpu_seconds()
        load = run_wrk(product.api, headers[product.name], plan.seconds)
        used = product.cpu_seconds() - before
        return {_MICROSECONDS: used / load.calls * 1e6, "calls/s": load.calls / load.seconds}

    found = in_rounds("authz", servers, products, plan.rounds, measure)
    columns = (
        "Forward authentication",
        "CPU, µs",
        "relative to a decision",
        "relative to its own proxy",
        "requests/s",
    )
    rows = [
        (
            name,
            number(figures[_MICROSECONDS]),
            *(_relative(figures, found.get(reference)) for reference in (_DECISION, _BUILT_IN)),
            number(figures["calls/s"]),
        )
        for name, figures in found.items()
    ]
    return Table("authz", f"{plan.seconds} s", columns, tuple(rows))


def _relative(figures: Figures, reference: Figures | None) -> str:
    return ratio(figures[_MICROSECONDS], reference[_MICROSECONDS] if reference else None)


@contextlib.contextmanager
def _portal_decision(servers: SharedServers, port: int, name: str) -> Iterator[Product]:
    with running_portal(servers, port, name, more_settings=_SETTINGS) as portal:
        described = {
            "X-Original-Method": "GET",
            "X-Original-URI": "/api/200",
            "X-Original-Host": f"localhost:{port}",
        }
        url = f"http://localhost:{port}/t/bench/authz"
        yield Product(name, url, portal.login, portal.pid, portal.metrics, described)


@contextlib.contextmanager
def _portal_proxy(servers: SharedServers, port: int, name: str) -> Iterator[Product]:
    with running_portal(servers, port, name) as portal:
        headers = portal.extra_headers
        yield Product(name, f"{portal.api}/200", portal.login, portal.pid, portal.metrics, headers)


@contextlib.contextmanager
def _oauth2_proxy_decision(servers: SharedServers, port: int, name: str) -> Iterator[Product]:
    with oauth2_proxy(servers, port, name) as product:
        yield Product(name, f"{product.api}/oauth2/auth", product.login, product.pid)


def _behind_nginx(start: Start, path: str, subject: str) -> Start:
    """nginx, which asks a product. Parameters: path, where it asks; subject, a field of the response."""

    @contextlib.contextmanager
    def started(servers: SharedServers, port: int, name: str) -> Iterator[Product]:
        asked = free_port()
        with start(servers, asked, name) as product, _nginx(servers, port, asked, path, subject) as pid:
            headers: Mapping[str, str] = {"Host": f"localhost:{asked}"}
            url = f"http://127.0.0.1:{port}/api/200"
            yield Product(name, url, product.login, product.pid, product.metrics, headers, (pid,))

    return started


@contextlib.contextmanager
def _nginx(servers: SharedServers, port: int, asked: int, path: str, subject: str) -> Iterator[int]:
    folder = servers.make_folder("nginx")
    user = unprivileged_user(folder)
    configuration = _CONFIGURATION.format(
        user=f"user {user};" if user else "",
        api=servers.api.removeprefix("http://"),
        port=port,
        asked=asked,
        path=path,
        subject=subject,
    )
    (folder / "nginx.conf").write_text(configuration)
    program = _OWN_NGINX if _OWN_NGINX.exists() else install.DEBIAN / "usr/sbin/nginx"
    command = [
        str(program),
        "-p",
        str(folder),
        "-c",
        str(folder / "nginx.conf"),
        "-e",
        str(folder / "errors.log"),
    ]
    with process(command, folder, port, **install.debian_environment()) as pid:
        yield pid


def _install_nginx() -> None:
    if not _OWN_NGINX.exists():
        install.debian()


def _install_both() -> None:
    _install_nginx()
    install.oauth2_proxy()


FORWARD_AUTH = (
    Candidate(_DECISION, lambda: None, _portal_decision),
    Candidate("oauth2-proxy, one decision", install.oauth2_proxy, _oauth2_proxy_decision),
    Candidate(_BUILT_IN, lambda: None, _portal_proxy),
    Candidate(
        "nginx that asks the portal",
        _install_nginx,
        _behind_nginx(_portal_decision, "/t/bench/authz", "x_auth_subject"),
    ),
    Candidate(
        "nginx that asks oauth2-proxy",
        _install_both,
        _behind_nginx(_oauth2_proxy_decision, "/oauth2/auth", "x_auth_request_user"),
    ),
)
