"""`portal tenant domains` and `approve`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.test_stored_tenants import Run, _deployment, change, run

__all__ = ["_deployment", "run"]


def make_waiting(run: Run) -> None:
    """Import a tenant, and release what its import approved."""
    import asyncio

    from portal.stores.sqlite.store import SQLiteStore
    from tests.unit.admin.test_domains import OPERATOR

    run("import", "acme.yaml")

    async def release() -> None:
        store = SQLiteStore(Path("portal.db"))
        await store.open()
        event = OPERATOR.event("domain_released", tenant="acme", at=store.time())  # type: ignore[arg-type]
        assert await store.tenants.delete_domain("acme.example", tenant="acme", event=event)
        await store.close()

    asyncio.run(release())


def test_domains_are_listed_with_their_records_and_approved(run: Run) -> None:
    make_waiting(run)
    waiting = run("domains", "acme").splitlines()
    assert waiting[0] == "acme.example: waits for its TXT record"
    assert waiting[1].startswith("  TXT record  portal-verification=")
    approved = run("approve", "acme", "acme.example", "--reason", "a letter")
    assert approved == "Approved acme.example for acme. Portals follow within seconds.\n"
    [line] = run("domains", "acme").splitlines()
    assert line.startswith("acme.example: approved by an operator, ")


def test_an_import_approves_domains(run: Run) -> None:
    run("import", "acme.yaml")
    assert "approved by an operator" in run("domains", "acme")


def test_an_import_says_which_domains_others_have(run: Run) -> None:
    run("import", "acme.yaml")
    imported = run("import", "acme.yaml", "--slug", "other")
    assert "acme.example belongs to acme and does not count for other." in imported
    assert run("domains", "other").startswith("acme.example: waits")
    refused = run("approve", "other", "acme.example", code=1)
    assert "Another organisation has this domain" in refused


def test_a_removed_tenant_frees_its_domains(run: Run) -> None:
    run("import", "acme.yaml")
    run("remove", "acme", "--yes")
    assert "belongs" not in run("import", "acme.yaml", "--slug", "other")


def test_the_portals_host_is_not_approved(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTAL_PUBLIC_URL", "https://portal.example")
    change("email_domains: [acme.example]", "hosts: [portal.example]")
    assert "portal.example belongs to the portal and does not count" in run("import", "acme.yaml")


def test_domains_without_names_and_unknown_ones(run: Run) -> None:
    change("email_domains: [acme.example]\n", "")
    run("import", "acme.yaml")
    assert run("domains", "acme") == "acme states no host names and no e-mail domains.\n"
    assert "does not have this domain" in run("approve", "acme", "acme.example", code=1)
    assert "is not a host name" in run("approve", "acme", "https://acme.example", code=2)
    assert "There is no such tenant" in run("domains", "nobody", code=1)
