"""The reference of the console's addresses is that of the routes."""

from __future__ import annotations

from pathlib import Path

import pytest

from portal.admin.viewers import Right
from portal.web.admin.base import AdminHandler, ConsoleMissingHandler
from portal.web.admin.reference import console_reference, kinds, methods_of, plain, refusal
from portal.web.admin.routes import ADMIN_ROUTES

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "console.md"


def test_the_reference_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == console_reference(), "run: python scripts/console_reference.py"


@pytest.mark.parametrize(("pattern", "handler"), ADMIN_ROUTES, ids=lambda one: plain(str(one)))
def test_every_route_states_its_right_and_serves_a_method(pattern: str, handler: type[AdminHandler]) -> None:
    assert handler.right in Right
    assert methods_of(handler)
    assert pattern.startswith("/admin")


@pytest.mark.parametrize("right", Right)
def test_only_who_has_a_right_passes(right: Right) -> None:
    class Page(ConsoleMissingHandler):
        pass

    Page.right = right
    passing = [kind.title for kind in kinds("a", "b") if refusal(kind, Page, "a") is None]
    links = ["setup link"] if right is Right.DRAFT else []
    admins = [] if right is Right.OPERATE else ["admin"]
    assert passing == [*admins, *links, "operator"]
    publishing = [
        kind.title for kind in kinds("a", "b", link_publishes=True) if refusal(kind, Page, "a") is None
    ]
    assert ("setup link" in publishing) is (right in (Right.DRAFT, Right.PUBLISH))
