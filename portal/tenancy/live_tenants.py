"""The live tenants, and the problems of tenant files that cannot be used."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import structlog

from portal.errors import ConfigurationError, Problem
from portal.tenancy.folder import TenantFolder
from portal.tenancy.index import Index
from portal.tenancy.loading import LoadedTenant
from portal.tenancy.model import Tenant
from portal.tenancy.ownership import Claim, Owned, Ownership, still_claimed
from portal.tenancy.stored import StoredTenant
from portal.time_slices import in_turns


@dataclass(frozen=True, slots=True)
class _Read:
    """What was read of some tenants, by slug; see `Ownership.resolve`."""

    changed: dict[str, LoadedTenant | None] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)
    closed: dict[str, LoadedTenant | None] = field(default_factory=dict)
    moved: set[str] = field(default_factory=set)
    """Those that come from a file now and came from the database before, or the other way round."""


class LiveTenants:
    """The tenants of the valid files of a folder, and of the database.

    Methods are not thread-safe; reading the attributes is.
    """

    def __init__(self, folder: TenantFolder, reserved_hosts: Collection[str]) -> None:
        """Create it without tenants. Parameters: reserved_hosts, host names that no tenant may have."""
        self.index = Index(())
        self.problems: Mapping[str, ConfigurationError] = MappingProxyType({})
        """By file name, or the name of a stored tenant; others can be added with `report`."""
        self.stored: Mapping[str, StoredTenant] = MappingProxyType({})
        """The tenants of the database by slug. `publish` makes a change of it effective."""
        self._from_database: set[str] = set()
        """Slugs whose tenant comes, or came last, from the database."""
        self._conflicts: set[str] = set()
        """Names of `problems` that say that another tenant has a name."""
        self._folder = folder
        self._reserved = frozenset(host.lower() for host in reserved_hosts)
        self._ownership = Ownership(self._reserved)
        self._log = structlog.get_logger("portal.tenancy")

    def publish(self, slugs: Iterable[str]) -> Collection[str]:
        """Make changed tenants live; return the slugs of the tenants that changed.

        An invalid file or revision changes nothing but `problems`, which then has only problems of existing
        ones. Parameters: slugs, of the files and stored tenants that were added, changed or removed.
        """
        before = self.index
        problems = {name: one for name, one in in_turns(self.problems.items()) if self._exists(name)}
        for name in self._conflicts:
            problems.pop(name, None)
        read = self._read_results(slugs, problems)
        live: Mapping[str, Tenant] = before.by_slug
        if read.moved:  # what the other source had is not live any more, whatever becomes of the new one
            live = {slug: one for slug, one in in_turns(live.items()) if slug not in read.moved}
        resolved = self._ownership.resolve(live, read.changed, read.removed, read.closed)
        self._conflicts = {self._name(slug) for slug in resolved.problems}
        for slug, conflicts in resolved.problems.items():
            problems[self._name(slug)] = ConfigurationError(conflicts)
        gone = before.by_slug.keys() & (read.removed | read.closed.keys() | read.moved)
        if resolved.accepted or gone:
            self.index = before.replacing(resolved.accepted, gone)
        self.report(problems)
        return gone | resolved.accepted.keys()

    def report(self, problems: dict[str, ConfigurationError]) -> None:
        """Replace `problems`, and log those that are new and those that ended."""
        before, self.problems = self.problems, MappingProxyType(problems)
        for name, error in problems.items():
            if name not in before or before[name].problems != error.problems:
                shown = [str(problem) for problem in error.problems]
                self._log.error("tenant_file_rejected", file=name, problems=shown)
        for name in before.keys() - problems.keys():
            self._log.info("tenant_file_accepted", file=name)

    def _read_results(self, slugs: Iterable[str], problems: dict[str, ConfigurationError]) -> _Read:
        """Return the tenants of these slugs; update `problems`."""
        read = _Read()
        for slug in in_turns(slugs):
            files, stored = self._folder.of(slug), self.stored.get(slug)
            was_stored = slug in self._from_database
            for file in files:
                problems.pop(file.path.name, None)
            for file in files[1:]:
                message = f"there is another file for the tenant {slug}; remove one of the two"
                problems[file.path.name] = ConfigurationError([Problem(str(file.path), message)])
            if files and files[0].error is not None:
                problems[files[0].path.name] = files[0].error
            self._from_database.discard(slug)
            if files and (files[0].loaded is not None or not was_stored):
                read.changed[slug] = files[0].loaded
            elif stored is not None:  # also behind an invalid file: what is live follows its source
                self._from_database.add(slug)
                self._read_stored(stored, read, problems)
            else:
                read.removed.add(slug)
            if slug not in read.removed and was_stored != (slug in self._from_database):
                read.moved.add(slug)
        return read

    def _read_stored(
        self, stored: StoredTenant, read: _Read, problems: dict[str, ConfigurationError]
    ) -> None:
        problems.pop(stored.name, None)
        if not stored.is_served:
            read.closed[stored.slug] = stored.loaded
            return
        read.changed[stored.slug] = stored.loaded
        if stored.error is not None:
            problems[stored.name] = stored.error

    def loaded(self, slug: str) -> LoadedTenant | None:
        """What a tenant's file or revision was read as; None when it cannot be used, or there is none."""
        for file in self._folder.of(slug):
            return file.loaded
        stored = self.stored.get(slug)
        return stored.loaded if stored is not None else None

    def problems_of(self, slug: str) -> tuple[Problem, ...]:
        """The problems of a tenant's files and revision."""
        names = [file.path.name for file in self._folder.of(slug)]
        if (stored := self.stored.get(slug)) is not None:
            names.append(stored.name)
        found = (self.problems.get(name) for name in names)
        return tuple(problem for error in found if error is not None for problem in error.problems)

    def has_conflict(self, slug: str) -> bool:
        """Whether a tenant is not served because it claims a name of another: its problems name that one."""
        return slug in self._ownership.rejected

    def _name(self, slug: str) -> str:
        """The name of the file or stored tenant that a tenant comes from."""
        files, stored = self._folder.of(slug), self.stored.get(slug)
        if stored is not None and (slug in self._from_database or not files):
            return stored.name
        return files[0].path.name if files else ""

    def _exists(self, name: str) -> bool:
        slug = slug_of_name(name)
        return name in self._folder.files or (slug in self._from_database and name == self._name(slug))

    # --- owners of names

    @property
    def owners_version(self) -> int:
        """A number that changes with every change of owners."""
        return self._ownership.version

    def owner_in_files(self, name: str) -> str | None:
        """The slug of the tenant of a file that has a name; empty for reserved names, None for others."""
        owner = self._ownership.owner_of(name)
        return None if owner in self._from_database else owner

    def conflicts(self, loaded: LoadedTenant) -> list[Problem]:
        """Return a problem for each name of a tenant that another one has, without telling which."""
        return self._ownership.conflicts(loaded, name_owners=False)

    def owned(self, recorded: Owned) -> Owned:
        """Return the names that each tenant owns.

        Parameters: recorded, names that tenants own in other processes; they keep what they still claim.
        """
        owned = self._still_owned(recorded)
        taken = {claim for claims in in_turns(owned.values()) for claim in claims}
        for slug, claims in in_turns(self._ownership.owned.items()):
            more = tuple(claim for claim in claims if claim not in taken)
            owned[slug] = owned.get(slug, ()) + more
        return owned

    def restore_owners(self, recorded: Owned) -> None:
        """Return names to the tenants that owned them earlier, whoever has them now."""
        owned = self._still_owned(recorded)
        if not self._ownership.has(owned):
            self._ownership = Ownership(self._reserved, owned)
            self.index = Index(())
            self.publish(slugs_of(in_turns(self._folder.files)) | self.stored.keys())

    def _still_owned(self, recorded: Owned) -> dict[str, tuple[Claim, ...]]:
        """What tenants still claim of what they owned; those with an invalid file claim everything."""
        owned = {}
        for slug, claims in in_turns(recorded.items()):
            known = next(iter(self._folder.of(slug)), None) or self.stored.get(slug)
            if known is not None:
                one = known.loaded
                owned[slug] = claims if one is None else still_claimed(claims, one.tenant)
        return owned


def slug_of_name(name: str) -> str:
    """The slug of a tenant file's name."""
    return name.rpartition(".")[0]


def slugs_of(names: Iterable[str]) -> set[str]:
    """The slugs of the names of tenant files."""
    return {slug_of_name(name) for name in names}
