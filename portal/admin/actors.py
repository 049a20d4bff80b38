"""Who does something to a tenant: an operator, an admin of the tenant, or whoever has a setup link."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum


class ActorType(StrEnum):
    """What gives somebody the right to act."""

    USER = "user"
    """A user who is signed in at the tenant."""
    ADMIN = "admin"
    """An admin of the tenant."""
    OPERATOR = "operator"
    """An operator of the portal: in the console, or at the command line."""
    SETUP_LINK = "setup_link"
    """Whoever has a setup link."""
    EXPIRY = "expiry"
    """Nobody: the time of a login was over. The subject and provider are those of its user."""
    PROVIDER = "provider"
    """A provider, such as one that ends a login."""
    SYSTEM = "system"
    """The portal itself."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts. Records of the database have it as JSON.

    `subject` is who it is there: the subject of a login, the account on the operator's host, the name that a
    setup link was made for; `provider` is the issuer of the login.
    """

    type: ActorType
    subject: str = ""
    provider: str = ""

    def as_json(self) -> str:
        """The form in records."""
        parts = {"type": self.type, "subject": self.subject, "provider": self.provider}
        return json.dumps(parts, ensure_ascii=False)

    def __str__(self) -> str:
        """For people: `operator root`."""
        return f"{self.type.replace('_', ' ')} {self.subject}".rstrip()


def actor_of(stored: str) -> Actor:
    """The actor in a record; one that this version cannot read is the system without a name."""
    try:
        fields = json.loads(stored)
        actor = Actor(ActorType(fields["type"]), str(fields["subject"]), str(fields["provider"]))
        f"{actor.subject}{actor.provider}".encode()  # an unpaired surrogate cannot be sent anywhere
    except (ValueError, KeyError, TypeError, RecursionError):
        return Actor(ActorType.SYSTEM)
    return actor
