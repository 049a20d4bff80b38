"""Faults of the provider that tests can configure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from portal.demo.compact import JsonObject, sign_rs256
from portal.demo.provider_keys import SigningKeys, new_key
from tests.kit.faulty.endpoints import EndpointFaults
from tests.kit.faulty.forged_tokens import other_signature, public_pem, sign_hs256, unsigned

Signature = Literal[
    "right",
    "bad_signature",
    "alg_none",
    "hs256_with_public_key",
    "hs256_with_client_secret",
    "unknown_kid",
    "no_kid",
    "unpublished_key",
]
OTHER_PARTY = "https://stranger.example"
"""Issuer and audience in faults with a foreign issuer or audience."""


@dataclass(slots=True)
class Faults:
    """All faults, initially off. They can be changed at any time, also between requests.

    `endpoints["token"] = EndpointFault(...)` makes a whole endpoint fail; the names are `discovery`,
    `jwks`, `authorize`, `token` (all token requests), `code` and `refresh` (token requests by grant),
    `userinfo`, `revocation` and `end_session`.
    """

    endpoints: EndpointFaults = field(default_factory=EndpointFaults)

    # --- ID token
    wrong_iss: bool = False
    wrong_aud: bool = False
    wrong_nonce: bool = False
    wrong_at_hash: bool = False
    expired: bool = False
    """`exp` two hours ago, `iat` three hours ago."""
    missing_claims: set[str] = field(default_factory=set)
    signature: Signature = "right"
    """How the ID token is signed. `unknown_kid` is a valid signature with an unpublished `kid`."""
    mutate_id_token: Callable[[JsonObject, JsonObject], None] | None = None
    """Modifies header and claims before they are signed."""
    replace_id_token: Callable[[str], str] | None = None
    """Replaces the signed token, after all other faults."""

    # --- token endpoint
    token_type: str | None = None
    """`token_type` of responses, for example `mac`."""
    code_error: str | None = None
    """Error code for all authorization codes; the code is not used up."""
    refresh_error: str | None = None
    """Error code for all refresh tokens, such as `invalid_grant`; the token is not used up."""
    exchange_error: str | None = None
    """Error code for all token exchanges."""
    ignores_apis: bool = False
    """Issue access tokens for the first API of a grant, whichever API a request names, as Auth0 does."""
    mutate_token_response: Callable[[JsonObject], None] | None = None
    mutate_access_token: Callable[[JsonObject], None] | None = None
    """Modifies the claims of an access token before they are signed."""
    mutate_userinfo: Callable[[JsonObject], None] | None = None

    # --- authorization response
    wrong_state: bool = False
    response_iss: Literal["right", "missing", "wrong"] = "right"
    """`iss` of the authorization response (RFC 9207); the metadata still announce it."""
    response_in_url: bool = False
    """Respond in the URL although form_post was requested."""
    response_signature: Literal["right", "bad_signature", "alg_none", "none at all"] = "right"
    """How a signed response (JARM) is signed; `none at all` sends plain parameters."""
    mutate_signed_response: Callable[[JsonObject, JsonObject], None] | None = None
    """Modifies header and claims of a signed response."""
    authorization_error: tuple[str, str] | None = None
    """`error` and `error_description` instead of a code."""

    # --- discovery and keys
    wrong_metadata_issuer: bool = False
    mutate_metadata: Callable[[JsonObject], object] | None = None
    empty_jwks: bool = False
    mutate_jwks: Callable[[JsonObject], object] | None = None

    # --- logout
    mutate_logout_token: Callable[[JsonObject, JsonObject], None] | None = None

    def clear(self) -> None:
        """Remove all faults."""
        fresh = Faults()
        for name in Faults.__dataclass_fields__:
            setattr(self, name, getattr(fresh, name))

    def apply_claim_faults(self, header: JsonObject, claims: JsonObject, *, now: float) -> None:
        """Apply the faults in the claims of an ID token."""
        if self.wrong_iss:
            claims["iss"] = OTHER_PARTY
        if self.wrong_aud:
            claims["aud"] = OTHER_PARTY
        if self.wrong_nonce:
            claims["nonce"] = "nonce-of-another-attempt"
        if self.wrong_at_hash:
            claims["at_hash"] = "AAAAAAAAAAAAAAAAAAAAAA"
        if self.expired:
            claims |= {"iat": int(now) - 3 * 3600, "exp": int(now) - 2 * 3600}
        for name in self.missing_claims:
            claims.pop(name, None)
        if self.mutate_id_token is not None:
            self.mutate_id_token(header, claims)

    def sign_id_token(
        self, header: JsonObject, claims: JsonObject, keys: SigningKeys, client_secret: str | None
    ) -> str:
        """Sign an ID token according to `signature`."""
        token = self._sign(header, claims, keys, client_secret)
        return token if self.replace_id_token is None else self.replace_id_token(token)

    def _sign(
        self, header: JsonObject, claims: JsonObject, keys: SigningKeys, client_secret: str | None
    ) -> str:
        key = keys.current.key
        match self.signature:
            case "alg_none":
                return unsigned(header | {"alg": "none"}, claims)
            case "hs256_with_public_key":
                return sign_hs256(header | {"alg": "HS256"}, claims, public_pem(key.public_key()))
            case "hs256_with_client_secret":
                return sign_hs256(header | {"alg": "HS256"}, claims, (client_secret or "").encode())
            case "unknown_kid":
                header = header | {"kid": "never-published"}
            case "no_kid":
                header = {name: value for name, value in header.items() if name != "kid"}
            case "unpublished_key":
                key = new_key()
        token = sign_rs256(header, claims, key)
        return other_signature(token) if self.signature == "bad_signature" else token
