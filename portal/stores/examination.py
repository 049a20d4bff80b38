"""What `portal doctor` reads of a database, without changing or creating anything.

Opening a store creates indexes and migrates files, which would hide what is missing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from portal.stores.tenant_records import DomainClaim, Revision, TenantRecord


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """The state of a database. None of its texts has a password."""

    server: str
    """What it is, with its version."""
    supported: bool
    """Whether this version of the server, or of the library, is one that the portal supports."""
    format: int | None
    """The number of its format; None: the database is empty."""
    known_format: int
    """The one that this portal writes."""
    missing_indexes: tuple[str, ...] = ()
    weak_indexes: tuple[str, ...] = ()
    """Indexes without their option: those that delete what has expired (TTL), or that keep a value unique."""
    replica_set: str | None = None
    """None: one server, or a cluster with a router."""
    write_concern: str = ""
    """As the database URL or the portal sets it; empty where there is none."""
    lasting_writes: bool = True
    """Whether a confirmed write survives the loss of one server."""
    clock_ahead: float | None = None
    """Seconds by which this host's clock is ahead of the server's; None: it is the same clock."""
    key_ring: str | None = None
    """The record of the key ring that the database belongs to."""


@dataclass(slots=True)
class StoredContents:
    """The tenants of a database with their live revisions, and the claimed domains."""

    tenants: dict[str, TenantRecord] = field(default_factory=dict)
    live: dict[str, Revision] = field(default_factory=dict)
    domains: list[DomainClaim] = field(default_factory=list)


class Examination(Protocol):
    """Reads the state of a database."""

    async def facts(self) -> DatabaseFacts:
        """Connect, read and close. Raises StartupError for a database that the portal cannot use,
        ConfigurationError, StoreUnavailable.
        """
