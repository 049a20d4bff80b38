"""The name of an organisation that has only a draft, which may be invalid."""

from __future__ import annotations

import re

from portal.config.yaml_document import parse_inline
from portal.errors import ConfigurationError
from portal.tenancy.template import name_for

_NAME = re.compile(r"^name:[ \t]{1,4}([^\n]{1,300})$", re.MULTILINE)


def organisation_name(slug: str, content: str) -> str:
    """Return the name that a content states, without reading all of it; or one like the slug."""
    found = _NAME.search(content)
    if found is None:
        return name_for(slug)
    try:
        name = parse_inline(found[1], "name")
    except ConfigurationError:
        return name_for(slug)
    return (name.strip() if isinstance(name, str) else "") or name_for(slug)
