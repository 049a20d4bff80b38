"""The order desk of the demo, in front of the test environment's portal."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page, expect

from portal.demo.front_ends import ORDER_DESK
from tests.browser.stage import Stage
from tests.browser.visitor import Visitor
from tests.kit.world import World

NewVisitor = Callable[..., Visitor]
USERS = {"acme": "alice", "globex": "gina"}
NAMES = {"acme": "Acme Corporation", "globex": "Globex"}


class DeskStage(Stage):
    """As `Stage`, with the order desk as the front end that a sign-in leads to."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        super().__init__(folder, **{"front_ends": {"desk": ORDER_DESK}, **changes})

    @contextlib.contextmanager
    def automatic(self, tenant: str, user: str | None = None) -> Iterator[None]:
        """The tenant's provider signs this user in without its pages during the block."""
        name = user or USERS[tenant]
        self.ask(lambda world: setattr(world.provider(tenant), "automatic_user", name))
        try:
            yield
        finally:
            self.ask(lambda world: setattr(world.provider(tenant), "automatic_user", None))

    def orders(self, tenant: str) -> list[str]:
        """Who ordered, in the API of a tenant."""

        def customers(world: World) -> list[str]:
            return [str(row["customer"]) for row in world.parts.apis[tenant].records.all("orders")]

        return self.ask(customers)


def open_desk(visitor: Visitor, tenant: str = "acme", user: str | None = None, view: str = "") -> Page:
    """Sign in without the provider's pages, and show the order desk with its orders."""
    stage = visitor.stage
    assert isinstance(stage, DeskStage)
    with stage.automatic(tenant, user):
        visitor.open(f"/t/{tenant}/login?return_to=/desk/{tenant}/{view}")
    expect(visitor.page).to_have_url(stage.at(f"/desk/{tenant}/{view}"))
    expect(visitor.page.locator("#order-list")).to_have_attribute("aria-busy", "false")
    return visitor.page


def end_login(visitor: Visitor) -> None:
    """The browser loses its session, as if it had ended."""
    visitor.context.clear_cookies(name="portal")


def fill_in(
    page: Page, customer: str, item: str = "Anvil", quantity: str = "2", price: str = "12.50"
) -> None:
    """Fill in the form for a new order."""
    for field, value in (("customer", customer), ("item", item), ("price", price)):
        page.locator(f"#{field}").fill(value)


def form_of(page: Page) -> list[str]:
    """What is in the form for a new order."""
    return [page.locator(f"#{name}").input_value() for name in ("customer", "item", "quantity", "price")]


def row(page: Page, customer: str) -> Locator:
    """The rows of the list with orders of a customer."""
    return page.locator("#order-list li", has_text=customer)
