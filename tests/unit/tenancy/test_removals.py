"""THREATS T9: a removed tenant disappears, but the loss of the folder removes no tenant."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from portal.tenancy.registry import Registry
from portal.tenancy.removals import Removals, acceptance_key, is_sudden_loss
from tests.unit.tenancy.files import ACME, ENVIRON, write


class FollowedRegistry:
    """A registry that checks its folder on request, and an operator's confirmations."""

    def __init__(self, folder: Path, slugs: Sequence[str], *, percent: int = 50) -> None:
        self.folder = folder
        for slug in slugs:
            self.write(slug)
        self.live = Registry(folder, environ=ENVIRON, max_removed_percent=percent)
        self.live.load()
        self.confirmed: set[str] = set()
        self._stop = asyncio.Event()
        self._stop.set()  # no waiting

    def write(self, slug: str) -> None:
        write(self.folder, ACME, f"{slug}.yaml")

    def remove(self, *slugs: str) -> None:
        for slug in slugs:
            (self.folder / f"{slug}.yaml").unlink()

    async def check(self) -> str:
        """Check the folder once; return the slugs of the live tenants as one string."""

        async def accepted(key: str) -> bool:
            return key in self.confirmed

        await self.live._check_folder(self._stop, accepted)
        return self.slugs

    @property
    def slugs(self) -> str:
        return "".join(sorted(tenant.slug for tenant in self.live.all()))

    def confirm(self) -> None:
        self.confirmed.add(acceptance_key({path.stem for path in self.folder.iterdir()}))


@pytest.mark.gen_test
async def test_an_emptied_folder_removes_no_tenant_until_it_is_confirmed(tmp_path: Path) -> None:
    followed = FollowedRegistry(tmp_path, "abcde")
    with capture_logs() as lines:
        followed.remove(*"abcde")
        for _ in range(3):
            assert await followed.check() == "abcde"
        assert followed.live.without_file == 5
        followed.confirm()
        assert await followed.check() == ""
    assert followed.live.without_file == 0
    lost = [line for line in lines if line["event"] == "tenants_lost"]
    assert [(line["log_level"], line["lost"], line["tenants"]) for line in lost] == [("error", 5, 5)]


@pytest.mark.gen_test
async def test_a_loss_ends_only_when_all_files_have_returned(tmp_path: Path) -> None:
    followed = FollowedRegistry(tmp_path, "abcde")
    followed.remove(*"abcde")
    await followed.check()
    for slug in "abcd":
        followed.write(slug)
        assert await followed.check() == "abcde"
    assert followed.live.without_file == 1
    followed.write("e")
    assert await followed.check() == "abcde"
    assert followed.live.without_file == 0
    followed.remove("e")
    assert await followed.check() == "abcd"


@pytest.mark.gen_test
async def test_other_files_are_followed_during_a_loss(tmp_path: Path) -> None:
    followed = FollowedRegistry(tmp_path, "abc")
    followed.remove("a", "b")
    followed.write("d")
    (tmp_path / "c.yaml").write_text(ACME.replace("Acme", "New"))
    assert await followed.check() == "abcd"
    assert {tenant.name for tenant in followed.live.all()} == {"Acme Corporation", "New Corporation"}
    followed.remove("c")
    assert await followed.check() == "abcd"
    assert followed.live.without_file == 3


@pytest.mark.gen_test
async def test_a_confirmation_covers_only_one_state_of_the_folder(tmp_path: Path) -> None:
    followed = FollowedRegistry(tmp_path, "abcdef")
    followed.remove(*"abcd")
    followed.confirm()
    followed.remove("e")
    assert await followed.check() == "abcdef"
    followed.confirm()
    assert await followed.check() == "f"


@pytest.mark.gen_test
async def test_files_that_are_renamed_to_another_ending_are_no_loss(tmp_path: Path) -> None:
    followed = FollowedRegistry(tmp_path, "abc")
    for slug in "abc":
        (tmp_path / f"{slug}.yaml").rename(tmp_path / f"{slug}.yml")
    assert await followed.check() == "abc"
    assert followed.live.without_file == 0
    assert followed.live.problems == {}


@pytest.mark.gen_test
async def test_a_folder_whose_files_still_disappear_is_judged_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed = FollowedRegistry(tmp_path, "abcd")
    listings = [{f"{slug}.yaml" for slug in slugs} for slugs in ("bcd", "cd", "cd", "d", "d", "d")]
    followed.remove("a", "b", "c")
    monkeypatch.setattr(followed.live._folder, "names", lambda: listings.pop(0))
    for _ in range(3):
        assert await followed.check() == "abcd"
    assert followed.live.without_file == 3


@pytest.mark.parametrize(
    ("percent", "before", "removed", "left"),
    [
        (50, "a", "a", "a"),
        (50, "ab", "a", "b"),
        (50, "ab", "ab", "ab"),
        (50, "abc", "ab", "abc"),
        (0, "abcd", "a", "abcd"),
        (100, "abcd", "abcd", ""),
    ],
)
@pytest.mark.gen_test
async def test_how_many_tenants_may_be_removed_at_once(
    tmp_path: Path, percent: int, before: str, removed: str, left: str
) -> None:
    followed = FollowedRegistry(tmp_path, before, percent=percent)
    followed.remove(*removed)
    assert await followed.check() == left


_SLUGS = st.sets(st.sampled_from("abcdefgh"))


@settings(deadline=None)
@given(st.lists(_SLUGS), st.integers(0, 99))
def test_a_loss_lasts_until_all_of_its_tenants_have_returned(states: list[set[str]], percent: int) -> None:
    live, removals, away = set("abcdefgh"), Removals(percent), set[str]()
    for present in states:
        before, lost = live | present, live - present
        sudden = is_sudden_loss(lost=len(lost), before=len(live), max_percent=percent)
        if removals.is_loss(live, lost):
            assert sudden or away & lost
            removals.retain(lost, of=len(live))
            live, away = before, lost
        else:
            assert not sudden
            assert not away & lost
            removals.end(accepted=False)
            live, away = present, set()
