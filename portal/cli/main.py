"""The command line: `portal serve`, `portal demo`, `portal tenant …`, `portal settings …`, `portal key …`,
`portal store …`, `portal events`, `portal session …`, `portal subject …` and `portal doctor`.

Exit codes: 0 success, 1 internal error or a failed live check, 2 wrong usage or configuration, 3 the
environment prevents it (a port in use, a database down), 130 ended with Ctrl-C. Commands import what they
need when they run, so that each starts quickly.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import click

from portal.cli import domains as domain_commands
from portal.cli import events as event_commands
from portal.cli import preset as preset_commands
from portal.cli import sessions as session_commands
from portal.cli import setup_links, stored_tenants
from portal.cli import store as store_commands
from portal.cli import subjects as subject_commands
from portal.cli.doctor import command as doctor_command
from portal.cli.options import config_option, settings_of, warn_about_default_url
from portal.errors import ConfigurationError, PortalError, Problem, StartupError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tenant-portal", prog_name="portal", message="%(prog)s %(version)s")
def cli() -> None:
    """One portal for many organisations, each with its own OpenID provider."""


@cli.command()
@click.option(
    "--take-over",
    is_flag=True,
    help="Listen beside a running portal of the same user. Stop that one when this one serves.",
)
@config_option
def serve(config: Path | None, take_over: bool) -> int:
    """Serve the portal until SIGTERM or Ctrl-C. SIGHUP reads the settings again."""
    settings = settings_of(config)
    from portal.serving import serve as serve_portal

    return serve_portal(settings, read_again=partial(settings_of, config), take_over=take_over)


@cli.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder for the demo's files. Default: a temporary folder, removed at the end.",
)
@click.option(
    "--listen", default="127.0.0.1:8080", show_default=True, metavar="HOST:PORT", help="Address to listen on."
)
@click.option(
    "--public-url",
    metavar="URL",
    help="The portal's URL for browsers, when it is not http://localhost and the port, as behind a tunnel.",
)
@click.option(
    "--front-end",
    metavar="DIR|URL",
    help="Your own page at /app/{tenant}/ instead of the order desk: a folder, or a development server.",
)
def demo(data: Path | None, listen: str, public_url: str | None, front_end: str | None) -> int:
    """Try the portal with two sample organisations, on this machine only."""
    from portal.demo.run import run_demo

    return run_demo(data, listen, public_url=public_url, front_end=front_end)


# --- tenants


@cli.group()
def tenant() -> None:
    """Create, check and list tenant files; publish tenants in the database."""


@tenant.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="[FILES, FOLDERS OR TENANTS]...")
@click.option(
    "--claims",
    "claims_file",
    metavar="FILE",
    help="Evaluate the access rules on these claims: JSON, or an ID token; - for standard input. "
    "The token is not verified.",
)
@click.option("--live", is_flag=True, help="Ask the providers and the API as well; takes up to 10 seconds.")
@click.option("--json", "as_json", is_flag=True, help="With --live: print the results as a JSON list.")
@config_option
def check(
    paths: tuple[Path, ...], claims_file: str | None, live: bool, as_json: bool, config: Path | None
) -> int:
    """Check tenant files without serving them.

    Without files, checks those in the portal's tenants folder. Exits with 2 when a file is invalid, whatever
    the result of --claims, and with 1 when a live check fails. A single file also gets hints. The variables
    of client secrets need not be set.
    """
    from portal.cli.tenant_check import check_tenants

    if as_json and not live:
        raise click.UsageError("--json needs --live")
    settings = settings_of(config)
    if live:
        warn_about_default_url(config, settings)
    return check_tenants(paths, settings, claims_file=claims_file, live=live, as_json=as_json)


@tenant.command(name="list")
@config_option
def list_tenants(config: Path | None) -> int:
    """List the tenants in the portal's tenants folder."""
    from rich.console import Console
    from rich.table import Table

    from portal.cli.tenant_check import checked_files

    settings = settings_of(config)
    table = Table(
        "tenant", "name", "provider", "issuer", "API", box=None, header_style="bold", pad_edge=False
    )
    for file in checked_files((settings.tenants,), settings):
        live = file.tenant
        if live is None or file.problems:
            table.add_row(file.path.stem, "✗ see: portal tenant check", "", "", "", style="red")
            continue
        for number, provider in enumerate(live.providers.values()):
            api = live.api.base_url if live.api else ""
            row = (live.slug, live.name, provider.id, provider.issuer, api)
            table.add_row(*(row if number == 0 else ("", "", *row[2:4], "")))
    width = None if sys.stdout.isatty() else 1000
    Console(highlight=False, markup=False, emoji=False, width=width).print(table)
    return 0


