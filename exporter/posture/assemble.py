"""Posture put together from the settings: what rides along, what is read beside the databases, and the service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from collectors.neon.client import NeonClient
from exporter.compute.tenants import TenantRules
from exporter.posture.book import Book
from exporter.posture.judgement import Judge, registry_of
from exporter.posture.rider import PostureRider
from exporter.posture.service import PostureService
from exporter.posture.shelf import Shelf
from exporter.posture.sources import NeonApi, Source, Sources
from exporter.settings import Settings

if TYPE_CHECKING:
    from exporter.wiring import Kept


def assemble(
    settings: Settings, kept: Kept, rules: TenantRules, client: NeonClient
) -> tuple[PostureRider, PostureService]:
    """Opens no connection and reads no file."""
    book = Book(kept.store)
    shelf = Shelf(book, kept.disk)
    rider = PostureRider(settings.posture, registry_of(settings, rules), shelf, clock=kept.clock)
    service = PostureService(
        Judge(settings, rules),
        Sources(sources_of(settings, client), shelf, kept.clock),
        book=book,
        disk=kept.disk,
        state=kept.state,
        details=kept.details,
        enabled=settings.posture.enabled,
        clock=kept.clock,
    )
    return rider, service


def sources_of(settings: Settings, client: NeonClient) -> tuple[Source, ...]:
    """Everything that the settings name."""
    return (NeonApi(client, settings.posture.pace.api_seconds),)
