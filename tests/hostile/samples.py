"""Valid messages of a provider, validation as the portal does it, and values for hypothesis."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from portal.oidc.id_token import LoginExpectations, validate_at_login
from portal.oidc.interaction import Interaction
from portal.oidc.keys import KeySet
from portal.oidc.provider import Provider
from portal.secret import Secret
from tests.hostile.documents import Json, Literal, Members, members
from tests.hostile.minting import KID, half_hash
from tests.hostile.token_oracle import (
    ACCESS_TOKEN,
    API,
    CLIENT_ID,
    CLIENT_SECRET,
    CODE,
    ISSUER,
    LOGIN,
    NONCE,
    NOW,
    SUBJECT,
    Asked,
)

NEEDED = ("authorization_endpoint", "token_endpoint", "jwks_uri")
OPTIONAL = (
    "userinfo_endpoint",
    "end_session_endpoint",
    "revocation_endpoint",
    "pushed_authorization_request_endpoint",
)
FLAGS = ("authorization_response_iss_parameter_supported", "require_pushed_authorization_requests")
METADATA = Members(
    (
        ("issuer", ISSUER),
        *((name, f"{ISSUER}{name}") for name in (*NEEDED, *OPTIONAL)),
        *((name, True) for name in FLAGS),
        ("response_types_supported", ["code", "id_token"]),
        ("subject_types_supported", ["public"]),
        ("id_token_signing_alg_values_supported", ["RS256"]),
        ("scopes_supported", ["openid", "profile"]),
        ("token_endpoint_auth_methods_supported", ["client_secret_basic"]),
        ("code_challenge_methods_supported", ["S256"]),
        ("claims_parameter_supported", False),
    )
)
EC_MEMBER = members(
    kty="EC",
    crv="P-256",
    kid="key-2",
    use="sig",
    x="f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    y="x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
)
HEADER = members(alg="RS256", kid=KID, typ="JWT")
SHORT = members(iss=ISSUER, sub=SUBJECT, aud=CLIENT_ID, exp=NOW + 300, iat=NOW - 2, nonce=NONCE)
FULL = Members(
    (
        *SHORT.changed("aud", [CLIENT_ID]).pairs,
        ("azp", CLIENT_ID),
        ("nbf", NOW - 2),
        ("auth_time", NOW - 30),
        ("at_hash", half_hash(ACCESS_TOKEN)),
        ("c_hash", half_hash(CODE)),
        ("sid", "08a5019c-17e1-4977-8f42-65a12843ea02"),
        ("acr", "urn:mace:incommon:iap:silver"),
        ("amr", ["pwd", "otp"]),
        ("name", "Jane Doe"),
        ("email", "jane@acme.example"),
        ("email_verified", True),
        ("address", members(country="DE", formatted="Berlin")),
        ("updated_at", NOW - 86_400),
    )
)
SEVERAL = SHORT.changed("aud", [CLIENT_ID, API]).plus("azp", CLIENT_ID)
QUICK = settings(
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=600,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
ANY_JSON: st.SearchStrategy[Json] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=300)
    | st.sampled_from([ISSUER, CLIENT_ID, NONCE, SUBJECT, API, NOW, str(NOW), NOW + 300, Literal("1e400")]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(st.tuples(st.text(max_size=8), inner), max_size=4).map(lambda pairs: Members(tuple(pairs)))
    ),
    max_leaves=8,
)


def registration(**changes: object) -> Provider:
    parts: dict[str, object] = {
        "tenant": "acme",
        "id": "default",
        "issuer": ISSUER,
        "client_id": CLIENT_ID,
        "client_secret": Secret(CLIENT_SECRET),
        "audience": API,
    }
    return Provider(**(parts | changes))  # type: ignore[arg-type]


def sign_in(token: str, keys: KeySet, asked: Asked = LOGIN, provider: Provider | None = None) -> object:
    """Validate a token as the portal does at login."""
    expected = LoginExpectations(
        nonce=NONCE,
        code=Secret(CODE),
        access_token=Secret(ACCESS_TOKEN),
        interaction=Interaction(float(NOW), asked.max_age),
    )
    return validate_at_login(Secret(token), provider or registration(), keys, expected, now=float(NOW))


def key_set(*keys: Json) -> Members:
    return members(keys=list(keys))
