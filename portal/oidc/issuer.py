"""Issuer templates of Microsoft Entra: `{tenantid}` stands for the user's directory.

The metadata that all directories share has a template as its issuer. In tokens, the claim `tid` replaces the
placeholder.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from portal.oidc.errors import IdTokenRejected
from portal.oidc.quoting import listed, quoted

PLACEHOLDER = "{tenantid}"

_DIRECTORY = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def is_directory_id(text: str) -> bool:
    """Whether this is a directory id as Entra writes it: a GUID in lower case."""
    return _DIRECTORY.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class IssuerTemplate:
    """An issuer with a placeholder for the directory, and the allowed directories."""

    text: str
    """The issuer in the shared metadata, including `{tenantid}`."""
    tenant_ids: frozenset[str] | None
    """Directory ids; None: any directory."""

    def issuer_for(self, claims: Mapping[str, object]) -> str:
        """Return the issuer that a token with these claims must have.

        Raises: IdTokenRejected when `tid` is missing, not a GUID, or not an allowed directory.
        """
        tid = claims.get("tid")
        if not isinstance(tid, str) or not is_directory_id(tid):
            raise IdTokenRejected("tid", f"tid is {quoted(tid)}; expected a GUID in lower case")
        if not self._allows(tid):
            allowed = listed(sorted(self.tenant_ids or ()))
            raise IdTokenRejected(
                "tid_not_allowed", f"tid is {tid}; this tenant accepts {allowed} (tenant_ids)"
            )
        return self.text.replace(PLACEHOLDER, tid)

    def matches(self, issuer: str) -> bool:
        """Whether this is the issuer of an allowed directory."""
        before, _, after = self.text.partition(PLACEHOLDER)
        tid = issuer[len(before) : len(issuer) - len(after)]
        return is_directory_id(tid) and issuer == f"{before}{tid}{after}" and self._allows(tid)

    def _allows(self, tid: str) -> bool:
        return self.tenant_ids is None or tid in self.tenant_ids
