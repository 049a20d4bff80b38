"""Who did something, for the pages of the console."""

from __future__ import annotations

from portal.admin.actors import Actor, ActorType
from portal.display_text import display_text
from portal.sentences import Sentence, message, sentence

_ROLES = {
    ActorType.USER: message("user"),
    ActorType.ADMIN: message("admin"),
    ActorType.OPERATOR: message("operator"),
    ActorType.SETUP_LINK: message("setup link"),
    ActorType.PROVIDER: message("provider"),
    ActorType.EXPIRY: message("login of"),
    ActorType.SYSTEM: message("system"),
}


def actor_name(actor: Actor, *, limit: int) -> Sentence:
    """Return an actor as `admin gina`. Parameters: limit, characters of the name."""
    role, subject = sentence(_ROLES[actor.type]), display_text(actor.subject, limit=limit)
    return sentence("%(role)s %(subject)s", role=role, subject=subject) if subject else role
