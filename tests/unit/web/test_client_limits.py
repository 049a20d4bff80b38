"""Which limit counts a request of a client, and what the log says. THREATS S15."""

from __future__ import annotations

import io
import json
from ipaddress import ip_network

import pytest

from portal.config.limit_settings import LimitSettings
from portal.errors import TooManyRequests
from portal.ops.limit_metrics import Limit
from portal.web.client_limits import BURST_SECONDS, ClientLimits, limit_of

CLIENT = "203.0.113.7"


class Clock:
    """A clock in seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        ("/t/acme/login", Limit.SIGN_INS_PER_CLIENT),
        ("/t/acme/initiate-login", Limit.SIGN_INS_PER_CLIENT),
        ("/t/acme/callback", Limit.CALLBACKS_PER_CLIENT),
        ("/t/acme/callback/staff", Limit.CALLBACKS_PER_CLIENT),
        ("/t/acme/callback/staff/test-0123456789abcdef", Limit.CALLBACKS_PER_CLIENT),
        ("/t/acme/finish-login", Limit.CALLBACKS_PER_CLIENT),
        ("/t/acme/backchannel-logout", Limit.LOGOUTS_PER_CLIENT),
        ("/t/acme/frontchannel-logout", Limit.LOGOUTS_PER_CLIENT),
        ("/t/acme/global-token-revocation", Limit.LOGOUTS_PER_CLIENT),
        ("/find", Limit.FINDS_PER_CLIENT),
        ("/setup/abc", Limit.SETUP_LINKS_PER_CLIENT),
        ("/setup/", Limit.SETUP_LINKS_PER_CLIENT),
        ("/", None),
        ("/healthz", None),
        ("/t/acme/", None),
        ("/t/acme/logout", None),
        ("/t/acme/login/x", None),
        ("/x/t/acme/login", None),
        ("/static/portal.js", None),
    ],
)
def test_S15_addresses_that_anybody_may_ask_for_have_a_limit(path: str, limit: Limit | None) -> None:
    assert limit_of(path) is limit


@pytest.mark.parametrize(
    "limit", [limit for limit in Limit if limit.endswith("_per_client") and "connections" not in limit]
)
def test_each_limit_is_the_setting_of_its_name(limit: Limit) -> None:
    limits = ClientLimits(LimitSettings(**{limit.value: 10}), monotonic=Clock())
    most = 5 if limit is Limit.ATTEMPTS_PER_CLIENT else 10 * BURST_SECONDS
    for _ in range(most):
        limits.require(limit, CLIENT)
    with pytest.raises(TooManyRequests) as caught:
        limits.require(limit, CLIENT)
    assert caught.value.limit == limit
    assert caught.value.retry_after == (60 * 2 if limit is Limit.ATTEMPTS_PER_CLIENT else 1)
    for other in limits._buckets.keys() - {limit}:
        limits.require(other, CLIENT)


def test_S15_an_unknown_client_is_not_limited() -> None:
    limits = ClientLimits(LimitSettings(sign_ins_per_client=1), monotonic=Clock())
    for _ in range(1_000):
        limits.require(Limit.SIGN_INS_PER_CLIENT, "0.0.0.0")


def test_S15_a_trusted_proxy_that_does_not_name_its_clients_is_not_limited() -> None:
    limits = ClientLimits(
        LimitSettings(sign_ins_per_client=1), trusted=(ip_network("10.0.0.0/8"),), monotonic=Clock()
    )
    for _ in range(1_000):
        limits.require(Limit.SIGN_INS_PER_CLIENT, "10.0.0.5")
    for _ in range(BURST_SECONDS):
        limits.require(Limit.SIGN_INS_PER_CLIENT, CLIENT)
    with pytest.raises(TooManyRequests):
        limits.require(Limit.SIGN_INS_PER_CLIENT, CLIENT)


@pytest.mark.parametrize(("sign_ins", "seconds"), [(2_000, 25), (4_000, 65), (8_000, 540)])
def test_S15_an_office_of_two_thousand_people_at_one_address_signs_in(sign_ins: int, seconds: int) -> None:
    """All begin at one organisation at once, at two within a minute, at four within ten."""
    clock = Clock()
    limits = ClientLimits(LimitSettings(), monotonic=clock)
    for number in range(sign_ins):
        clock.now = 1_000.0 + number * seconds / sign_ins
        for limit in (Limit.SIGN_INS_PER_CLIENT, Limit.ATTEMPTS_PER_CLIENT, Limit.CALLBACKS_PER_CLIENT):
            limits.require(limit, CLIENT)


def test_the_log_has_one_line_a_minute_for_each_limit(log_lines: io.StringIO) -> None:
    clock = Clock()
    limits = ClientLimits(LimitSettings(sign_ins_per_client=1, finds_per_client=1), monotonic=clock)
    for _ in range(100):
        for limit in (Limit.SIGN_INS_PER_CLIENT, Limit.FINDS_PER_CLIENT):
            limits.refusal(limit, CLIENT)
    clock.now += 61.0
    for _ in range(100):
        limits.refusal(Limit.SIGN_INS_PER_CLIENT, CLIENT)
    lines = [json.loads(line) for line in log_lines.getvalue().splitlines()]
    assert [
        (line["limit"], line["client"], line["refused"])
        for line in lines
        if line["event"] == "client_limit_reached"
    ] == [
        ("sign_ins_per_client", "203.0.113.0/24", 1),
        ("finds_per_client", "203.0.113.0/24", 1),
        ("sign_ins_per_client", "203.0.113.0/24", 80),
    ]