@tenant.command()
@click.argument("slug")
@click.option(
    "--preset",
    default="generic",
    show_default=True,
    metavar="NAME",
    help="Kind of provider; `portal preset list` prints the names.",
)
@config_option
def new(slug: str, preset: str, config: Path | None) -> int:
    """Write a starting tenant file. Never overwrites an existing file."""
    from portal.config.field_types import is_slug
    from portal.tenancy.reference import tenant_schema_text
    from portal.tenancy.schema.tenant import SCHEMA_NAME
    from portal.tenancy.template import tenant_template

    if not is_slug(slug):
        message = "is not a valid tenant name: use lower-case letters, digits and hyphens, at most 63"
        raise ConfigurationError([Problem(slug, message)])
    settings = settings_of(config)
    kind, folder = preset_commands.find_preset(preset, settings), settings.tenants
    path = folder / f"{slug}.yaml"
    for present in (path, path.with_suffix(".yml")):
        if present.exists():
            raise ConfigurationError([Problem(str(present), "exists already; nothing was written")])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_new(path, tenant_template(slug, kind))
        if not (folder / SCHEMA_NAME).exists():
            _write_new(folder / SCHEMA_NAME, tenant_schema_text())
    except OSError as error:
        raise StartupError(
            f"The file {path} cannot be written: {error.strerror}.",
            remedy="Make the folder writable, or set `tenants` or PORTAL_TENANTS to another folder.",
        ) from None
    click.echo(f"Wrote {path}. Fill it in, then run: portal tenant check {path}")
    return 0


@tenant.command(name="reload")
@click.option("--accept-removals", is_flag=True, help="Confirm the removal of tenants without a file.")
@config_option
def reload_tenants(accept_removals: bool, config: Path | None) -> int:
    """List tenants that are served without a file, and optionally remove them from running portals."""
    from portal.cli.tenant_reload import reload_lines

    for line in reload_lines(settings_of(config), accept_removals=accept_removals):
        click.echo(line)
    return 0


@tenant.command()
@config_option
def schema(config: Path | None) -> int:
    """Print the JSON Schema of tenant files, for use in editors."""
    from portal.tenancy.available_presets import available_presets
    from portal.tenancy.reference import tenant_schema_text

    click.echo(tenant_schema_text(available_presets(settings_of(config).presets)), nl=False)
    return 0


@tenant.command(name="reference")
def tenant_reference_page() -> int:
    """Print the reference of tenant files, in Markdown."""
    from portal.tenancy.reference import tenant_reference

    click.echo(tenant_reference(), nl=False)
    return 0


# --- settings


@cli.group(name="settings")
def settings_group() -> None:
    """Document the portal's settings."""


@settings_group.command(name="reference")
def settings_reference_page() -> int:
    """Print the reference of the settings, in Markdown."""
    from portal.config.settings_reference import settings_reference

    click.echo(settings_reference(), nl=False)
    return 0


# --- keys


@cli.group()
def key() -> None:
    """Manage the portal's keys: vault keys for tokens, and client keys for providers."""


@key.command(name="list")
@config_option
def list_keys(config: Path | None) -> int:
    """List the keys of the key ring, the newest of each kind last. Never prints key material."""
    from portal.cli.key_report import client_key_lines, vault_key_lines

    path = settings_of(config).keys
    for line in (*vault_key_lines(path), *client_key_lines(path)):
        click.echo(line)
    return 0


@key.command(name="new")
@config_option
def new_key_ring(config: Path | None) -> int:
    """Create the key ring. Never overwrites an existing one."""
    from portal.keys.client_key_ring import complete_client_keys
    from portal.keys.key_ring import KeyRing

    path = settings_of(config).keys
    ring = KeyRing.create(path)
    complete_client_keys(path)
    click.echo(f"Created {path} with the key {ring.newest.kid}. Back it up: without it, all logins end.")
    return 0


