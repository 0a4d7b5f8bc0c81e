"""Logical slots, walsenders and what decoding costs: a slot nobody reads keeps WAL, and one that is gone lost data.

Neon drops an inactive logical slot after about 40 hours and an active walsender keeps its compute awake, so both
matter more here than elsewhere. Source: pg_replication_slots, pg_stat_replication, pg_stat_replication_slots.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Self

from collectors.base import Epoch, NoDataError, Options, Query, Reading, Result, Server, SqlCollector
from collectors.metric import Families, Kind, Metric, Scope, Unit
from collectors.postgres import query

NEON_SLOTS: Final = frozenset({"wal_proposer_slot", "wal_retention_slot"})
"""Physical slots that exist on every Neon compute and are Neon's own."""

NEON_SENDERS: Final = frozenset({"walproposer"})
"""application_name of Neon's own walsenders."""

WAL_STATUSES: Final = ("reserved", "extended", "unreserved", "lost")
STAGES: Final = ("sent", "write", "flush", "replay")

_N, _S, _B = Unit.NONE, Unit.SECONDS, Unit.BYTES
_SLOT = ("slot_name",)


def _gauge(
    name: str, unit: Unit, help_: str, labels: tuple[str, ...] = _SLOT, *, worse: str = "up", most: int = 100
) -> Metric:
    return Metric(name, Kind.GAUGE, unit, Scope.ENDPOINT, help_, labels, worse=worse, max_series=most)


def _counter(name: str, unit: Unit, help_: str) -> Metric:
    return Metric(name, Kind.COUNTER, unit, Scope.ENDPOINT, help_, _SLOT, durable=True)


SLOT_INFO = _gauge(
    "pg_replication_slots_info", _N, "What kind of slot it is, for joins; always 1.",
    ("slot_name", "slot_type", "plugin", "datname", "failover", "two_phase", "invalidation_reason"), worse="",
)  # fmt: skip
SLOT_ACTIVE = _gauge(
    "pg_replication_slots_active", _N,
    "Whether a consumer is connected to the slot; Neon drops a logical slot after about 40 hours without one.",
    worse="down",
)  # fmt: skip
SLOT_LAG = _gauge(
    "pg_replication_slots_confirmed_lag_bytes", _B,
    "WAL that the consumer has not confirmed yet; growing while active means that it cannot keep up.",
)  # fmt: skip
SLOT_RETAINED = _gauge(
    "pg_replication_slots_retained_bytes", _B,
    "WAL that the slot keeps from being removed; find its consumer or drop the slot when it only grows.",
)  # fmt: skip
SLOT_SAFE = _gauge(
    "pg_replication_slots_safe_wal_size_bytes", _B,
    "WAL that may still be written before the slot is in danger of being lost; absent without max_slot_wal_keep_size.",
    worse="down",
)  # fmt: skip
SLOT_STATUS = _gauge(
    "pg_replication_slots_wal_status", _N,
    "1 for the state of the slot's WAL (reserved, extended, unreserved, lost), 0 for the others; lost cannot recover.",
    ("slot_name", "wal_status"), worse="", most=400,
)  # fmt: skip
SLOT_INVALIDATED = _gauge(
    "pg_replication_slots_invalidated", _N,
    "Whether the server gave the slot up (lost WAL, a conflict or idle time); its consumer needs a new snapshot.",
)  # fmt: skip
SLOT_CONFLICTING = _gauge(
    "pg_replication_slots_conflicting", _N,
    "Whether the logical slot conflicted with recovery on this replica; PostgreSQL 16 and later.",
)  # fmt: skip
SLOT_INACTIVE_SINCE = _gauge(
    "pg_replication_slots_inactive_since_timestamp_seconds", Unit.TIMESTAMP,
    "When the slot lost its consumer; absent while it has one, and before PostgreSQL 17.", worse="",
)  # fmt: skip
SLOT_CATALOG_AGE = _gauge(
    "pg_replication_slots_catalog_xmin_age", _N,
    "Transactions since the oldest catalogue row that the slot keeps vacuum from removing.",
)  # fmt: skip
EXPECTED = _gauge(
    "neon_expected_slot_present", _N,
    "Whether a slot that the settings expect is there; 0 means its consumer has lost its place and misses data.",
    worse="down",
)  # fmt: skip
SLOTS_USED = _gauge(
    "pg_replication_slots_used", _N, "Replication slots in use, Neon's own included.", (), most=1,
)  # fmt: skip
SLOTS_LIMIT = _gauge(
    "pg_replication_slots_limit", _N, "Replication slots that the server allows (max_replication_slots).", (),
    worse="", most=1,
)  # fmt: skip
SENDERS_USED = _gauge("pg_stat_replication_used", _N, "Walsenders in use, Neon's own included.", (), most=1)
SENDERS_LIMIT = _gauge(
    "pg_stat_replication_limit", _N, "Walsenders that the server allows (max_wal_senders).", (), worse="", most=1,
)  # fmt: skip

