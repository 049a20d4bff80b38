"""Reads the settings again when the portal receives SIGHUP."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from portal.config.reloading import SettingsChange, settings_change
from portal.config.settings import Settings
from portal.errors import ConfigurationError, PortalError
from portal.ops.descriptors import connection_limit

_log = structlog.get_logger("portal.settings")

ReadSettings = Callable[[], Settings]


class SettingsReload:
    """The settings in use, and how to read them again.

    Parameters: settings, in use; read, which reads the file and the environment again.
    """

    def __init__(self, settings: Settings, read: ReadSettings | None) -> None:
        self.settings = settings
        self._former = settings
        self._read = read

    def changed(self) -> Settings | None:
        """Return the settings for new workers; None when nothing changes for them.

        Invalid settings change nothing. Each result is logged; a value is not, because it may be a secret.
        """
        change = self._change()
        if change is None:
            return None
        if not change.reloaded:
            _log.info("settings_unchanged")
            return None
        _log.info("settings_changed", keys=change.reloaded)
        self._former, self.settings = self.settings, change.settings
        return change.settings

    def give_up(self) -> None:
        """Return to the settings before the last change: no worker could serve with the new ones."""
        self.settings = self._former

    def report(self) -> None:
        """Log which changed keys need a restart, where no worker can be replaced: all of them."""
        change = self._change()
        if change is not None and change.reloaded:
            _log.warning("settings_need_restart", keys=change.reloaded, reason="processes is 1")

    def _change(self) -> SettingsChange | None:
        if self._read is None:
            return None
        try:
            read = self._read()
            connection_limit(read.limits.connections)
        except ConfigurationError as error:
            _log.error("settings_rejected", problems=[str(problem) for problem in error.problems])
            return None
        except PortalError as error:
            _log.error("settings_rejected", problems=[error.detail])
            return None
        change = settings_change(self.settings, read)
        if change.ignored:
            _log.warning("settings_need_restart", keys=change.ignored)
        return change
