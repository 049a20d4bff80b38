"""Settings from a file, from the environment, and by default."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portal.config.settings import LogSettings, SessionSettings, Settings, load_settings
from portal.config.trace_settings import TraceSettings
from portal.errors import ConfigurationError
from portal.secret import Secret

EVERYTHING = """\
public_url: https://Portal.example:443/
listen: unix:/run/portal.sock
tenants: tenants
database: sqlite:///data/portal.db
keys: ../keys.json
processes: 0
trusted_proxies: [10.0.0.7, "fd00::/8"]
allow_private_networks: true
session: {idle: 30m, absolute: 8h}
metrics_listen: 127.0.0.1:9090
log: {format: json, level: debug}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "portal.yaml"
    path.write_text(text)
    return path


def problems(path: Path | None, environ: Mapping[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(path, environ or {})
    folder = f"{path.parent}/" if path else ""
    return [str(problem).replace(folder, "") for problem in caught.value.problems]


def test_without_a_file_the_documented_defaults_are_used() -> None:
    assert load_settings(None, {}) == Settings() == Settings(
        public_url="http://localhost:8080",
        listen="127.0.0.1:8080",
        tenants=Path("tenants"),
        database="sqlite:///var/portal.db",
        keys=Path("var/keys.json"),
        processes=1,
        trusted_proxies=(),
        allow_private_networks=False,
        session=SessionSettings(idle=3600.0, absolute=43200.0),
        metrics_listen=None,
        log=LogSettings(format="console", level="info"),
    )  # fmt: skip


def test_every_key_of_a_file_is_read_and_its_paths_are_relative_to_it(tmp_path: Path) -> None:
    assert load_settings(written(tmp_path, EVERYTHING), {}) == Settings(
        public_url="https://portal.example",
        listen="unix:/run/portal.sock",
        tenants=tmp_path / "tenants",
        database=f"sqlite:///{tmp_path}/data/portal.db",
        keys=tmp_path / "../keys.json",
        processes=0,
        trusted_proxies=(ipaddress.ip_network("10.0.0.7"), ipaddress.ip_network("fd00::/8")),
        allow_private_networks=True,
        session=SessionSettings(1800.0, 28800.0),
        metrics_listen="127.0.0.1:9090",
        log=LogSettings("json", "debug"),
    )


def test_absolute_paths_are_not_changed(tmp_path: Path) -> None:
    text = "tenants: /etc/tenants\nkeys: /var/keys.json\ndatabase: sqlite:////var/portal.db\n"
    made = load_settings(written(tmp_path, text), {})
    assert (made.tenants, made.keys) == (Path("/etc/tenants"), Path("/var/keys.json"))
    assert made.database == "sqlite:////var/portal.db"


def test_defaults_are_relative_to_the_working_directory(tmp_path: Path) -> None:
    made = load_settings(written(tmp_path, "{}\n"), {})
    assert (made.tenants, made.keys, made.database) == (
        Path("tenants"),
        Path("var/keys.json"),
        "sqlite:///var/portal.db",
    )


def test_every_variable_takes_precedence_over_the_file(tmp_path: Path) -> None:
    environ = {
        "PORTAL_PUBLIC_URL": "https://other.example:8443",
        "PORTAL_LISTEN": ":80",
        "PORTAL_TENANTS": "t",
        "PORTAL_DATABASE": "mongodb://u:pw@db.example/portal?replicaSet=r",
        "PORTAL_KEYS": "k.json",
        "PORTAL_PROCESSES": "4",
        "PORTAL_TRUSTED_PROXIES": "10.1.0.0/16, 10.2.0.1",
        "PORTAL_ALLOW_PRIVATE_NETWORKS": "false",
        "PORTAL_SESSION_IDLE": "5m",
        "PORTAL_METRICS_LISTEN": "",
        "PORTAL_LOG_LEVEL": "error",
        "HOME": "/root",
    }
    assert load_settings(written(tmp_path, EVERYTHING), environ) == Settings(
        public_url="https://other.example:8443",
        listen=":80",
        tenants=Path("t"),
        database="mongodb://u:pw@db.example/portal?replicaSet=r",
        keys=Path("k.json"),
        processes=4,
        trusted_proxies=(ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("10.2.0.1")),
        allow_private_networks=False,
        session=SessionSettings(300.0, 28800.0),
        metrics_listen=None,
        log=LogSettings("json", "error"),
    )


def test_a_variable_of_a_key_takes_precedence_over_that_of_its_mapping() -> None:
    environ = {"PORTAL_SESSION": "{idle: 1m, absolute: 2m}", "PORTAL_SESSION_ABSOLUTE": "3m"}
    assert load_settings(None, environ).session == SessionSettings(60.0, 180.0)


def test_a_list_can_be_emptied_by_the_environment(tmp_path: Path) -> None:
    made = load_settings(written(tmp_path, EVERYTHING), {"PORTAL_TRUSTED_PROXIES": ""})
    assert made.trusted_proxies == ()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("public_ulr: x\n", 'portal.yaml:1:1: unknown key "public_ulr"; did you mean "public_url"?'),
        ("session: {ilde: 1h}\n", 'portal.yaml:1:11: unknown key "ilde" in session; did you mean "idle"?'),
        (
            "log:\n  format: jsn\n",
            'portal.yaml:2:11: log.format is "jsn"; expected one of: console, json; did you mean "json"?',
        ),
        ("processes: many\n", "portal.yaml:1:12: processes must be a whole number, found text"),
        ("processes: true\n", "portal.yaml:1:12: processes must be a whole number, found true"),
        ("processes: -1\n", "portal.yaml:1:12: processes must be at least 0"),
        ("processes: 1000\n", "portal.yaml:1:12: processes must be at most 256"),
        (
            "public_url: http://portal.example\n",
            "portal.yaml:1:13: public_url must be an https URL (http only for localhost)",
        ),
        (
            "public_url: https://portal.example/app\n",
            "portal.yaml:1:13: public_url must be a URL without a path: the portal needs its own host "
            "name, found text",
        ),
        (
            "public_url: https://portal.example?\n",
            "portal.yaml:1:13: public_url must be a URL without a path: the portal needs its own host "
            "name, found text",
        ),
        (
            "public_url: https://u:pw@portal.example\n",
            "portal.yaml:1:13: public_url is refused: the URL must not contain a user name or password",
        ),
        (
            "listen: 8080\n",
            "portal.yaml:1:9: listen must be text, found a number; put it in quotes",
        ),
        (
            "listen: localhost\n",
            "portal.yaml:1:9: listen must be host:port, such as 127.0.0.1:8080, or unix:/run/portal.sock, "
            "found text",
        ),
        (
            "listen: localhost:99999\n",
            "portal.yaml:1:9: listen must be host:port, such as 127.0.0.1:8080, or unix:/run/portal.sock, "
            "found text",
        ),
        (
            "listen: unix:relative.sock\n",
            "portal.yaml:1:9: listen must be host:port, such as 127.0.0.1:8080, or unix:/run/portal.sock, "
            "found text",
        ),
        (
            "database: mysql://u:pw@db/portal\n",
            "portal.yaml:1:11: database must be sqlite:///relative/path.db, sqlite:////absolute/path.db or "
            "mongodb://host/name",
        ),
        (
            "database: sqlite:///\n",
            "portal.yaml:1:11: database must be sqlite:///relative/path.db, sqlite:////absolute/path.db or "
            "mongodb://host/name",
        ),
        (
            "trusted_proxies: [10.0.0.0/33]\n",
            "portal.yaml:1:19: trusted_proxies[1] must be an address such as 10.0.0.7 or a network such as "
            "10.0.0.0/24, found text",
        ),
        (
            "trusted_proxies: [10.0.0.1/24]\n",
            "portal.yaml:1:19: trusted_proxies[1] must be an address such as 10.0.0.7 or a network such as "
            "10.0.0.0/24, found text",
        ),
        (
            "processes: 1\noperators: [{tenant: acme, claim: email}]\n",
            "portal.yaml:2:13: operators[1] lacks a comparison: one of equals, one_of, contains, "
            "contains_any, contains_all, ends_with, present",
        ),
        ("session: {idle: 13h}\n", "portal.yaml:1:17: session.idle is longer than session.absolute"),
        ("session: {idle: 0s}\n", "portal.yaml:1:17: session.idle must be at least 1s"),
        ("log: json\n", "portal.yaml:1:6: log must be a mapping, found text"),
        ("tenants:\n", "portal.yaml:1:9: tenants must be text, found nothing"),
    ],
)
def test_a_mistake_in_the_file_is_reported_with_its_place(tmp_path: Path, text: str, problem: str) -> None:
    assert problems(written(tmp_path, text)) == [problem]


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("PORTAL_SESION_IDLE", "1h", 'unknown variable; did you mean "PORTAL_SESSION_IDLE"?'),
        (
            "PORTAL_SESSION_IDLE",
            "1x",
            "session.idle must be a duration such as 90s, 10m, 12h or 7d, at most 366d, found text",
        ),
        ("PORTAL_PROCESSES", "two", "processes must be a whole number, found text"),
        ("PORTAL_ALLOW_PRIVATE_NETWORKS", "yes", "allow_private_networks must be true or false, found text"),
        ("PORTAL_LOG", "[", "is not a YAML value on one line"),
        ("PORTAL_LOG", "{fromat: json}", 'unknown key "fromat" in log; did you mean "format"?'),
        (
            "PORTAL_OPERATORS",
            "[{claim: email, present: true}]",
            'operators[1] lacks the key "tenant": the tenant at which they sign in, by its slug; it must '
            "have a tenant file",
        ),
        (
            "PORTAL_TRUSTED_PROXIES",
            "10.0.0.1;10.0.0.2",
            "trusted_proxies[1] must be an address such as 10.0.0.7 or "
            "a network such as 10.0.0.0/24, found text",
        ),
        (
            "PORTAL_LISTEN",
            "",
            "listen must be host:port, such as 127.0.0.1:8080, or unix:/run/portal.sock, found text",
        ),
        ("PORTAL_LOG", "{format: xml}", "log.format must be one of: console, json"),
        ("PORTAL_PORT", "8080", 'unknown variable; did you mean "PORTAL_PRODUCT"?'),
    ],
)
def test_a_mistake_in_the_environment_is_reported_with_its_variable(
    name: str, value: str, problem: str
) -> None:
    assert f"{name}: {problem}" in problems(None, {name: value})


