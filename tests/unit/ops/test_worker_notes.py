"""Workers read each other's notes in the memory that they share."""

from __future__ import annotations

import time

import pytest

from portal.ops import worker_notes
from portal.ops.worker_notes import LONGEST, WorkerNotes


def test_a_worker_reads_the_notes_of_the_others_and_not_its_own() -> None:
    notes = WorkerNotes(4)
    for slot, note in enumerate((b"first", b"second", b"third")):
        notes.of(slot).write(note)
    assert list(notes.of(1).others()) == [b"first", b"third"]
    notes.of(0).write(b"x" * LONGEST)
    notes.of(2).end()
    assert list(notes.of(1).others()) == [b"x" * LONGEST]
    assert list(notes.of(3).others()) == [b"x" * LONGEST, b"second"]


def test_a_note_that_is_too_long_is_refused_and_the_former_one_stays() -> None:
    notes = WorkerNotes(2)
    notes.of(0).write(b"short")
    with pytest.raises(ValueError, match="may have"):
        notes.of(0).write(b"x" * (LONGEST + 1))
    assert list(notes.of(1).others()) == [b"short"]


def test_a_note_that_is_being_replaced_is_left_out() -> None:
    notes = WorkerNotes(2)
    notes.of(0).write(b"before")
    memory = notes.of(0)._memory
    memory[memory.find(b"before")] = ord("B")
    assert list(notes.of(1).others()) == []
    notes.of(0).write(b"after")
    assert list(notes.of(1).others()) == [b"after"]


def test_the_note_of_a_worker_that_was_killed_grows_old(monkeypatch: pytest.MonkeyPatch) -> None:
    notes = WorkerNotes(2)
    notes.of(0).write(b"note")
    later = time.monotonic() + worker_notes.OLDEST_SECONDS
    monkeypatch.setattr(time, "monotonic", lambda: later - 1)
    assert list(notes.of(1).others()) == [b"note"]
    monkeypatch.setattr(time, "monotonic", lambda: later + 1)
    assert list(notes.of(1).others()) == []
