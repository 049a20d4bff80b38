"""100 parallel API calls with an expired access token, in 1 and in 4 processes: one token request each.

    python -m bench.refresh [--only sqlite|mongodb]

The baseline is the same 100 calls with a valid token; the output shows how much longer the calls take with a
refresh.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from bench.proxy import database
from bench.servers import free_port, running
from portal.keys.key_ring import KeyRing
from portal.keys.vault import Vault
from portal.stores.by_url import store_for
from portal.stores.model import login_id
from tests.kit.browser import Browser
from tests.kit.faulty.parts import ProviderOptions, faulty_parts

_CALLS = 100


async def _expire(url: str, keys: Path, session_id: str) -> None:
    """Make the stored access token look expired."""
    store, vault, key = store_for(url), Vault(KeyRing.load(keys)), login_id(session_id, "acme")
    await store.open()
    try:
        _, logins = await store.read((), (key,), now=time.time())
        login = logins[key]
        tokens = replace(vault.open_tokens(key, login.tokens), expires_at=round(time.time() - 5, 3))
        changed = replace(login, tokens=vault.seal_tokens(key, tokens), version=login.version + 1)
        assert await store.swap_login(changed, expected_version=login.version)
    finally:
        await store.close()


async def _calls(browser: Browser, target: str) -> float:
    begun = time.perf_counter()
    responses = await asyncio.gather(*(browser.fetch(target) for _ in range(_CALLS)))
    took = time.perf_counter() - begun
    statuses = {response.status for response in responses}
    if statuses != {200}:
        raise SystemExit(f"expected {_CALLS} × 200, got {statuses}")
    return took


async def measure(kind: str, processes: int) -> bool:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(database(kind, folder))
        port = free_port()
        public_url = f"http://localhost:{port}"
        options = ProviderOptions(access_token_seconds=3600, consent=False)
        async with faulty_parts(folder / "parts", portal_url=public_url, options=options) as parts:
            config = folder / "portal.yaml"
            config.write_text(
                f"public_url: {public_url}\nlisten: 127.0.0.1:{port}\ntenants: {parts.tenants_folder}\n"
                f"database: {url}\nkeys: {folder}/keys.json\nprocesses: {processes}\n"
                "allow_private_networks: true\n"
            )
            command = [sys.executable, "-m", "portal", "serve", "--config", str(config)]
            started = await asyncio.to_thread(
                stack.enter_context, running(command, f"http://127.0.0.1:{port}/readyz")
            )
            assert started.poll() is None
            browser = Browser()
            parts.providers["acme"].automatic_user = "alice"
            await browser.open(f"{public_url}/t/acme/login")
            cookie = browser.cookie("localhost", "portal")
            if cookie is None:
                raise SystemExit("the sign-in failed")
            target = f"{public_url}/t/acme/api/orders"
            await _calls(browser, target)
            good = await _calls(browser, target)
            await _expire(url, folder / "keys.json", cookie.split(".")[0])
            expired = await _calls(browser, target)
            count = parts.providers["acme"].requests["refresh"]
            browser.close()
            await asyncio.to_thread(stack.close)
    print(
        f"{kind:8} {processes} process(es): {count} token request(s) for {_CALLS} calls; "
        f"{expired * 1000:.0f} ms, {expired / good:.2f} × the same calls with a valid token"
    )
    return count == 1


def main() -> int:
    parser = argparse.ArgumentParser(description="100 parallel calls with an expired access token.")
    parser.add_argument("--only", choices=["sqlite", "mongodb"])
    given = parser.parse_args()
    kinds = [given.only] if given.only else ["sqlite", "mongodb"]
    met = [asyncio.run(measure(kind, count)) for kind in kinds for count in (1, 4)]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
