"""The results of live checks, and what the checks share."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urlsplit

from portal.clock import Clock
from portal.display_text import display_text
from portal.oidc.client_keys import ClientKeys
from portal.oidc.keys import KeySet
from portal.oidc.provider import Provider, ProviderMetadata
from portal.oidc.provider_errors import redacted
from portal.outbound.client import OutboundClient, OutboundResponse
from portal.outbound.tls import Tls
from portal.tenancy.checks.live.guide import GENERAL, Guide
from portal.tenancy.checks.live.server_time import stated_time
from portal.tenancy.model import Tenant

LONGEST_TEXT = 240
"""Characters of a server's text in a result."""
_PERHAPS_A_SECRET = re.compile(r"[A-Za-z0-9_.~+=%-]{40,}")
"""As long as states, nonces, codes and tokens; without the slash of addresses."""


class Status(StrEnum):
    """The verdict of a check. `skipped`: not possible here, which is neither good nor bad."""

    PASS = "pass"  # noqa: S105 - not a password
    WARN = "warn"
    FAIL = "fail"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: the verdict, what was seen, what to do, and where."""

    status: Status
    seen: str
    advice: str = ""
    where: str = ""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One result, as `portal tenant check --live --json` prints it. No member has a secret, code or token."""

    tenant: str
    provider: str | None
    """The id of the provider; None for what concerns the tenant, such as its API."""
    check: str
    status: Status
    seen: str
    advice: str = ""
    where: str = ""
    """A key of the tenant file, and where the provider's console has what belongs to it."""


class NotPossible(Exception):
    """A check cannot be made here; the message says why. The result is `skipped`."""


@dataclass(frozen=True, slots=True)
class ServerTime:
    """The time that a response states, and the portal's when it arrived; seconds since the epoch, UTC."""

    stated: float
    received: float


class Outcome(StrEnum):
    """What an authorization endpoint did with a request of a browser without a session."""

    RETURNED = "returned"
    """It redirected to the redirect URI, which proves that it is registered."""
    PAGE = "page"
    """It shows a page, usually to sign in."""
    REDIRECT_URI = "redirect_uri"
    """It refused the redirect URI."""
    CLIENT = "client"
    """It does not know the client."""
    CREDENTIALS = "credentials"
    """It refused the credentials with which the request was pushed."""
    REFUSED = "refused"
    SILENT = "silent"
    """There was no response."""


@dataclass(frozen=True, slots=True)
class Probe:
    """The response to one authorization request. `error` is the provider's code; `text` is its message."""

    redirect_uri: str
    outcome: Outcome
    error: str = ""
    text: str = ""
    issuer: str | None = None
    """The `iss` of the response (RFC 9207)."""


@dataclass(slots=True)
class Facts:
    """What earlier checks of the same provider found out."""

    document: Mapping[str, object] | None = None
    """The metadata as the provider states it; empty with `discovery: false`."""
    metadata: ProviderMetadata | None = None
    key_set: KeySet | None = None
    times: list[ServerTime] = field(default_factory=list)
    probes: list[Probe] = field(default_factory=list)
    resolved: bool = False
    """Whether the issuer's host has an address that is allowed."""
    reachable: bool = False
    """Whether the issuer's host accepts connections, with an accepted certificate."""


@dataclass(slots=True)
class Context:
    """Everything that the checks of one provider of a tenant use."""

    tenant: Tenant
    provider: Provider
    http: OutboundClient
    redirect_uris: Sequence[str]
    clock: Clock
    client_keys: ClientKeys | None = None
    """The keys of the portal as a client; None where there is no key ring."""
    guide: Guide = GENERAL
    facts: Facts = field(default_factory=Facts)
    secrets: list[str] = field(default_factory=list)
    """Values that were sent and must not appear in a result."""

    async def get(
        self,
        url: str,
        *,
        seconds: float,
        max_bytes: int = 65_536,
        accept: str = "application/json",
        tls: Tls | None = None,
    ) -> OutboundResponse:
        """GET a document of the provider, without a retry, and note the time that the server states.

        Raises: OutboundRefused, OutboundTimeout, OutboundFailed.
        """
        response = await self.http.fetch(
            "GET",
            url,
            tenant=self.tenant.slug,
            headers=(("Accept", accept),),
            max_bytes=max_bytes,
            timeout=seconds,
            tls=self.provider.tls if tls is None else tls,
        )
        self.note_time(response)
        return response

    def note_time(self, response: OutboundResponse) -> None:
        """Keep the time that a response states (RFC 9110 6.6.1)."""
        stated = stated_time(response)
        if stated is not None:
            self.facts.times.append(ServerTime(stated, self.clock()))

    def metadata(self) -> ProviderMetadata:
        """Return the provider's endpoints. Raises: NotPossible."""
        if self.facts.metadata is None:
            raise NotPossible("the endpoints are not known: see discovery and endpoints")
        return self.facts.metadata

    def document(self) -> Mapping[str, object]:
        """Return the provider's metadata. Raises: NotPossible."""
        if not self.provider.discovery:
            raise NotPossible("the tenant file has discovery: false, so no metadata is read")
        if self.facts.document is None:
            raise NotPossible("the metadata is not known: see discovery")
        return self.facts.document

    def where(self, key: str) -> str:
        """Return the place of a key: in the tenant file, and in the provider's console if that is known."""
        in_file = f"providers.{self.provider.id}.{key}" if len(self.tenant.providers) > 1 else key
        return "; ".join(filter(None, (in_file, self.guide.place(key))))

    def at_provider(self, key: str, setting: str) -> str:
        """Return the place of a setting that only the provider has. Parameters: setting, in words."""
        return self.guide.place(key) or f"{setting} at {self.guide.title}"

    def quote(self, text: object, limit: int = LONGEST_TEXT) -> str:
        """Return a server's text for a result: bounded, without what was sent or looks like a secret."""
        shown = text if isinstance(text, str) else str(text)
        shown = redacted(shown[: 8 * limit], self.secrets)
        return display_text(_PERHAPS_A_SECRET.sub("…", shown), limit)


@dataclass(frozen=True, slots=True)
class Check:
    """One check. To add one, write its function and put it into the list in `catalog.py`.

    Parameters: name, as in results; run, returns findings, or raises NotPossible; after, names of checks
    whose facts it uses; seconds, its limit.
    """

    name: str
    run: Callable[[Context], Awaitable[list[Finding]]]
    after: tuple[str, ...] = ()
    seconds: float = 4.0


def passed(seen: str) -> list[Finding]:
    """Return the result of a check that found nothing wrong."""
    return [Finding(Status.PASS, seen)]


def failed(seen: str, advice: str = "", where: str = "") -> list[Finding]:
    """Return a failure."""
    return [Finding(Status.FAIL, seen, advice, where)]


def warned(seen: str, advice: str = "", where: str = "") -> list[Finding]:
    """Return a warning."""
    return [Finding(Status.WARN, seen, advice, where)]


def host_of(url: str) -> str:
    """Return host and port of a URL, for a message."""
    return urlsplit(url).netloc
