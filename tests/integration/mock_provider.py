"""A program that runs the PyPI package `oidc-provider-mock` on 127.0.0.1 until standard input ends.

The first line of standard input is its configuration as JSON: `accounts`, claims by subject, and
`access_token_seconds`. It prints its issuer when it is ready. Clients register themselves (RFC 7591).
"""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from datetime import timedelta

# Importing the package emits deprecation warnings of Authlib.
warnings.simplefilter("ignore")
os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"

from oidc_provider_mock import User, run_server_in_thread  # noqa: E402


def main() -> None:
    # Its log lines contain URLs with codes and tokens.
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    config = json.loads(sys.stdin.readline())
    users = [User(sub=sub, claims=claims) for sub, claims in config["accounts"].items()]
    with run_server_in_thread(
        require_client_registration=True,
        require_nonce=True,
        access_token_max_age=timedelta(seconds=config["access_token_seconds"]),
        user_claims=users,
    ) as server:
        print(f"http://127.0.0.1:{server.server_port}", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