_SENDER = ("application_name", "slot_name")
SENDERS = _gauge(
    "pg_stat_replication_senders", _N, "Walsenders by consumer and state; each of them keeps the compute awake.",
    ("application_name", "slot_name", "user", "state"), worse="",
)  # fmt: skip
SENDER_LAG = _gauge(
    "pg_stat_replication_lag_bytes", _B,
    "WAL that the consumer is behind, by stage (sent, write, flush, replay); the largest where several share a name.",
    (*_SENDER, "stage"), most=400,
)  # fmt: skip
SENDER_LAG_SECONDS = _gauge(
    "pg_stat_replication_lag_seconds", _S,
    "How long ago the WAL was written that the consumer has just passed, by stage; absent once it caught up and idles.",
    (*_SENDER, "stage"), most=400,
)  # fmt: skip

SPILL_TXNS = _counter("pg_stat_replication_slots_spill_txns_total", _N, "Transactions that decoding spilled to disk.")
SPILLS = _counter(
    "pg_stat_replication_slots_spills_total", _N,
    "Times that decoding spilled to disk; raise logical_decoding_work_mem when it grows.",
)  # fmt: skip
SPILL_BYTES = _counter("pg_stat_replication_slots_spill_bytes_total", _B, "Decoded bytes that were spilled to disk.")
STREAM_TXNS = _counter(
    "pg_stat_replication_slots_stream_txns_total", _N, "Transactions sent to the consumer before they committed.",
)  # fmt: skip
STREAMS = _counter(
    "pg_stat_replication_slots_streams_total", _N, "Times that an open transaction was streamed to the consumer.",
)  # fmt: skip
STREAM_BYTES = _counter("pg_stat_replication_slots_stream_bytes_total", _B, "Decoded bytes streamed before commit.")
TOTAL_TXNS = _counter("pg_stat_replication_slots_txns_total", _N, "Transactions decoded for the slot's consumer.")
TOTAL_BYTES = _counter(
    "pg_stat_replication_slots_bytes_total", _B,
    "Bytes decoded for the slot's consumer: about what it costs in network transfer.",
)  # fmt: skip

METRICS: Final = (
    SLOT_INFO, SLOT_ACTIVE, SLOT_LAG, SLOT_RETAINED, SLOT_SAFE, SLOT_STATUS, SLOT_INVALIDATED, SLOT_CONFLICTING,
    SLOT_INACTIVE_SINCE, SLOT_CATALOG_AGE, EXPECTED, SLOTS_USED, SLOTS_LIMIT, SENDERS_USED, SENDERS_LIMIT,
    SENDERS, SENDER_LAG, SENDER_LAG_SECONDS,
    SPILL_TXNS, SPILLS, SPILL_BYTES, STREAM_TXNS, STREAMS, STREAM_BYTES, TOTAL_TXNS, TOTAL_BYTES,
)  # fmt: skip

_SLOT_TABLE = (
    query.Column("active", SLOT_ACTIVE),
    query.Column("confirmed_lag", SLOT_LAG),
    query.Column("retained", SLOT_RETAINED),
    query.Column("safe_wal_size", SLOT_SAFE),
    query.Column("conflicting", SLOT_CONFLICTING),
    query.Column("inactive_since", SLOT_INACTIVE_SINCE),
    query.Column("catalog_xmin_age", SLOT_CATALOG_AGE),
)
_DECODING_TABLE = (
    query.Column("spill_txns", SPILL_TXNS),
    query.Column("spill_count", SPILLS),
    query.Column("spill_bytes", SPILL_BYTES),
    query.Column("stream_txns", STREAM_TXNS),
    query.Column("stream_count", STREAMS),
    query.Column("stream_bytes", STREAM_BYTES),
    query.Column("total_txns", TOTAL_TXNS),
    query.Column("total_bytes", TOTAL_BYTES),
)
_LIMITS_TABLE = (
    query.Column("slots_used", SLOTS_USED),
    query.Column("slots_max", SLOTS_LIMIT),
    query.Column("senders_used", SENDERS_USED),
    query.Column("senders_max", SENDERS_LIMIT),
)


@dataclass(frozen=True, slots=True)
class SlotFact:
    """One slot of a customer: lags in bytes, ``inactive_since`` in unix seconds; None is what the server left open."""

    slot_name: str
    slot_type: str
    plugin: str
    datname: str
    active: bool
    wal_status: str
    confirmed_lag: int | None
    retained: int | None
    inactive_since: float | None


