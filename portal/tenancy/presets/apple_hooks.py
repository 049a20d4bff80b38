"""Sign in with Apple: its own error code for a sign-in that the user cancelled."""

from __future__ import annotations

from portal.tenancy.presets.hooks import Hooks


class AppleHooks(Hooks):
    """Error codes of Apple's authorization endpoint."""

    def error_code(self, error: str, description: str) -> str | None:
        """Return `access_denied` for a cancelled sign-in, so that the page says what happened."""
        return "access_denied" if error == "user_cancelled_authorize" else None
