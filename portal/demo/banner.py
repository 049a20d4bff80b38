"""The output of `portal demo`: URL, user accounts, and things to try."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from pathlib import Path

from rich.console import Console, Group
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from portal.demo.command import demo_command
from portal.demo.organisations import INITECH_ORGANISATION
from portal.demo.setup import OPERATOR
from portal.demo.topology import AnyParts
from portal.secret import Secret

_ORDER_DESK = (
    "Place an order in one window and see it arrive in another. Alice may place orders, Bob may not."
)


@dataclass(frozen=True, slots=True)
class RunningDemo:
    """The data of the demo's banner."""

    public_url: str
    parts: AnyParts
    data: Path
    kept: bool
    """Whether `data` stays when the demo ends."""
    ports_changed: bool
    """Whether a default port was in use, so that other ports were chosen."""
    setup_link: Secret | None
    """The setup link of the organisation that is not set up yet."""
    has_order_desk: bool = True
    """Whether the front end is the order desk."""


def show_banner(demo: RunningDemo, console: Console | None = None) -> None:
    """Print the welcome banner of a running demo."""
    console = console or Console(highlight=False)
    headline = Text.assemble("Open  ", (demo.public_url, "bold underline"))
    console.print()
    console.print(
        Panel(
            Group(headline, Text(""), _people(demo), Text(""), _ideas(demo), *_setup(demo)),
            title="Tenant Portal: demo",
            title_align="left",
            padding=(1, 2),
            border_style="blue",
        )
    )
    for line in _notes(demo):
        console.print(Padding(line, (0, 2)), soft_wrap=False)
    console.print()


def show_end_message(data: Path | None, console: Console | None = None) -> None:
    """Print a message after the end of the demo."""
    console = console or Console(highlight=False)
    files = "Its files were deleted." if data is None else f"Its files are in {data}."
    console.print(f"The demo has ended. {files}", soft_wrap=True)


def _people(demo: RunningDemo) -> Table:
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim", pad_edge=False)
    for heading in ("organisation", "user name", "password", "who"):
        table.add_column(heading, no_wrap=heading != "who")
    for provider in demo.parts.providers.values():
        for number, user in enumerate(provider.settings.users):
            table.add_row(
                Text(provider.settings.name, style="bold") if number == 0 else "",
                user.username,
                user.password,
                f"{user.name} ({', '.join(user.roles)})",
            )
    return table


def _ideas(demo: RunningDemo) -> Table:
    seconds = int(demo.parts.providers["acme"].settings.access_token_seconds)
    provider = demo.parts.providers["acme"]
    ideas = [
        "Sign in at Acme and at Globex, and switch between them: two providers, two logins, one browser.",
        *([_ORDER_DESK] if demo.has_order_desk else []),
        f"On Acme's developer page ({demo.public_url}/t/acme/developer), call /secrets: the API asks for a "
        "second factor, and you are led there.",
        f"Access tokens last {seconds} seconds. Wait and call again: the portal renews the token.",
        "Sign in as Sam at both organisations: two unrelated accounts.",
        "Inspect cookies and requests in your browser: there is no access token anywhere.",
        f"Sign out at Acme's own provider ({provider.issuer}/), then reload Acme's page in the portal: "
        "you are signed out there too.",
        f"{OPERATOR.name} is the operator: sign in as {OPERATOR.username} and open {demo.public_url}/admin/",
    ]
    table = Table.grid(padding=(0, 1, 0, 0))
    for number, idea in enumerate(ideas, 1):
        table.add_row(f"{number}.", idea)
    return table


def _setup(demo: RunningDemo) -> list[Text]:
    """How to set up the organisation that is not set up; its link stays in one piece, to be opened."""
    if demo.setup_link is None:
        return []
    provider = demo.parts.providers[INITECH_ORGANISATION.slug]
    name = provider.settings.name
    return [
        Text(""),
        Text.assemble((f"{name} is not set up yet. Be its administrator, with this setup link:", "bold")),
        Text(demo.setup_link.reveal(), style="underline", overflow="fold"),
        Text(f"Its provider shows what to enter: {provider.issuer}/"),
    ]


def _notes(demo: RunningDemo) -> list[str]:
    notes = ["The passwords above are for development only. Press Ctrl-C to end the demo."]
    if demo.ports_changed:
        ports = demo.parts.ports
        numbers = ", ".join(map(str, astuple(ports)))
        notes.append(f"Some ports were in use; providers and APIs listen on {numbers} instead.")
    if demo.kept:
        notes.append(
            f"Kept in {demo.data}: tenant files, keys, client secrets and the portal's database. "
            "The providers forget their sessions when they stop, so earlier logins end when the portal next "
            "renews their tokens."
        )
    else:
        notes.append(f"All files are deleted at the end. To keep them, run: {demo_command('--data', 'DIR')}")
    return notes
