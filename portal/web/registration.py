"""The client metadata (RFC 7591) that a tenant admin registers at a provider.

`portal key show` prints it, so that the tenant admin can copy it into the provider's console.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from jose import jwk
from jose.utils import base64url_encode

from portal.errors import BadRequest
from portal.oidc.client_keys import ClientKeys
from portal.oidc.provider import ClientAuth, Provider
from portal.tenancy.model import Tenant
from portal.web.sites import Site

JWKS_PATH = "/.well-known/jwks.json"
CLIENT_NAME = "Tenant Portal"

Metadata = Mapping[str, object]


def client_metadata(tenant: Tenant, provider: Provider, sites: Sequence[Site]) -> Metadata:
    """The client metadata of a registration, without `jwks` (see `has_self_signed_certificate`).

    Parameters: sites, those that serve the tenant, the portal's main site first.
    """
    main = f"{sites[0].origin}/t/{tenant.slug}"
    return {
        "client_id": provider.client_id,
        "client_name": CLIENT_NAME,
        "redirect_uris": [site.callback_url(tenant, provider.id) for site in sites],
        "post_logout_redirect_uris": [site.signed_out_url(tenant.slug) for site in sites],
        "initiate_login_uri": f"{main}/initiate-login",
        "backchannel_logout_uri": f"{main}/backchannel-logout",
        "backchannel_logout_session_required": True,
        "frontchannel_logout_uri": f"{main}/frontchannel-logout",
        "frontchannel_logout_session_required": True,
        "response_types": ["code"],
        "grant_types": ["authorization_code", *(["refresh_token"] if provider.refresh_tokens else [])],
        "scope": " ".join(_scopes(tenant, provider)),
        "id_token_signed_response_alg": provider.id_token_algs[0],
        # RFC 7591 2: jwks_uri and jwks exclude each other
        **({"jwks_uri": sites[0].origin + _jwks_path(provider)} if _needs_jwks_uri(provider) else {}),
        **dict(_client_authentication(provider)),
        **dict(_options(provider)),
        **({"tls_client_certificate_bound_access_tokens": True} if _binds_tokens(tenant, provider) else {}),
    }


def _scopes(tenant: Tenant, provider: Provider) -> Iterable[str]:
    """Every scope that the portal may request (RFC 7591 2)."""
    targets = [one for api in tenant.every_api if (one := api.targets.get(provider.id)) is not None]
    of_apis = (scope for one in targets for scope in (*one.scopes, *one.step_up_scopes))
    return dict.fromkeys((*provider.scopes, *provider.step_up_scopes, *of_apis))


def _signing_keys(client_keys: ClientKeys, provider: Provider) -> Sequence[Metadata]:
    alg, certificate = provider.client_signing_alg, provider.signing_certificate
    if certificate is None:
        return client_keys.public_registration_keys(provider.key, alg)
    return [{**_certificate_jwk(x509.load_pem_x509_certificate(certificate.chain.encode())), "alg": alg}]


def has_self_signed_certificate(provider: Provider) -> bool:
    """Whether the client uses a self-signed certificate, which the provider needs as a JWK Set."""
    return provider.client_auth is ClientAuth.SELF_SIGNED_TLS_CLIENT_AUTH


def uses_client_keys(provider: Provider) -> bool:
    """Whether the provider needs the portal's public keys, to verify signatures or to encrypt."""
    return provider.needs_signing_key or provider.id_token_encryption is not None


def client_key_set(client_keys: ClientKeys, providers: Iterable[Provider]) -> Metadata:
    """The JWK Set of registrations with their own signing keys: these keys and the encryption keys.

    It never contains the signing key that other tenants share, so a provider with this set rejects
    signatures made for other tenants. Registrations without their own key are skipped.
    """
    owners = [provider for provider in providers if provider.needs_signing_key and provider.client_key]
    keys = [key for provider in owners for key in _signing_keys(client_keys, provider)]
    if any(provider.id_token_encryption is not None for provider in owners):
        keys += client_keys.public_encryption_keys()
    return {"keys": keys}


def certificate_key_set(provider: Provider) -> Metadata:
    """The JWK Set that identifies a self-signed certificate (RFC 8705 2.2.2).

    Raises: BadRequest when the provider has no certificate, or its key type is not supported.
    """
    certificate = _certificate(provider)
    if certificate is None:
        raise BadRequest(f"{provider.key} has no certificate")
    return {"keys": [_certificate_jwk(certificate)]}


def _certificate_jwk(certificate: x509.Certificate) -> Metadata:
    public = certificate.public_key()
    if not isinstance(public, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        raise BadRequest("the certificate's key is neither RSA nor elliptic curve")
    alg = "RS256" if isinstance(public, rsa.RSAPublicKey) else f"ES{_ec_bits(public)}"
    made = jwk.construct(public, alg).to_dict()  # type: ignore[arg-type]  # the stubs allow only str
    x5c = base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()  # RFC 7517 4.7: not base64url
    thumbprint = base64url_encode(certificate.fingerprint(hashes.SHA256())).decode()
    member = {name: value for name, value in made.items() if name != "alg"}
    return {"kid": thumbprint, "use": "sig", **member, "x5c": [x5c], "x5t#S256": thumbprint}


def _client_authentication(provider: Provider) -> Iterator[tuple[str, object]]:
    yield "token_endpoint_auth_method", provider.client_auth.value
    if provider.client_auth is ClientAuth.PRIVATE_KEY_JWT:
        yield "token_endpoint_auth_signing_alg", provider.client_signing_alg
    if provider.client_auth is ClientAuth.CLIENT_SECRET_JWT:
        yield "token_endpoint_auth_signing_alg", "HS256"
    certificate = _certificate(provider)
    if certificate is not None and provider.client_auth is ClientAuth.TLS_CLIENT_AUTH:
        yield "tls_client_auth_subject_dn", certificate.subject.rfc4514_string()


def _options(provider: Provider) -> Iterator[tuple[str, object]]:
    if provider.signed_request:
        yield "request_object_signing_alg", provider.client_signing_alg
    if provider.par:
        yield "require_pushed_authorization_requests", True
    if provider.response_mode.signed:
        yield "authorization_signed_response_alg", provider.response_algs[0]
    if provider.userinfo_algs:
        yield "userinfo_signed_response_alg", provider.userinfo_algs[0]
    if provider.dpop:
        yield "dpop_bound_access_tokens", True
    if provider.id_token_encryption is not None:
        yield "id_token_encrypted_response_alg", provider.id_token_encryption.alg
        yield "id_token_encrypted_response_enc", provider.id_token_encryption.enc


def _needs_jwks_uri(provider: Provider) -> bool:
    return uses_client_keys(provider) and not has_self_signed_certificate(provider)


def _binds_tokens(tenant: Tenant, provider: Provider) -> bool:
    """Whether API calls present the certificate, so that access tokens can be bound to it (RFC 8705 3.4)."""
    return any(api.mtls for api in tenant.every_api) and provider.client_certificate is not None


def _jwks_path(provider: Provider) -> str:
    is_own = provider.needs_signing_key and provider.client_key
    return f"/t/{provider.tenant}/jwks.json" if is_own else JWKS_PATH


def _certificate(provider: Provider) -> x509.Certificate | None:
    configured = provider.client_certificate
    return x509.load_pem_x509_certificate(configured.chain.encode()) if configured is not None else None


def _ec_bits(key: ec.EllipticCurvePublicKey) -> int:
    return {256: 256, 384: 384}.get(key.curve.key_size, 512)
