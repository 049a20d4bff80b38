"""Which tenants have metrics of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from portal.config.field_types import Slug
from portal.ops.tallies import FOLDER
from portal.ops.tenant_labels import OTHER, TenantLabels


def test_the_first_tenants_by_slug_have_their_own_label() -> None:
    labels = TenantLabels(2)
    labels.follow(["globex", "acme", "initech"])
    assert [labels.of(slug) for slug in ("acme", "globex", "initech", "nobody")] == [
        "acme",
        "globex",
        OTHER,
        OTHER,
    ]


def test_no_tenant_has_a_label_when_none_is_to_have_one() -> None:
    labels = TenantLabels(0)
    labels.follow(["acme"])
    assert labels.of("acme") == OTHER


def test_the_label_of_the_others_is_no_slug() -> None:
    from pydantic import TypeAdapter, ValidationError

    with pytest.raises(ValidationError):
        TypeAdapter(Slug).validate_python(OTHER)


def test_tenants_that_come_and_go_do_not_make_ever_more_labels() -> None:
    labels = TenantLabels(10)
    seen = set()
    for number in range(10_000, 0, -1):  # each is the first by slug
        labels.follow([f"t{number:05}", "z-stays"])
        seen |= {labels.of(f"t{number:05}"), labels.of("z-stays")}
    assert len(seen - {OTHER}) == 20
    assert OTHER in seen
    assert labels.of("z-stays") == "z-stays", "a tenant keeps the label that it has"


def test_processes_give_out_the_same_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    one, other = TenantLabels(1), TenantLabels(1)
    one.follow(["c"])
    other.follow(["b"])
    one.follow(["a"])
    other.follow(["a"])
    assert (one.of("a"), other.of("a")) == (OTHER, OTHER), "two labels were given out, by either process"
    one.follow(["b"])
    assert one.of("b") == "b"