def test_problems_of_file_and_environment_are_reported_together(tmp_path: Path) -> None:
    path = written(tmp_path, "nope: 1\nlisten: x\n")
    found = problems(path, {"PORTAL_NOPE": "1", "PORTAL_PROCESSES": "x"})
    assert [problem.split(": ")[0] for problem in found] == [
        "PORTAL_NOPE",
        "PORTAL_PROCESSES",
        "portal.yaml:1:1",
        "portal.yaml:2:9",
    ]


def test_a_valid_variable_replaces_an_invalid_value_of_the_file(tmp_path: Path) -> None:
    made = load_settings(written(tmp_path, "listen: wrong\n"), {"PORTAL_LISTEN": "127.0.0.1:1"})
    assert made.listen == "127.0.0.1:1"


def test_unrelated_variables_are_ignored() -> None:
    environ = {
        "PORTAL_CONFIG": "portal.yaml",
        "PORTAL_TEST_ANYTHING": "1",
        "PORTAL_SERVICE_HOST": "10.0.0.1",
        "PORTAL_SERVICE_PORT": "80",
        "PORTAL_SERVICE_PORT_HTTP": "80",
        "PORTAL_PORT": "tcp://10.0.0.1:80",
        "PORTAL_PORT_80_TCP": "tcp://10.0.0.1:80",
        "PORTAL_PORT_80_TCP_ADDR": "10.0.0.1",
        "PORTALS": "1",
    }
    assert load_settings(None, environ) == Settings()


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    assert problems(tmp_path / "none.yaml") == ["none.yaml: there is no such file"]


