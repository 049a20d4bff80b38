"""The general settings of a draft: name, appearance, claims, sessions, admins, and access rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from portal.admin.draft_reading import OpenDraft
from portal.admin.drafts import DraftChanged
from portal.admin.editing import values
from portal.admin.general_form import (
    AccessForm,
    AdminsForm,
    WhoMayIn,
    access_form,
    admins_form,
    not_emails,
    rule_changes,
)
from portal.admin.organisation_fields import (
    APPEARANCE_FIELDS,
    CLAIM_FIELDS,
    GENERAL_FIELDS,
    ORGANISATION_FIELDS,
    SESSION_FIELDS,
)
from portal.admin.problem_words import states_no_access
from portal.admin.provider_form import Values, changes, current_values, sort_problems
from portal.display_text import display_text
from portal.errors import ConfigurationError, Problem, StoreUnavailable
from portal.sentences import message, sentence
from portal.web.admin.asked_views import (
    REPLACES,
    FieldGroup,
    GroupHeading,
    asked_views,
    grouped,
    groups_without_theirs,
    text_fields,
)
from portal.web.admin.draft_forms import DraftFormHandler, as_sentence, version_text
from portal.web.admin.form import Form, TextField

_TEMPLATE = "admin/general.html"
HEADINGS = (
    GroupHeading("organisation", message("Organisation"), ORGANISATION_FIELDS),
    GroupHeading("appearance", message("Appearance"), APPEARANCE_FIELDS),
    GroupHeading(
        "claims",
        message("What the portal knows of users"),
        CLAIM_FIELDS,
        message("Claims are what the provider says of who signs in."),
        folded=True,
    ),
    GroupHeading("sessions", message("How long a sign-in lasts"), SESSION_FIELDS, folded=True),
)
"""The groups of fields that each have one value of the content."""
_LINE = "[^\x00-\x1f\x7f\u202a-\u202e\u2066-\u2069]*"
_LINES = "[^\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]*"
_PLAIN = message("Leave out control characters.")


def _field(name: str, label: str, hint: str = "", *, lines: bool = False, longest: int = 500) -> TextField:
    pattern = _LINES if lines else _LINE
    return TextField(name, label, pattern, _PLAIN, longest, required=False, lines=lines, hint=hint)


_WHO = TextField(
    "who", message("Who may sign in"), "|".join(WhoMayIn), message("Choose one of these."), 20, required=False
)
_VERIFIED = "[01]?"
_CHOICES = {
    WhoMayIn.UNSTATED: message("As usual for the provider"),
    WhoMayIn.ANYONE: message("Everybody with an account"),
    WhoMayIn.EMAIL: message("Who has an e-mail address that ends with …"),
    WhoMayIn.CLAIM: message("Who has a value in a claim"),
    WhoMayIn.OTHER: message("Other rules, which stay as they are"),
}
"""As the page calls them."""
_BELONGS_TO = (
    (WhoMayIn.EMAIL, "endings", message("endings")),
    (WhoMayIn.CLAIM, "claim", message("a claim")),
    (WhoMayIn.CLAIM, "values", message("values")),
)
"""The fields of one choice only."""
_RULE_FIELDS = (
    _WHO,
    _field(
        "endings",
        "Endings of e-mail addresses",
        "With spaces between them, such as @example.com",
        longest=4_000,
    ),
    TextField("verified", "Verified", _VERIFIED, "Choose one of these.", 1, required=False),
    _field("claim", "Claim", "Such as roles, realm_access.roles, or https://example.com/roles"),
    _field("values", "Values", "One a line. Who has one of them may sign in.", lines=True, longest=4_000),
    _field("contact", "Contact", "Whom somebody who is refused can ask, such as help@example.com"),
    _field("admin-emails", "E-mail addresses of admins", "One a line.", lines=True, longest=4_000),
    TextField("admin-verified", "Verified", _VERIFIED, "Choose one of these.", 1, required=False),
    _field("admin-claim", "Claim of admins", "Or everybody whose claim contains a value, such as roles"),
    _field("admin-values", "Values", "One a line, such as portal-admin", lines=True, longest=4_000),
)
_FIELDS = (*text_fields(GENERAL_FIELDS), *_RULE_FIELDS, REPLACES)


@dataclass(frozen=True, slots=True)
class GeneralPage:
    """`GET /admin/t/{tenant}/draft/general`."""

    slug: str
    groups: tuple[FieldGroup, ...]
    access: AccessForm
    admins: AdminsForm
    errors: dict[str, str]
    """Beside the fields of the rules, by name."""
    hints: dict[str, str]
    labels: dict[str, str]
    replaces: str
    has_secret: bool = False
    other_problems: int = 0
    problems: int = 0
    """Of the draft."""
    saved: bool = False
    conflict: bool = False
    refused: bool = False
    unavailable: bool = False
    """Whether the database does not respond."""
    theirs_access: AccessForm | None = None
    """What somebody else stored meanwhile, if it differs."""
    theirs_admins: AdminsForm | None = None


@dataclass(frozen=True, slots=True)
class _Opened:
    """A draft, as the form needs it."""

    values: Values
    access: AccessForm
    admins: AdminsForm


def _opened(content: str, slug: str) -> _Opened:
    root = values(content, slug)
    return _Opened(
        current_values(root, (), GENERAL_FIELDS),
        access_form(root.get("access")),
        admins_form(root.get("admins")),
    )


class GeneralHandler(DraftFormHandler):
    """`GET, POST /admin/t/{tenant}/draft/general`: shows and changes it."""

    async def get(self, tenant: str) -> None:
        draft = await self.open_draft(tenant)
        page = self._page(draft, await self._open(draft), draft.problems)
        self.show(_TEMPLATE, replace(page, saved=bool(self.get_query_argument("saved", ""))))

    async def post(self, tenant: str) -> None:
        form = self.read_form(_FIELDS)
        replaces = self.replaced_version(form)
        draft = await self.open_draft(tenant)
        opened = await self._open(draft)
        access, admins = _typed_access(form, opened.access), _typed_admins(form, opened.admins)
        _check_rules(form, access, admins)
        _check_unused(form, access, opened.access)
        if form.errors:
            self._show_again(self._page(draft, opened, (), form), replaces)
            return
        if draft.version != replaces:
            self._show_conflict(draft, opened, form)
            return
        changed, _ = changes(GENERAL_FIELDS, form.values, opened.values, ())
        changed |= rule_changes(opened.access, access, opened.admins, admins)
        try:
            await self.save_changes(draft, changed, replaces)
        except ConfigurationError as error:
            self._show_again(self._page(draft, opened, error.problems, form), replaces)
        except StoreUnavailable as error:
            self.set_status(error.status)
            page = self._page(draft, opened, (), form)
            self.show(_TEMPLATE, replace(page, groups=groups_without_theirs(page.groups), unavailable=True))
        except DraftChanged as error:
            self._show_conflict(error.theirs, await self._open(error.theirs), form)
        else:
            self.redirect(f"{self.request.path}?saved=1", status=303)

    async def _open(self, draft: OpenDraft) -> _Opened:
        return await self.in_thread(draft.slug, _opened, draft.shown, draft.slug)

    def _show_again(self, page: GeneralPage, replaces: int | None) -> None:
        version = "" if replaces is None else str(replaces)
        self.show_again(
            _TEMPLATE,
            replace(page, replaces=version, groups=groups_without_theirs(page.groups), refused=True),
        )

    def _show_conflict(self, theirs: OpenDraft, opened: _Opened, form: Form) -> None:
        page = self._page(theirs, opened, (), form)
        typed = _typed_access(form, opened.access) or opened.access
        differs = typed != opened.access, page.admins != opened.admins
        self.note_draft(theirs)
        self.set_status(409)
        self.show(
            _TEMPLATE,
            replace(
                page,
                conflict=True,
                theirs_access=opened.access if differs[0] else None,
                theirs_admins=opened.admins if differs[1] else None,
            ),
        )

    def _page(
        self, draft: OpenDraft, opened: _Opened, problems: Sequence[Problem], form: Form | None = None
    ) -> GeneralPage:
        found = sort_problems(problems, GENERAL_FIELDS, (), other_providers=True)
        errors = {name: as_sentence(Problem("", text)) for name, text in found.beside.items()}
        errors |= _rule_errors(problems) | (form.errors if form else {})
        shown = form.bounded() if form else None
        return GeneralPage(
            slug=draft.slug,
            groups=grouped(HEADINGS, asked_views(GENERAL_FIELDS, opened.values, errors=errors, typed=form)),
            access=_shown_access(shown, opened.access) if shown else opened.access,
            admins=(_typed_admins(shown, opened.admins) if shown else None) or opened.admins,
            errors=errors,
            hints={one.name: one.hint for one in _RULE_FIELDS},
            labels={one.name: one.label for one in _RULE_FIELDS},
            replaces=version_text(draft),
            problems=len(problems),
            other_problems=len(problems) - len(found.beside) - len(_rule_errors(problems)),
        )


def _rule_errors(problems: Sequence[Problem]) -> dict[str, str]:
    """The first problem of each list of rules, by the field that begins it."""
    made: dict[str, str] = {}
    for problem in problems:
        first = problem.keys[0] if problem.keys else None
        name = {"access": "who", "admins": "admin-emails"}.get(str(first))
        if states_no_access(problem):
            made.setdefault(
                "who", as_sentence(problem).replace("state in General settings who", "choose who")
            )
        elif name is not None:
            made.setdefault(name, as_sentence(problem))
    return made


def _typed_access(form: Form, now: AccessForm) -> AccessForm | None:
    """The access rules that were typed; None: they are left alone."""
    who = WhoMayIn(form["who"]) if form["who"] in set(WhoMayIn) else now.who
    if who is WhoMayIn.OTHER:
        return None
    contact = form["contact"] if who in (WhoMayIn.EMAIL, WhoMayIn.CLAIM) else ""
    if who is WhoMayIn.EMAIL:
        return AccessForm(who, endings=form["endings"], verified=form["verified"] == "1", contact=contact)
    if who is WhoMayIn.CLAIM:
        return AccessForm(who, claim=form["claim"], values=form["values"], contact=contact)
    return AccessForm(who)


def _shown_access(form: Form, now: AccessForm) -> AccessForm:
    """All that was typed, also what belongs to another choice than the one that was made."""
    typed = _typed_access(form, now)
    return AccessForm(
        WhoMayIn.OTHER if typed is None else typed.who,
        endings=form["endings"],
        verified=form["verified"] != "0",
        claim=form["claim"],
        values=form["values"],
        contact=form["contact"],
        yaml=now.yaml,
    )


def _typed_admins(form: Form, now: AdminsForm) -> AdminsForm | None:
    if now.yaml:
        return None
    verified = form["admin-verified"] == "1" or not form["admin-emails"]
    return AdminsForm(form["admin-emails"], verified, form["admin-claim"], form["admin-values"])


def _check_rules(form: Form, access: AccessForm | None, admins: AdminsForm | None) -> None:
    """Add the sentences for rules that lack a part."""
    if access is not None and access.who is WhoMayIn.EMAIL and not access.endings:
        form.refuse("endings", message("Type at least one ending, such as @example.com."))
    if access is not None and access.who is WhoMayIn.CLAIM:
        _check_pair(form, "claim", "values")
    if admins is not None and (admins.claim or admins.values):
        _check_pair(form, "admin-claim", "admin-values")
    if wrong := not_emails(admins.emails) if admins is not None else ():
        form.refuse(
            "admin-emails",
            sentence("This is not an e-mail address: %(wrong)s", wrong=display_text(wrong[0], limit=100)),
        )


def _check_unused(form: Form, access: AccessForm | None, now: AccessForm) -> None:
    """Refuse what was typed for another choice than the one that was made: it would be lost.

    A value that the draft has already was not typed: who makes another choice replaces it.
    """
    who = WhoMayIn.OTHER if access is None else access.who
    for choice, name, what in _BELONGS_TO:
        typed = form[name].strip()
        if who is not choice and typed and typed != getattr(now, name).strip():
            form.refuse(
                name,
                sentence(
                    "You typed %(what)s, but chose “%(who)s”. Choose “%(choice)s”, or empty this field.",
                    what=sentence(what),
                    who=sentence(_CHOICES[who]),
                    choice=sentence(_CHOICES[choice]),
                ),
            )
    contact = form["contact"]
    if who not in (WhoMayIn.EMAIL, WhoMayIn.CLAIM) and contact and contact != now.contact:
        advice = (
            message("Write it in them as YAML")
            if who is WhoMayIn.OTHER
            else message("Choose a rule that refuses somebody")
        )
        form.refuse(
            "contact",
            sentence(
                "You typed a contact, but chose “%(who)s”. %(advice)s, or empty this field.",
                who=sentence(_CHOICES[who]),
                advice=sentence(advice),
            ),
        )


def _check_pair(form: Form, claim: str, values_: str) -> None:
    if not form[claim]:
        form.refuse(claim, message("Type the name of the claim, such as roles."))
    if not form[values_].strip():
        form.refuse(values_, message("Type at least one value."))
