"""Keys of a tenant file for the form of authorization requests and responses."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from portal.config.field_types import ScopeToken
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
            "Individually requested claims, sent in the claims parameter (OIDC Core 5.5) to providers that "
            "support it. Write {} for a claim without further requirements."
        ),
    ),
]
StepUpScopes = Annotated[
    list[ScopeToken],
    Field(
        max_length=100,
        description=(
            "Scopes that no sign-in requests until the API asks for one of them with insufficient_scope "
            "(RFC 6750). The portal never requests others than these and scopes, except those of an API with "
            "access tokens of its own."
        ),
        examples=[["delete:orders"]],
    ),
]
ResponseModeOption = Annotated[
    Literal["query", "form_post", "query.jwt", "form_post.jwt", "jwt"],
    Field(
        description=(
            "How the provider returns its response: in the URL (query), or in a form that the browser posts "
            "(form_post), which keeps the code out of URLs. query.jwt, form_post.jwt and jwt require a "
            "signed response (JARM); unsigned responses are then refused."
        ),
    ),
]
ResponseAlgorithms = Annotated[
    list[Algorithm],
    Field(
        min_length=1,
        max_length=13,
        description="Algorithms with which this provider may sign its responses, if they are signed.",
    ),
]
PushedRequests = Annotated[
    bool,
    Field(
        description=(
            "Whether the portal pushes sign-in requests to the provider directly (RFC 9126) instead of "
            "sending them in the browser's URL. Not needed if the provider's metadata requires it."
        ),
    ),
]
RequestObject = Annotated[
    Literal["none", "signed"],
    Field(
        description=(
            "Whether the portal signs sign-in requests with its own key (RFC 9101). Register the key set at "
            "/.well-known/jwks.json with the provider."
        ),
    ),
]