def test_the_password_of_the_database_is_never_quoted() -> None:
    made = load_settings(None, {"PORTAL_DATABASE": "mongodb://u:hunter2@db.example/portal"})
    assert "hunter2" not in repr(made)
    for url in ("mongo://u:hunter2@db/portal", "mongodb://u:hunter2@db", "mongodb://u:hunter2@ db/portal"):
        assert "hunter2" not in str(problems(None, {"PORTAL_DATABASE": url}))


@pytest.mark.parametrize(
    ("url", "origin", "host"),
    [
        ("http://localhost:8080", "http://localhost:8080", "localhost"),
        ("http://localhost:80/", "http://localhost", "localhost"),
        ("http://[::1]:8080", "http://[::1]:8080", "::1"),
        ("http://portal.localhost:8080", "http://portal.localhost:8080", "portal.localhost"),
        ("https://10.0.0.7", "https://10.0.0.7", "10.0.0.7"),
        ("HTTPS://Portal.Example:443", "https://portal.example", "portal.example"),
    ],
)
def test_the_public_url_is_an_origin(url: str, origin: str, host: str) -> None:
    made = load_settings(None, {"PORTAL_PUBLIC_URL": url})
    assert (made.public_url, made.public_host) == (origin, host)


NAMES = st.sampled_from(["PUBLIC_URL", "LISTEN", "DATABASE", "PROCESSES", "OPERATORS", "SESSION", "LOG_LEVEL",
                         "TRUSTED_PROXIES", "METRICS_LISTEN", "TENANTS"])  # fmt: skip