@key.command()
@click.argument("tenant", required=False)
@click.option("--provider", metavar="ID", help="Only this provider of TENANT.")
@click.option(
    "--jwks", is_flag=True, help="Only the public keys, as a JWK Set: the portal's, or those for TENANT."
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="TENANT's client metadata (RFC 7591) as JSON; without TENANT, or with --jwks, the public keys.",
)
@config_option
def show(tenant: str | None, provider: str | None, jwks: bool, as_json: bool, config: Path | None) -> int:
    """Show what to register at providers: the public keys, or the client metadata of TENANT.

    For a tenant with several providers, --json and --jwks print one JSON object with an entry for each.
    """
    from portal.cli.key_report import client_keys_report, registration_report
    from portal.cli.tenant_check import served_tenant

    if provider is not None and tenant is None:
        raise click.UsageError("--provider needs a tenant: portal key show TENANT --provider ID")
    settings = settings_of(config)
    if not jwks and (tenant or not as_json):
        warn_about_default_url(config, settings)
    if tenant is None:
        lines = client_keys_report(settings, jwks=jwks or as_json)
    else:
        served = served_tenant(tenant, settings)
        lines = registration_report(settings, served, jwks=jwks, as_json=as_json, provider_id=provider)
    for line in lines:
        click.echo(line)
    return 0


@key.command()
@click.option(
    "--use",
    "uses",
    type=click.Choice(("vault", "signing", "encryption")),
    multiple=True,
    help="Kind of keys to rotate; repeatable. Default: all three.",
)
@config_option
def rotate(uses: tuple[str, ...], config: Path | None) -> int:
    """Add new keys and use them from now on. Older keys still decrypt and verify existing data."""
    from portal.cli.key_report import rotated_lines
    from portal.keys.client_key_ring import rotate_client_keys
    from portal.keys.key_ring import KeyRing

    settings = settings_of(config)
    path = settings.keys
    if not uses or "vault" in uses:
        kid = KeyRing.rotate(path)
        click.echo(f"The key {kid} of {path} encrypts from now on; running portals reload it.")
    client_uses: dict[str, Literal["sig", "enc"]] = {"signing": "sig", "encryption": "enc"}
    selected = [use for name, use in client_uses.items() if not uses or name in uses]
    added = rotate_client_keys(path, uses=selected)
    for line in rotated_lines(settings, added):
        click.echo(line)
    return 0


# a key id may begin with "-" or "-h"
@key.command(context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]})
@click.argument("kid")
@config_option
def remove(kid: str, config: Path | None) -> int:
    """Remove a signing or encryption key at once: providers then reject everything it signed."""
    from portal.cli.key_report import removed_lines
    from portal.keys.client_key_ring import remove_client_key

    settings = settings_of(config)
    for line in removed_lines(settings, remove_client_key(settings.keys, kid)):
        click.echo(line)
    return 0


cli.add_command(store_commands.store)
cli.add_command(event_commands.events)
cli.add_command(session_commands.session)
cli.add_command(subject_commands.subject)
cli.add_command(doctor_command.doctor)
for command in (*stored_tenants.COMMANDS, *setup_links.COMMANDS, *domain_commands.COMMANDS):
    tenant.add_command(command)
cli.add_command(preset_commands.preset)
key.add_command(store_commands.adopt)


# --- running


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code. Parameters: arguments, default: sys.argv."""
    try:
        return int(cli.main(args=arguments, prog_name="portal", standalone_mode=False) or 0)
    except ConfigurationError as error:
        for problem in error.problems:
            _print_error(str(problem))
        return error.exit_code
    except StartupError as error:
        _print_error(error.message)
        _print_error(error.remedy)
        return error.exit_code
    except PortalError as error:
        _print_error(f"{error.title}: {error.detail}" if error.detail else error.title)
        return 1
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130


def _print_error(text: str) -> None:
    click.secho(text, err=True, fg="red")


def _write_new(path: Path, text: str) -> None:
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
