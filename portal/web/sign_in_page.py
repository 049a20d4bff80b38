"""The page of a tenant for a user who is not signed in there."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import urlencode

from portal.display_text import display_text
from portal.tenancy.model import Tenant
from portal.web.base import PageHandler
from portal.web.kept_form import KeptForm
from portal.web.switching import kept_page
from portal.web.views import ProviderChoice, SignInPage


def show_sign_in(
    handler: PageHandler,
    tenant: Tenant,
    notice: str = "",
    *,
    address: str = "",
    kept: KeptForm | None = None,
    return_to: str | None = None,
    query: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Show where to sign in, and where this browser is signed in instead.

    After the sign-in the browser comes back to the page that was asked for. Parameters: notice, why the user
    sees it; address, the work e-mail address that the user has entered; kept, the form that was posted after
    the login had ended; return_to, from `safe_return_to`, the page to come back to instead; query, further
    parameters of the login.
    """
    page = return_to or f"/t/{tenant.slug}/{kept_page(handler.request.path)}"
    back = urlencode({**query, "return_to": page})
    choices = tuple(
        ProviderChoice(
            id=provider.id,
            label=display_text(provider.label or provider.id, limit=80),
            login_url=f"/t/{tenant.slug}/login?{urlencode({'provider': provider.id})}&{back}",
            unhealthy=handler.portal.admin.health.is_unhealthy(provider),
        )
        for provider in tenant.providers.values()
    )
    # To choose a language leads to the page without its query, and without the form.
    languages: dict[str, object] = {} if kept is None and return_to is None else {"languages": ()}
    handler.show(
        "sign_in.html",
        SignInPage(
            handler.card(tenant),
            choices,
            notice=notice,
            closed=not tenant.accepts_logins,
            elsewhere=()
            if handler.in_window
            else tuple(card for card in handler.cards() if card.slug != tenant.slug),
            address=address,
            kept=kept,
        ),
        **languages,
    )
