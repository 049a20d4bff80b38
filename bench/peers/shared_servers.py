"""The servers that all products share: an API, an OpenID provider, and the script that signs in there."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.peers.browser import SignInScript
from bench.servers import free_port, running


@dataclass(frozen=True, slots=True)
class SharedServers:
    """A folder for files, and the URLs, without a slash at the end, of what all products share."""

    folder: Path
    api: str
    issuer: str
    sign_ins: SignInScript

    def make_folder(self, name: str) -> Path:
        """A new folder for the files of one product."""
        path = self.folder / f"{len([*self.folder.iterdir()])}-{name}"
        path.mkdir()
        return path


@contextlib.contextmanager
def running_shared_servers() -> Iterator[SharedServers]:
    """Run the API and the provider that all products use."""
    api, provider = free_port(), free_port()
    api_url, issuer = f"http://127.0.0.1:{api}", f"http://127.0.0.1:{provider}"
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        stack.enter_context(running([sys.executable, "-m", "bench.api_server", str(api)], f"{api_url}/2"))
        command = [sys.executable, "-m", "bench.peers.provider", str(provider)]
        stack.enter_context(running(command, f"{issuer}/jwks"))
        sign_ins = SignInScript(issuer)
        stack.callback(sign_ins.close)
        yield SharedServers(folder, api_url, issuer, sign_ins)
