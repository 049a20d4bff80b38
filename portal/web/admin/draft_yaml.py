"""The draft of a tenant as YAML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from portal.admin.draft_reading import MAX_TYPED_BYTES, OpenDraft
from portal.admin.drafts import DraftChanged
from portal.admin.viewers import Right
from portal.errors import BadRequest, ConfigurationError, PortalError, Problem, StoreUnavailable
from portal.sentences import sentence
from portal.web.admin.base import AdminHandler
from portal.web.admin.diff import diff_lines
from portal.web.admin.draft_views import Conflict, YamlPage, last_change, problem_views
from portal.web.admin.drafts import VERSION_FIELD, number_of
from portal.web.admin.form import TextField
from portal.web.problems import prefers_json

CONTENT_FIELD = TextField(
    name="content",
    label="Configuration",
    pattern=r".*",
    sentence="Write the configuration as YAML.",
    longest=MAX_TYPED_BYTES,
    required=False,
    lines=True,
)
_TEMPLATE = "admin/draft_yaml.html"


class DraftYamlHandler(AdminHandler):
    """`GET, POST /admin/t/{tenant}/draft/yaml`: the draft as text, with its problems beside the line."""

    right = Right.DRAFT
    of_database = True

    async def get(self, tenant: str) -> None:
        draft = await self.stored_draft(tenant)
        warnings = (*draft.loaded.warnings, *draft.loaded.hints) if draft.loaded is not None else ()
        page = self._page(draft, draft.shown, problems=draft.problems, warnings=warnings)
        self.show(_TEMPLATE, page)

    async def post(self, tenant: str) -> None:
        typed, replaces, too_long = self._typed()
        if too_long:
            problem = Problem(tenant, sentence("The text is too long. %(too_long)s", too_long=too_long))
            await self._show_again(tenant, typed, replaces, (problem,))
            return
        try:
            await self.services.drafts.save(tenant, typed, self.act(), replaces=replaces)
        except ConfigurationError as error:
            await self._show_again(tenant, typed, replaces, error.problems)
        except DraftChanged as error:
            await self._show_conflict(typed, error)
        else:
            self.redirect(f"/admin/t/{tenant}/draft/yaml", status=303)

    def _typed(self) -> tuple[str, int | None, str]:
        """The text, the version that it replaces, and a sentence if the text is too long."""
        form = self.read_form((CONTENT_FIELD, VERSION_FIELD))
        if VERSION_FIELD.name in form.errors:
            raise BadRequest("the version of the draft is not a number")
        return form["content"], number_of(form["version"]), form.errors.get("content", "")

    async def _show_again(
        self, tenant: str, typed: str, replaces: int | None, problems: Sequence[Problem]
    ) -> None:
        """Show what could not be stored, with its problems: 422."""
        draft = await self.stored_draft(tenant)
        page = replace(
            self._page(draft, typed, problems=problems), replaces=_version_text(replaces), stored=False
        )
        self.show_again(_TEMPLATE, page)

    async def _show_conflict(self, typed: str, error: DraftChanged) -> None:
        """Show the text beside what somebody else stored meanwhile; saving it again replaces that."""
        theirs = self.note_draft(error.theirs)
        difference = await self.services.drafts.difference(theirs, typed)
        lines = await self.services.contents.run(theirs.slug, diff_lines, difference)
        conflict = Conflict(last_change(theirs), lines)
        self.set_status(error.status)
        self.show(_TEMPLATE, replace(self._page(theirs, typed), stored=False, conflict=conflict))

    def _page(
        self,
        draft: OpenDraft,
        text: str,
        *,
        problems: Sequence[Problem] = (),
        warnings: Sequence[Problem] = (),
    ) -> YamlPage:
        return YamlPage(
            slug=draft.slug,
            text=text,
            replaces=_version_text(draft.version),
            live=draft.tenant.live,
            saved=last_change(draft),
            problems=problem_views(problems, text),
            warnings=problem_views(warnings, text),
            of_later_version=draft.of_later_version,
            longest=MAX_TYPED_BYTES,
        )

    def render_error(self, error: PortalError) -> None:
        """While the database does not respond, show what was typed again: nothing is lost."""
        slug, typed = self.slug, self._typed_before(error)
        if slug is None or typed is None:
            super().render_error(error)
            return
        text, replaces, _ = typed
        page = YamlPage(slug, text, _version_text(replaces), 0, None, stored=False, unavailable=True)
        self.show(_TEMPLATE, page)

    def _typed_before(self, error: PortalError) -> tuple[str, int | None, str] | None:
        """What was typed, if the database prevented that it was stored; None for any other error."""
        if self.request.method != "POST" or not isinstance(error, StoreUnavailable):
            return None
        try:
            return None if prefers_json(self.request.headers) else self._typed()
        except BadRequest:  # not this form: the page of the error says enough
            return None


def _version_text(version: int | None) -> str:
    return "" if version is None else str(version)
