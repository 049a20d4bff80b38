"""The reference of the settings, generated from their model."""

from __future__ import annotations

from portal.config.front_ends import FrontEndFile
from portal.config.reference import Column, reference, sections
from portal.config.reloading import is_reloadable
from portal.config.settings import SettingsFile

_INTRODUCTION = """\
`portal serve --config portal.yaml` reads a YAML file with these keys; each is optional, and an unknown key is
an error. `portal serve` without a file uses the defaults.

Every key is also an environment variable, which takes precedence over the file: `PORTAL_PUBLIC_URL`,
`PORTAL_LISTEN` and so on; keys inside a mapping as `PORTAL_SESSION_IDLE` or `PORTAL_LOG_FORMAT`.
`PORTAL_TRUSTED_PROXIES` is a comma-separated list. An unknown `PORTAL_*` variable is an error, except
`PORTAL_CONFIG` (the file), `PORTAL_TEST_*`, and those that Kubernetes sets for a service named `portal`.

Relative paths in the file are relative to the file's folder; those in variables and defaults to the working
directory. Durations are written `90s`, `10m`, `12h` or `7d`. Keys in bold are required.

The column *new value* says what makes a changed value effective: `SIGHUP` (the portal replaces its workers
one by one), or a `restart` of the portal. Variables cannot change without a restart. See [Reloading the
settings](../operations/restarts.md#reloading-the-settings)."""

_FRONT_ENDS = """\
## front_ends

Applications by a short name; [Your page](../guides/your-page.md) shows how to make one. Their pages run on
the portal's own origin: they can do what the user can do at every organisation that the user is signed in to.
Changed files are served at once. These keys belong to each of them:"""


def settings_reference() -> str:
    """Return the reference of the settings, in Markdown."""
    page = reference(
        SettingsFile,
        title="Settings",
        command="portal settings reference",
        introduction=_INTRODUCTION,
        column=_NEW_VALUE,
    )
    of_front_ends = Column(_NEW_VALUE.title, lambda key: _effective_by("front_ends"))
    return "\n".join([page, _FRONT_ENDS, "", *sections(FrontEndFile, of_front_ends)]).rstrip() + "\n"


def _effective_by(key: str) -> str:
    return "`SIGHUP`" if is_reloadable(key) else "restart"


_NEW_VALUE = Column("new value", _effective_by)
