"""Which settings SIGHUP makes effective; the reference says it for every key."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import structlog

from portal.config.domain_settings import DomainSettings
from portal.config.event_settings import EventSettings
from portal.config.forward_auth_settings import ForwardAuthSettings
from portal.config.limit_settings import LimitSettings
from portal.config.metric_settings import MetricSettings
from portal.config.reloading import NEEDS_RESTART, settings_change
from portal.config.settings import LogSettings, SessionSettings, Settings, load_settings
from portal.config.settings_reference import settings_reference
from portal.config.trace_settings import TraceSettings
from portal.secret import Secret
from portal.settings_reload import SettingsReload

OTHER: dict[str, Any] = {
    "public_url": "https://other.example",
    "listen": "127.0.0.1:9",
    "tenants": Path("other"),
    "presets": Path("other"),
    "max_removed_percent": 1,
    "database": "sqlite:///other.db",
    "keys": Path("other"),
    "processes": 7,
    "server": "tornado",
    "trusted_proxies": ("10.0.0.0/8",),
    "allow_private_networks": True,
    "session": SessionSettings(1.0, 2.0),
    "metrics_listen": "127.0.0.1:9",
    "metrics": MetricSettings(tenants=1),
    "forward_auth": ForwardAuthSettings(Secret("s" * 32)),
    "traces": TraceSettings("http://localhost:4318/v1/traces"),
    "log": LogSettings("json", "error"),
    "limits": LimitSettings(sockets_per_user=1),
    "domains": DomainSettings((("9.9.9.9", 53),)),
    "product": "another product",
    "events": EventSettings(1.0),
    "operators": ("somebody",),
    "chooser": "list",
    "front_ends": {"desk": "another"},
    "setup_links": "publish",
}


def effective_by() -> dict[str, str]:
    """What the first table of the reference says of each key."""
    table = settings_reference().split("\n## ")[0]
    rows = re.findall(
        r"^\| \**`(\w+)`\** \|[^|]*\|[^|]*\| ([^|]+) \|", table.replace("\\|", "/"), re.MULTILINE
    )
    return dict(rows)


@pytest.mark.parametrize("key", [one.name for one in fields(Settings)])
def test_every_setting_does_what_the_reference_says(key: str) -> None:
    before = Settings()
    read = replace(before, **{key: OTHER[key]})
    assert getattr(read, key) != getattr(before, key)
    change = settings_change(before, read)
    if effective_by()[key] == "`SIGHUP`":
        assert (change.settings, change.reloaded, change.ignored) == (read, (key,), ())
    else:
        assert effective_by()[key] == "restart"
        assert (change.settings, change.reloaded, change.ignored) == (before, (), (key,))


def test_inner_keys_are_as_effective_as_the_key_that_has_them() -> None:
    by_section = re.findall(r"^## (\w+).*?(?=^## |\Z)", settings_reference(), re.MULTILINE | re.DOTALL)
    assert {"session", "log", "limits", "front_ends"} <= set(by_section)
    assert not NEEDS_RESTART & set(by_section)
    for section in settings_reference().split("\n## ")[1:]:
        for row in re.findall(r"^\| \**`.*", section, re.MULTILINE):
            assert "| `SIGHUP` |" in row


def test_both_kinds_of_keys_can_change_at_once() -> None:
    read = replace(Settings(), chooser="list", listen=":80")
    change = settings_change(Settings(), read)
    assert change.settings == replace(Settings(), chooser="list")
    assert (change.reloaded, change.ignored) == (("chooser",), ("listen",))


def test_a_reload_compares_with_what_the_last_one_changed(tmp_path: Path) -> None:
    path = tmp_path / "portal.yaml"
    path.write_text("chooser: search\n")
    reload = SettingsReload(load_settings(path, {}), lambda: load_settings(path, {}))
    with structlog.testing.capture_logs() as logged:
        assert reload.changed() is None
        path.write_text("chooser: list\nprocesses: 4\n")
        changed = reload.changed()
        assert changed is not None
        assert (changed.chooser, changed.processes) == ("list", 1)
        path.write_text("chooser: list\n")
        assert reload.changed() is None
        path.write_text("chooser: [\n")
        assert reload.changed() is None
        path.unlink()
        assert reload.changed() is None
    assert [line["event"] for line in logged] == [
        *("settings_unchanged", "settings_need_restart", "settings_changed"),
        *("settings_unchanged", "settings_rejected", "settings_rejected"),
    ]
    assert str(logged[4]["problems"][0]).startswith(f"{path}:")
    assert re.match(r".*portal\.yaml:\d+:\d+: ", str(logged[4]["problems"][0]))
    assert reload.settings.chooser == "list"


def test_limits_that_the_system_does_not_allow_are_rejected() -> None:
    reload = SettingsReload(
        Settings(), lambda: replace(Settings(), limits=LimitSettings(connections=900_000_000))
    )
    with structlog.testing.capture_logs() as logged:
        assert reload.changed() is None
    assert [line["event"] for line in logged] == ["settings_rejected"]


def test_a_change_that_no_worker_could_serve_is_found_again() -> None:
    reload = SettingsReload(Settings(), lambda: replace(Settings(), chooser="list"))
    assert reload.changed() is not None
    reload.give_up()
    assert reload.changed() is not None
    assert reload.changed() is None
