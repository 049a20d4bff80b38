"""The page that a sign-in of the demo leads to: the order desk, or one that is being developed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from portal.config.front_ends import FrontEnd, FrontEndFile
from portal.errors import ConfigurationError, Problem

ORDER_DESK = FrontEnd(path="/desk", directory=Path(__file__).parent / "front_end", home="/desk/{tenant}/")
"""The application of the demo: plain modules, without a build."""


def demo_front_ends(of: str | None = None) -> Mapping[str, FrontEnd]:
    """The front ends of the demo.

    Parameters: of, a folder or the URL of a development server; None: the order desk.

    Raises ConfigurationError when it is neither.
    """
    if of is None:
        return {"desk": ORDER_DESK}
    where = {"url": of} if of.startswith(("http://", "https://")) else {"directory": of}
    try:
        file = FrontEndFile.model_validate({"path": "/app", "home": "/app/{tenant}/", **where})
    except ValidationError as error:
        raise ConfigurationError([Problem("--front-end", str(error.errors()[0]["msg"]))]) from error
    directory = None if file.directory is None else Path(file.directory).absolute()
    if directory is not None and not (directory / "index.html").is_file():
        raise ConfigurationError([Problem("--front-end", f"{directory} has no index.html")])
    return {"app": FrontEnd(path=file.path, directory=directory, url=file.url, home=file.home)}
