"""The server's side of SCRAM-SHA-256 (RFC 5802, RFC 7677) for one user, as MongoDB has it in its commands."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from typing import Any

_ITERATIONS = 4096


@dataclass(slots=True)
class Scram:
    """The authentication of one connection."""

    user: str
    password: str
    is_done: bool = False
    _salt: bytes = field(default_factory=lambda: secrets.token_bytes(28))
    _messages: list[str] = field(default_factory=list)
    _nonce: str = ""

    def start(self, payload: bytes) -> dict[str, Any] | None:
        """The response to the client's first message; None for another user or mechanism."""
        bare = payload.decode().removeprefix("n,,")
        attributes = dict(part.split("=", 1) for part in bare.split(","))
        if attributes["n"] != self.user.replace("=", "=3D").replace(",", "=2C"):
            return None
        self._nonce = attributes["r"] + secrets.token_urlsafe(18)
        salt = base64.b64encode(self._salt).decode()
        self._messages = [bare, f"r={self._nonce},s={salt},i={_ITERATIONS}"]
        return _response(self._messages[1], done=False)

    def finish(self, payload: bytes) -> dict[str, Any] | None:
        """The response to the client's proof; None when it is wrong."""
        without_proof, _, proof = payload.decode().rpartition(",p=")
        attributes = dict(part.split("=", 1) for part in without_proof.split(","))
        salted = hashlib.pbkdf2_hmac("sha256", self.password.encode(), self._salt, _ITERATIONS)
        message = ",".join([*self._messages, without_proof]).encode()
        stored = hashlib.sha256(_hmac(salted, b"Client Key")).digest()
        signature = _hmac(stored, message)
        key = bytes(a ^ b for a, b in zip(base64.b64decode(proof), signature, strict=True))
        if attributes["r"] != self._nonce or hashlib.sha256(key).digest() != stored:
            return None
        self.is_done = True
        verifier = base64.b64encode(_hmac(_hmac(salted, b"Server Key"), message)).decode()
        return _response(f"v={verifier}", done=True)


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


def _response(payload: str, *, done: bool) -> dict[str, Any]:
    return {"conversationId": 1, "done": done, "payload": payload.encode(), "ok": 1.0}
