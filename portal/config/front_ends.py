"""Front ends: applications in the browser whose files the portal serves (THREATS F2, F5)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from portal.config.api_paths import SLUG
from portal.config.field_types import Text, check_outbound, expected, refused
from portal.config.policy_sources import Directive, Source, check_frame_ancestors
from portal.config.validation import FileModel
from portal.config.yaml_document import KeyPath
from portal.errors import ConfigurationError, Problem
from portal.outbound.url_rules import is_loopback_host

INDEX = "index.html"
"""The page of a front end, and of each folder in it that has one."""
TENANT_PLACEHOLDER = "{tenant}"
OWN_SEGMENTS = frozenset(
    {
        ".well-known",
        "account",
        "admin",
        "favicon.ico",
        "find",
        "forget",
        "healthz",
        "language",
        "logout",
        "product",
        "readyz",
        "session",
        "setup",
        "signed-out",
        "static",
        "t",
    }
)
"""The first segments of the portal's own addresses; a test compares them with routes.py."""
ICON_PATH = "/favicon.ico"
"""Of the product's icon; where a front end has the root of a host, its own icon comes first."""

_PATH = re.compile(rf"(?:/{SLUG}){{1,4}}")
_HOME = re.compile(r"(?:/(?:[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,62}|\{tenant\})){1,8}/?")
_SERVER = re.compile(r"http://(?:[a-z0-9.-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?/?")


@dataclass(frozen=True, slots=True)
class FrontEnd:
    """The files of an application, or the development server that makes them."""

    path: str = ""
    """Where it is served, such as `/desk`; empty for the root of a tenant's own hosts."""
    directory: Path | None = None
    url: str | None = None
    """The origin of a development server on this machine."""
    home: str | None = None
    """The path of the page that a user comes to after a sign-in, with `{tenant}` for the slug."""
    csp: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Sources in addition to the default policy, by directive."""
    source_maps: bool = False


def _path(text: str) -> str:
    if not _PATH.fullmatch(text):
        raise expected("a path such as /desk: small letters, digits and hyphens, without a slash at the end")
    if text.split("/")[1] in OWN_SEGMENTS:
        raise refused("begins like the portal's own addresses; choose another word")
    return text


def _home(text: str) -> str:
    if not _HOME.fullmatch(text) or text.count(TENANT_PLACEHOLDER) > 1:
        raise expected("a path such as /desk/{tenant}/, with {tenant} at most once")
    return text


def _server(text: str) -> str:
    host = urlsplit(text).hostname if _SERVER.fullmatch(text) else None
    if host is None or not is_loopback_host(host):
        raise expected("the http origin of a server on this machine, such as http://localhost:5173")
    return check_outbound(text, allow_private_networks=True).rstrip("/")


def _described(title: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "title": title})


class FrontEndFile(FileModel):
    """An application whose pages every signed-in user gets from the portal's own origin."""

    path: Annotated[str, AfterValidator(_path), _described("path")] = Field(
        description="Where it is served, such as `/desk`.", examples=["/desk"]
    )
    directory: Text | None = Field(
        default=None, description="The folder of its built files, with an index.html.", examples=["./dist"]
    )
    url: Annotated[str, AfterValidator(_server), _described("URL")] | None = Field(
        default=None,
        description=(
            "Instead of `directory`: a development server on this machine. Only when `public_url` is an http "
            "URL of this machine and `listen` an address of it that no other machine reaches."
        ),
        examples=["http://localhost:5173"],
    )
    home: Annotated[str, AfterValidator(_home), _described("path")] | None = Field(
        default=None,
        description=(
            "The page that `/t/{tenant}/` leads to after a sign-in, with `{tenant}` for the slug; at most "
            "one front end has it."
        ),
        examples=["/desk/{tenant}/"],
    )
    csp: Annotated[
        dict[Directive, list[Source]],
        Field(json_schema_extra={"title": "mapping of lists of sources"}),
    ] = Field(
        default_factory=dict,
        description=(
            "Sources that its Content-Security-Policy allows in addition to the portal's origin, by "
            "directive, such as `{img-src: ['data:']}`."
        ),
    )
    source_maps: bool = Field(default=False, description="Whether files that end with `.map` are served.")

    @model_validator(mode="after")
    def _check(self) -> FrontEndFile:
        if (self.directory is None) == (self.url is None):
            raise refused("needs either directory or url")
        if self.url is not None and self.source_maps:
            raise refused("has no effect with url", key="source_maps")
        if self.home is not None and not f"{self.home}/".startswith(f"{self.path}/"):
            raise refused("must begin with the path of its front end", key="home")
        check_frame_ancestors(self.csp)
        return self


def front_ends_of(
    files: Mapping[str, FrontEndFile],
    *,
    public_url: str,
    listen: str,
    folder: Path,
    place: Callable[[KeyPath, bool], str],
) -> Mapping[str, FrontEnd]:
    """Return the front ends of the settings by name.

    Parameters: listen, where the portal listens, `host:port` or `unix:/path`; folder, to which the paths of
    folders are relative; place, of a value in the settings.
    Raises: ConfigurationError when they do not fit each other or the address of the portal.
    """
    problems = [
        Problem(place(("front_ends", *at), False), message, ("front_ends", *at))
        for at, message in (*_development_problems(files, public_url, listen), *_overlaps(files))
    ]
    if problems:
        raise ConfigurationError(problems)
    return {
        name: FrontEnd(
            path=file.path,
            directory=folder / file.directory if file.directory is not None else None,
            url=file.url,
            home=file.home,
            csp={directive: tuple(sources) for directive, sources in file.csp.items()},
            source_maps=file.source_maps,
        )
        for name, file in files.items()
    }


def _development_problems(
    files: Mapping[str, FrontEndFile], public_url: str, listen: str
) -> Iterator[tuple[KeyPath, str]]:
    """A development server would hand its whole source code to everybody who reaches the portal."""
    public = urlsplit(public_url)
    is_local = public.scheme == "http" and is_loopback_host(public.hostname or "")
    if is_local and (listen.startswith("unix:") or is_loopback_host(listen.rpartition(":")[0])):
        return
    for name, file in files.items():
        if file.url is not None:
            yield (
                (name, "url"),
                (
                    "front_ends.<name>.url is for development only, with a public_url such as "
                    "http://localhost:8080 and a listen such as 127.0.0.1:8080; build the front end and name "
                    "its folder as directory"
                ),
            )


def _overlaps(files: Mapping[str, FrontEndFile]) -> Iterator[tuple[KeyPath, str]]:
    names = list(files)
    for number, name in enumerate(names):
        for other in names[:number]:
            one, two = f"{files[name].path}/", f"{files[other].path}/"
            if one.startswith(two) or two.startswith(one):
                yield (
                    (name, "path"),
                    "front_ends.<name>.path is that of another front end, or below or above it",
                )
    for name in [name for name in names if files[name].home is not None][1:]:
        yield (
            (name, "home"),
            "front_ends.<name>.home is set by another front end as well; only one can have it",
        )