@settings(deadline=None)
@given(st.dictionaries(NAMES.map("PORTAL_{}".format), st.text(max_size=30), max_size=4))
def test_any_environment_gives_settings_or_problems(environ: dict[str, str]) -> None:
    found = None
    try:
        load_settings(None, environ)
    except ConfigurationError as error:
        found = error.problems
    assert found is None or {problem.place for problem in found} <= set(environ)


def test_the_folder_of_presets_is_relative_to_the_file_or_to_the_working_directory(tmp_path: Path) -> None:
    path = tmp_path / "portal.yaml"
    path.write_text("presets: ./presets\n")
    assert load_settings(path, {}).presets == tmp_path / "presets"
    assert load_settings(path, {"PORTAL_PRESETS": "elsewhere"}).presets == Path("elsewhere")
    assert load_settings(path, {"PORTAL_PRESETS": ""}).presets is None
    assert load_settings(None, {}).presets is None


@pytest.mark.parametrize(("text", "days"), [("1d", 1), ("90d", 90), ("3650d", 3650)])
def test_events_are_kept_for_days(text: str, days: int) -> None:
    settings = load_settings(None, {"PORTAL_EVENTS_RETENTION": text})
    assert settings.events.retention == days * 86_400


_SECRET = "whsec_" + "A" * 32


def test_events_are_delivered_where_the_settings_say(tmp_path: Path) -> None:
    path = tmp_path / "portal.yaml"
    path.write_text(
        'events: {log: true, webhook: {url: "https://siem.example/in?t=1", secret: "${EVENTS_SECRET}"}}'
    )
    events = load_settings(path, {"EVENTS_SECRET": _SECRET}).events
    assert events.log
    assert events.webhook is not None
    assert (events.webhook.url, events.webhook.key) == ("https://siem.example/in?t=1", bytes(24))
    assert "siem" not in repr(events)
    assert "\\x00" not in repr(events)
    (tmp_path / "secret").write_text(f"{_SECRET}\n")
    path.write_text('events: {webhook: {url: "https://siem.example/", secret: "file:secret"}}')
    assert load_settings(path, {}).events.webhook is not None
    variable = f"{{url: 'https://siem.example/', secret: {_SECRET}}}"
    assert load_settings(None, {"PORTAL_EVENTS_WEBHOOK": variable}).events.webhook is not None
    assert load_settings(None, {"PORTAL_EVENTS_LOG": "true"}).events.log


@pytest.mark.parametrize(
    ("url", "secret", "message"),
    [
        ("http://siem.example/", _SECRET, "events.webhook.url must be an https URL"),
        ("https://10.0.0.1/", _SECRET, "events.webhook.url is refused: it leads to a private address"),
        ("https://u:p@siem.example/", _SECRET, "events.webhook.url is refused"),
        ("https://siem.example/", "whsec_AAAA", "events.webhook.secret is not whsec_"),
        ("https://siem.example/", "A" * 32, "events.webhook.secret is not whsec_"),
        ("https://siem.example/", "whsec_" + "A" * 100, "events.webhook.secret is not whsec_"),
        ("https://siem.example/", "${UNSET}", "events.webhook.secret needs the environment variable UNSET"),
        ("https://siem.example/", "file:missing", "events.webhook.secret needs a file"),
    ],
)
def test_a_receiver_of_events_that_cannot_be_used_is_refused(
    tmp_path: Path, url: str, secret: str, message: str
) -> None:
    path = tmp_path / "portal.yaml"
    path.write_text(f'events:\n  webhook:\n    url: "{url}"\n    secret: "{secret}"\n')
    with pytest.raises(ConfigurationError) as caught:
        load_settings(path, {})
    (problem,) = caught.value.problems
    assert problem.message.startswith(message)
    assert problem.place == f"{path}:{3 if '.url' in message else 4}:{10 if '.url' in message else 13}"
    assert "AAAA" not in str(problem)


def test_events_in_a_log_that_leaves_them_out_are_refused() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(None, {"PORTAL_EVENTS_LOG": "true", "PORTAL_LOG_LEVEL": "warning"})
    assert "PORTAL_EVENTS_LOG: events.log has no effect with log.level: warning" in str(caught.value)


