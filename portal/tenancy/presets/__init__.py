"""Presets: what is known about each kind of provider, as data.

`<name>.yaml` in this folder is a built-in preset; docs/guides/write-a-preset.md describes the format.
"""

from portal.tenancy.presets.catalog import DEFAULT, Presets, built_in, installed_presets
from portal.tenancy.presets.hooks import Hooks
from portal.tenancy.presets.model import OFFLINE_ACCESS, Preset

__all__ = ["DEFAULT", "OFFLINE_ACCESS", "Hooks", "Preset", "Presets", "built_in", "installed_presets"]
