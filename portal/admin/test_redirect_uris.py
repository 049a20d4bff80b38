"""Where the response to a test login arrives (decision 057)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import astuple
from typing import Protocol

from portal.oidc.provider import Provider
from portal.tenancy.model import Tenant


class CallbackUrls(Protocol):
    """The redirect URIs of one site."""

    def callback_url(self, tenant: Tenant, provider: str) -> str:
        """That of logins at a provider."""

    def test_callback_url(self, tenant: Tenant, provider: str, server: str) -> str:
        """One that only test logins at this provider use. Parameters: server, which it is, as hex digits."""


def redirect_uri(
    tenant: Tenant, provider: Provider, live: Iterable[Tenant] | None, callbacks: CallbackUrls
) -> str:
    """The redirect URI of a test login: that of logins, unless a live provider of another server has it.

    Two authorization servers must not share a redirect URI (RFC 9700 4.4.2.2, THREATS T1): the one that a
    draft names could send the browser on to the live one, and the portal would give that one's code to the
    draft's token endpoint.

    Parameters: tenant and provider, of the draft; live, what is live of the tenant, served or not; None:
    something is that this version cannot read.
    """
    usual = callbacks.callback_url(tenant, provider.id)
    if live is not None and all(
        _server(one) == _server(provider)
        for other in live
        for one in other.providers.values()
        if callbacks.callback_url(other, one.id) == usual
    ):
        return usual
    return callbacks.test_callback_url(tenant, provider.id, _server(provider))


def _server(provider: Provider) -> str:
    """The authorization server of a provider: all addresses that a login uses."""
    template = provider.issuer_template.text if provider.issuer_template is not None else None
    addresses = [provider.issuer, template, provider.discovery, *astuple(provider.endpoints)]
    return hashlib.sha256(json.dumps(addresses).encode()).hexdigest()[:16]