@pytest.mark.parametrize("text", ["0d", "3651d", "24h", "90", "-1d", "99999d", "d", "90 d", ""])
def test_a_retention_of_events_that_is_not_days_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(None, {"PORTAL_EVENTS_RETENTION": text})
    assert "a number of days from 1d to 3650d, such as 90d" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("9.9.9.9", ("9.9.9.9", 53)),
        ("127.0.0.1:5353", ("127.0.0.1", 5353)),
        ("2620:fe::fe", ("2620:fe::fe", 53)),
        ("[::1]:5353", ("::1", 5353)),
    ],
)
def test_name_servers_are_addresses_with_or_without_a_port(text: str, expected: tuple[str, int]) -> None:
    settings = load_settings(None, {"PORTAL_DOMAINS_NAMESERVERS": f"{text}, 1.1.1.1"})
    assert settings.domains.nameservers == (expected, ("1.1.1.1", 53))


@pytest.mark.parametrize(
    "text", ["dns.example", "9.9.9", "9.9.9.9:0", "9.9.9.9:65536", "::1:5353:x", "[::1]", "1.2.3.4/8"]
)
def test_other_name_servers_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(None, {"PORTAL_DOMAINS_NAMESERVERS": text})
    assert "an IP address such as 9.9.9.9" in str(caught.value)


def test_the_secret_of_proxies_is_long_and_never_shown(tmp_path: Path) -> None:
    secret = "0123456789abcdef" * 2
    made = load_settings(None, {"PORTAL_FORWARD_AUTH_SECRET": secret})
    assert made.forward_auth.secret == Secret(secret)
    assert secret not in repr(made)
    for wrong in (secret[1:], f"{secret} ", f"{secret}\u00fc", secret * 17):
        (found,) = problems(written(tmp_path, f'forward_auth: {{secret: "{wrong}"}}\n'))
        assert "forward_auth.secret must be 32 to 512 printable ASCII characters" in found
        assert wrong not in found


@pytest.mark.parametrize(
    ("endpoint", "why"),
    [
        ("localhost:4318", "http or https URL"),
        ("ftp://collector.example/v1/traces", "http or https URL"),
        ("http:///v1/traces", "http or https URL"),
        ("http://collector.example:0/v1/traces", "http or https URL"),
        ("http://collector.example:99999/v1/traces", "http or https URL"),
        ("http://user:secret@collector.example/v1/traces", "without user, query and fragment"),
        ("http://collector.example/v1/traces?key=secret", "without user, query and fragment"),
        ("http://collector.example/v1/traces#top", "without user, query and fragment"),
        ("http://collector.example:4318", "with a path, which is /v1/traces at most collectors"),
        ("http://collector.example:4318/", "with a path, which is /v1/traces at most collectors"),
    ],
)
def test_the_url_of_a_collector_is_checked(tmp_path: Path, endpoint: str, why: str) -> None:
    [problem] = problems(written(tmp_path, f"traces: {{endpoint: '{endpoint}'}}\n"))
    assert problem.startswith("portal.yaml:1:")
    assert why in problem
    assert "secret" not in problem


def test_traces_are_read_from_the_file_or_the_environment(tmp_path: Path) -> None:
    path = written(tmp_path, "traces: {endpoint: 'http://localhost:4318/v1/traces', sample: 0.1}\n")
    assert load_settings(path, {}).traces == TraceSettings("http://localhost:4318/v1/traces", 0.1)
    text = "{endpoint: 'https://collector.example/v1/traces', service_name: portal-2,"
    text += " continue_proxy_traces: true}"
    proxies = {"PORTAL_TRUSTED_PROXIES": "10.0.0.0/24"}
    of_environment = TraceSettings("https://collector.example/v1/traces", 1.0, "portal-2", True)
    assert load_settings(path, {"PORTAL_TRACES": text, **proxies}).traces == of_environment
    [problem] = problems(written(tmp_path, f"traces: {text}\n"))
    assert "traces has continue_proxy_traces, which has no effect without trusted_proxies" in problem
    path = written(tmp_path, "traces: {endpoint: 'http://localhost:4318/v1/traces', sample: 0.1}\n")
    assert load_settings(path, {"PORTAL_TRACES": "null"}).traces is None
    [problem] = problems(written(tmp_path, "traces: {endpoint: 'http://localhost/v1/traces', sample: 2}\n"))
    assert "sample" in problem
