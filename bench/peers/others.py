"""Configures and starts the other products, each with one process or worker as far as it allows."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from bench.peers import install
from bench.peers.product import Candidate, Product, Start, process
from bench.peers.provider import CLIENT_ID, CLIENT_SECRET
from bench.peers.shared_servers import SharedServers
from bench.servers import free_port

_NGINX = """\
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
  upstream api {{ server {api}; keepalive 64; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port};
    client_max_body_size 0;
    location /api/ {{
      proxy_pass http://api/;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_request_buffering off;
      proxy_max_temp_file_size 0;
    }}
  }}
}}
"""

_APACHE_MODULES = (
    "mpm_event", "authn_core", "authz_core", "authz_user", "auth_openidc", "headers", "proxy", "proxy_http"
)  # fmt: skip
_APACHE = """\
ServerRoot "{folder}"
ServerName 127.0.0.1
Listen 127.0.0.1:{port}
PidFile apache.pid
DefaultRuntimeDir "{folder}"
ErrorLog errors.log
LogLevel error
{user}
{modules}
LogFormat "%h %l %u %t \\"%r\\" %>s %O \\"%{{Referer}}i\\" \\"%{{User-Agent}}i\\"" combined
CustomLog /dev/null combined
StartServers 1
ServerLimit 1
ThreadsPerChild 64
MaxRequestWorkers 64
MinSpareThreads 1
MaxSpareThreads 64
MaxConnectionsPerChild 0
KeepAlive On
MaxKeepAliveRequests 0
KeepAliveTimeout 60

OIDCProviderMetadataURL {issuer}/.well-known/openid-configuration
OIDCClientID {client_id}
OIDCClientSecret {client_secret}
OIDCRedirectURI http://127.0.0.1:{port}/callback
OIDCCryptoPassphrase "a passphrase of the benchmark"
OIDCScope "openid profile email"
OIDCPKCEMethod S256
OIDCPassClaimsAs environment
OIDCSessionInactivityTimeout 36000
{cache}
<Location />
  AuthType openid-connect
  Require valid-user
</Location>
<Location /api/>
  RequestHeader set Authorization "Bearer %{{OIDC_access_token}}e"
  RequestHeader unset Cookie
  ProxyPass {api}/ keepalive=On max=64
