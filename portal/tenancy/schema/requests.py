"""Keys of a tenant file that say how sign-in requests and their responses travel."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from portal.tenancy.schema.requested_claims import RequestedClaimsFile

Algorithm = Literal[
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
    "HS256",
    "HS384",
    "HS512",
]

RequestedClaims = Annotated[
    RequestedClaimsFile,
    Field(
        description=(
            "Claims asked for one by one, sent as claims (OIDC Core 5.5) to providers that know it. "
            "A claim of which nothing more is asked is written as {}."
        ),
    ),
]
ResponseModeOption = Annotated[
    Literal["query", "form_post", "query.jwt", "form_post.jwt", "jwt"],
    Field(
        description=(
            "How the provider responds to a sign-in: in the URL (query), or in a form that the browser sends "
            "(form_post), which keeps the code out of URLs. query.jwt, form_post.jwt and jwt are the same "
            "with a signed response (JARM); a response that is not signed is then refused."
        ),
    ),
]
ResponseAlgorithms = Annotated[
    list[Algorithm],
    Field(
        min_length=1,
        max_length=13,
        description="Algorithms with which this provider may sign its answers, when they are signed.",
    ),
]
PushedRequests = Annotated[
    bool,
    Field(
        description=(
            "Whether sign-in requests are pushed to the provider directly (RFC 9126) instead of travelling "
            "in the browser's URL. Not needed for a provider whose metadata requires it."
        ),
    ),
]
RequestObject = Annotated[
    Literal["none", "signed"],
    Field(
        description=(
            "Whether sign-in requests are signed with the portal's own key (RFC 9101). The provider has to "
            "know the keys at /.well-known/jwks.json."
        ),
    ),
]
