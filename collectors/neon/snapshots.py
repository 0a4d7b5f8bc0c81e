"""The snapshots of a project: their ages, and the bytes that Neon charges for each. Reading them wakes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import Field

from collectors.neon.client import NeonClient
from collectors.neon.errors import NeonError
from collectors.neon.models import Id, Instant, Model, Page, Text, Tolerant


class Snapshot(Model):
    """``Snapshot`` of the API."""

    id: Id
    name: Text = ""
    source_branch_id: Text = ""
    created_at: Instant = None
    expires_at: Instant = None
    full_size: int | None = None
    diff_size: int | None = None

    @property
    def charged_bytes(self) -> int | None:
        """The bytes that it is charged for: its increment or its full size; None until Neon has computed them."""
        return self.diff_size if self.diff_size is not None else self.full_size


Snapshots = Mapping[str, tuple[Snapshot, ...] | None]
"""The snapshots of each project, by its id; None where Neon refuses the list."""


class SnapshotPage(Page[Snapshot]):
    """GET /projects/{project_id}/snapshots."""

    items: tuple[Tolerant[Snapshot], ...] = Field(validation_alias="snapshots")


async def read_snapshots(client: NeonClient, project_id: str) -> tuple[Snapshot, ...]:
    """All snapshots of a project.

    Raises:
        NeonError: the list could not be read; the call is in beta, and a key may not be allowed to make it.
    """
    return (await client.pages(f"/projects/{project_id}/snapshots", {}, SnapshotPage)).items


async def snapshots_of(client: NeonClient, project_ids: Iterable[str]) -> dict[str, tuple[Snapshot, ...] | None]:
    """The snapshots of projects; None where Neon answers but refuses the list.

    Raises:
        NeonError: Neon does not answer.
    """
    found: dict[str, tuple[Snapshot, ...] | None] = {}
    for project_id in project_ids:
        try:
            found[project_id] = await read_snapshots(client, project_id)
        except NeonError as problem:
            if problem.http_status is None:
                raise
            found[project_id] = None
    return found
