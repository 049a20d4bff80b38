"""Settings without the limits for each client: all browsers of a benchmark have one address."""

from __future__ import annotations

from pathlib import Path

from bench.servers import ROOT

_LIMITS = (
    "limits: {sign_ins_per_client: 1000000, attempts_per_client: 10000000, callbacks_per_client: 1000000, "
    "unauthenticated_per_client: 1000000}\n"
)


def unlimited(source: Path = ROOT) -> str:
    """Lines of portal.yaml; none for a source that has no such limits."""
    return _LIMITS if (source / "portal" / "web" / "client_limits.py").exists() else ""
