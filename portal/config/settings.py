"""The portal's settings: `PORTAL_*` environment variables, then a YAML file, then defaults.

Relative paths in the file are relative to the file's folder; all others to the working directory.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from portal.access.accounts import Operator
from portal.config.claim_rules import MAX_ACCOUNTS, OperatorFile
from portal.config.domain_settings import DomainSettings, DomainsFile
from portal.config.event_settings import EventSettings, EventsFile, event_settings
from portal.config.field_types import Duration, Slug, Text, refused
from portal.config.forward_auth_settings import ForwardAuthFile, ForwardAuthSettings
from portal.config.front_ends import FrontEnd, FrontEndFile, front_ends_of
from portal.config.limit_settings import LimitSettings, LimitsFile
from portal.config.metric_settings import MetricSettings, MetricsFile
from portal.config.product import Product, ProductFile, product_of
from portal.config.setting_types import SQLITE, DatabaseUrl, ListenAt, Network, ProxyNetwork, PublicUrl
from portal.config.trace_settings import TraceSettings, TracesFile
from portal.config.validation import FileModel, nearest, validate
from portal.config.yaml_document import Document, KeyPath, parse_inline, read_document
from portal.errors import ConfigurationError, Problem

PREFIX = "PORTAL_"

# Kubernetes sets these in every container when there is a service named `portal`.
_SERVICE_LINKS = re.compile(
    r"PORTAL_SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)|PORTAL_PORT_[0-9]+_(TCP|UDP|SCTP)(_[A-Z]+)?"
)
_OTHER_VARIABLES = ("PORTAL_CONFIG",)


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """How long a session lasts, in seconds."""

    idle: float = 3600.0
    absolute: float = 43200.0


@dataclass(frozen=True, slots=True)
class LogSettings:
    """The format of log lines (`console` or `json`), and the lowest level that is written."""

    format: str = "console"
    level: str = "info"


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a deployment. Field names are those of the settings file."""

    public_url: str = "http://localhost:8080"
    """An origin: scheme, host and, if it is not the default, port."""
    listen: str = "127.0.0.1:8080"
    """`host:port` (no host: every address of this machine) or `unix:/path`."""
    tenants: Path = Path("tenants")
    presets: Path | None = None
    """The folder of the operator's presets."""
    max_removed_percent: int = 50
    """Of the tenants; when the files of more tenants disappear at once, all these tenants stay."""
    database: str = field(default="sqlite:///var/portal.db", repr=False)
    """`sqlite:///…` or `mongodb://…`; may contain a password."""
    keys: Path = Path("var/keys.json")
    processes: int = 1
    """0: one per core."""
    server: str = "httptools"
    """What reads requests: `httptools` or `tornado`."""
    trusted_proxies: tuple[Network, ...] = ()
    allow_private_networks: bool = False
    session: SessionSettings = field(default_factory=SessionSettings)
    metrics_listen: str | None = None
    metrics: MetricSettings = field(default_factory=MetricSettings)
    traces: TraceSettings | None = None
    log: LogSettings = field(default_factory=LogSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    domains: DomainSettings = field(default_factory=DomainSettings)
    product: Product = field(default_factory=Product)
    events: EventSettings = field(default_factory=EventSettings)
    operators: tuple[Operator, ...] = ()
    """Who may do everything in the console."""
    chooser: str = "search"
    """What the start page offers to find an organisation: `list`, `search` or `email`."""
    front_ends: Mapping[str, FrontEnd] = field(default_factory=dict)
    forward_auth: ForwardAuthSettings = field(default_factory=ForwardAuthSettings)
    setup_links: str = "propose"
    """What somebody with a setup link may do with a draft: `propose` or `publish` it."""

    @property
    def public_host(self) -> str:
        """The host name of `public_url`, without a port."""
        return urlsplit(self.public_url).hostname or ""


class SessionFile(FileModel):
    """How long a session lasts."""

    idle: Duration = Field(
        default=3600.0,
        description="A session that is unused for this long ends.",
        json_schema_extra={"default": "1h"},
    )
    absolute: Duration = Field(
        default=43200.0,
        description="A session ends after this long in any case.",
        json_schema_extra={"default": "12h"},
    )

    @model_validator(mode="after")
    def _in_order(self) -> SessionFile:
        for key, value in (("idle", self.idle), ("absolute", self.absolute)):
            if value < 1:
                raise refused("must be at least 1s", key=key)
        if self.idle > self.absolute:
            raise refused("is longer than session.absolute", key="idle")
        return self


class LogFile(FileModel):
    """Format and level of the log."""

    format: Literal["console", "json"] = Field(
        default="console", description="The format of log lines: for people, or for programs."
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The lowest level of the lines that are written."
    )


class SettingsFile(FileModel):
    """The settings as written in the file."""

    public_url: PublicUrl = Field(
        default="http://localhost:8080",
        description="The URL that browsers use, without a path; https, or http for localhost only.",
    )
    listen: ListenAt = Field(
        default="127.0.0.1:8080", description="Where the portal listens: host:port or unix:/path."
    )
    tenants: Text = Field(default="./tenants", description="The folder of tenant files, one per tenant.")
    presets: Text | None = Field(
        default=None, description="A folder of presets, in addition to the built-in ones; null: none."
    )
    max_removed_percent: Annotated[int, Field(ge=0, le=100)] = Field(
        default=50,
        description=(
            "How many percent of the tenants may lose their files at once. When more do, as when a volume is "
            "not mounted, these tenants stay until the files are back or `portal tenant reload "
            "--accept-removals` confirms the removal. 100: a tenant whose file disappears is always removed."
        ),
    )
    database: DatabaseUrl = Field(
        default="sqlite:///var/portal.db",
        description=(
            "Where sessions are stored: sqlite:///relative.db, sqlite:////absolute.db or "
            "mongodb://host/name. If it contains a password, set PORTAL_DATABASE instead."
        ),
    )
    keys: Text = Field(
        default="./var/keys.json",
        description="The key ring that encrypts tokens; created at the first start, for its owner only.",
    )
    processes: Annotated[int, Field(ge=0, le=256)] = Field(
        default=1, description="The number of worker processes; 0: one per core."
    )
    server: Literal["tornado", "httptools"] = Field(
        default="httptools",
        description=(
            "What reads requests: the portal's own server on httptools, or Tornado's, which is slower and "
            "less strict. This setting exists for one release."
        ),
    )
    trusted_proxies: list[ProxyNetwork] = Field(
        default_factory=list,
        description="Addresses or networks of the proxies whose X-Forwarded-* headers are trusted.",
    )
    allow_private_networks: bool = Field(
        default=False,
        description="Whether providers and APIs may have private addresses, and use http on localhost.",
    )
    session: SessionFile = Field(default_factory=SessionFile, description="How long a session lasts.")
    metrics_listen: ListenAt | None = Field(
        default=None,
        description="Where metrics are served: an internal host:port; null: they are not served.",
    )
    metrics: MetricsFile = Field(default_factory=MetricsFile, description="What metrics distinguish.")
    traces: TracesFile | None = Field(
        default=None,
        description="Where traces are sent (see [Traces](../operations.md#traces)); null: nowhere.",
    )
    log: LogFile = Field(default_factory=LogFile, description="Format and level of the log.")
    limits: LimitsFile = Field(default_factory=LimitsFile, description="The limits of one process.")
    events: EventsFile = Field(
        default_factory=EventsFile, description="How long events are kept, and where they are delivered."
    )
    domains: DomainsFile = Field(
        default_factory=DomainsFile, description="How domains of tenants in the database are proven."
    )
    product: ProductFile = Field(
        default_factory=ProductFile, description="Your own product, in place of the portal's name and logo."
    )
    operators: list[OperatorFile] = Field(
        default_factory=list,
        max_length=MAX_ACCOUNTS,
        description=(
            "Who may do everything in the console at /admin/: users who are signed in at one of these "
            "tenants and whose claims meet its rule."
        ),
    )
    chooser: Literal["list", "search", "email"] = Field(
        default="search",
        description=(
            "How users find their organisation on the start page. search: by its exact name or a work e-mail "
            "address, nothing is listed; list: all organisations are listed and searched, for intranets and "
            "demonstrations; email: by a work e-mail address only."
        ),
    )
    front_ends: dict[Slug, FrontEndFile] = Field(
        default_factory=dict,
        max_length=20,
        description="Applications whose pages the portal serves, by a short name.",
        json_schema_extra={"title": "mapping of [front ends](#front_ends)"},
    )
    forward_auth: ForwardAuthFile = Field(
        default_factory=ForwardAuthFile,
        description="How reverse proxies ask whether a request to an application may pass.",
    )
    setup_links: Literal["propose", "publish"] = Field(
        default="propose",
        description="Whether who has a setup link may publish the tenant, or only propose it.",
    )

    @model_validator(mode="after")
    def _traces_have_proxies(self) -> SettingsFile:
        if self.traces is not None and self.traces.continue_proxy_traces and not self.trusted_proxies:
            raise refused(
                "has continue_proxy_traces, which has no effect without trusted_proxies", key="traces"
            )
        return self


def load_settings(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Return the settings of a file (None: no file) and of `PORTAL_*` variables, which take precedence.

    Raises: ConfigurationError with every problem, naming file, line and column, or the variable.
    """
    document = Document("the defaults", {}) if path is None else read_document(path)
    from_environ, problems = _from_environ(environ)
    merged = _merge(document.root, from_environ)

    def place(at: KeyPath, of_key: bool) -> str:
        variable = _variable_of(at, from_environ)
        return variable or document.place(at, key=of_key)

    try:
        made = validate(SettingsFile, merged, place=place, allow_null=True)
    except ConfigurationError as error:
        raise ConfigurationError([*problems, *error.problems]) from None
    if problems:
        raise ConfigurationError(problems)
    folder = path.parent if path is not None else Path()
    written = {key for key in document.root if (key,) not in from_environ}
    of_logo = folder if "product" in written and ("product", "logo") not in from_environ else Path()
    product = product_of(made.product, of_logo, place)
    front_ends = front_ends_of(
        made.front_ends,
        public_url=made.public_url,
        listen=made.listen,
        folder=folder if "front_ends" in written else Path(),
        place=place,
    )
    events = event_settings(
        made.events,
        folder=folder if "events" in written else Path(),
        environ=environ,
        allow_private_networks=made.allow_private_networks,
        log_level=made.log.level,
        place=place,
    )
    settings = _settings(made, dict.fromkeys(written, folder), product)
    return replace(settings, front_ends=front_ends, events=events)


def _settings(made: SettingsFile, folders: Mapping[str, Path], product: Product) -> Settings:
    return Settings(
        public_url=made.public_url,
        listen=made.listen,
        tenants=folders.get("tenants", Path()) / made.tenants,
        presets=folders.get("presets", Path()) / made.presets if made.presets else None,
        max_removed_percent=made.max_removed_percent,
        database=_database_in(folders.get("database", Path()), made.database),
        keys=folders.get("keys", Path()) / made.keys,
        processes=made.processes,
        server=made.server,
        trusted_proxies=tuple(made.trusted_proxies),
        allow_private_networks=made.allow_private_networks,
        session=SessionSettings(made.session.idle, made.session.absolute),
        metrics_listen=made.metrics_listen,
        metrics=MetricSettings(made.metrics.tenants),
        traces=made.traces.settings() if made.traces is not None else None,
        log=LogSettings(made.log.format, made.log.level),
        limits=made.limits.settings(),
        domains=DomainSettings(tuple(made.domains.nameservers)),
        product=product,
        operators=tuple(Operator(one.tenant, one.account_rule()) for one in made.operators),
        chooser=made.chooser,
        forward_auth=ForwardAuthSettings(made.forward_auth.secret),
        setup_links=made.setup_links,
    )


def _database_in(folder: Path, url: str) -> str:
    return SQLITE + str(folder / url.removeprefix(SQLITE)) if url.startswith(SQLITE) else url


# --- environment


def _variables() -> dict[str, KeyPath]:
    """The setting of each variable."""
    variables: dict[str, KeyPath] = {}
    for key, field_ in SettingsFile.model_fields.items():
        variables[f"{PREFIX}{key.upper()}"] = (key,)
        inner = field_.annotation
        if isinstance(inner, type) and issubclass(inner, FileModel):
            for name in inner.model_fields:
                variables[f"{PREFIX}{key.upper()}_{name.upper()}"] = (key, name)
    return variables


def _from_environ(environ: Mapping[str, str]) -> tuple[dict[KeyPath, object], list[Problem]]:
    known = _variables()
    found: dict[KeyPath, object] = {}
    problems: list[Problem] = []
    for name in sorted(environ):
        if name in known:
            try:
                found[known[name]] = _value(known[name], environ[name], name)
            except ConfigurationError as error:
                problems += error.problems
        elif name.startswith(PREFIX) and not _is_unrelated(name, environ[name]):
            problems.append(Problem(name, f"unknown variable{nearest(name, known)}"))
    return found, problems


def _is_unrelated(name: str, value: str) -> bool:
    if name in _OTHER_VARIABLES or name.startswith("PORTAL_TEST_"):
        return True
    if name == "PORTAL_PORT":
        return re.match(r"(tcp|udp|sctp)://", value) is not None
    return _SERVICE_LINKS.fullmatch(name) is not None


def _value(path: KeyPath, text: str, name: str) -> object:
    annotation = SettingsFile.model_fields[str(path[0])].annotation
    if path in (("trusted_proxies",), ("domains", "nameservers")):
        return [part.strip() for part in text.split(",") if part.strip()]
    if path in (("metrics_listen",), ("presets",)) and text in ("", "null"):
        return None
    if (
        path[0] in ("limits", "metrics")
        or path in (("processes",), ("allow_private_networks",), ("max_removed_percent",), ("operators",))
        or path in (("front_ends",), ("traces",), ("events", "webhook"), ("events", "log"))
        or (len(path) == 1 and isinstance(annotation, type) and issubclass(annotation, FileModel))
    ):
        return parse_inline(text, name)
    return text


def _merge(root: Mapping[str, object], found: Mapping[KeyPath, object]) -> dict[str, object]:
    merged = dict(root)
    for path, value in sorted(found.items(), key=lambda item: len(item[0])):
        key = str(path[0])
        if len(path) == 1:
            merged[key] = value
            continue
        holder = merged.get(key)
        merged[key] = {**(holder if isinstance(holder, dict) else {}), str(path[1]): value}
    return merged


def _variable_of(at: KeyPath, found: Mapping[KeyPath, object]) -> str | None:
    names = {path: name for name, path in _variables().items()}
    for length in (2, 1):
        if at[:length] in found:
            return names[at[:length]]
    return None