@dataclass(frozen=True, slots=True)
class ReplicationFacts:
    """The slots that are there and the expected ones that are not."""

    slots: tuple[SlotFact, ...]
    missing: tuple[str, ...]


@dataclass(slots=True)
class ReplicationCollector(SqlCollector):
    """Reads slots and walsenders; ``expected_slots`` are names of which the absence is shown."""

    expected_slots: tuple[str, ...] = ()

    name = "replication"
    title = "Replication"
    source = "pg_replication_slots, pg_stat_replication, pg_stat_replication_slots"
    metrics = METRICS

    @classmethod
    def build(cls, options: Options) -> Self:
        """With the slots that the branch must have."""
        return cls(options.expected_slots)

    def queries(self, server: Server) -> tuple[Query, ...]:
        """The same four statements for every version: newer columns are read through to_jsonb."""
        major = server.version_num // 10_000
        return tuple(
            Query(part, query.load(f"replication_{part}", major)) for part in ("slots", "senders", "decoding", "limits")
        )

    def read(self, results: Mapping[str, Result], epoch: Epoch) -> Reading:  # noqa: ARG002 - the protocol's
        """Map slots, walsenders and decoding; an expected slot is called absent only when the slots could be read.

        Raises:
            NoDataError: every query failed.
        """
        if not results:
            raise NoDataError("none of the replication views could be read")
        families = Families()
        slots = [row for row in query.records(results.get("slots")) if row["slot_name"] not in NEON_SLOTS]
        for row in slots:
            _read_slot(families, row)
        present = {row["slot_name"] for row in slots}
        missing = tuple(name for name in self.expected_slots if name not in present)
        if "slots" in results:
            for name in dict.fromkeys(self.expected_slots):
                families.set(EXPECTED, (name,), int(name in present))
        _read_senders(families, query.records(results.get("senders")), slots)
        for row in query.records(results.get("decoding")):
            query.fill(families, _DECODING_TABLE, (row["slot_name"],), row)
        for row in query.records(results.get("limits")):
            query.fill(families, _LIMITS_TABLE, (), row)
        facts = ReplicationFacts(tuple(map(_fact, slots)), missing) if "slots" in results else None
        return Reading(families, sum(len(result.rows) for result in results.values()), facts)


def _read_slot(families: Families, row: query.Row) -> None:
    name = row["slot_name"]
    yes_no = {None: "", True: "true", False: "false"}
    info = (
        name, row["slot_type"], row["plugin"] or "", row["datname"] or "",
        yes_no[row["failover"]], yes_no[row["two_phase"]], row["invalidation_reason"] or "",
    )  # fmt: skip
    families.set(SLOT_INFO, info, 1)
    query.fill(families, _SLOT_TABLE, (name,), row)
    status = row["wal_status"]
    if status is not None:
        for literal in WAL_STATUSES:
            families.set(SLOT_STATUS, (name, literal), int(status == literal))
    gone = status == "lost" or bool(row["conflicting"]) or row["invalidation_reason"] is not None
    families.set(SLOT_INVALIDATED, (name,), int(gone))


def _read_senders(families: Families, senders: Iterable[query.Row], slots: Iterable[query.Row]) -> None:
    slot_of = {row["active_pid"]: row["slot_name"] for row in slots if row["active_pid"] is not None}
    worst: dict[tuple[Metric, tuple[str, ...]], float] = {}
    for row in senders:
        application = row["application_name"] or ""
        if application in NEON_SENDERS:
            continue
        slot = slot_of.get(row["pid"], "")
        families.add(SENDERS, (application, slot, row["usename"] or "", row["state"] or ""), 1)
        for stage in STAGES:
            for metric, column in ((SENDER_LAG, f"{stage}_lag"), (SENDER_LAG_SECONDS, f"{stage}_seconds")):
                value = row.get(column)
                if value is not None:
                    key = (metric, (application, slot, stage))
                    worst[key] = max(worst.get(key, value), value)
    for (metric, labels), value in worst.items():
        families.set(metric, labels, value)


def _fact(row: query.Row) -> SlotFact:
    return SlotFact(
        slot_name=row["slot_name"],
        slot_type=row["slot_type"],
        plugin=row["plugin"] or "",
        datname=row["datname"] or "",
        active=bool(row["active"]),
        wal_status=row["wal_status"] or "",
        confirmed_lag=row["confirmed_lag"],
        retained=row["retained"],
        inactive_since=row["inactive_since"],
    )
