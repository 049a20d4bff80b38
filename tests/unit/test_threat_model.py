"""The threat catalogue: its page is current, and all referenced threats exist."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from scripts import threat_model
from scripts.threat_model import Area, Mistake, References, Threat

THREAT = Threat("S5", "A hundred calls.", "One refresh.", "P0", None)
NO_REFERENCES = References({}, {})

MODULE = '''
"""THREATS S1 and S2: what other sites can send."""


def test_of_the_module():
    pass


# --- S3: paths; S4: headers


async def test_of_the_section():
    pass


def test_S5_of_its_name():
    pass


def test_of_its_docstring():
    """Searching takes linear time (THREATS S7a, D1)."""


# --- (see S8 for dumps) of no threat


def test_of_the_module_again():
    pass
'''


def test_the_committed_page_is_current() -> None:
    page = threat_model.render(threat_model.read_areas(), threat_model.find_references())
    assert threat_model.PAGE.read_text() == page, "run: python scripts/threat_model.py"


def test_the_most_specific_id_determines_the_threat_of_a_test() -> None:
    assert dict(threat_model.tests_of(MODULE)) == {
        "test_of_the_module": ["S1", "S2"],
        "test_of_the_section": ["S3", "S4"],
        "test_S5_of_its_name": ["S5"],
        "test_of_its_docstring": ["S7a", "D1"],
        "test_of_the_module_again": ["S1", "S2"],
    }


def test_every_test_of_security_belongs_to_a_threat() -> None:
    folder = threat_model.ROOT / "tests" / "security"
    tests = [
        (path.name, name, ids)
        for path in sorted(folder.glob("test_*.py"))
        for name, ids in threat_model.tests_of(path.read_text())
    ]
    assert tests
    assert [(file, name) for file, name, ids in tests if not ids] == []


def test_no_test_writes_an_id_in_small_letters() -> None:
    ids = {threat.id.lower() for area in threat_model.read_areas() for threat in area.threats}
    source = "".join(path.read_text() for path in (threat_model.ROOT / "tests").rglob("test_*.py"))
    written = re.findall(r"def (test_([a-z][0-9]{1,2}[a-z]?)_\w+)", source)
    assert [name for name, one in written if one in ids] == []


def test_references_are_found_in_tests_and_code(tmp_path: Path) -> None:
    (tmp_path / "tests" / "unit").mkdir(parents=True)
    (tmp_path / "tests" / "unit" / "test_x.py").write_text("def test_S5_once(): ...\n")
    (tmp_path / "portal").mkdir()
    (tmp_path / "portal" / "refresh.py").write_text('"""One refresh (THREATS S5)."""\n')
    found = threat_model.find_references(tmp_path)
    assert found == References({"S5": [("unit/test_x.py", "test_S5_once")]}, {"S5": ["portal/refresh.py"]})
    page = threat_model.render([Area("Session", (THREAT,))], found)
    assert "- `unit/test_x.py`: once\n" in page
    assert "**Code.** `portal/refresh.py`" in page


def test_a_threat_without_a_test_is_listed_as_such() -> None:
    page = threat_model.render([Area("Session", (THREAT,))], NO_REFERENCES)
    assert "- Without a test: S5.\n" in page
    assert "No test names this threat." in page


def test_a_planned_threat_may_have_no_tests() -> None:
    planned = Area("Session", (dataclasses.replace(THREAT, planned="sockets"),))
    assert "- Without a test: none.\n- Not built yet: S5.\n" in threat_model.render([planned], NO_REFERENCES)
    with pytest.raises(Mistake, match="S5 have tests: remove `planned`"):
        threat_model.render([planned], References({"S5": [("unit/test_x.py", "test_S5_x")]}, {}))


@pytest.mark.parametrize(
    "references",
    [References({"S99": [("unit/test_x.py", "test_S99_x")]}, {}), References({}, {"S99": ["portal/x.py"]})],
)
def test_an_id_that_is_not_in_the_catalogue_is_a_mistake(references: References) -> None:
    with pytest.raises(Mistake, match="there is no threat S99"):
        threat_model.render([Area("Session", (THREAT,))], references)


def test_an_id_is_given_once(tmp_path: Path) -> None:
    row = "{id: S5, attack: a, holds: h, priority: P0}"
    source = tmp_path / "threats.yaml"
    source.write_text(f"areas: [{{title: A, threats: [{row}]}}, {{title: B, threats: [{row}]}}]\n")
    with pytest.raises(Mistake, match="several threats have the id S5"):
        threat_model.read_areas(source)
