"""A portal with a console: an operator, admins of two tenants, a user, and a stranger.

Acme is a tenant file and Globex a tenant of the database. Alice of Acme is an operator, Bob of Acme an admin
of Acme, Gina of Globex an admin of Globex, Hank of Globex a user.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import urlencode

from portal import tenant_upkeep
from portal.access.accounts import AccountRule, Operator
from portal.access.rules import Comparison, Rule
from portal.admin.actors import Actor, ActorType
from portal.admin.check_runs import CheckReport
from portal.admin.events import Act, EventKind
from portal.admin.services import AdminServices
from portal.admin.viewers import Viewer
from portal.config.load_context import LoadContext, SecretFiles
from portal.config.secret_references import resolve_reference
from portal.stores.tenant_records import DomainClaim
from portal.tenancy import registry as registry_module
from portal.tenancy.registry import Registry
from tests.kit.browser import Browser, Response
from tests.kit.raw import until
from tests.kit.world import World, world

ACT = Act(Actor(ActorType.OPERATOR, "root"))
SOON = 3.0
"""Seconds: the portal asks the database once a second."""
OPERATOR = Operator(
    "acme",
    AccountRule(Rule(("email",), Comparison.EQUALS, ("alice@acme.example",), ("email_verified",))),
)


@dataclass
class ConsoleWorld:
    """The portal and its providers, with a browser of each kind of viewer."""

    world: World
    operator: Browser
    admin: Browser
    """Of Globex, a tenant of the database."""
    file_admin: Browser
    """Of Acme, a tenant of a file."""
    user: Browser
    """Signed in at Globex without any right."""
    stranger: Browser
    typed: str
    """The content of Globex, with its secret as in the file that it was."""

    @property
    def services(self) -> AdminServices:
        return self.world.running.portal.admin

    @property
    def registry(self) -> Registry:
        return self.world.running.portal.registry

    @property
    def act(self) -> Act:
        """An act of the operator at the command line."""
        return ACT

    @property
    def viewer_of_admin(self) -> Viewer:
        """What the console knows of the admin of Globex."""
        return Viewer(admin_accounts={"globex": Actor(ActorType.ADMIN)})

    def at(self, path: str) -> str:
        return self.world.at(path)

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait until the portal serves a change of the database or of a file."""
        await until(condition, what, seconds=SOON)

    async def prove(self, name: str, kind: str, slug: str = "globex") -> None:
        """Approve a host name or e-mail domain of a tenant, as an operator does."""
        now = self.world.clock()
        claim = DomainClaim(name, slug, kind, "", "operator", now, now, now)
        event = ACT.event(EventKind.DOMAIN_APPROVED, tenant=slug, target=name, at=now)
        assert await self.services.store.add_domain(claim, event=event)

    async def get(self, browser: Browser, path: str) -> Response:
        """Open a page as a user does who types its address."""
        return await browser.open(self.at(path))

    async def post(self, browser: Browser, path: str, **fields: str) -> Response:
        """Submit a form of the portal's own pages, without following the redirect."""
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html"}
        return await browser.fetch(
            self.at(path), "POST", headers=headers, body=urlencode(fields), site="same-origin"
        )

    async def publish_again(self, number: int, slug: str = "globex") -> None:
        """Roll back to a revision."""
        await self.services.tenants.roll_back(slug, number, ACT)

    async def publish(self, typed: str, slug: str = "globex") -> None:
        """Publish a content, as `portal tenant import` does."""
        await self.services.tenants.publish(slug, typed, ACT, resolve=self.resolve)

    @property
    def resolve(self) -> Any:
        folder = self.world.parts.tenants_folder
        return functools.partial(
            resolve_reference, context=LoadContext(SecretFiles(folder), environ=os.environ)
        )

    async def check_report(self, slug: str = "globex") -> CheckReport | None:
        """The last run of the live checks of a tenant's draft."""
        made_at = (await self.services.tenants.get(slug)).created_at
        return await self.services.checks.report(slug, made_at=made_at)

    async def until_served(self, revision: int, slug: str = "globex") -> None:
        """Wait until the portal serves a revision of a tenant of the database."""
        stored = self.world.running.stored_tenants
        await until(
            lambda: slug in stored.tenants and stored.tenants[slug].state.revision == revision,
            f"revision {revision} of {slug} is not served",
            seconds=SOON,
        )


@contextlib.asynccontextmanager
async def console_world(folder: Path, **changes: Any) -> AsyncIterator[ConsoleWorld]:
    """Start it, with shorter pauses than usual. Parameters: changes, as those of `world`."""
    with (
        mock.patch.object(tenant_upkeep, "_STORED_SECONDS", 0.05),
        mock.patch.object(registry_module, "_REMOVAL_DELAY", 0.01),
    ):
        async with _console_world(folder, **changes) as console:
            yield console


@contextlib.asynccontextmanager
async def _console_world(folder: Path, **changes: Any) -> AsyncIterator[ConsoleWorld]:
    async with world(folder, **{"operators": (OPERATOR,), **changes}) as made:
        typed = await move_to_database(made)
        operator, admin, file_admin, user, stranger = (made.browser() for _ in range(5))
        console = ConsoleWorld(made, operator, admin, file_admin, user, stranger, typed)
        await made.sign_in(console.operator, "acme", "alice")
        await made.sign_in(console.file_admin, "acme", "bob")
        await made.sign_in(console.admin, "globex", "gina")
        await made.sign_in(console.user, "globex", "hank")
        yield console


async def move_to_database(made: World) -> str:
    """Add admins to both tenants, and move Globex to the database, without its further API.

    Returns its content.
    """
    registry, folder = made.running.portal.registry, made.parts.tenants_folder
    acme, globex = folder / "acme.yaml", folder / "globex.yaml"
    acme.write_text(acme.read_text() + "admins: [{claim: email, equals: bob@acme.example}]\n")
    typed = re.sub(r"(?m)^apis:\n(?:[ #].*\n|\n)*", "", globex.read_text())
    typed += "admins: [{claim: email, equals: gina@globex.example}]\n"
    globex.unlink()
    registry.check_now()
    await until(lambda: registry.get("globex") is None, "the file's tenant is still live")
    context = LoadContext(SecretFiles(folder), environ=os.environ)
    await made.running.portal.admin.tenants.publish(
        "globex", typed, ACT, resolve=functools.partial(resolve_reference, context=context)
    )
    await until(lambda: registry.get("globex"), "the stored tenant is not served", seconds=SOON)
    await until(lambda: registry.get("acme").admins, "the admins of Acme are not read")  # type: ignore[union-attr]
    return typed
