"""Adding a tenant to the database."""

from __future__ import annotations

from dataclasses import dataclass

from portal.admin.viewers import Right
from portal.display_text import display_text
from portal.sentences import message
from portal.web.admin.base import AdminHandler
from portal.web.admin.fields import NAME_FIELD, SLUG_FIELD
from portal.web.admin.form import FieldView, Form, empty_form

_FIELDS = (NAME_FIELD, SLUG_FIELD)
_TAKEN = message("This short name is taken; choose another.")


@dataclass(frozen=True, slots=True)
class NewTenantPage:
    """`GET /admin/new`."""

    name: FieldView
    slug: FieldView


class NewTenantHandler(AdminHandler):
    """`GET`, `POST /admin/new`: makes a tenant with a draft, which is not served before it is published."""

    right = Right.OPERATE

    async def get(self) -> None:
        self._show(empty_form(_FIELDS))

    async def post(self) -> None:
        form = self.read_form(_FIELDS)
        slug, name = form["slug"], form["name"]
        if name != display_text(name, limit=NAME_FIELD.longest):
            form.refuse("name", NAME_FIELD.sentence)
        if not form.errors and self.portal.registry.file_of(slug) is not None:
            form.refuse("slug", _TAKEN)
        if not form.errors and not await self.services.tenants.make(slug, name, self.act()):
            form.refuse("slug", _TAKEN)
        if form.errors:
            self._show(form)
            return
        self.redirect(f"/admin/t/{slug}/draft", status=303)

    def _show(self, form: Form) -> None:
        views = form.views()
        page = NewTenantPage(views["name"], views["slug"])
        if form.errors:
            self.show_again("admin/new.html", page)
        else:
            self.show("admin/new.html", page)
