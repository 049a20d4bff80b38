"""Client secrets: from the environment, from a file, or in clear text.

`${NAME}` is the variable NAME of the portal's environment; `file:/run/secrets/acme` is the content of a file,
without its last line break (a relative path is relative to the folder of the tenant file). Any other text is
the secret itself, about which `portal tenant check` warns. Certificates and their keys come from files only.
A tenant of the database has neither variables nor files: its secrets and PEM texts are typed, and stored as
`sealed:` and a value that the vault has sealed.

Messages do not quote the file (see validation.py), with two exceptions that are unlikely to be a pasted
secret: the name of a variable in capital letters, and an absolute path.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Annotated

from pydantic import BeforeValidator, PlainValidator, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from portal.config.field_types import Text, refused
from portal.config.load_context import LoadContext
from portal.config.yaml_document import read_bytes
from portal.errors import ConfigurationError, VaultError
from portal.secret import Secret, UnsetSecret

SEALED = "sealed:"
"""The beginning of a secret that the vault has sealed."""
MAX_SECRET_BYTES = 16 * 1024
MAX_PEM_BYTES = 256 * 1024

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_CAPITALS = re.compile(r"[A-Z][A-Z0-9_]*")
_BRACES = re.compile(r"\$\{[^}]*\}")


def is_reference(text: object) -> bool:
    """Whether a secret is written as a reference to the environment or a file, not in clear text."""
    return isinstance(text, str) and (text.startswith("file:") or _BRACES.fullmatch(text) is not None)


def resolve_secret(text: str, context: LoadContext) -> Secret:
    """Return the secret that `text` refers to; raise `refused` when there is none."""
    if context.open_sealed is not None:
        return Secret(_printable(_typed_or_sealed(text, context.open_sealed), "it"))
    if text.startswith(SEALED):
        raise refused("is a sealed secret, which only a tenant of the database can have")
    if _BRACES.fullmatch(text):
        return _from_environment(text, context)
    if text.startswith("file:"):
        name = text.removeprefix("file:")
        if context.secrets_optional and _is_of_another_host(name):
            return UnsetSecret(_file(name), "is missing")
        content = _from_file(name, context, MAX_SECRET_BYTES)
        return Secret(_printable(content, "the file"))
    return Secret(_printable(text, "it"))


def resolve_reference(text: str, context: LoadContext) -> str:
    """Return the secret or PEM text that a value of a tenant file stands for, for a tenant of the database.

    Raises: ValueError with a sentence that follows the name of the key.
    """
    try:
        if text.startswith("file:"):
            return _from_file(text.removeprefix("file:"), context, MAX_PEM_BYTES)
        return resolve_secret(text, context).reveal() if is_reference(text) else text
    except PydanticCustomError as error:
        raise ValueError(error.message()) from None


def _typed_or_sealed(text: str, open_sealed: Callable[[str], str]) -> str:
    """A secret of a tenant of the database: as an admin typed it, or sealed by the portal."""
    if is_reference(text):
        raise refused("cannot name a file or variable of the portal's host here; type the secret itself")
    if not text.startswith(SEALED):
        return text
    try:
        return open_sealed(text.removeprefix(SEALED))
    except VaultError:
        raise refused("was sealed with a key that this portal does not have; type the secret again") from None


def _opened_text(value: object, info: ValidationInfo) -> object:
    open_sealed = info.context.open_sealed if isinstance(info.context, LoadContext) else None
    if open_sealed is None or not isinstance(value, str) or not value.startswith(SEALED):
        return value
    return _typed_or_sealed(value, open_sealed)


SealableText = Annotated[Text, BeforeValidator(_opened_text)]
"""Text below a key that the author of a file chose; sealed in the database if it is named like a secret."""


def _from_environment(text: str, context: LoadContext) -> Secret:
    match = _VARIABLE.fullmatch(text)
    if match is None:
        raise refused("names no variable: write ${NAME} with letters, digits and _")
    if match[1].startswith("PORTAL_"):
        name = match[1] if _CAPITALS.fullmatch(match[1]) else "a variable"
        raise refused(f"names {name}, which is reserved for settings of the portal; choose another name")
    value = context.environ.get(match[1])
    if value is None and context.secrets_optional:
        return UnsetSecret(_variable(match[1]))
    if value is None:
        raise refused(f"needs {_variable(match[1])}, which is not set; set it and start the portal again")
    if not value:
        raise refused(f"needs {_variable(match[1])}, which is empty")
    return Secret(_printable(value, "the variable"))


def _from_file(name: str, context: LoadContext, limit: int) -> str:
    if not name or "\0" in name:
        raise refused("names no file: write file:/run/secrets/acme")
    path = context.secret_files.path(name)
    try:
        content = read_bytes(path, name=name, limit=limit)
    except ConfigurationError as error:
        if os.path.isdir(path):
            raise refused(f"needs {_file(name)}, which is a folder") from None
        raise refused(f"needs {_file(name)}: {error.problems[0].message}") from None
    try:
        value = content.decode("utf-8")
    except UnicodeDecodeError:
        raise refused(f"needs {_file(name)}, which is not UTF-8 text") from None
    value = value.removesuffix("\n").removesuffix("\r")
    if not value:
        raise refused(f"needs {_file(name)}, which is empty")
    return value


def _is_of_another_host(name: str) -> bool:
    """Whether a file is missing that would not be beside the tenant file, but on the portal's host."""
    return name.startswith("/") and "\0" not in name and not os.path.lexists(name)


