"""Several processes write one key ring file: no key is lost, and none is made twice."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from portal.keys.client_key_ring import KINDS, ClientKeyRing, load_client_keys
from portal.keys.key_ring import KeyRing

ROOT = Path(__file__).resolve().parents[2]
KEYS_OF_A_RING = sum(len(kinds) for kinds in KINDS.values())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of a key ring in a folder that does not exist yet."""
    return tmp_path / "var" / "keys.json"


def run_beside_each_other(code: str, paths: Sequence[Path]) -> list[list[str]]:
    """Run `code` in a process for each path, all at a time; return the words that each has printed."""
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
        for path in paths
    ]
    return [process.communicate(timeout=60)[0].split() for process in processes]


ROTATE = """
import sys
from pathlib import Path
from portal.keys.key_ring import KeyRing
print(*(KeyRing.rotate(Path(sys.argv[1])) for _ in range(10)))
"""


def test_processes_that_use_different_names_lose_no_key(path: Path, tmp_path: Path) -> None:
    first = KeyRing.create(path).newest.kid
    (tmp_path / "link.json").symlink_to(path)
    outputs = run_beside_each_other(ROTATE, (path, tmp_path / "link.json") * 2)
    made = [kid for kids in outputs for kid in kids]
    assert len(set(made)) == 40
    assert set(KeyRing.load(path).kids) == {first, *made}


START_AND_ROTATE = """
import sys
from pathlib import Path
from portal.keys.key_ring import KeyRing
path = Path(sys.argv[1])
print(KeyRing.load_or_create(path).kids[0], *(KeyRing.rotate(path) for _ in range(10)))
"""


def test_concurrent_processes_that_rotate_lose_no_key(path: Path) -> None:
    outputs = run_beside_each_other(START_AND_ROTATE, [path] * 4)
    assert len({first for first, *_ in outputs}) == 1
    made = [kid for _, *kids in outputs for kid in kids]
    assert len(made) == len(set(made)) == 40
    assert set(KeyRing.load(path).kids) == {outputs[0][0], *made}


COMPLETE = """
import sys
from pathlib import Path
from portal.keys.client_key_ring import complete_client_keys
print(len(complete_client_keys(Path(sys.argv[1]))))
"""


def test_concurrent_processes_share_one_set_of_keys(path: Path) -> None:
    KeyRing.create(path)
    outputs = run_beside_each_other(COMPLETE, [path] * 3)
    assert sorted(int(made) for (made,) in outputs) == [0, 0, KEYS_OF_A_RING]
    assert len(load_client_keys(path)) == KEYS_OF_A_RING
    for alg in KINDS["sig"]:
        assert ClientKeyRing(path).sign({"iss": "portal"}, alg=alg)
