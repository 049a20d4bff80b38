"""Which settings a running portal takes from its changed settings file."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from portal.config.settings import Settings

NEEDS_RESTART = frozenset(
    ("public_url", "listen", "metrics_listen", "tenants", "database", "keys", "processes"),
)
"""Keys that all processes must agree on, or that are used before there are workers. Every other key is
reloadable: workers with the former and the new value can serve beside each other."""


def is_reloadable(key: str) -> bool:
    """Whether SIGHUP makes a changed value of this key of the settings file effective."""
    return key.partition(".")[0] not in NEEDS_RESTART


@dataclass(frozen=True, slots=True)
class SettingsChange:
    """What a settings file that was read again changes."""

    settings: Settings
    """The new values of reloadable keys, and the former ones of all others."""
    reloaded: tuple[str, ...]
    """The reloadable keys whose values differ."""
    ignored: tuple[str, ...]
    """The other keys whose values differ: they need a restart."""


def settings_change(before: Settings, read: Settings) -> SettingsChange:
    """Compare the settings in use with those of the file as it is now."""
    differing = [one.name for one in fields(Settings) if getattr(before, one.name) != getattr(read, one.name)]
    reloaded = tuple(key for key in differing if is_reloadable(key))
    return SettingsChange(
        replace(before, **{key: getattr(read, key) for key in reloaded}),
        reloaded,
        tuple(key for key in differing if not is_reloadable(key)),
    )
