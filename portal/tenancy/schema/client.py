"""Keys of a tenant file for the client registration at a provider and its credentials."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BaseModel, Field, model_validator

from portal.config.field_types import ClientId, Text, refused
from portal.config.secret_references import PemFile
from portal.config.validation import FileModel
from portal.oidc.provider import (
    AUTHENTICATED_ENDPOINTS,
    REGISTRATION_ALGORITHMS,
    AssertionAudience,
    CredentialExpiry,
)
from portal.oidc.signed_client_secret import SecretSigner, load_signing_key
from portal.outbound.tls import (
    ClientCertificate,
    PemUnusable,
    PrivateKeyUnusable,
    check_authorities,
    check_certificate,
)
from portal.outbound.url_rules import same_origin
from portal.tenancy.presets import Preset
from portal.tenancy.schema.client_secret import ClientSecrets, ExpiryTime

AuthMethod = Literal[
    "client_secret_basic",
    "client_secret_post",
    "client_secret_jwt",
    "private_key_jwt",
    "tls_client_auth",
    "self_signed_tls_client_auth",
    "none",
]
SigningAlgorithm = Literal["RS256", "PS256", "ES256", "EdDSA"]

_ASSERTING = ("client_secret_jwt", "private_key_jwt")
_BY_CERTIFICATE = ("tls_client_auth", "self_signed_tls_client_auth")
_WITHOUT_SECRET = (*_BY_CERTIFICATE, "private_key_jwt", "none")
_SHORTEST_MAC_SECRET = 32
_CERTIFICATE = "-----BEGIN CERTIFICATE-----"
_PRIVATE_KEY = " PRIVATE KEY-----"


class SignedSecretFile(FileModel):
    """A client secret that the portal signs for each request."""

    issuer: Text = Field(
        description="The issuer of the secret; at Apple the Team ID.", examples=["A1B2C3D4E5"]
    )
    key_id: Text = Field(description="The id of the key at the provider.", examples=["F6G7H8I9J0"])
    private_key: PemFile = Field(description="The key: file:/path of a PEM file, at Apple AuthKey_….p8.")
    expires_at: ExpiryTime | None = Field(
        default=None,
        description=(
            "When the provider stops accepting the key: a date (its beginning in UTC) or a time in UTC. The "
            "portal warns 60, 30 and 7 days before."
        ),
        examples=["2027-01-31"],
    )

    @model_validator(mode="after")
    def _check_key(self) -> SignedSecretFile:
        # Imported here because `cryptography` loads slowly and most tenants do not need it.
        from portal.oidc.jose.key_material import KeyUnusable

        try:
            load_signing_key(self.private_key)
        except KeyUnusable as error:
            raise refused(str(error), key="private_key") from None
        return self

    def signer(self) -> SecretSigner:
        """Return what signs the secrets."""
        return SecretSigner(self.issuer, self.key_id, self.private_key)


class ClientFile(FileModel):
    """The portal's client registration at the provider."""

    id: ClientId = Field(description="The client id that the provider issued.", examples=["3gT9wQvX"])
    secret: ClientSecrets | None = Field(
        default=None,
        description=(
            "The client secret: ${NAME} from the environment, or file:/path (relative to this file's "
            "folder). Required if auth is client_secret_basic, client_secret_post or client_secret_jwt; the "
            "last needs at least 32 bytes. To state when it expires, write a mapping with value and "
            "expires_at. To replace it without an interruption, write a list of two such mappings: when the "
            "provider refuses the first, the portal uses the second."
        ),
    )
    signed_secret: SignedSecretFile | None = Field(
        default=None,
        description="In place of secret, for Sign in with Apple: the portal signs one for each request.",
    )
    auth: AuthMethod | None = Field(
        default=None,
        description=(
            "How the portal authenticates at the token endpoint. client_secret_jwt and private_key_jwt send "
            "an assertion signed with the secret or with a key of the portal (see signing_key); "
            "tls_client_auth and self_signed_tls_client_auth need certificate and private_key; none is for a "
            "public client. Default: set by the preset, usually client_secret_basic."
        ),
    )
    signing_key: Literal["shared", "own", "certificate"] | None = Field(
        default=None,
        description=(
            "The key that signs assertions (auth: private_key_jwt) and signed sign-in requests. shared: the "
            "key of all tenants, published at the portal's /.well-known/jwks.json. own: a key for this "
            "registration only, published at /t/{tenant}/jwks.json. certificate: private_key, identified by "
            "the thumbprint of certificate, for providers to which the certificate was uploaded. Default: "
            "shared if assertion_audience is issuer, otherwise own. Register the new key at the provider "
            "before you change this."
        ),
    )
    signing_alg: SigningAlgorithm | None = Field(
        default=None,
        description=(
            "Algorithm with which the portal signs assertions (auth: private_key_jwt) and sign-in requests "
            "for this provider. With signing_key: own, it must be ES256 or EdDSA. Default: RS256 with "
            "signing_key: shared, ES256 with own, PS256 or ES256 with certificate."
        ),
    )
    assertion_audience: Literal["issuer", "token_endpoint", "endpoint"] | None = Field(
        default=None,
        description=(
            "The audience of client assertions (auth: private_key_jwt or client_secret_jwt): the issuer, the "
            "token endpoint, or the endpoint that receives the request. Default: set by the preset, usually "
            "issuer. With private_key_jwt, values other than issuer need a signing_key other than shared."
        ),
    )
    certificate: PemFile | None = Field(
        default=None,
        description=(
            "The portal's TLS client certificate for this provider only: file:/path of a PEM file with the "
            "certificate first, then any intermediate certificates. The portal reloads the file when it "
            "changes. If auth is neither tls_client_auth nor self_signed_tls_client_auth, the certificate is "
            "used for certificate-bound access tokens: see api.mtls."
        ),
    )
    private_key: PemFile | None = Field(
        default=None,
        description="The certificate's private key: file:/path of a PEM file without a password.",
    )

    @model_validator(mode="after")
    def _check_auth(self) -> ClientFile:
        self._check_secret()
        self._check_certificate()
        self._check_signing()
        if self.signing_key == "certificate":
            self._check_certificate_signs()
        return self

    def audience(self, preset: Preset) -> AssertionAudience:
        """Return the audience of client assertions: from the file, otherwise from the preset.

        The preset applies only if no key of the file requires the shared key.
        """
        if self.assertion_audience is not None:
            return AssertionAudience(self.assertion_audience)
        keeps_shared_key = self.signing_key == "shared" or self._needs_shared_key()
        if self.auth not in _ASSERTING or (self.auth == "private_key_jwt" and keeps_shared_key):
            return AssertionAudience.ISSUER
        return preset.assertions.audience

    def algorithm(self, preset: Preset) -> str:
        """Return the signing algorithm: from the file, otherwise one that fits the key."""
        if self.signing_alg is not None:
            return self.signing_alg
        certificate = self.tls_certificate()
        if self.signing_key == "certificate" and certificate is not None:
            from portal.oidc.certificate_key import algorithms

            return algorithms(certificate)[0]
        return "ES256" if self.has_client_key(preset) else "RS256"

    def has_client_key(self, preset: Preset) -> bool:
        """Whether this registration signs with a key that no other registration uses."""
        if self.signing_key is not None:
            return self.signing_key != "shared"
        return self.auth == "private_key_jwt" and self.audience(preset) is not AssertionAudience.ISSUER

    def expiries(self) -> Iterator[CredentialExpiry]:
        """Yield when the credentials expire: as the file states it, and from the certificate."""
        secrets = self.secret or ()
        for index, one in enumerate(secrets):
            if one.expires_at is not None:
                alone = len(secrets) == 1
                name = "the client secret" if alone else f"the {('first', 'second')[index]} client secret"
                place = ("client", "secret") if alone else ("client", "secret", index)
                yield CredentialExpiry(name, place, one.expires_at)
        if self.signed_secret is not None and self.signed_secret.expires_at is not None:
            path = ("client", "signed_secret", "expires_at")
            yield CredentialExpiry("the key of signed_secret", path, self.signed_secret.expires_at)
        if (certificate := self.tls_certificate()) is not None:
            from portal.oidc.certificate_key import expires_at  # loads slowly

            if (at := expires_at(certificate)) is not None:
                yield CredentialExpiry("the certificate", ("client", "certificate"), at)

    def tls_certificate(self) -> ClientCertificate | None:
        """Return certificate and key, or None if the file has none."""
        if self.certificate is None or self.private_key is None:
            return None
        return ClientCertificate(self.certificate.reveal(), self.private_key)

    def _needs_shared_key(self) -> bool:
        return (
            self.signing_alg is not None
            and self.signing_alg not in REGISTRATION_ALGORITHMS
            and self.signing_key != "certificate"
        )

    def _check_certificate_signs(self) -> None:
        certificate = self.tls_certificate()
        if certificate is None:
            raise refused("is certificate, which needs certificate and private_key", key="signing_key")
        # Imported here because `cryptography` loads slowly and most tenants do not need it.
        from portal.oidc.certificate_key import algorithms
        from portal.oidc.jose.key_material import KeyUnusable

        try:
            usable = algorithms(certificate)
        except KeyUnusable as error:
            raise refused(str(error), key="private_key") from None
        if self.signing_alg not in {None, *usable}:
            raise refused(f"must be {' or '.join(usable)} with this private_key", key="signing_alg")

    def _check_signing(self) -> None:
        if self.assertion_audience is not None and self.auth not in _ASSERTING:
            raise refused(f"is only used with auth: {' or '.join(_ASSERTING)}", key="assertion_audience")
        named = self.assertion_audience if self.auth == "private_key_jwt" else "issuer"
        if self.signing_key == "shared" and named not in {None, "issuer"}:
            # A server that receives such an assertion could replay it for another tenant: all share the key.
            raise refused(f"must be own with assertion_audience: {named}; or leave it out", key="signing_key")
        if self._needs_shared_key() and (self.signing_key == "own" or named not in {None, "issuer"}):
            reason = "signing_key: own" if self.signing_key == "own" else f"assertion_audience: {named}"
            raise refused(f"must be {' or '.join(REGISTRATION_ALGORITHMS)} with {reason}", key="signing_alg")

    @property
    def authenticates_by_tls(self) -> bool:
        """Whether the portal authenticates at the provider with its certificate."""
        return self.auth in _BY_CERTIFICATE

    def _check_secret(self) -> None:
        if self.auth == "none" and self.secret is not None:
            raise refused("is not used with auth: none; remove one of the two", key="secret")
        if self.signed_secret is not None:
            self._check_signed_secret()
        elif self.auth not in _WITHOUT_SECRET and self.secret is None:
            remedy = "write ${NAME} or file:/path, or auth: none for a public client"
            raise refused(f"is missing: {remedy}", key="secret")
        # RFC 7518 3.2
        for one in self.secret or () if self.auth == "client_secret_jwt" else ():
            size = len(one.value.reveal().encode())
            if size < _SHORTEST_MAC_SECRET:
                raise refused(
                    f"has {size} bytes, and auth: client_secret_jwt needs {_SHORTEST_MAC_SECRET}: "
                    "create one with openssl rand -base64 32 and register it at the provider",
                    key="secret",
                )

    def _check_signed_secret(self) -> None:
        if self.secret is not None:
            raise refused("is not used with signed_secret; remove one of the two", key="secret")
        if self.auth not in {None, "client_secret_basic", "client_secret_post"}:
            raise refused("must be client_secret_post or client_secret_basic with signed_secret", key="auth")

    def _check_certificate(self) -> None:
        given = {"certificate": self.certificate, "private_key": self.private_key}
        if not self.authenticates_by_tls and not any(given.values()):
            return
        needed_by = f"auth: {self.auth}" if self.authenticates_by_tls else "the other file of the pair"
        for key in (key for key, value in given.items() if value is None):
            raise refused(f"is missing: {needed_by} needs it; write file:/path", key=key)
        found = self.tls_certificate()
        if found is None:
            return
        swapped = _PRIVATE_KEY in found.chain and _CERTIFICATE in found.private_key.reveal()
        if swapped and _CERTIFICATE not in found.chain:
            raise refused("and private_key: the two files seem to be swapped", key="certificate")
        try:
            check_certificate(found)
        except PrivateKeyUnusable as error:
            raise refused(str(error), key="private_key") from None
        except PemUnusable as error:
            raise refused(str(error), key="certificate") from None
        # Imported here because `cryptography` loads slowly and most tenants do not need it.
        from portal.oidc.certificate_key import check_cost
        from portal.oidc.jose.key_material import KeyUnusable

        try:
            check_cost(found)
        except KeyUnusable as error:
            raise refused(str(error), key="private_key") from None