def _variable(name: str) -> str:
    return f"the environment variable {name}" if _CAPITALS.fullmatch(name) else "an environment variable"


def _file(name: str) -> str:
    return f"the file {name}" if name.startswith("/") else "a file in the folder of the tenant file"


def _printable(value: str, what: str) -> str:
    if not value or not value.isprintable():
        raise refused(f"is not usable: {what} must hold one line of visible characters")
    return value


def secret_value(value: object, info: ValidationInfo) -> Secret:
    """Return the secret that a value of a file stands for. Raises: a validation error."""
    if not isinstance(value, str):
        raise refused("must be text: ${NAME}, file:/path, or a secret in quotes")
    if not isinstance(info.context, LoadContext):
        raise refused("is not supported here")
    return resolve_secret(value, info.context)


def _validate_pem(value: object, info: ValidationInfo) -> Secret:
    if not isinstance(info.context, LoadContext):
        raise refused("is not supported here")
    if info.context.open_sealed is not None:
        return _pasted_pem(value, info.context.open_sealed)
    if not isinstance(value, str) or not value.startswith("file:"):
        raise refused("must name a file: write file:/run/secrets/acme.pem")
    content = _from_file(value.removeprefix("file:"), info.context, MAX_PEM_BYTES)
    if "-----BEGIN " not in content:
        raise refused("names a file that is not in PEM form")
    return Secret(content)


def _pasted_pem(value: object, open_sealed: Callable[[str], str]) -> Secret:
    if not isinstance(value, str):
        raise refused("must be the content of a PEM file")
    content = _typed_or_sealed(value, open_sealed)
    if len(content) > MAX_PEM_BYTES or "-----BEGIN " not in content:
        raise refused("is not the content of a PEM file: it begins with -----BEGIN")
    return Secret(content)


PemFile = Annotated[
    Secret,
    PlainValidator(_validate_pem),
    WithJsonSchema(
        {
            "type": "string",
            "title": "file",
            "pattern": "^file:.+",
            "examples": ["file:/run/secrets/acme.pem"],
        }
    ),
]
"""The content of a PEM file that the tenant file names; it may contain a private key."""
SecretValue = Annotated[
    Secret,
    PlainValidator(secret_value),
    WithJsonSchema(
        {"type": "string", "minLength": 1, "examples": ["${ACME_CLIENT_SECRET}", "file:/run/secrets/acme"]}
    ),
]
