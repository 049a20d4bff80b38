"""A provider's metadata (OpenID Connect Discovery 1.0)."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass

from portal.bounded_cache import ByteBoundedCache, memory_of_json
from portal.clock import Clock
from portal.errors import OutboundRefused
from portal.oidc.api_target import TOKEN_EXCHANGE
from portal.oidc.cache import DocumentCache, Fetched, lifetime
from portal.oidc.errors import MetadataRejected
from portal.oidc.jose.json_reading import JsonUnreadable, read_object
from portal.oidc.provider import Provider, ProviderMetadata
from portal.oidc.provider_call import get_document
from portal.oidc.provider_health import UNRECORDED, ProviderCalls
from portal.oidc.quoting import address, kind_of, mismatch
from portal.outbound.client import OutboundClient

CheckUrl = Callable[[str], None]


class _Document(dict[str, object]):
    """A document to which weak references are possible."""


_NO_DOCUMENT = _Document()
_READ_BYTES = 16_000_000
"""Limit of the memory for metadata that has been read."""
_MAX_BYTES = 65_536
"""The metadata of known providers is 2 to 12 KB long."""
_ALIASED = frozenset(
    {
        "token_endpoint",
        "revocation_endpoint",
        "pushed_authorization_request_endpoint",
        "userinfo_endpoint",
    }
)
_USED = _ALIASED | {
    "issuer",
    "authorization_endpoint",
    "jwks_uri",
    "end_session_endpoint",
    "require_pushed_authorization_requests",
    "authorization_response_iss_parameter_supported",
    "grant_types_supported",
    "claims_parameter_supported",
    "mtls_endpoint_aliases",
}


@dataclass(frozen=True, slots=True)
class _Read:
    """Metadata, and what it was read from: compared by identity, so it is read again when one is replaced.

    The reference to the document is weak: DocumentCache counts its size, and decides how long it is kept.
    """

    document: weakref.ref[_Document]
    provider: Provider
    metadata: ProviderMetadata


class MetadataSource:
    """The metadata of all providers, cached per registration and issuer."""

    def __init__(self, http: OutboundClient, *, clock: Clock, calls: ProviderCalls = UNRECORDED) -> None:
        self._http = http
        self._calls = calls
        self._documents: DocumentCache[_Document] = DocumentCache(clock)
        self._read: ByteBoundedCache[str, _Read] = ByteBoundedCache(_READ_BYTES)

    async def get(self, provider: Provider) -> ProviderMetadata:
        """Return the provider's metadata; endpoints in the tenant file replace those of the provider.

        Raises: MetadataRejected, OutboundRefused, ProviderUnavailable.
        """
        if not provider.discovery:
            return self._metadata(_NO_DOCUMENT, provider)

        async def load() -> Fetched[_Document]:
            return await self._calls.record(provider, self._load(provider))

        document = await self._documents.get(
            (provider.key, provider.issuer), load, owner=provider.tenant, settings=provider
        )
        return self._metadata(document, provider)

    def _metadata(self, document: _Document, provider: Provider) -> ProviderMetadata:
        """Read a document, unless it was read for the same version of the registration."""
        known = self._read.get(provider.key)
        if known is not None and known.document() is document and known.provider is provider:
            return known.metadata
        metadata = read_metadata(document, provider, self._http.check_url)
        size = sum(len(url) for url in astuple(metadata) if isinstance(url, str))
        read = _Read(weakref.ref(document), provider, metadata)
        self._read.put(provider.key, read, size=size, owner=provider.tenant)
        return metadata

    async def close(self) -> None:
        """Cancel running fetches."""
        await self._documents.close()

    async def _load(self, provider: Provider) -> Fetched[_Document]:
        response = await get_document(
            self._http,
            discovery_url(provider.issuer),
            tenant=provider.tenant,
            endpoint="metadata",
            max_bytes=_MAX_BYTES,
            tls=provider.tls,
        )
        if response.status != 200:
            url = address(discovery_url(provider.issuer))
            raise MetadataRejected(f"{url} responded with {response.status}; expected 200 and metadata")
        template = provider.issuer_template
        document = parse_document(response.body, provider.issuer if template is None else template.text)
        read_metadata(document, provider, self._http.check_url)
        used = _Document(_used(document))
        return Fetched(used, lifetime(response), memory_of_json(json.dumps(used)))


def discovery_url(issuer: str) -> str:
    """Return the URL of an issuer's metadata (Discovery 4)."""
    return issuer.removesuffix("/") + "/.well-known/openid-configuration"


