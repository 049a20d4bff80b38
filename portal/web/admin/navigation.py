"""The pages of a tenant that the console links to."""

from __future__ import annotations

from dataclasses import dataclass

from portal.admin.viewers import Right, Viewer
from portal.web.views import TenantCard


@dataclass(frozen=True, slots=True)
class TenantPage:
    """A page in the navigation. `of_database`: not for tenants of files."""

    path: str
    """After `/admin/t/{tenant}/`."""
    label: str
    right: Right
    of_database: bool = True


TENANT_PAGES = (
    TenantPage("", "Overview", Right.VIEW, of_database=False),
    TenantPage("draft", "Draft", Right.DRAFT),
    TenantPage("domains", "Domains", Right.DOMAINS),
    TenantPage("sessions", "Logins", Right.LOGINS, of_database=False),
    TenantPage("revisions", "Revisions", Right.VIEW),
    TenantPage("events", "Events", Right.VIEW, of_database=False),
    TenantPage("links", "Setup links", Right.OPERATE),
    TenantPage("status", "Status", Right.OPERATE),
)
"""In the order of the navigation. Each is the beginning of the paths of further pages."""


@dataclass(frozen=True, slots=True)
class NavigationItem:
    url: str
    label: str
    current: bool


@dataclass(frozen=True, slots=True)
class ConsoleChrome:
    """What the pages of the console have in common, beside `Chrome`."""

    operator: bool = False
    opens_console: bool = True
    """Whether the overview is for this viewer."""
    tenant: TenantCard | None = None
    """The tenant of the page."""
    pages: tuple[NavigationItem, ...] = ()
    own_draft: bool = False
    """Whether the viewer is who changed the draft of the page last."""


def pages_of(slug: str, viewer: Viewer, *, path: str, in_file: bool) -> tuple[NavigationItem, ...]:
    """The navigation of a tenant's pages. Parameters: path, of the request."""
    base = f"/admin/t/{slug}/"
    rest = path.removeprefix(base)
    here = max(
        (page.path for page in TENANT_PAGES if rest == page.path or rest.startswith(f"{page.path}/")),
        key=len,
        default="",
    )
    return tuple(
        NavigationItem(f"{base}{page.path}", page.label, page.path == here)
        for page in TENANT_PAGES
        if viewer.may(page.right, slug) and not (in_file and page.of_database)
    )
