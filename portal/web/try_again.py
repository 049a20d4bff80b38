"""Links that begin a login once more after it was cancelled, or has failed."""

from __future__ import annotations

from urllib.parse import urlencode

from portal.oidc.begun_login import BegunLogin
from portal.tenancy.model import Tenant


def try_again_url(tenant: Tenant, begun: BegunLogin | None, *, default: str) -> str:
    """The path that begins a login again, for the same API and with the same step-up.

    Parameters: begun, the attempt, None if it is not known; default, where an unknown one leads.
    """
    if begun is None:
        return f"/t/{tenant.slug}/login?{urlencode({'return_to': default})}"
    parameters = [("return_to", begun.return_to), *begun.step_up]
    if begun.is_of_api and len(tenant.providers) > 1:
        parameters.append(("provider", begun.provider))
    parameters += [("scope_api", name) for name in _apis_with_key(tenant, begun)]
    parameters += [("api", begun.api)] if begun.api is not None else []
    return f"/t/{tenant.slug}/login?{urlencode(parameters)}"


def _apis_with_key(tenant: Tenant, begun: BegunLogin) -> list[str]:
    """The name of the API whose own access token needs the scopes; none if it is the login's."""
    if not begun.scope_key:
        return []
    apis = [*([tenant.api] if tenant.api else []), *tenant.apis.values()]
    targets = [(api.name, api.targets.get(begun.provider)) for api in apis]
    return [name for name, target in targets if target is not None and target.key == begun.scope_key][:1]