def parse_document(body: bytes, issuer: str) -> dict[str, object]:
    """Parse a metadata document and check its issuer.

    Parameters: issuer, the required `issuer`, including the placeholder of a template.
    Raises: MetadataRejected.
    """
    try:
        document = read_object(body)
    except JsonUnreadable as error:
        raise MetadataRejected(f"the metadata cannot be read: {error}") from error
    stated = document.get("issuer")
    # Discovery 4.3: must equal the issuer of the request
    if stated != issuer:
        raise MetadataRejected(mismatch("issuer of the metadata", stated, issuer))
    return document


def read_metadata(
    document: Mapping[str, object], provider: Provider, check_url: CheckUrl
) -> ProviderMetadata:
    """Return a provider's endpoints; those of the tenant file take precedence, and none is guessed.

    Raises: MetadataRejected, naming the missing or invalid member.
    """
    configured = provider.endpoints
    members = _Members(document, _certificate_aliases(document, provider), check_url)
    userinfo_url = members.required_url if provider.userinfo else members.url
    return ProviderMetadata(
        issuer=provider.issuer,
        authorization_endpoint=members.required_url("authorization_endpoint", configured.authorization),
        token_endpoint=members.required_url("token_endpoint", configured.token),
        jwks_uri=members.required_url("jwks_uri", configured.jwks),
        userinfo_endpoint=userinfo_url("userinfo_endpoint", configured.userinfo),
        end_session_endpoint=members.url("end_session_endpoint", configured.end_session),
        revocation_endpoint=members.url("revocation_endpoint", configured.revocation),
        pushed_authorization_request_endpoint=members.url(
            "pushed_authorization_request_endpoint", configured.pushed_authorization_request
        ),
        pushed_requests_required=members.flag("require_pushed_authorization_requests"),
        iss_parameter_supported=members.flag("authorization_response_iss_parameter_supported"),
        token_exchange_supported=members.lists("grant_types_supported", TOKEN_EXCHANGE),
        claims_parameter_supported=document.get("claims_parameter_supported") is True,
    )


class _Members:
    """Reads the members of a metadata document. Its methods raise MetadataRejected, naming the member."""

    def __init__(
        self, document: Mapping[str, object], aliases: Mapping[str, object], check_url: CheckUrl
    ) -> None:
        self._document = document
        self._aliases = aliases
        self._check_url = check_url

    def url(self, member: str, configured: str | None) -> str | None:
        """Return the URL of the tenant file, else that of the document; None if neither has it."""
        url = self._aliases.get(member, self._document.get(member)) if configured is None else configured
        if url is None:
            return None
        if not isinstance(url, str):
            raise MetadataRejected(f"{member} is {kind_of(url)}; expected a URL")
        try:
            self._check_url(url)
        except OutboundRefused as error:
            raise MetadataRejected(f"{member}: {error.detail}") from error
        return url

    def required_url(self, member: str, configured: str | None) -> str:
        url = self.url(member, configured)
        if url is None:
            raise MetadataRejected(f"{member} is missing")
        return url

    def flag(self, member: str) -> bool:
        value = self._document.get(member)
        if value is not None and not isinstance(value, bool):
            raise MetadataRejected(f"{member} is {kind_of(value)}; expected true or false")
        return value is True

    def lists(self, member: str, value: str) -> bool:
        """Whether an optional list contains a value. What is not a list contains nothing."""
        found = self._document.get(member)
        return isinstance(found, list) and value in found


def _used(document: Mapping[str, object]) -> Mapping[str, object]:
    """Keep only the members that read_metadata uses, to save memory."""
    return {name: value for name, value in document.items() if name in _USED}


def _certificate_aliases(document: Mapping[str, object], provider: Provider) -> Mapping[str, object]:
    """Return the endpoints for clients that present a certificate (RFC 8705 5); empty without one."""
    aliases = document.get("mtls_endpoint_aliases")
    if aliases is None or provider.client_certificate is None:
        return {}
    if not isinstance(aliases, Mapping):
        raise MetadataRejected(f"mtls_endpoint_aliases is {kind_of(aliases)}; expected an object")
    return {member: aliases[member] for member in _ALIASED & aliases.keys()}
