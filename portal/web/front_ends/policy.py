"""The security headers of a front end's pages and files."""

from __future__ import annotations

from collections.abc import Iterable

from portal.config.front_ends import FrontEnd
from portal.config.policy_sources import FETCH_DIRECTIVES, FRAME_ANCESTORS

_DEVELOPMENT = {"script-src": ("'unsafe-inline'", "'unsafe-eval'"), "style-src": ("'unsafe-inline'",)}
"""What development servers need: they write scripts and styles into pages, and evaluate modules."""


def content_policy(front_end: FrontEnd, *, form_targets: str) -> str:
    """Return the Content-Security-Policy of a front end.

    A directive of `csp` adds its sources to those that are allowed without it.
    Parameters: form_targets, sources of `form-action` that redirects after a sign-out need.
    """
    csp = dict(front_end.csp)
    if front_end.url is not None:
        for name, sources in _DEVELOPMENT.items():
            csp[name] = (*csp.get(name, ()), *sources)
    default = ("'self'", *csp.get("default-src", ()))
    script = (*default, *csp.get("script-src", ()))
    directives = {"default-src": default}
    for name in FETCH_DIRECTIVES[1:]:
        if name in csp:
            directives[name] = (*(script if name == "worker-src" else default), *csp[name])
    directives["form-action"] = ("'self'", *form_targets.split(), *csp.get("form-action", ()))
    directives[FRAME_ANCESTORS] = csp.get(FRAME_ANCESTORS) or ("'none'",)
    directives["object-src"] = directives["base-uri"] = ("'none'",)
    return "; ".join(f"{name} {_unique(sources)}" for name, sources in directives.items())


def _unique(sources: Iterable[str]) -> str:
    return " ".join(dict.fromkeys(sources))
