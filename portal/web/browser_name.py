"""The name of a browser and its system, from the User-Agent header that was recorded."""

from __future__ import annotations

from portal.sentences import sentence

_BROWSERS = (
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
    ("Version/", "Safari"),
)
"""What the header contains, and the name: the first that matches. Chrome also says Safari, Edge also both."""
_SYSTEMS = (
    ("Windows", "Windows"),
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("CrOS", "ChromeOS"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
)


def browser_name(device: str) -> str:
    """`Firefox on Linux`; empty for a program whose browser is not known.

    Parameters: device, the beginning of a User-Agent header.
    """
    browser = next((name for part, name in _BROWSERS if part in device), "")
    system = next((name for part, name in _SYSTEMS if part in device), "")
    if browser and system:
        return sentence("%(browser)s on %(system)s", browser=browser, system=system)
    return browser
