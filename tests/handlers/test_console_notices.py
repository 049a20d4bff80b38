"""The console tells what expires, and keeps both secrets of a client."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import yaml

from portal.admin import content as contents
from tests.kit.console import ConsoleWorld


@pytest.mark.gen_test
async def test_a_secret_that_expires_is_told_on_the_overview_and_the_page(console: ConsoleWorld) -> None:
    soon = (datetime.now(UTC) + timedelta(days=20)).strftime("%Y-%m-%d")
    live = await console.services.tenants.revision("globex")
    document = yaml.safe_load(contents.shown(live.content, "globex"))
    kept = document["client"]["secret"]
    document["client"]["secret"] = [{"value": kept, "expires_at": soon}, {"value": "the-next-one"}]
    document["branding"] = {"logo_url": "https://globex.example/logo.svg", "color": "#7a1f5c"}
    await console.publish(yaml.safe_dump(document))
    await console.until_served(live.number + 1)

    notice = f"The first client secret expires on {soon}; remove it, so that the second one takes its place."
    page = await console.get(console.admin, "/admin/t/globex/")
    assert notice in page.text
    assert f"Two set, {kept}, sealed:" in page.text
    assert "https://globex.example/logo.svg" in page.text
    assert "/style-" not in page.text, "the console has its own colours"
    assert "/t/globex/style-" in (await console.get(console.admin, "/t/globex/")).text
    overview = await console.get(console.operator, "/admin/")
    assert notice in overview.text
    assert "Secret expires" in overview.text
    for text in (page.text, overview.text):
        assert "the-next-one" not in text
