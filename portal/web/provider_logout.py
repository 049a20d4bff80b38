"""Logouts that a provider starts, through the back channel or through the user's browser."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from types import TracebackType
from urllib.parse import parse_qs, urlsplit

import structlog
from tornado.web import stream_request_body

from portal.errors import NotFound, PortalError
from portal.oidc.errors import LogoutRequestRejected, RevocationRequestRejected, RevocationTokenRejected
from portal.oidc.global_revocation import read_subject
from portal.oidc.provider import Provider
from portal.secret import Secret
from portal.web.base import PortalHandler

_log = structlog.get_logger("portal.logout")

_MOST_FIELDS = 16
_FORM = "application/x-www-form-urlencoded"
_ORIGIN = re.compile(r"https?://(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
_ENDED_PAGE = '<!doctype html><html lang="en"><meta charset="utf-8"><title>Signed out</title><p>Signed out.'
_REFUSED_PAGE = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>Not signed out</title>'
    "<p>Not signed out. Request id: {request_id}"
)


class _ProviderLogoutHandler(PortalHandler):
    """Common base of both logouts: ignores the browser's cookies, and logs each rejection in one line."""

    def require_own_origin(self) -> None:
        """Accept any origin: providers call from other sites by design. The token or `sid` authorizes."""

    def log_exception(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if not isinstance(value, LogoutRequestRejected):
            super().log_exception(typ, value, tb)
            return
        _log.warning(
            "provider_logout_rejected",
            tenant=self.path_kwargs["tenant"],
            provider=value.provider,
            code=value.code,
            rule=value.rule,
            detail=value.detail,
        )


@stream_request_body
class BackchannelLogoutHandler(_ProviderLogoutHandler):
    """`POST /t/{tenant}/backchannel-logout` (OpenID Connect Back-Channel Logout 1.0, 2.5 and 2.8)."""

    def initialize(self) -> None:
        self._body = bytearray()

    def data_received(self, chunk: bytes) -> None:
        self._body += chunk

    async def post(self, tenant: str) -> None:
        live = self.tenant(tenant)
        await self.portal.provider_logouts.end_by_token(
            tenant, tuple(live.providers.values()), self._logout_token()
        )
        self.set_status(200)
        self.finish()

    def _logout_token(self) -> Secret:
        kinds = self.request.headers.get_list("Content-Type")
        if len(kinds) != 1 or kinds[0].partition(";")[0].strip().lower() != _FORM:
            raise LogoutRequestRejected("content_type", f"the request is not {_FORM}")
        try:
            form = parse_qs(
                bytes(self._body).decode("ascii"), keep_blank_values=True, max_num_fields=_MOST_FIELDS
            )
        except ValueError as error:
            raise LogoutRequestRejected("form", "the form cannot be read") from error
        tokens = form.get("logout_token", [])
        if len(tokens) != 1:
            raise LogoutRequestRejected("logout_token", "logout_token is missing or repeated")
        return Secret(tokens[0])

    def render_error(self, error: PortalError) -> None:
        """Send an error in the format of a token endpoint (Back-Channel Logout 2.8, RFC 6749 5.2)."""
        self.set_header("Content-Type", "application/json")
        kind = "invalid_request" if error.status < 500 else "temporarily_unavailable"
        described = {
            "error": kind,
            "error_description": error.detail if isinstance(error, LogoutRequestRejected) else error.title,
            "request_id": self.request_id,
        }
        self.finish(json.dumps(described))


@stream_request_body
class GlobalRevocationHandler(_ProviderLogoutHandler):
    """`POST /t/{tenant}/global-token-revocation` (draft-parecki-oauth-global-token-revocation).

    Nothing of the body is read before the token is valid: nobody else learns whether a user is signed in.
    """

    def initialize(self) -> None:
        self._body = bytearray()

    def data_received(self, chunk: bytes) -> None:
        self._body += chunk

    async def post(self, tenant: str) -> None:
        live = self.tenant(tenant)
        providers = tuple(live.providers.values())
        if not any(provider.global_token_revocation for provider in providers):
            raise NotFound(f"no provider of {tenant} has global_token_revocation")
        revocations = self.portal.global_revocations
        sender = await revocations.authenticate(
            tenant, providers, self._token(), audience=f"{self.site.origin}{self.request.path}"
        )
        kinds = self.request.headers.get_list("Content-Type")
        if len(kinds) != 1 or kinds[0].partition(";")[0].strip().lower() != "application/json":
            raise RevocationRequestRejected("content_type", "the request is not application/json")
        subject = read_subject(bytes(self._body), issuer=sender.issuer)
        await revocations.end_all(tenant, providers, sender, subject, email_claim=live.claims.email)
        self.set_status(204)
        self.finish()

    def _token(self) -> Secret:
        fields = self.request.headers.get_list("Authorization")
        scheme, _, token = fields[0].partition(" ") if len(fields) == 1 else ("", "", "")
        if scheme.lower() != "bearer" or not token.strip():
            raise RevocationTokenRejected("authorization", "expected one field Authorization: Bearer")
        return Secret(token.strip())

    def render_error(self, error: PortalError) -> None:
        """Send a problem; with 401, what authenticates a request (RFC 9110 11.6.1, RFC 6750 3)."""
        if error.status == 401:
            self.set_header("WWW-Authenticate", 'Bearer error="invalid_token"')
        super().render_error(error)


class FrontchannelLogoutHandler(_ProviderLogoutHandler):
    """`GET /t/{tenant}/frontchannel-logout` (OpenID Connect Front-Channel Logout 1.0, 3).

    Any client that knows a `sid` can end its login: `iss` is public and protects nothing. A request without
    `iss` is accepted when exactly one registration of the tenant allows that.
    """

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self._allow_frames_from("'none'")
        self.set_header("Referrer-Policy", "no-referrer")

    async def get(self, tenant: str) -> None:
        live = self.tenant(tenant)
        issuer = self._single_value("iss") if "iss" in self.request.query_arguments else None
        sid = self._single_value("sid")
        providers = _matching_providers([*live.providers.values()], issuer)
        self._allow_frames_from(_frame_ancestor(providers))
        await self.portal.provider_logouts.end_by_sid(tenant, providers, issuer, sid)
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish(_ENDED_PAGE)

    def _single_value(self, name: str) -> str:
        values = self.request.query_arguments.get(name, [])
        if len(values) != 1:
            raise LogoutRequestRejected(name, f"{name} is missing or repeated")
        try:
            return values[0].decode()
        except UnicodeDecodeError as error:
            raise LogoutRequestRejected(name, f"{name} is not UTF-8 text") from error

    def _allow_frames_from(self, ancestor: str) -> None:
        self.set_header(
            "Content-Security-Policy",
            f"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors {ancestor}",
        )

    def render_error(self, error: PortalError) -> None:
        """Send a short page: it is rarely seen, as it loads in a frame. The request id leads to the log."""
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish(_REFUSED_PAGE.format(request_id=self.request_id))


def _matching_providers(providers: Sequence[Provider], issuer: str | None) -> list[Provider]:
    """The registrations that a request can refer to. Raises: LogoutRequestRejected when there are none."""
    if issuer is not None:
        found = [provider for provider in providers if provider.accepts_issuer(issuer)]
        if not found:
            raise LogoutRequestRejected("iss", "none of the tenant's providers has this issuer")
        return found
    found = [provider for provider in providers if provider.frontchannel_without_issuer]
    if len(found) != 1:
        raise LogoutRequestRejected("iss", "iss is missing, and the provider is ambiguous without it")
    return found


def _frame_ancestor(providers: Sequence[Provider]) -> str:
    """The origin of these providers' issuer as a CSP source; 'none' when it is not a valid source."""
    parts = urlsplit(providers[0].issuer)
    origin = f"{parts.scheme}://{parts.netloc}".lower()
    return origin if _ORIGIN.fullmatch(origin) else "'none'"
