"""Fields that several forms of the console have."""

from __future__ import annotations

from portal.config.api_paths import SLUG
from portal.web.admin.form import TextField

SLUG_FIELD = TextField(
    name="slug",
    label="Short name",
    pattern=SLUG,
    sentence="Use at most 63 lower-case letters, digits and hyphens, such as acme, not a hyphen first.",
    longest=63,
    hint="Part of the organisation's addresses, such as /t/acme/. It cannot be changed later.",
)
NAME_FIELD = TextField(
    name="name",
    label="Name of the organisation",
    pattern=r"[^\x00-\x1f\x7f]{1,100}",
    sentence="Write the name on one line, such as Acme Corporation.",
    longest=100,
    hint="As users see it.",
)
REASON_FIELD = TextField(
    name="reason",
    label="Reason",
    pattern=r"[^\x00-\x1f\x7f]{1,300}",
    sentence="Write the reason on one line.",
    longest=300,
    required=False,
    hint="For the history of this organisation.",
)
