"""Which logins somebody looks for: by user, session, browser and issuer."""

from __future__ import annotations

from dataclasses import dataclass

from portal.stores.tenant_logins import TenantLogin

LONGEST_VALUE = 2_048
"""Characters of each value: as long as a `sub` can be."""


@dataclass(frozen=True, slots=True)
class LoginFilter:
    """What a login must have; an empty value is not compared.

    `user` is a subject or an e-mail address, `session` the id of a session, `issuer` that of the ID token:
    they are compared exactly. `device` is a part of what is known of the browser, in any case.
    """

    user: str = ""
    session: str = ""
    device: str = ""
    issuer: str = ""

    def __bool__(self) -> bool:
        """Whether anything is compared."""
        return self != ANY

    def accepts(self, found: TenantLogin, *, email_claim: str | None) -> bool:
        """Whether a login is among those looked for. Parameters: email_claim, None if it is not known."""
        login = found.login
        return (
            self.user in ("", login.subject, login.claims.get(email_claim) if email_claim else None)
            and self.session in ("", login.session)
            and self.issuer in ("", login.issuer)
            and self.device.casefold() in found.device.casefold()
        )


ANY = LoginFilter()