def check_endpoint_origins(client: ClientFile, endpoints: BaseModel, issuer: str, preset: Preset) -> None:
    """Refuse endpoints outside the issuer's origin that would receive assertions signed with the shared key.

    A key of one registration cannot sign for another registration, so it has no such restriction.
    """
    shared = client.auth == "private_key_jwt" and not client.has_client_key(preset)
    for name in AUTHENTICATED_ENDPOINTS if shared else ():
        url = getattr(endpoints, name)
        if url is not None and not same_origin(url, issuer):
            raise refused(
                f"has a {name} outside the issuer's origin; with auth: private_key_jwt, the portal sends "
                "assertions for the issuer nowhere else, unless client.signing_key is own",
                key="endpoints",
            )


class TlsFile(FileModel):
    """TLS settings for connections to the provider."""

    ca: PemFile | None = Field(
        default=None,
        description=(
            "Certificate authorities for this provider instead of the system's: file:/path of a PEM file. "
            "For providers whose certificate comes from a private authority."
        ),
    )

    @model_validator(mode="after")
    def _check_authorities(self) -> TlsFile:
        if self.ca is not None:
            try:
                check_authorities(self.ca.reveal())
            except PemUnusable as error:
                raise refused(str(error), key="ca") from None
        return self


class IdTokenEncryptionFile(FileModel):
    """How the provider encrypts ID tokens for the portal."""

    alg: Literal["RSA-OAEP", "RSA-OAEP-256", "ECDH-ES", "ECDH-ES+A128KW", "ECDH-ES+A256KW"] = Field(
        description="The registered key management algorithm (id_token_encrypted_response_alg)."
    )
    enc: Literal["A128CBC-HS256", "A256CBC-HS512", "A128GCM", "A256GCM"] = Field(
        default="A128CBC-HS256",
        description="The registered content encryption algorithm (id_token_encrypted_response_enc).",
    )
    logout_tokens: bool | None = Field(
        default=None,
        description=(
            "Whether the provider encrypts logout tokens as well; unencrypted ones are then refused. "
            "Default: set by the preset, usually true. Keycloak only signs them."
        ),
    )


Tls = Annotated[TlsFile, Field(description="TLS settings for connections to the provider.")]
IdTokenEncryptionOption = Annotated[
    IdTokenEncryptionFile | None,
    Field(
        description=(
            "How the provider encrypts ID tokens for the portal, whose public key is at "
            "/.well-known/jwks.json, and with client.signing_key: own at /t/{tenant}/jwks.json. Without this "
            "key, encrypted ID tokens are refused; with it, unencrypted ones are refused."
        )
    ),
]
