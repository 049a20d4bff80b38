"""What problem responses of a tenant's APIs say, for the page that shows them in the reader's language.

Problem responses are in English (docs/decisions/079). The script of the API explorer replaces their texts by
those of its page.
"""

from __future__ import annotations

from portal.errors import (
    AccessDenied,
    BadRequest,
    CrossSiteRequest,
    LoginEndedDuringCall,
    LoginRequired,
    MethodNotAllowed,
    NotFound,
    OutboundRefused,
    PayloadTooLarge,
    PortalError,
    RequestRefused,
    StoreUnavailable,
    TooManyRequests,
    UpstreamBusy,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from portal.oidc.api_errors import (
    ApiLoginRequired,
    ApiTokenError,
    ApiTokenMismatch,
    ApiTokenRefused,
    ApiTokenTooLarge,
)
from portal.oidc.errors import (
    ClientKeyMissing,
    ClientRejected,
    LoginRejected,
    LoginTooLarge,
    MetadataRejected,
    ProviderUnavailable,
    RefreshRejected,
    TokenCertificateMismatch,
    TokenNotBound,
    TokenRequestRejected,
    UserInfoRejected,
    UserInfoSubjectMismatch,
)
from portal.stores.model import Login
from portal.tenancy.model import Tenant
from portal.web.api_proxy.path_access import denial_explanation
from portal.web.api_proxy.rules import TARGET_EXPLANATIONS
from portal.web.step_up_errors import (
    AuthenticationRequired,
    PermissionRequired,
    StepUpAuthenticationNotAllowed,
    StepUpNotAccepted,
    StepUpScopeNotAllowed,
)

CALL_ERRORS: tuple[type[PortalError], ...] = (
    PortalError,
    AccessDenied,
    ApiLoginRequired,
    ApiTokenError,
    ApiTokenMismatch,
    ApiTokenRefused,
    ApiTokenTooLarge,
    AuthenticationRequired,
    BadRequest,
    ClientKeyMissing,
    ClientRejected,
    CrossSiteRequest,
    LoginEndedDuringCall,
    LoginRejected,
    LoginRequired,
    LoginTooLarge,
    MetadataRejected,
    MethodNotAllowed,
    NotFound,
    OutboundRefused,
    PayloadTooLarge,
    PermissionRequired,
    ProviderUnavailable,
    RefreshRejected,
    RequestRefused,
    StepUpAuthenticationNotAllowed,
    StepUpNotAccepted,
    StepUpScopeNotAllowed,
    StoreUnavailable,
    TokenCertificateMismatch,
    TokenNotBound,
    TokenRequestRejected,
    TooManyRequests,
    UpstreamBusy,
    UpstreamTimeout,
    UpstreamUnavailable,
    UserInfoRejected,
    UserInfoSubjectMismatch,
)
"""Errors of a call, which refreshes the login where necessary; others have the texts of one of these."""
_FIXED = dict.fromkeys(
    [*(text for error in CALL_ERRORS for text in (error.title, error.advice)), *TARGET_EXPLANATIONS]
)


def problem_texts(tenant: Tenant, login: Login) -> tuple[str, ...]:
    """Return the titles and details of all problems that a call of a tenant's APIs can get."""
    explanation = denial_explanation(tenant, login)
    return (*_FIXED, explanation) if explanation is not None else tuple(_FIXED)
