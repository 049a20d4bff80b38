"""The reference of the console's addresses: who gets which response. Generated from the routes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from portal.admin.actors import Actor, ActorType
from portal.admin.viewers import NOBODY, BoundSetupLink, Viewer
from portal.admin.yaml_only import PROVIDERS_OWN_ACCESS, YAML_ONLY
from portal.web.admin.base import AdminHandler
from portal.web.admin.routes import ADMIN_ROUTES

_METHODS = ("get", "post")
_GROUP = re.compile(r"\(\?P<(\w+)>(?:[^()\[]|\[[^\]]*\])*\)")
_INTRODUCTION = """\
<!-- Made by `python scripts/console_reference.py` from the routes; change those, not this page. -->

Every address of the console, and the response that each kind of viewer gets. The console is served on the
host of `public_url` only.

- **401**: nobody is signed in in this browser. Every path below `/admin/` has this response, whether it
  exists or not.
- **404**: somebody is signed in, but may not open it. The response is the one for an address that does not
  exist, and it is decided before the tenant is looked up, so that neither bytes nor time tell whether there
  is such a tenant.
- **yes**: the page, a form with the mistakes beside its fields (422), or a redirect after a change. An id
  that does not exist has 404. Addresses that change a tenant respond with 409 when it is that of a file.

These rules hold for every method. A form that another site sends gets 403 from everybody's browser.
"""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of viewer of the pages of one tenant. `signed_in`: whether the browser has any login."""

    title: str
    viewer: Viewer
    signed_in: bool


def kinds(slug: str, other: str, *, link_publishes: bool = False) -> tuple[Kind, ...]:
    """The kinds of viewers of a tenant's pages.

    Parameters: slug, of the tenant; other, of another; link_publishes, as `setup_links: publish`.
    """
    admin, operator = Actor(ActorType.ADMIN), Actor(ActorType.OPERATOR)
    return (
        Kind("stranger", NOBODY, signed_in=False),
        Kind("user", NOBODY, signed_in=True),
        Kind("admin of another", Viewer(admin_accounts={other: admin}), signed_in=True),
        Kind("setup link of another", _linked(other, link_publishes), signed_in=False),
        Kind("admin", Viewer(admin_accounts={slug: admin}), signed_in=True),
        Kind("setup link", _linked(slug, link_publishes), signed_in=False),
        Kind("operator", Viewer(operator), signed_in=True),
    )


def _linked(slug: str, publishes: bool) -> Viewer:
    return Viewer(link=BoundSetupLink(slug, ""), link_publishes=publishes)


def refusal(kind: Kind, handler: type[AdminHandler], slug: str | None) -> int | None:
    """The status with which a viewer is refused; None: the viewer may open the page."""
    if kind.viewer.may(handler.right, slug):
        return None
    return 401 if not kind.signed_in and kind.viewer == NOBODY else 404


def methods_of(handler: type[AdminHandler]) -> tuple[str, ...]:
    """The methods that a handler serves."""
    base = AdminHandler
    return tuple(name.upper() for name in _METHODS if getattr(handler, name) is not getattr(base, name))


def plain(pattern: str) -> str:
    """The pattern of a route as people write it: `/admin/t/{tenant}/`."""
    return _GROUP.sub(lambda found: f"{{{found[1]}}}", pattern).replace("\\", "")


def console_reference() -> str:
    """Return the page, in Markdown."""
    shown = kinds("this", "another")
    lines = ["# Console addresses", "", _INTRODUCTION]
    lines += ["| address | methods | right | " + " | ".join(kind.title for kind in shown) + " |"]
    lines += ["|---" * (3 + len(shown)) + "|"]
    for pattern, handler in ADMIN_ROUTES:
        slug = "this" if "?P<tenant>" in pattern else None
        answers = [_cell(kind, handler, slug) for kind in shown]
        cells = (f"`{plain(pattern)}`", ", ".join(methods_of(handler)), handler.right.value, *answers)
        lines += ["| " + " | ".join(cells) + " |"]
    lines += [
        "| any other below `/admin/` |  |  | "
        + " | ".join("401" if not kind.signed_in and kind.viewer == NOBODY else "404" for kind in shown)
        + " |",
        "",
        "With `setup_links: publish` in portal.yaml, a setup link also has the right `publish` at its",
        "tenant.",
        "",
        "## Keys without a form",
        "",
        "The forms of a draft ask for every other key of [a tenant](tenant.md). These are edited as YAML, in",
        "the same draft. A key stands for all keys below it.",
        "",
        "| key | why it has no form |",
        "|---|---|",
        *(f"| `{key}` | {reason} |" for key, reason in sorted(YAML_ONLY.items())),
        f"| `providers.<name>.access` | {PROVIDERS_OWN_ACCESS} |",
    ]
    return "\n".join(lines) + "\n"


def _cell(kind: Kind, handler: type[AdminHandler], slug: str | None) -> str:
    status = refusal(kind, handler, slug)
    return "yes" if status is None else str(status)
