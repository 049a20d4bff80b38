"""Issuers that differ from directory to directory: Microsoft Entra's `{tenantid}`.

The metadata that all directories share states its issuer as a template; tokens state it with the id of the
user's directory, their claim `tid`, put in.
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
    """Whether this is a directory id as Entra writes them: a GUID in small letters."""
    return _DIRECTORY.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class IssuerTemplate:
    """An issuer with a placeholder for a directory, and the directories whose users may sign in."""

    text: str
    """The issuer as the shared metadata states it, `{tenantid}` included."""
    tenant_ids: frozenset[str] | None
    """Directory ids; None: any directory there is."""

    def filled(self, claims: Mapping[str, object]) -> str:
        """The issuer that a token with these claims must state.

        Raises: IdTokenRejected when its `tid` is missing, no GUID, or of a directory that may not sign in.
        """
        tid = claims.get("tid")
        if not isinstance(tid, str) or not is_directory_id(tid):
            raise IdTokenRejected("tid", f"tid is {quoted(tid)}; expected a GUID in small letters")
        if not self._allows(tid):
            allowed = listed(sorted(self.tenant_ids or ()))
            raise IdTokenRejected(
                "tid_not_allowed", f"tid is {tid}; this tenant accepts {allowed} (tenant_ids)"
            )
        return self.text.replace(PLACEHOLDER, tid)

    def made(self, issuer: str) -> bool:
        """Whether this is the issuer of a directory whose users may sign in."""
        before, _, after = self.text.partition(PLACEHOLDER)
        tid = issuer[len(before) : len(issuer) - len(after)]
        return is_directory_id(tid) and issuer == f"{before}{tid}{after}" and self._allows(tid)

    def _allows(self, tid: str) -> bool:
        return self.tenant_ids is None or tid in self.tenant_ids
