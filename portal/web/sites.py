"""The origins of the portal, and their links and cookies.

Links and redirect URIs never repeat the Host header. They are made from `public_url`, or from a host name in
a tenant file; any other Host header has no effect (THREATS L7).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from portal.tenancy.model import Tenant

_NAME = re.compile(r"([a-z0-9-]+(?:\.[a-z0-9-]+)*)(?::[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class Site:
    """One origin of the portal. It serves `tenant` only, or all tenants when None."""

    origin: str
    tenant: str | None = None

    @property
    def secure(self) -> bool:
        """Whether browsers use https."""
        return self.origin.startswith("https:")

    @property
    def host(self) -> str:
        """The host name in lower case, with the port unless it is the default."""
        return self.origin.partition("://")[2].lower()

    def serves(self, tenant: str) -> bool:
        """Whether this site serves the tenant."""
        return self.tenant is None or self.tenant == tenant

    def cookie_name(self, name: str) -> str:
        """The name with `__Host-`, which stops sibling hosts from setting the cookie; http cannot use it."""
        return f"__Host-{name}" if self.secure else name

    def callback_url(self, tenant: Tenant, provider: str) -> str:
        """The redirect_uri of a provider of the tenant, by its id.

        Each of several providers has its own, so that the response of one provider cannot pass for that of
        another (RFC 9700 4.4.2.2).
        """
        own = f"/{provider}" if len(tenant.providers) > 1 else ""
        return f"{self.origin}/t/{tenant.slug}/callback{own}"

    def test_callback_url(self, tenant: Tenant, provider: str, server: str) -> str:
        """The redirect_uri of test logins, where that of logins belongs to another authorization server.

        Parameters: server, which authorization server it is for, as hexadecimal digits.
        """
        return f"{self.origin}/t/{tenant.slug}/callback/{provider}/test-{server}"

    def signed_out_url(self, tenant: str) -> str:
        """The post_logout_redirect_uri of a tenant."""
        return f"{self.origin}/t/{tenant}/signed-out"


class Sites:
    """Finds the site of a request's Host header."""

    def __init__(self, public_url: str, tenant_by_host: Callable[[str], Tenant | None]) -> None:
        parts = urlsplit(public_url)
        self.main = Site(f"{parts.scheme}://{parts.netloc}")
        self._main_host = parts.netloc.lower()
        self._port = f":{parts.port}" if parts.port else ""
        self._scheme = parts.scheme
        self._tenant_by_host = tenant_by_host

    def find(self, host: str) -> Site:
        """Return the site of a Host header; the main site when no tenant has this host."""
        host = host.lower()
        if host == self._main_host:
            return self.main
        named = _NAME.fullmatch(host)
        tenant = self._tenant_by_host(named[1]) if named else None
        if named is None or tenant is None:
            return self.main
        return Site(f"{self._scheme}://{named[1]}{self._port}", tenant.slug)
