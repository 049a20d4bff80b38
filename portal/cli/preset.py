"""`portal preset …`: lists, explains and checks presets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from portal.cli.options import config_option, settings_of
from portal.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    from portal.config.settings import Settings
    from portal.tenancy.presets import Preset


@click.group()
def preset() -> None:
    """List, explain and check presets: what is known about each kind of provider."""


@preset.command(name="list")
@config_option
def list_presets(config: Path | None) -> int:
    """List the presets that tenant files can name, and where each comes from.

    Exits with 2 when one of them cannot be used.
    """
    from portal.tenancy.available_presets import available_presets

    presets = available_presets(settings_of(config).presets)
    problems = presets.problems()
    for name in presets.names():
        found = None if name in problems else presets.find(name)
        title = found.title if found else "✗ cannot be used, see below"
        click.echo(f"{name:16} {title:28} {presets.origin(name)}".rstrip())
    for error in problems.values():
        for problem in error.problems:
            click.secho(str(problem), err=True, fg="red")
    return ConfigurationError.exit_code if problems else 0


@preset.command()
@click.argument("name")
@click.option("--tenant", default="acme", show_default=True, metavar="SLUG", help="The tenant in the URLs.")
@config_option
def show(name: str, tenant: str, config: Path | None) -> int:
    """Show what a preset asks for and the steps in the provider's console, with the portal's URLs."""
    from portal.tenancy.presets.pages import preset_page

    settings = settings_of(config)
    click.echo(preset_page(find_preset(name, settings), origin=settings.public_url, tenant=tenant), nl=False)
    return 0


@preset.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILES...")
def check(paths: tuple[Path, ...]) -> int:
    """Check preset files. Exits with 2 when one is invalid."""
    from portal.tenancy.available_presets import check_provider
    from portal.tenancy.presets.preset_files import read_preset_file

    problems: list[Problem] = []
    for path in paths:
        try:
            found = read_preset_file(path, check_provider)
        except ConfigurationError as error:
            click.secho(f"✗ {path}", fg="red")
            problems += error.problems
        else:
            click.secho(f"✓ {path}  {found.title}", fg="green")
    for problem in problems:
        click.echo(f"  {problem}")
    return ConfigurationError.exit_code if problems else 0


@preset.command()
def schema() -> int:
    """Print the JSON Schema of preset files, for use in editors."""
    from portal.tenancy.presets.pages import preset_schema_text

    click.echo(preset_schema_text(), nl=False)
    return 0


@preset.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
def reference(folder: Path) -> int:
    """Write the pages of the built-in presets and their index into FOLDER, in Markdown."""
    from portal.tenancy.presets.pages import reference_pages

    for name, text in reference_pages().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
        click.echo(f"Wrote {folder / name}.")
    return 0


def find_preset(name: str, settings: Settings) -> Preset:
    """Return a preset by name. Raises ConfigurationError if there is none that can be used."""
    from portal.config.validation import nearest
    from portal.tenancy.available_presets import available_presets

    presets = available_presets(settings.presets)
    found = presets.find(name)
    if found is None:
        raise ConfigurationError(
            [Problem(name, f"is not the name of a preset{nearest(name, presets.names())}")]
        )
    return found
