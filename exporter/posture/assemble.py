"""Posture put together from the settings: what rides along, what is read beside the databases, and the service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from collectors.neon.client import NeonClient
from exporter.posture.evaluation import Evaluator, registry_of
from exporter.posture.fact_cache import FactCache
from exporter.posture.outside import Buckets, Handshakes, KeyStores, Poolers
from exporter.posture.publish import PosturePublisher
from exporter.posture.scanner import PostureScanner
from exporter.posture.service import PostureService
from exporter.posture.settings import PostureTree
from exporter.posture.sources import NeonApi, PostureSources, Source
from exporter.posture.store import PostureStore
from exporter.recovery.posture_source import DrillLedger
from exporter.storage.ledger.ledger import DurableLedger
from exporter.tenancy.domain.rules import TenantRules

if TYPE_CHECKING:
    from exporter.app.wiring import AppContext


def assemble(
    settings: PostureTree, kept: AppContext, rules: TenantRules, client: NeonClient
) -> tuple[PostureScanner, PostureService]:
    """Opens no connection and reads no file."""
    book = PostureStore(kept.store)
    fact_cache = FactCache(book, kept.disk)
    scanner = PostureScanner(settings.posture, registry_of(settings, rules), fact_cache, clock=kept.clock)
    service = PostureService(
        Evaluator(settings, rules),
        PostureSources(sources_of(settings, client), fact_cache, kept.clock),
        book=book,
        disk=kept.disk,
        state=kept.state,
        details=kept.details,
        publisher=_publisher(kept.ledger),
        enabled=settings.posture.enabled,
        clock=kept.clock,
    )
    return scanner, service


def _publisher(ledger: DurableLedger) -> PosturePublisher | None:
    """Only a PostgreSQL ledger has readers with SQL."""
    return None if ledger.link is None else PosturePublisher(ledger.link)


def sources_of(settings: PostureTree, client: NeonClient) -> tuple[Source, ...]:
    """Everything that the settings name."""
    from exporter.settings.dsn import pooler_conninfo  # noqa: PLC0415 - wiring assembles us

    posture, pace = settings.posture, settings.posture.pace
    found: list[Source] = [NeonApi(client, pace.api_seconds)]
    if posture.vaults:
        found.append(KeyStores(posture.vaults, pace.vault_seconds))
    if posture.s3:
        found.append(Buckets(posture.s3, pace.s3_seconds))
    if settings.pgbouncer:
        found.append(Poolers(settings.pgbouncer, pooler_conninfo, pace.pooler_seconds))
    if settings.recovery.enabled:
        found.append(DrillLedger(settings))
    found.append(Handshakes(posture.tls, settings.postgres.dsn, pace.tls_seconds))
    return tuple(found)
