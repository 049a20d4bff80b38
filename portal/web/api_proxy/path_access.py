"""Access rules for paths of a tenant's APIs and of applications (`access.paths` of the tenant file)."""

from __future__ import annotations

from portal.access.paths import path_refusal
from portal.errors import AccessDenied
from portal.sentences import Sentence, sentence
from portal.stores.model import Login
from portal.tenancy.model import Api, Tenant


def check_path_access(tenant: Tenant, login: Login, path: str, *, api: Api) -> None:
    """Check that a user may call a path of one of the tenant's APIs.

    Parameters: path, below the API's base URL, percent-encoded as it is sent.
    Raises: AccessDenied.
    """
    check_path(tenant, login, path, api=api.name)


def check_path(tenant: Tenant, login: Login, path: str, *, api: str = "") -> None:
    """Check that a user may request a path of an API or, without `api`, of an application behind a proxy.

    Parameters: api, the name of the API; empty for the default one. Raises: AccessDenied.
    """
    access = tenant.access.get(login.provider, ())
    refusal = path_refusal(access, login.claims, path, api=api)
    if refusal is not None:
        found = f"{refusal.found}, for an account of {tenant.slug}/{login.provider}"
        raise AccessDenied(refusal.rule, found, explanation=denial_explanation(tenant, login))


def denial_explanation(tenant: Tenant, login: Login) -> Sentence | None:
    """What a user who may not use a path is told; None where the tenant names nobody to ask."""
    contact = tenant.contact(login.provider)
    if not contact:
        return None
    return sentence(
        "%(advice)s There, ask: %(contact)s",
        advice=sentence(AccessDenied.advice),
        contact=contact,
    )
