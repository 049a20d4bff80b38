"""The in-memory state of a development provider: sessions, consents, codes and tokens."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Protocol, TypeVar

from portal.demo.provider_model import (
    AuthorizationRequest,
    BrowserSession,
    Grant,
    Interaction,
    IssuedAccessToken,
    IssuedCode,
    IssuedRefreshToken,
    ProtocolError,
    ProviderSettings,
    UserAccount,
)

_SWEEP_SECONDS = 30.0


class _Expiring(Protocol):
    expires_at: float


_Entry = TypeVar("_Entry", bound=_Expiring)


class ProviderState:
    """Sessions, interactions, codes and tokens of one provider.

    An expired entry counts as missing, even before it is removed.
    """

    def __init__(self, settings: ProviderSettings) -> None:
        self._settings = settings
        self._clock = settings.clock
        self._sessions: dict[str, BrowserSession] = {}
        self._interactions: dict[str, Interaction] = {}
        self._codes: dict[str, IssuedCode] = {}
        self._refresh_tokens: dict[str, IssuedRefreshToken] = {}
        self._access_tokens: dict[str, IssuedAccessToken] = {}
        self._consents: dict[tuple[str, str], set[str]] = {}
        self._swept_at = 0.0

    # --- browsers
    def sign_in(self, user: UserAccount, *, previous: BrowserSession | None) -> BrowserSession:
        """Start a session with a new cookie. When the same user signs in again, the `sid` stays."""
        sid = secrets.token_urlsafe(16)
        clients: set[str] = set()
        if previous is not None and previous.user == user:
            self._sessions.pop(previous.cookie, None)
            sid, clients = previous.sid, previous.clients
        now = self._clock()
        session = BrowserSession(
            secrets.token_urlsafe(32), sid, user, now, now + self._settings.session_seconds, clients
        )
        self._sessions[session.cookie] = session
        return session

    def session(self, cookie: str | None) -> BrowserSession | None:
        """The live session of a cookie."""
        return self._live(self._sessions, cookie)

    def end_session(self, session: BrowserSession) -> None:
        """Delete the session. Grants with offline access stay valid (Back-Channel Logout 2.7)."""
        self._sessions.pop(session.cookie, None)
        for token in self._access_tokens.values():
            if token.grant.sid == session.sid and "offline_access" not in token.grant.scope:
                token.grant.revoked = True

    # --- interactions and consents
    def begin(self, request: AuthorizationRequest) -> Interaction:
        """Store a request while the user interacts with its pages."""
        self._sweep()
        interaction = Interaction(
            secrets.token_urlsafe(24), request, self._clock() + self._settings.interaction_seconds
        )
        self._interactions[interaction.id] = interaction
        return interaction

    def interaction(self, interaction_id: str) -> Interaction | None:
        """The live interaction with this id."""
        return self._live(self._interactions, interaction_id)

    def end_interaction(self, interaction: Interaction) -> None:
        """Delete the interaction, because its response is being sent."""
        self._interactions.pop(interaction.id, None)

    def consented(self, user: UserAccount, client_id: str) -> frozenset[str]:
        """The scopes that the user has allowed this client before."""
        return frozenset(self._consents.get((user.username, client_id), ()))

    def remember_consent(self, user: UserAccount, client_id: str, scope: tuple[str, ...]) -> None:
        """Remember the consent, so that the user is not asked again for these scopes."""
        self._consents.setdefault((user.username, client_id), set()).update(scope)

    # --- codes and tokens
    def issue_code(self, grant: Grant, *, redirect_uri: str, code_challenge: str) -> str:
        """Issue a single-use code for the grant."""
        code = secrets.token_urlsafe(32)
        expires_at = self._clock() + self._settings.code_seconds
        self._codes[code] = IssuedCode(grant, redirect_uri, code_challenge, expires_at)
        return code

    def redeem_code(self, code: str, client_id: str) -> IssuedCode:
        """Use a code. Raises ProtocolError; a repeated use also revokes the grant."""
        issued = self._codes.get(code)
        if issued is None or issued.grant.client_id != client_id:
            raise ProtocolError("invalid_grant", "The code is unknown.")
        if issued.used:
            issued.grant.revoked = True  # RFC 6749 4.1.2
            raise ProtocolError("invalid_grant", "The code was used before; its tokens are revoked.")
        issued.used = True
        if self._clock() >= issued.expires_at:
            raise ProtocolError("invalid_grant", "The code has expired.")
        return issued

    def issue_refresh_token(self, grant: Grant) -> str:
        """Issue a refresh token for the grant."""
        token = secrets.token_urlsafe(32)
        expires_at = self._clock() + self._settings.refresh_token_seconds
        self._refresh_tokens[token] = IssuedRefreshToken(grant, expires_at)
        return token

    def usable_refresh_token(self, token: str, client_id: str) -> IssuedRefreshToken:
        """Return a valid refresh token. Raises ProtocolError; a reused token also revokes the grant."""
        issued = self._refresh_tokens.get(token)
        if issued is None or issued.grant.client_id != client_id:
            raise ProtocolError("invalid_grant", "The refresh token is unknown.")
        if issued.spent:
            issued.grant.revoked = True  # RFC 9700 4.14.2
            raise ProtocolError("invalid_grant", "The refresh token was used before; its grant is revoked.")
        if issued.grant.revoked or self._clock() >= issued.expires_at:
            raise ProtocolError("invalid_grant", "The refresh token has expired or was revoked.")
        return issued

    def record_access_token(self, jti: str, grant: Grant, scope: tuple[str, ...]) -> None:
        """Store an access token, for userinfo and revocation."""
        self._sweep()
        expires_at = self._clock() + self._settings.access_token_seconds
        self._access_tokens[jti] = IssuedAccessToken(grant, scope, expires_at)

    def access_token(self, jti: object) -> IssuedAccessToken | None:
        """The live access token with this `jti`."""
        issued = self._live(self._access_tokens, jti if isinstance(jti, str) else None)
        return None if issued is None or issued.revoked or issued.grant.revoked else issued

    def refresh_token(self, token: str) -> IssuedRefreshToken | None:
        """The refresh token, spent or not."""
        return self._refresh_tokens.get(token)

    def _live(self, entries: Mapping[str, _Entry], key: str | None) -> _Entry | None:
        entry = entries.get(key) if key else None
        return entry if entry is not None and self._clock() < entry.expires_at else None

    def _sweep(self) -> None:
        now = self._clock()
        if abs(now - self._swept_at) < _SWEEP_SECONDS:
            return
        self._swept_at = now
        _drop_expired(self._sessions, now)
        _drop_expired(self._interactions, now)
        _drop_expired(self._refresh_tokens, now)
        _drop_expired(self._access_tokens, now)
        _drop_expired(self._codes, now - self._settings.refresh_token_seconds)


def _drop_expired(entries: dict[str, _Entry], now: float) -> None:
    for key in [key for key, entry in entries.items() if entry.expires_at <= now]:
        del entries[key]
