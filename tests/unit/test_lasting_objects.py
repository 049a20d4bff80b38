from __future__ import annotations

import gc

import pytest

from portal.lasting_objects import making_lasting_objects


def test_nothing_is_collected_while_many_tenants_are_made_and_they_are_left_out_afterwards() -> None:
    frozen = gc.get_freeze_count()
    try:
        with making_lasting_objects(tenants=5_000):
            assert not gc.isenabled()
            made = [[number] for number in range(1_000)]
        assert gc.isenabled()
        assert gc.get_freeze_count() >= frozen + len(made)
    finally:
        gc.unfreeze()


def test_the_collector_works_again_after_an_error() -> None:
    try:
        with pytest.raises(ValueError, match="broken"), making_lasting_objects(tenants=5_000):
            raise ValueError("broken")
        assert gc.isenabled()
    finally:
        gc.unfreeze()


def test_a_few_tenants_change_nothing() -> None:
    frozen = gc.get_freeze_count()
    with making_lasting_objects(tenants=3):
        assert gc.isenabled()
    assert gc.get_freeze_count() == frozen


def test_a_collector_that_somebody_else_disabled_stays_disabled() -> None:
    gc.disable()
    try:
        with making_lasting_objects(tenants=5_000):
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()
