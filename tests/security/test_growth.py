"""THREATS D1: no untrusted text takes a parser more than linear time or blocks the event loop.

Times are CPU times of this thread, the best of several runs, to reduce the effect of a busy machine.
"""

from __future__ import annotations

import ast
import contextlib
import gc
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import portal
from tests.kit.tracing import untraced
from tests.security.hostile_inputs import EXPECTED_ERRORS, PARSERS, Parser, Write

MAX_GROWTH = 2.6
"""The factor by which the time may grow when the input doubles."""
HARMLESS = 0.004
"""Seconds: growth is not checked when the largest input takes less."""
MAX_SECONDS = 0.040
"""Seconds that the largest input may take: the rule is 0.010, a busy machine takes longer."""
ROUNDS = 4
"""Measurements before a parser is reported as too slow."""


def seconds(run: Callable[[str], object], text: str, *, times: int) -> float:
    """CPU time of the fastest run."""
    best = float("inf")
    with untraced():
        for _ in range(times):
            started = time.thread_time()
            with contextlib.suppress(*EXPECTED_ERRORS):
                run(text)
            best = min(best, time.thread_time() - started)
    return best


def growth(parser: Parser, write: Write) -> tuple[float, float]:
    """The time of the largest input relative to half of it, and its seconds."""
    largest = write(parser.largest)
    whole = seconds(parser.run, largest, times=1)
    if whole < HARMLESS:
        return 1.0, whole
    whole = min(whole, seconds(parser.run, largest, times=2))
    return whole / max(seconds(parser.run, write(parser.largest // 2), times=2), 1e-9), whole


def slow_shapes(parser: Parser) -> Iterator[str]:
    """The inputs that the parser is too slow for."""
    for shape, write in parser.shapes.items():
        for _ in range(ROUNDS):
            factor, whole = growth(parser, write)
            if factor <= MAX_GROWTH and (parser.thread or whole <= MAX_SECONDS):
                break
        else:
            yield f"{shape}: {parser.largest} characters take {whole * 1e3:.1f} ms, {factor:.1f} times half"


def _name(parser: Parser) -> str:
    return f"{parser.function.__module__.rpartition('.')[2]}.{parser.function.__name__}"


@pytest.fixture(autouse=True)
def _no_collection() -> Iterator[None]:
    """Exclude garbage collection from the measured time."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("parser", PARSERS, ids=_name)
def test_D1_no_text_takes_a_parser_more_than_linear_time(parser: Parser) -> None:
    assert not list(slow_shapes(parser))


@pytest.mark.parametrize("parser", PARSERS, ids=_name)
def test_D1_each_entry_reaches_the_function_that_it_names(parser: Parser) -> None:
    """An entry measures nothing if an earlier check refuses its text."""
    function: Any = parser.function
    expected_code = getattr(function, "__func__", function).__code__
    reached = 0

    def called(frame: FrameType, event: str, _: object) -> None:
        nonlocal reached
        reached += event == "call" and frame.f_code is expected_code

    for write in parser.shapes.values():
        before = sys.getprofile()
        sys.setprofile(called)
        try:
            with contextlib.suppress(*EXPECTED_ERRORS):
                parser.run(write(min(parser.largest, 400)))
        finally:
            sys.setprofile(before)
    assert reached >= len(parser.shapes) // 2


# --- no parser is missing


PARSING = frozenset(
    {"base64", "binascii", "dns", "httptools", "idna", "ipaddress", "jose", "json", "re", "urllib", "yaml"}
)
"""A module that imports one of these packages may parse text."""

NO_UNTRUSTED_INPUT = {
    "portal.config.trace_settings": "input of the operator",
    "portal.web.request_spans": "compares a path with the pattern that routed it",
    "portal.admin.all_logins": "sealed by the portal, at most 32,000 characters",
    "portal.oidc.shared_health": "written by processes of the portal, at most 16,000 bytes",
    "portal.admin.event_delivery": "stored by the portal",
    "portal.admin.event_json": "writes",
    "portal.admin.event_webhook": "writes; of the response, the status counts",
    "portal.admin.file_events": "stored by the portal",
    "portal.web.try_again": "writes",
    "portal.cli.doctor.addresses": "a response of at most 64 KB; a command",
    "portal.cli.doctor.database": "stored by the portal; a command",
    "portal.cli.doctor.proxy": "a response of at most 8 KB; a command",
    "portal.cli.doctor.report": "writes",
    "portal.admin.person": "texts of at most 1,000 characters, stored by the portal; a command",
    "portal.admin.subject_export": "stored by the portal; a command",
    "portal.admin.store_check": "stored by the portal; a command, which runs beside it",
    "portal.cli.store_check": "writes",
    "portal.web.sign_in_window": "writes",
    "portal.sessions.waiting_logins": "stored by the portal, sealed",
    "portal.stores.mongo.events": "writes a pattern without operators",
    "portal.stores.sqlite.events": "writes",
    "portal.stores.tenant_records": "writes",
    "portal.web.admin.all_sessions": "writes",
    "portal.web.languages.language": "splits the messages of the catalogues",
    "portal.web.language_choice": "compares at most 1,000 characters with one pattern",
    "portal.web.api_proxy.admission": "one pattern of bounded length at the beginning of a path",
    "portal.config.svg_references": "called by logo_of only, which is measured with its inputs",
    "portal.admin.actors": "stored by the portal",
    "portal.admin.draft_state": "stored by the portal, sealed; read in a thread",
    "portal.admin.publication": "writes",
    "portal.admin.test_redirect_uris": "writes",
    "portal.web.admin.test_login_views": "splits the issuer of a valid draft",
    "portal.admin.tenants": "writes",
    "portal.admin.file_sign_ins": "stored by the portal",
    "portal.stores.sqlite.tenant_logins": "stored by the portal",
    "portal.admin.summaries": "writes",
    "portal.admin.organisation_name": "one line of at most 300 characters of a stored draft",
    "portal.web.admin.diff": "a pattern of bounded length at the beginning of a line",
    "portal.web.admin.events": "one pattern of a fixed length",
    "portal.web.admin.reference": "the routes",
    "portal.admin.logins": "references that the vault has opened",
    "portal.web.admin.revisions": "stored by the portal",
    "portal.web.admin.overview": "writes",
    "portal.web.admin.sessions": "writes",
    "portal.admin.content": "contents of at most 256 KB that yaml_document.parse_document has read before",
    "portal.admin.yaml_text": "writes",
    "portal.admin.yaml_places": "marks of the parser, and one line break",
    "portal.admin.check_runs": "stored by the portal",
    "portal.admin.general_form": "fields of at most 4,000 characters; patterns that do not backtrack",
    "portal.admin.provider_entries": "fields of at most 300 characters",
    "portal.admin.problem_words": "messages of the portal, which quote no text; bounded patterns",
    "portal.admin.provider_form": "fields of at most 20,000 characters; patterns for those of at most 500",
    "portal.tenancy.checks.preset_guide": "presets",
    "portal.web.admin.asked_views": "writes",
    "portal.web.admin.provider_views": "presets",
    "portal.cli.live_report": "writes",
    "portal.tenancy.checks.live.authorization": "bounded responses; pages and JSON are measured",
    "portal.tenancy.checks.live.connection": "bounded responses; pages and JSON are measured",
    "portal.tenancy.checks.live.discovery": "bounded responses; pages and JSON are measured",
    "portal.tenancy.checks.live.endpoints": "bounded responses; pages and JSON are measured",
    "portal.tenancy.checks.live.model": "bounded responses; pages and JSON are measured",
    "portal.tenancy.checks.live.stated_urls": "bounded responses; pages and JSON are measured",
    "portal.cli.claims_report": "a file of the operator",
    "portal.cli.sessions": "writes",
    "portal.cli.main": "input of the operator",
    "portal.cli.key_report": "writes",
    "portal.cli.source_lines": "a file of the operator",
    "portal.config.source_lines": "splits a text at line breaks, with one pattern that does not backtrack",
    "portal.config.settings": "input of the operator",
    "portal.config.event_settings": "input of the operator",
    "portal.config.setting_types": "input of the operator",
    "portal.config.domain_settings": "input of the operator",
    "portal.config.forward_auth_settings": "input of the operator",
    "portal.web.forward_auth.response": "writes",
    "portal.web.admin.domains": "writes",
    "portal.config.claim_rules": "values of tenant files and settings, read in a thread",
    "portal.config.product": "input of the operator",
    "portal.config.front_ends": "input of the operator",
    "portal.config.policy_sources": "values of tenant files, read in a thread",
    "portal.web.front_ends.development": "one character class; decode_fully, which is measured",
    "portal.web.front_ends.service": "one pattern of a path segment, after one unquote",
    "portal.web.admin.drafts": "one pattern of a fixed length",
    "portal.web.product_files": "one pattern of a fixed length",
    "portal.oidc.jose.algorithms": "makes keys of members that keys.parse_key_set has bounded",
    "portal.oidc.api_errors": "writes",
    "portal.oidc.api_target": "writes",
    "portal.oidc.abnf": "makes patterns of one character class",
    "portal.oidc.authorization": "writes",
    "portal.oidc.certificate_key": "private keys of tenant files, which OpenSSL has read before",
    "portal.oidc.client_authentication": "writes",
    "portal.oidc.jose.key_material": "the portal's own keys",
    "portal.oidc.logout": "writes",
    "portal.oidc.client_keys": "the portal's own keys",
    "portal.oidc.request_protection": "parses with json_reading.read_object and one simple pattern",
    "portal.outbound.tls": "certificates of tenant files; its pattern does not backtrack",
    "portal.ops.access_log": "writes",
    "portal.routes": "patterns of one path segment each, which do not backtrack",
    "portal.sessions.stored_attempts": "responses whose parameters authorization_response has bounded",
    "portal.sessions.sealed_attempt": "decrypted by the vault",
    "portal.stores.claims_codec": "stored by the portal",
    "portal.stores.sqlite.own_changes": "keys of rows",
    "portal.sessions.generation_check": "stored by the portal",
    "portal.stores.generation": "stored by the portal",
    "portal.keys.key_file": "the portal's own keys",
    "portal.keys.key_ring_check": "stored by the portal",
    "portal.keys.key_ring": "the portal's own keys",
    "portal.stores.mongo.connection": "input of the operator",
    "portal.sessions.registrations": "stored by the portal",
    "portal.tenancy.owner_record": "stored by the portal, read at a start or in a thread",
    "portal.web.assets": "templates, at a start",
    "portal.stores.sqlite.store": "stored by the portal",
    "portal.stores.sqlite.reading": "stored by the portal",
    "portal.stores.sqlite.checks": "writes",
    "portal.keys.token_codec": "decrypted by the vault",
    "portal.tenancy.schema.access": "values of tenant files, read in a thread",
    "portal.config.field_types": "values of tenant files, read in a thread",
    "portal.oidc.signed_client_secret": "keys of tenant files, read in a thread",
    "portal.tenancy.checks.preset_warnings": "values of tenant files, read in a thread",
    "portal.tenancy.presets.catalog": "values of tenant files and presets, read in a thread",
    "portal.tenancy.presets.model": "values of tenant files and presets, read in a thread",
    "portal.tenancy.presets.pages": "writes",
    "portal.tenancy.presets.preset_files": "input of the operator",
    "portal.tenancy.presets.schema": "input of the operator",
    "portal.tenancy.presets.templates": "values of tenant files and presets, read in a thread",
    "portal.tenancy.schema.client_secret": "values of tenant files, read in a thread",
    "portal.tenancy.schema.preset": "values of tenant files, read in a thread",
    "portal.tenancy.reference": "writes",
    "portal.tenancy.schema.requested_claims": "values of tenant files, read in a thread",
    "portal.config.secret_references": "values of tenant files, read in a thread",
    "portal.config.validation": "values of tenant files, read in a thread",
    "portal.web.callback": "writes",
    "portal.web.sign_in_page": "writes",
    "portal.web.views": "writes",
    "portal.web.server.dispatch": "one plain pattern for the host",
    "portal.web.step_up_errors": "writes",
    "portal.web.login": "writes",
    "portal.web.provider_logout": "parse_qs with 16 fields at most",
    "portal.web.registration": "writes",
    "portal.web.session_streams": "writes",
}
"""Modules that import such a package but parse no untrusted input, and why."""

HARMLESS_FUNCTIONS = {
    "step_up.step_up_url": "required_step_up, which is measured",
    "stored_texts.values_between": "StoredTexts.translate and ProblemTexts.translate, which are measured",
    "list_editing.origins": "compares values, at most 20 of a form; reached by set_entries",
    "problems.prefers_json": "two searches of a word in a header",
    "editing.values": "parse_document, which is measured",
    "step_up.allowed_acr_values": "compares at most 20 values with those of the tenant file",
    "step_up.claims_parameter": "the tenant file's own claims; values that StepUp.read has bounded",
    "step_up.require_authentication": "compares claims with at most 20 values",
    "step_up.require_scope": "compares with at most 20 scopes",
    "step_up.step_up_error": "required_step_up, which is measured",
    "txt_records.require_bounded": "reads twelve bytes",
    "cards.tenant_card": "the parts of a card, which are measured; the address of the logo is the portal's",
    "response.problem_response": "writes",
    "finding.with_domain": "looks up",
    "finding.with_word": "fold, then one search of the index in slices of time",
    "switching.sign_in_again": "writes",
    "websocket.accept_of": "a key of the portal, or one that read_handshake has checked",
    "cookies.find_cookie": "read_cookie, which is measured",
    "client_limits.is_in_background": "compares a header with one word",
    "url_rules.is_loopback_host": "compares, or one parse of an address",
    "rules.own_headers": "writes",
    "authorization_response.check_delivery": "checks which parameters are present",
    "authorization_response.single": "looks up a parameter",
    "authorization_response.signed": "looks up a parameter",
    "discovery.discovery_url": "the issuer of a tenant file",
    "id_token.validate_at_login": "signed_claims, then comparisons",
    "id_token.validate_at_refresh": "signed_claims and stored_claims, then comparisons",
    "id_token.check_issuer": "compares",
    "id_token.check_subject": "at most 2048 characters",
    "id_token.audiences_of": "one pass over a list",
    "id_token.check_session_id": "at most 2048 characters",
    "id_token.invalid_identifier": "counts characters",
    "id_token.times": "compares numbers",
    "id_token.audience_not_listed": "names eight audiences at most",
    "id_token.check_times": "compares numbers",
    "id_token.time_of": "compares numbers",
    "jwe.open_logout_token": "as open_token",
    "jws.verified_claims": "measured within signed_claims",
    "logout_token.validate": "signed_claims, then comparisons",
    "logout_token.check_jti": "compares a length",
    "global_revocation.validate": "signed_claims, then comparisons",
    "jws.stated_type": "read_header, which is measured",
    "cards.account_name": "as display_text",
    "cards.unknown_tenant_card": "a slug of the path",
    "client_address.client_network": "one parse of an address",
    "client_address.client_networks": "one parse of an address",
    "client_address.counted_client": "one parse of an address",
    "cookies.set_cookie_header": "writes",
    "problems.log_failure": "writes",
    "request_body.has_body": "looks up headers",
    "rules.claim_at": "looks up names",
    "rules.first_refusal": "the first of outcomes",
    "rules.sign_in_refusal": "the first of outcomes",
    "yaml_document.read_bytes": "reads a file",
    "yaml_document.read_document": "as parse_document",
    "yaml_document.parse_inline": "input of the operator",
    "yaml_document.visible": "names of files",
    "quoting.address": "addresses that check_url accepted",
    "quoting.length_of": "counts",
    "quoting.double_encoding_remark": "one plain pattern",
    "quoting.without_truncated_secrets": "searches a bounded message for a few secrets",
    "token_response.read_refreshed": "as read_token_set",
    "userinfo.is_signed": "one header",
    "userinfo.merged": "one pass over claims",
}
"""Public functions that need no entry in the table, and why."""

TEXTS = re.compile(r"\b(?:str|bytes|Secret|HTTPHeaders|OutboundResponse|Response|Claims)\b")


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Every module of the portal that serves, with its source."""
    folder = Path(portal.__file__).parent
    for path in sorted(folder.rglob("*.py")):
        name = ".".join(("portal", *path.relative_to(folder).with_suffix("").parts))
        if not name.startswith("portal.demo."):
            yield name, ast.parse(path.read_text("utf-8"))


def imported(module: ast.Module) -> set[str]:
    """Top-level names of the packages that a module imports."""
    names = {alias.name for node in ast.walk(module) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(module) if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in names}


def public_functions_of_texts(module: ast.Module) -> Iterator[str]:
    """Public functions of a module with a text parameter."""
    for node in module.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("_"):
            continue
        parameters = [*node.args.args, *node.args.kwonlyargs]
        if any(one.annotation and TEXTS.search(ast.unparse(one.annotation)) for one in parameters):
            yield node.name


@pytest.mark.reads_source
def test_D1_every_module_that_parses_is_measured_or_reads_no_untrusted_input() -> None:
    measured = {parser.function.__module__ for parser in PARSERS}
    parsing = {name for name, module in modules() if imported(module) & PARSING}
    missing = parsing - measured - NO_UNTRUSTED_INPUT.keys()
    assert not missing, "add what they parse to PARSERS in tests/security/hostile_inputs.py"
    assert not NO_UNTRUSTED_INPUT.keys() & measured
    assert NO_UNTRUSTED_INPUT.keys() - parsing <= {"portal.cli.main"}, "listed, but they parse nothing"


@pytest.mark.reads_source
def test_D1_every_public_function_of_a_measured_module_is_measured_or_harmless() -> None:
    measured = {_name(parser) for parser in PARSERS}
    measured_modules = {parser.function.__module__ for parser in PARSERS}
    functions = {
        f"{name.rpartition('.')[2]}.{function}"
        for name, module in modules()
        if name in measured_modules
        for function in public_functions_of_texts(module)
    }
    missing = functions - measured - HARMLESS_FUNCTIONS.keys()
    assert not missing, "add them to PARSERS in tests/security/hostile_inputs.py"
    assert not HARMLESS_FUNCTIONS.keys() - functions, "listed, but the function does not exist"
