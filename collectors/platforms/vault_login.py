"""Where a token for OpenBao or Vault comes from: a file, the environment, an AppRole, or a Kubernetes service account.

A login is the one thing that is sent rather than read; its path is fixed, and the token that comes of it is kept until
two thirds of its life are over.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from collectors.http_body import BoundedClient
from collectors.neon.errors import one_line
from collectors.platforms.vault import Token

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
_SECONDS = 10.0
_BODY_LIMIT = 1024 * 1024


class LoginError(OSError):
    """There is no token; the text never holds a secret."""


def fixed(token: Callable[[], str]) -> Token:
    """A token that something else keeps, read at every look (so may be a file that is rotated)."""

    async def read() -> str:
        return token()

    return read


def from_file(path: Path) -> Token:
    """A file that holds the token, as an agent or a Kubernetes secret writes it."""
    return fixed(lambda: path.read_text("utf-8"))


def from_environment(*names: str) -> Token:
    """The first of these variables that is set; by default those that the tools of both use."""

    def read() -> str:
        for name in names or ("BAO_TOKEN", "VAULT_TOKEN"):
            if os.environ.get(name):
                return os.environ[name]
        raise LoginError(f"none of {', '.join(names or ('BAO_TOKEN', 'VAULT_TOKEN'))} is set")

    return fixed(read)


@dataclass(slots=True)
class Login:
    """Trades a credential for a token at ``auth/{mount}/login``; awaitable as ``VaultTarget.token``."""

    address: str
    mount: str
    body: Callable[[], Mapping[str, str]] = field(repr=False)
    """The credential, read at each login; may raise OSError."""
    namespace: str = ""
    ca_file: Path | None = None
    clock: Callable[[], float] = time.monotonic
    _token: str = field(default="", repr=False)
    _until: float = 0.0

    async def __call__(self) -> str:
        """A token that still lives.

        Raises:
            LoginError: it was refused, or nobody answered.
            OSError: the credential cannot be read.
        """
        if self.clock() < self._until:
            return self._token
        verify = ssl.create_default_context(cafile=None if self.ca_file is None else str(self.ca_file))
        headers = {"X-Vault-Request": "true", **({"X-Vault-Namespace": self.namespace} if self.namespace else {})}
        url = f"{self.address.rstrip('/')}/v1/auth/{self.mount.strip('/')}/login"
        try:
            async with BoundedClient(_BODY_LIMIT, verify=verify, timeout=_SECONDS, follow_redirects=False) as http:
                reply = await http.post(url, json=dict(self.body()), headers=headers)
            auth = reply.json().get("auth") or {} if reply.status_code == 200 else {}
            token, life = str(auth["client_token"]), float(auth.get("lease_duration") or 0)
        except httpx.HTTPError as problem:
            text = one_line(str(problem) or type(problem).__name__, 160)
            raise LoginError(f"no connection to {self.address} ({text})") from None
        except (KeyError, TypeError, ValueError, AttributeError):
            raise LoginError(f"the login at auth/{self.mount} was refused (HTTP {reply.status_code})") from None
        self._token, self._until = token, self.clock() + life * 2 / 3
        return token


def approle(
    address: str, role_id: str, secret_id: Callable[[], str], *, mount: str = "approle", namespace: str = "",
    ca_file: Path | None = None,
) -> Login:  # fmt: skip
    """An AppRole; ``secret_id`` is read at each login."""
    return Login(
        address, mount, lambda: {"role_id": role_id, "secret_id": secret_id().strip()}, namespace, ca_file
    )  # fmt: skip


def kubernetes(
    address: str, role: str, *, mount: str = "kubernetes", namespace: str = "", ca_file: Path | None = None,
    jwt_file: Path = SERVICE_ACCOUNT,
) -> Login:  # fmt: skip
    """The service account of the pod; its token is read at each login, because Kubernetes rotates it."""
    return Login(
        address, mount, lambda: {"role": role, "jwt": jwt_file.read_text("utf-8").strip()}, namespace, ca_file
    )  # fmt: skip
