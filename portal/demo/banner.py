"""What `portal demo` says when it serves: where to go, who to be, what to try."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console, Group
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from portal.demo.topology import AnyParts


@dataclass(frozen=True, slots=True)
class RunningDemo:
    """What `portal demo` tells the person who started it."""

    public_url: str
    parts: AnyParts
    data: Path
    kept: bool
    """Whether `data` stays when the demo ends."""
    moved: bool
    """Whether a port of the development parts was in use, and another one was taken."""


def show_banner(demo: RunningDemo, console: Console | None = None) -> None:
    """Print the welcome of a demo that serves."""
    console = console or Console(highlight=False)
    headline = Text.assemble("Open  ", (demo.public_url, "bold underline"))
    console.print()
    console.print(
        Panel(
            Group(headline, Text(""), _people(demo), Text(""), _ideas(demo)),
            title="Tenant Portal: demo",
            title_align="left",
            padding=(1, 2),
            border_style="blue",
        )
    )
    for line in _notes(demo):
        console.print(Padding(line, (0, 2)), soft_wrap=False)
    console.print()


def show_farewell(data: Path | None, console: Console | None = None) -> None:
    """Print what is left when the demo has ended."""
    console = console or Console(highlight=False)
    left = "Nothing is left of it." if data is None else f"Its files are in {data}."
    console.print(f"The demo has ended. {left}", soft_wrap=True)


def _people(demo: RunningDemo) -> Table:
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim", pad_edge=False)
    for heading in ("organisation", "user name", "password", "who"):
        table.add_column(heading, no_wrap=heading != "who")
    for provider in (demo.parts.acme_provider, demo.parts.globex_provider):
        for number, user in enumerate(provider.settings.users):
            table.add_row(
                Text(provider.settings.name, style="bold") if number == 0 else "",
                user.username,
                user.password,
                f"{user.name} ({', '.join(user.roles)})",
            )
    return table


def _ideas(demo: RunningDemo) -> Table:
    seconds = int(demo.parts.acme_provider.settings.access_token_seconds)
    provider = demo.parts.acme_provider
    ideas = [
        "Sign in at Acme and at Globex, and switch between them: two providers, two logins, one browser.",
        "Call each organisation's API. Alice may place orders, Bob may only see them.",
        f"Access tokens last {seconds} seconds. Wait, call again: the portal has renewed the token.",
        "Be Sam in both organisations: two accounts that have nothing to do with each other.",
        "Look at cookies and requests in your browser: no access token anywhere.",
        f"Sign out at Acme's own provider, {provider.issuer}/ and reload Acme's page here: "
        "signed out there too.",
    ]
    table = Table.grid(padding=(0, 1, 0, 0))
    for number, idea in enumerate(ideas, 1):
        table.add_row(f"{number}.", idea)
    return table


def _notes(demo: RunningDemo) -> list[str]:
    notes = ["Passwords above are for development only. Ctrl-C ends the demo."]
    if demo.moved:
        ports = demo.parts.ports
        taken = f"{ports.acme_provider}, {ports.globex_provider}, {ports.acme_api}, {ports.globex_api}"
        notes.append(f"Some ports were in use; providers and APIs listen on {taken} instead.")
    if demo.kept:
        notes.append(
            f"Kept in {demo.data}: tenant files, keys, client secrets and the portal's database. "
            "The providers forget who is signed in when they stop, so logins from before end at "
            "their next renewal."
        )
    else:
        notes.append("Nothing is kept afterwards; to keep the files, run: portal demo --data DIR")
    return notes
