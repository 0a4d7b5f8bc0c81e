"""The one client of ours that writes at Neon: it makes a branch for a drill, and deletes it. Nothing else.

It is for the command `neonmeter drill` alone, with a key of its own: the running agent must not be able to import it,
which a test of the architecture holds. It refuses to delete any branch whose name is not one of its own.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import httpx
from pydantic import ValidationError

from collectors.base import Status
from collectors.http_body import BoundedClient
from collectors.neon.errors import NeonError, advice, one_line, retry_after
from collectors.neon.models import Branch, Endpoint, ErrorAnswer, Model, Operation
from exporter.recovery.journal import began_at

_PAUSE = 1.0
_LONGEST_PAUSE = 15.0
_BODY_LIMIT = 4 * 1024 * 1024
ANNOTATION = "neonmeter-drill"


class CreatedBranch(Model):
    """The answer to a POST of a branch, as far as a drill needs it. Roles and their passwords are not read."""

    branch: Branch
    endpoints: tuple[Endpoint, ...] = ()
    operations: tuple[Operation, ...] = ()


@dataclass(frozen=True, slots=True)
class DrillBranch:
    """A branch to make. Instants in unix seconds; ``kind`` is the type of its compute."""

    name: str
    parent_id: str
    at: float
    expires_at: float | None
    kind: str = "read_only"


class DrillWriter:
    """Makes and deletes branches of drills. ``patience`` seconds bound each call with all its attempts."""

    def __init__(self, api_url: str, key: str, *, timeout: float = 30.0, patience: float = 120.0) -> None:
        self._url = api_url.rstrip("/")
        self._key = key
        self._patience = patience
        self._http = BoundedClient(_BODY_LIMIT, timeout=timeout, follow_redirects=False)

    def __repr__(self) -> str:
        return f"DrillWriter({self._url!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def create(self, project_id: str, wanted: DrillBranch) -> CreatedBranch:
        """Ask for the branch; its operations run afterwards.

        Only a refusal that says "later" (423, 429) is tried again: after any other failure the branch may be there, and
        asking again could make a second one.

        Raises:
            NeonError: it was refused, or nobody knows; look for the branch by its name.
        """
        body = {
            "branch": {
                "name": wanted.name,
                "parent_id": wanted.parent_id,
                "parent_timestamp": rfc3339(wanted.at, "milliseconds"),
                **({} if wanted.expires_at is None else {"expires_at": rfc3339(wanted.expires_at)}),
            },
            "endpoints": [{"type": wanted.kind}],
            "annotation_value": {ANNOTATION: wanted.name},
        }
        answer = await self._send("POST", f"/projects/{project_id}/branches", body, again=frozenset({423, 429}))
        try:
            return CreatedBranch.model_validate_json(answer.content)
        except ValidationError:
            raise NeonError(Status.UNREACHABLE, "POST branches: the answer is not what Neon's API documents") from None

    async def delete(self, branch: Branch) -> None:
        """Delete a branch that a drill made; that it is gone already is success.

        Raises:
            ValueError: it is no branch of a drill.
            NeonError: Neon does not delete it.
        """
        if began_at(branch.name) is None or branch.default or branch.protected or not branch.parent_id:
            raise ValueError(f"{branch.name} ({branch.id}) was not made by a drill: it is left alone")
        again = frozenset({408, 423, 429, 500, 502, 503, 504})
        try:
            await self._send("DELETE", f"/projects/{branch.project_id}/branches/{branch.id}", None, again=again)
        except NeonError as problem:
            if problem.http_status != 404:
                raise

    async def _send(self, method: str, path: str, body: Any, *, again: frozenset[int]) -> httpx.Response:
        gives_up, pause = time.monotonic() + self._patience, _PAUSE
        while True:
            wait = pause
            try:
                headers = {"Authorization": f"Bearer {self._key}", "User-Agent": "neonmeter-drill"}
                answer = await self._http.request(method, self._url + path, json=body, headers=headers)
            except (httpx.HTTPError, httpx.InvalidURL, OSError) as problem:
                words = one_line(str(problem).replace(self._key, "***") or type(problem).__name__, 160)
                error = NeonError(Status.UNREACHABLE, f"{method} {_route(path)}: no answer from {self._url} ({words})")
                if method != "DELETE" or time.monotonic() + wait > gives_up:
                    raise error from None
            else:
                if answer.is_success:
                    return answer
                error = self._refusal(method, path, answer)
                wait = retry_after(answer.headers.get("Retry-After")) or pause
                if answer.status_code not in again or time.monotonic() + wait > gives_up:
                    raise error
            await asyncio.sleep(wait)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _refusal(self, method: str, path: str, answer: httpx.Response) -> NeonError:
        try:
            said = ErrorAnswer.model_validate_json(answer.content)
        except ValidationError:
            said = ErrorAnswer()
        status, what = advice(answer.status_code)
        if answer.status_code in (401, 403):
            what = "the drill key may not do this: it must be allowed to create and delete branches of the project"
        words = f" (Neon says: {one_line(said.message, 200).replace(self._key, '***')})" if said.message else ""
        message = f"{method} {_route(path)}: HTTP {answer.status_code}: {what}{words}"
        return NeonError(status, message, said.request_id or None, answer.status_code)


def _route(path: str) -> str:
    return "/projects/{project_id}/branches" + ("/{branch_id}" if path.count("/") == 4 else "")


def rfc3339(at: float, precision: str = "seconds") -> str:
    """An instant (unix seconds) as RFC 3339 in UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec=precision).replace("+00:00", "Z")
