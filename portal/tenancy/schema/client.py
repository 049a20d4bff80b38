"""Keys of a tenant file that say how the portal is registered at a provider, and what proves it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field, model_validator

from portal.config.field_types import Text, refused
from portal.config.secret_references import PemFile, SecretValue
from portal.config.validation import FileModel
from portal.oidc.provider import AUTHENTICATED_ENDPOINTS, REGISTRATION_ALGORITHMS, AssertionAudience
from portal.outbound.tls import ClientCertificate
from portal.outbound.tls_context import PemUnusable, PrivateKeyUnusable, check_authorities, check_certificate
from portal.outbound.url_rules import same_origin
from portal.tenancy.presets import Preset

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


class ClientFile(FileModel):
    """How the portal is registered at the provider."""

    id: Text = Field(description="The client id that the provider gave.", examples=["3gT9wQvX"])
    secret: SecretValue | None = Field(
        default=None,
        description=(
            "The client secret: ${NAME} from the environment, or file:/path (relative to this file's "
            "folder). Required when auth is one of client_secret_…; client_secret_jwt needs one of at least "
            "32 bytes."
        ),
    )
    auth: AuthMethod | None = Field(
        default=None,
        description=(
            "How the portal proves itself at the token endpoint. client_secret_jwt and private_key_jwt send "
            "a token signed with the secret or with a key of the portal (see signing_key); tls_client_auth "
            "and self_signed_tls_client_auth need certificate and private_key; none is for a public client. "
            "Default: as the preset says, mostly client_secret_basic."
        ),
    )
    signing_key: Literal["shared", "own", "certificate"] | None = Field(
        default=None,
        description=(
            "The key that signs with auth: private_key_jwt and in signed sign-in requests. shared: the one "
            "of all tenants, at the portal's /.well-known/jwks.json. own: one of this provider registration "
            "alone, at /t/{tenant}/jwks.json. certificate: private_key, named by the thumbprint of "
            "certificate, for providers that the certificate was uploaded to. Default: own where "
            "assertion_audience is not issuer, else shared. The provider has to know the key before this "
            "changes."
        ),
    )
    signing_alg: SigningAlgorithm | None = Field(
        default=None,
        description=(
            "Algorithm with which the portal signs what it sends to this provider, with auth: "
            "private_key_jwt and in signed sign-in requests. With signing_key: own it is ES256 or EdDSA. "
            "Default: RS256 with a shared key, ES256 with an own one, PS256 or ES256 with a certificate's."
        ),
    )
    assertion_audience: Literal["issuer", "token_endpoint", "endpoint"] | None = Field(
        default=None,
        description=(
            "What a token that proves the portal (auth: private_key_jwt or client_secret_jwt) names as its "
            "audience: the issuer, the token endpoint, or the address that the request goes to. Default: as "
            "the preset says, mostly issuer. With private_key_jwt, all but issuer need another key than the "
            "shared one."
        ),
    )
    certificate: PemFile | None = Field(
        default=None,
        description=(
            "The portal's TLS certificate for this provider, and no other: file:/path of a PEM file, the "
            "certificate first and then what leads up to its authority. It is read again when it changes. "
            "With another auth than tls_client_auth and self_signed_tls_client_auth, it is for access tokens "
            "that are bound to it: see api.mtls."
        ),
    )
    private_key: PemFile | None = Field(
        default=None,
        description="The certificate's private key: file:/path of a PEM file without a password.",
    )

    @model_validator(mode="after")
    def _proof_fits_auth(self) -> ClientFile:
        self._check_secret()
        self._check_certificate()
        self._check_signing()
        if self.signing_key == "certificate":
            self._check_certificate_signs()
        return self

    def audience(self, preset: Preset) -> AssertionAudience:
        """What assertions name as their audience: what is written, or what the preset knows.

        The preset counts only where nothing that is written keeps the registration at the shared key.
        """
        if self.assertion_audience is not None:
            return AssertionAudience(self.assertion_audience)
        keeps_shared_key = self.signing_key == "shared" or self._needs_shared_key()
        if self.auth not in _ASSERTING or (self.auth == "private_key_jwt" and keeps_shared_key):
            return AssertionAudience.ISSUER
        return preset.assertion_audience

    def algorithm(self, preset: Preset) -> str:
        """With what the portal signs: what is written, or what fits the key."""
        if self.signing_alg is not None:
            return self.signing_alg
        held = self.tls_certificate()
        if self.signing_key == "certificate" and held is not None:
            from portal.oidc.certificate_key import algorithms

            return algorithms(held)[0]
        return "ES256" if self.has_client_key(preset) else "RS256"

    def has_client_key(self, preset: Preset) -> bool:
        """Whether this registration signs with a key that no other one has."""
        if self.signing_key is not None:
            return self.signing_key != "shared"
        return self.auth == "private_key_jwt" and self.audience(preset) is not AssertionAudience.ISSUER

    def tls_certificate(self) -> ClientCertificate | None:
        """Certificate and key; None when there are none."""
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
        held = self.tls_certificate()
        if held is None:
            raise refused("is certificate, so certificate and private_key are needed", key="signing_key")
        # only whoever signs so waits for `cryptography` to load
        from portal.oidc.certificate_key import algorithms
        from portal.oidc.jose.key_material import KeyUnusable

        try:
            usable = algorithms(held)
        except KeyUnusable as error:
            raise refused(str(error), key="private_key") from None
        if self.signing_alg not in {None, *usable}:
            raise refused(f"must be {' or '.join(usable)} with this private_key", key="signing_alg")

    def _check_signing(self) -> None:
        if self.assertion_audience is not None and self.auth not in _ASSERTING:
            raise refused(f"is only used with auth: {' or '.join(_ASSERTING)}", key="assertion_audience")
        named = self.assertion_audience if self.auth == "private_key_jwt" else "issuer"
        if self.signing_key == "shared" and named not in {None, "issuer"}:
            # another server that is sent such an assertion could use it: every tenant has the shared key
            raise refused(f"must be own with assertion_audience: {named}; or leave it out", key="signing_key")
        if self._needs_shared_key() and (self.signing_key == "own" or named not in {None, "issuer"}):
            reason = "signing_key: own" if self.signing_key == "own" else f"assertion_audience: {named}"
            raise refused(f"must be {' or '.join(REGISTRATION_ALGORITHMS)} with {reason}", key="signing_alg")

    @property
    def is_known_by_tls(self) -> bool:
        """Whether the certificate proves the portal at the provider."""
        return self.auth in _BY_CERTIFICATE

    def _check_secret(self) -> None:
        if self.auth == "none" and self.secret is not None:
            raise refused("is not used with auth: none; remove one of the two", key="secret")
        if self.auth not in _WITHOUT_SECRET and self.secret is None:
            remedy = "write ${NAME} or file:/path, or auth: none for a public client"
            raise refused(f"is missing: {remedy}", key="secret")
        # RFC 7518 3.2
        if self.auth == "client_secret_jwt" and self.secret is not None:
            size = len(self.secret.reveal().encode())
            if size < _SHORTEST_MAC_SECRET:
                raise refused(
                    f"has {size} bytes, and auth: client_secret_jwt needs {_SHORTEST_MAC_SECRET}: "
                    "openssl rand -base64 32 makes one that is long enough, for the provider too",
                    key="secret",
                )

    def _check_certificate(self) -> None:
        given = {"certificate": self.certificate, "private_key": self.private_key}
        if not self.is_known_by_tls and not any(given.values()):
            return
        needed_by = f"auth: {self.auth}" if self.is_known_by_tls else "the other of the two"
        for key in (key for key, value in given.items() if value is None):
            raise refused(f"is missing: {needed_by} needs it; write file:/path", key=key)
        found = self.tls_certificate()
        if found is None:
            return
        swapped = _PRIVATE_KEY in found.chain and _CERTIFICATE in found.private_key.reveal()
        if swapped and _CERTIFICATE not in found.chain:
            raise refused("and private_key: the two files seem to be exchanged", key="certificate")
        try:
            check_certificate(found)
        except PrivateKeyUnusable as error:
            raise refused(str(error), key="private_key") from None
        except PemUnusable as error:
            raise refused(str(error), key="certificate") from None
        # only whoever has a certificate waits for `cryptography` to load
        from portal.oidc.certificate_key import check_cost
        from portal.oidc.jose.key_material import KeyUnusable

        try:
            check_cost(found)
        except KeyUnusable as error:
            raise refused(str(error), key="private_key") from None


def check_destinations(client: ClientFile, endpoints: BaseModel, issuer: str, preset: Preset) -> None:
    """Refuse endpoints to which private_key_jwt would take what is signed for another: the issuer.

    With a key of its own, what a registration signs is good for nobody else's.
    """
    shared = client.auth == "private_key_jwt" and not client.has_client_key(preset)
    for name in AUTHENTICATED_ENDPOINTS if shared else ():
        url = getattr(endpoints, name)
        if url is not None and not same_origin(url, issuer):
            raise refused(
                f"has a {name} that is not at the issuer; with auth: private_key_jwt, what the portal signs "
                "for the issuer goes nowhere else, unless client.signing_key is own",
                key="endpoints",
            )


class TlsFile(FileModel):
    """How connections to the provider are made."""

    ca: PemFile | None = Field(
        default=None,
        description=(
            "Certificate authorities of this provider, in place of the system's: file:/path of a PEM file. "
            "For providers with certificates of a private authority."
        ),
    )

    @model_validator(mode="after")
    def _holds_authorities(self) -> TlsFile:
        if self.ca is not None:
            try:
                check_authorities(self.ca.reveal())
            except PemUnusable as error:
                raise refused(str(error), key="ca") from None
        return self


class IdTokenEncryptionFile(FileModel):
    """How the provider encrypts ID tokens for the portal."""

    alg: Literal["RSA-OAEP", "RSA-OAEP-256", "ECDH-ES", "ECDH-ES+A128KW", "ECDH-ES+A256KW"] = Field(
        description="How the key is encrypted, as registered (id_token_encrypted_response_alg)."
    )
    enc: Literal["A128CBC-HS256", "A256CBC-HS512", "A128GCM", "A256GCM"] = Field(
        default="A128CBC-HS256",
        description="How the content is encrypted, as registered (id_token_encrypted_response_enc).",
    )
    logout_tokens: bool | None = Field(
        default=None,
        description=(
            "Whether the provider encrypts logout tokens, too; one that is not encrypted is then refused. "
            "Default: as the preset says, mostly true. Keycloak only signs them."
        ),
    )


Tls = Annotated[TlsFile, Field(description="How connections to the provider are made, when not as usual.")]
IdTokenEncryptionOption = Annotated[
    IdTokenEncryptionFile | None,
    Field(
        description=(
            "How the provider encrypts ID tokens for the portal, whose public key is at "
            "/.well-known/jwks.json, and with client.signing_key: own at /t/{tenant}/jwks.json. Without this "
            "an encrypted ID token is refused; with it, one that is not."
        )
    ),
]
