"""The claims that are about a token or a sign-in, not about the user."""

PROTOCOL_CLAIMS = frozenset(
    (
        *("iss", "aud", "azp", "exp", "iat", "nbf", "nonce", "at_hash", "c_hash", "s_hash"),
        *("sid", "jti", "auth_time", "acr", "amr", "typ", "session_state", "session_expiry"),
        *("_claim_names", "_claim_sources", "hasgroups"),
    )
)
