"""Live check: the provider's key set has a key for each algorithm that the portal accepts (RFC 7517)."""

from __future__ import annotations

from portal.errors import OutboundFailed
from portal.oidc.errors import KeysRejected
from portal.oidc.id_token import accepted_algorithms
from portal.oidc.jose.algorithms import SYMMETRIC
from portal.oidc.jose.json_reading import JsonUnreadable, read_object
from portal.oidc.keys import KeySet, parse_key_set
from portal.oidc.provider import Provider
from portal.oidc.quoting import address, listed
from portal.tenancy.checks.live.capabilities import announced
from portal.tenancy.checks.live.connection import no_response
from portal.tenancy.checks.live.model import Context, Finding, NotPossible, Status, failed, passed

SECONDS = 4.0
_MAX_BYTES = 128_000
_PRIVATE = frozenset({"d", "p", "q", "k"})


async def check_key_set(context: Context) -> list[Finding]:
    """Fetch the key set as a sign-in does, and look for a key of each accepted algorithm."""
    uri = context.metadata().jwks_uri
    where = context.where("endpoints.jwks")
    try:
        response = await context.get(uri, seconds=SECONDS, max_bytes=_MAX_BYTES)
    except OutboundFailed as error:
        return no_response(context, uri, error, seconds=SECONDS, key="endpoints.jwks")
    if response.status != 200:
        seen = f"{address(uri)} responded with {response.status}"
        return failed(seen, "correct jwks_uri in the metadata of the provider", where)
    try:
        keys = parse_key_set(response.body)
    except KeysRejected as error:
        return failed(error.detail, "correct the key set at the provider", where)
    context.facts.key_set = keys
    stated = _members(response.body)
    if any(isinstance(member, dict) and _PRIVATE & member.keys() for member in stated):
        seen = f"{address(uri)} publishes a private or symmetric key"
        return failed(seen, "replace the keys of the provider at once: anyone can sign in as anyone", where)
    if not stated:
        return failed(f"{address(uri)} is an empty key set", "add a signing key at the provider", where)
    return _judge(context, keys, len(stated))


def needed_algorithms(provider: Provider) -> list[str]:
    """Return the accepted algorithms for which the provider needs a key."""
    needed = set(accepted_algorithms(provider))
    needed.update(provider.userinfo_algs or ())
    if provider.response_mode.signed:
        needed.update(provider.response_algs)
    return sorted(needed - SYMMETRIC)


def _judge(context: Context, keys: KeySet, count: int) -> list[Finding]:
    needed = needed_algorithms(context.provider)
    usable = [alg for alg in needed if _has_usable_key(keys, alg)]
    missing = [alg for alg in needed if alg not in usable]
    where = context.where("id_token_algs")
    unnamed = [alg for alg in missing if keys.kids(alg).count(None) > 1]
    if unnamed:
        seen = f"several keys for {listed(unnamed)} have no kid"  # OIDC Core 10.1
        return failed(seen, "give each key a kid at the provider", context.where("endpoints.jwks"))
    if needed and not usable:
        seen = f"no key of the key set is usable for {listed(missing)}; RSA keys need 2048 to 8192 bits"
        advice = "add such a key at the provider, or list the algorithms of its keys in id_token_algs"
        return failed(seen, advice, where)
    try:
        stated = announced(context, "id_token_signing_alg_values_supported")
    except NotPossible:
        stated = None
    wanting = [alg for alg in missing if stated is None or alg in stated]
    if wanting:
        seen = f"no usable key for {listed(wanting)}; there is one for {listed(usable)}"
        advice = "remove what the provider does not use from id_token_algs"
        return [Finding(Status.WARN, seen, advice, where)]
    if not needed:
        return passed("ID tokens are verified with the client secret; no key is needed")
    return passed(f"{count} {'key' if count == 1 else 'keys'}; usable for {listed(usable)}")


def _has_usable_key(keys: KeySet, alg: str) -> bool:
    return any(
        keys.candidates(alg, kid if isinstance(kid, str) else None) for kid in dict.fromkeys(keys.kids(alg))
    )


def _members(body: bytes) -> list[object]:
    try:
        members = read_object(body).get("keys")
    except JsonUnreadable:
        return []
    return members if isinstance(members, list) else []
