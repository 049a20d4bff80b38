"""The second factor of the development provider, for requests with the `acr` "mfa" (RFC 9470 4)."""

from __future__ import annotations

import hmac

from portal.demo.provider_model import SECOND_FACTOR, BrowserSession, Interaction
from portal.demo.provider_pages import PageHandler, deny

_CODE = "246810"
"""The code that every user has; the page shows it where it shows passwords."""


class SecondFactorHandler(PageHandler):
    """`/second-factor/{interaction}`: the form for the code."""

    async def get(self, interaction_id: str) -> None:
        interaction, session = self.signed_in_interaction(interaction_id)
        self._show(interaction, session)

    async def post(self, interaction_id: str) -> None:
        interaction, session = self.signed_in_interaction(interaction_id)
        if self.get_body_argument("cancel", ""):
            self.provider.state.end_interaction(interaction)
            deny(self, interaction)
            return
        code = "".join(self.get_body_argument("code", "")[:40].split())
        if not hmac.compare_digest(code.encode(), _CODE.encode()):
            self._show(interaction, session, failed=True)
            return
        session.acr, session.auth_time = SECOND_FACTOR, self.provider.settings.clock()
        self.proceed(interaction, session)

    def _show(self, interaction: Interaction, session: BrowserSession, *, failed: bool = False) -> None:
        self.show(
            "second-factor",
            status=401 if failed else 200,
            form_target=interaction.request.redirect_uri,
            action=f"/second-factor/{interaction.id}",
            user=session.user,
            code=_CODE if self.provider.settings.show_users else "",
            failed=failed,
        )
