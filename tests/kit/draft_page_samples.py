"""The pages of a draft, with usual and with hostile contents."""

from __future__ import annotations

from dataclasses import replace

from portal.config.source_lines import SourceLine
from portal.web.admin.diff import DiffLine, diff_lines
from portal.web.admin.draft_views import (
    Change,
    Conflict,
    DiscardPage,
    DraftPage,
    Link,
    ProblemView,
    Published,
    PublishPage,
    Step,
    YamlPage,
)
from portal.web.admin.form import FieldView
from portal.web.admin.tested_views import TestedView
from portal.web.views import Chrome

GINA = Change("admin gina", "22 November 2026, 11:00 UTC")
REASON = FieldView("reason", "Reason", "", None, "For the history.", 300, required=False, lines=False)
STEPS = (
    Step("Choose", "The service.", "done", links=(Link("/admin/t/acme/draft/providers/new", "Add"),)),
    Step("Enter", "Values.", "now", ("a problem",), (Link("/admin/t/acme/draft/yaml", "Edit as YAML"),)),
    Step("Check", "Checks.", "advised"),
    Step("Publish", "Publish.", "later"),
)
DRAFT = DraftPage("acme", "Acme", 0, None, GINA, None, False, True, STEPS, ())
PUBLISH = PublishPage(
    slug="acme",
    name="Acme",
    version=7,
    live=1,
    saved=GINA,
    proposal=None,
    notice="",
    warnings=(),
    difference=diff_lines("--- live\n+++ new\n@@ -1,2 +1,2 @@\n-name: Acme\n+name: Acme Ltd\n issuer: x"),
    blocking=(),
    missing_tests=(),
    tests=(TestedView("Staff", "good", "Tested."),),
    tests_note="",
    reason=REASON,
    can_publish=True,
    can_publish_untested=False,
)
PUBLISHED = Published("acme", "Acme", 3, "https://portal.example/t/acme/", True, "29 November 2026")
PROBLEM = ProblemView("is not known", SourceLine(3, "nmae: Acme", 1))


Sample = tuple[str, object, Chrome]


def usual_pages(chrome: Chrome) -> dict[str, Sample]:
    """The pages by the name of what they show."""
    edits = (Link("/admin/t/acme/draft/yaml", "Edit as YAML"),)
    yaml = YamlPage("acme", "name: Acme\n", "7", 1, GINA, (PROBLEM,), (PROBLEM,))
    pages = {
        "draft": ("draft", DRAFT),
        "no draft": ("draft", DraftPage("acme", "Acme", 3, PUBLISHED, None, None, True, False, (), edits)),
        "publish": ("publish", PUBLISH),
        "published, and no admin any more": ("published", replace(PUBLISHED, lost=True, has_admins=False)),
        "publish and lose access": (
            "publish",
            replace(PUBLISH, loses_access=True, give_up_error="Tick this.", warnings=("You lose it.",)),
        ),
        "discard": ("discard", DiscardPage("acme", 7, 1, GINA)),
        "nothing to discard": ("discard", DiscardPage("acme", None, 0, None)),
        "yaml": ("draft_yaml", yaml),
        "yaml of a later version": ("draft_yaml", replace(yaml, problems=(), of_later_version=True)),
        "yaml while the database is down": (
            "draft_yaml",
            replace(yaml, saved=None, problems=(), unavailable=True, stored=False),
        ),
    }
    return {name: (f"admin/{template}.html", page, chrome) for name, (template, page) in pages.items()}


def hostile_pages(hostile: str, chrome: Chrome) -> dict[str, Sample]:
    """The pages with a hostile text wherever somebody else's text may stand."""
    evil = Change(hostile, "22 November 2026, 11:00 UTC", hostile)
    problem = ProblemView(hostile, SourceLine(1, hostile, 1))
    lines = (DiffLine("added", hostile), DiffLine("removed", hostile))
    step = Step("Enter", "Values.", "now", (hostile,), (Link("/", "Enter"),))
    yaml = YamlPage("evil", hostile, "7", 1, evil, (problem,), (problem,), stored=False)
    publish = replace(
        PUBLISH,
        name=hostile,
        saved=evil,
        proposal=evil,
        difference=lines,
        missing_tests=(hostile,),
        tests_note="One of them must be tested.",
        tests=(TestedView(hostile, "missing", hostile),),
        reason=replace(REASON, value=hostile, error="Write the reason on one line."),
        can_publish_untested=True,
    )
    pages = {
        "hostile draft": ("draft", replace(DRAFT, name=hostile, saved=evil, proposal=evil, steps=(step,))),
        "hostile yaml": ("draft_yaml", yaml),
        "hostile conflict": ("draft_yaml", replace(yaml, conflict=Conflict(evil, lines))),
        "hostile publish": ("publish", publish),
        "hostile published": ("published", replace(PUBLISHED, name=hostile)),
        "hostile discard": ("discard", DiscardPage("evil", 7, 1, evil)),
    }
    return {name: (f"admin/{template}.html", page, chrome) for name, (template, page) in pages.items()}