</Location>
"""


def unprivileged_user(*folders: Path) -> str:
    """The user that a server started by root changes to, now the owner of its folders; otherwise empty."""
    if os.geteuid() != 0:
        return ""
    os.chmod(folders[0].parent, 0o711)
    for folder in folders:
        shutil.chown(folder, "www-data")
    return "www-data"


@contextlib.contextmanager
def _nginx(servers: SharedServers, port: int, name: str) -> Iterator[Product]:
    folder = servers.make_folder("nginx")
    user = unprivileged_user(folder)
    config = _NGINX.format(
        user=f"user {user};" if user else "", api=servers.api.removeprefix("http://"), port=port
    )
    (folder / "nginx.conf").write_text(config)
    command = [str(install.DEBIAN / "usr/sbin/nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf")]
    with process(command, folder, port, **install.debian_environment()) as pid:
        yield Product(name, f"http://127.0.0.1:{port}/api", None, pid)


def _mod_auth_openidc(cache: str) -> Start:
    @contextlib.contextmanager
    def start(servers: SharedServers, port: int, name: str) -> Iterator[Product]:
        folder = servers.make_folder("apache")
        (folder / "sessions").mkdir()
        user = unprivileged_user(folder, folder / "sessions")
        modules = [
            f'LoadModule {one}_module "{install.DEBIAN}/usr/lib/apache2/modules/mod_{one}.so"'
            for one in _APACHE_MODULES
        ]
        config = _APACHE.format(
            folder=folder,
            port=port,
            user=f"User {user}\nGroup {user}" if user else "",
            modules="\n".join(modules),
            cache=cache.format(folder=folder),
            issuer=servers.issuer,
            api=servers.api,
            client_id=CLIENT_ID,
            client_secret=CLIENT_SECRET,
        )
        (folder / "apache.conf").write_text(config)
        program = str(install.DEBIAN / "usr/sbin/apache2")
        command = [program, "-f", str(folder / "apache.conf"), "-D", "FOREGROUND"]
        url = f"http://127.0.0.1:{port}"
        with process(command, folder, port, **install.debian_environment()) as pid:
            yield Product(name, f"{url}/api", f"{url}/api/2", pid)

    return start


def _oauth2_proxy(*, redis: bool) -> Start:
    @contextlib.contextmanager
    def start(servers: SharedServers, port: int, name: str) -> Iterator[Product]:
        folder, url = servers.make_folder("oauth2-proxy"), f"http://127.0.0.1:{port}"
        options = {
            "http-address": f"127.0.0.1:{port}",
            "provider": "oidc",
            "oidc-issuer-url": servers.issuer,
            "client-id": CLIENT_ID,
            "client-secret": CLIENT_SECRET,
            "redirect-url": f"{url}/oauth2/callback",
            "upstream": f"{servers.api}/",
            "scope": "openid profile email",
            "code-challenge-method": "S256",
            "email-domain": "*",
            "cookie-secret": "0123456789abcdef0123456789abcdef",
            "cookie-secure": "false",
            "pass-access-token": "true",
            "skip-provider-button": "true",
            "set-xauthrequest": "true",  # the response to a reverse proxy names the user
        }
        with contextlib.ExitStack() as stack:
            if redis:
                address = stack.enter_context(_redis(servers))
                options |= {"session-store-type": "redis", "redis-connection-url": address}
            command = [str(install.OAUTH2_PROXY / "oauth2-proxy")]
            command += [f"--{key}={value}" for key, value in options.items()]
            pid = stack.enter_context(process(command, folder, port, GOMAXPROCS="1"))
            yield Product(name, url, f"{url}/oauth2/start?rd=/", pid)

    return start


@contextlib.contextmanager
def _redis(servers: SharedServers) -> Iterator[str]:
    folder, port = servers.make_folder("redis"), free_port()
    command = [str(install.DEBIAN / "usr/bin/redis-server"), "--bind", "127.0.0.1", "--port", str(port)]
    command += ["--save", "", "--dir", str(folder)]
    with process(command, folder, port, **install.debian_environment()):
        yield f"redis://127.0.0.1:{port}"


@contextlib.contextmanager
def _express(servers: SharedServers, port: int, name: str) -> Iterator[Product]:
    folder, url = servers.make_folder("express"), f"http://127.0.0.1:{port}"
    command = [install.node(), str(install.EXPRESS / "server.mjs")]
    with process(command, folder, port, NODE_ENV="production", **_environment(servers, port)) as pid:
        yield Product(name, f"{url}/api", f"{url}/login", pid)


@contextlib.contextmanager
def _starlette(servers: SharedServers, port: int, name: str) -> Iterator[Product]:
    folder, url = servers.make_folder("starlette"), f"http://127.0.0.1:{port}"
    command = [str(install.STARLETTE / "venv/bin/uvicorn"), "--app-dir", str(install.STARLETTE), "bff:app"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    with process(command, folder, port, **_environment(servers, port)) as pid:
        yield Product(name, f"{url}/api", f"{url}/login", pid)


def _environment(servers: SharedServers, port: int) -> dict[str, str]:
    return {
        "PORT": str(port),
        "API": servers.api,
        "ISSUER": servers.issuer,
        "CLIENT_ID": CLIENT_ID,
        "CLIENT_SECRET": CLIENT_SECRET,
    }


def _with_redis() -> None:
    install.oauth2_proxy()
    install.debian()


oauth2_proxy = _oauth2_proxy(redis=False)
"""With the session in a cookie."""
_ENTRIES = "OIDCCacheType shm\nOIDCCacheShmMax 50000\nOIDCCacheShmEntrySizeMax 8721"
_FILES = 'OIDCCacheType file\nOIDCCacheDir "{folder}/sessions"'

PEERS = (
    Candidate("nginx", install.debian, _nginx),
    Candidate("mod_auth_openidc", install.debian, _mod_auth_openidc("OIDCCacheType shm")),
    Candidate("oauth2-proxy", install.oauth2_proxy, _oauth2_proxy(redis=False)),
    Candidate("express-openid-connect", install.express, _express),
    Candidate("Starlette and httpx", install.starlette, _starlette),
)
MANY_SESSIONS = (
    Candidate("mod_auth_openidc shared memory", install.debian, _mod_auth_openidc(_ENTRIES)),
    Candidate("mod_auth_openidc files", install.debian, _mod_auth_openidc(_FILES)),
    Candidate("oauth2-proxy Redis", _with_redis, _oauth2_proxy(redis=True)),
)
"""Those that keep sessions, with room for many of them."""
