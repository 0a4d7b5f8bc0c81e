"""Where green ends: numbers that dashboards colour by and alerts fire at, once, with unit and reason.

The alerts are plain YAML, so the numbers stand there again; tests/alerts/test_thresholds.py compares them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Threshold:
    """One limit: from ``value`` on (or below it, see ``below``) ``alert`` fires."""

    value: float
    unit: str
    alert: str
    why: str
    below: bool = False


CONNECTIONS_WARNING = Threshold(
    0.8, "ratio", "NeonConnectionsHigh", "a fifth left is one deployment with a second pool away from none"
)
CONNECTIONS_CRITICAL = Threshold(
    0.9, "ratio", "NeonConnectionsNearlyExhausted", "the next connections are refused; reserved ones do not count"
)
DATABASE_CONNECTIONS_WARNING = Threshold(
    0.9, "ratio", "NeonDatabaseConnectionLimitNear", "the limit of one database is set by a person, so closer is meant"
)
POOL_WAIT_SECONDS = Threshold(
    5, "seconds", "NeonPoolerClientsWaiting", "a client that waits five seconds is a user who waits"
)
POOL_USE_WARNING = Threshold(0.9, "ratio", "NeonPoolerNearlyFull", "beyond it clients queue at every burst")
COLD_START_SECONDS = Threshold(
    5, "seconds", "NeonColdStartSlow", "Neon starts a compute in well under a second; clients give up at 5 to 10"
)
XID_AGE_WARNING = Threshold(
    1_000_000_000, "transactions", "NeonTransactionIdAgeHigh", "half way to 2 billion, at which writes stop"
)
XID_AGE_CRITICAL = Threshold(
    1_600_000_000, "transactions", "NeonTransactionIdWraparoundNear", "a fifth is left; a busy system uses it in days"
)

LOCK_WAIT_WARNING = Threshold(60, "seconds", "NeonLockWaitLong", "longer than any statement timeout worth having")
LOCK_WAIT_CRITICAL = Threshold(
    300, "seconds", "NeonLockQueueBlocked", "with ten sessions behind it the application stands still"
)
LOCK_QUEUE_SESSIONS = Threshold(10, "sessions", "NeonLockQueueBlocked", "a queue, not two sessions that meet")
IDLE_IN_TRANSACTION_SECONDS = Threshold(
    600, "seconds", "NeonIdleInTransaction", "nothing human or automatic should think for ten minutes with locks held"
)
TRANSACTION_SECONDS = Threshold(
    3600, "seconds", "NeonLongTransaction", "vacuum cannot clean what died since; exports belong on a branch"
)
DEADLOCKS_PER_HOUR = Threshold(5, "deadlocks", "NeonDeadlocks", "one is bad luck, several are an order of locks")
ROLLBACK_WARNING = Threshold(
    0.2, "ratio", "NeonRollbackRatioHigh", "one transaction in five fails: an application that does not work"
)
CACHE_HIT_WARNING = Threshold(
    0.9, "ratio", "NeonCacheHitLow", "one block in ten from below shared buffers, for an hour of work", below=True
)
TEMP_BYTES_PER_SECOND = Threshold(
    10_000_000, "bytes/s", "NeonTempFilesHeavy", "sorts and hashes that do not fit work_mem; local disk is small"
)
XMIN_AGE_WARNING = Threshold(
    10_000_000, "transactions", "NeonOldSnapshotHeld", "so many transactions' dead rows cannot be removed"
)
EVICTIONS_PER_HOUR = Threshold(
    10, "evictions", "NeonStatementsEvicted", "what is evicted between two visits is missing from every total"
)

SLOT_LAG_BYTES = Threshold(
    1_073_741_824, "bytes", "NeonReplicationLagGrowing", "1 GiB behind and growing: the consumer does not keep up"
)
SLOT_RETAINED_BYTES = Threshold(
    5_368_709_120, "bytes", "NeonReplicationSlotRetainsWal", "5 GiB of WAL that a slot holds is billed and endangers it"
)
SLOTS_USED_WARNING = Threshold(0.9, "ratio", "NeonReplicationSlotsNearlyUsed", "the next connector cannot be created")
SENDERS_USED_WARNING = Threshold(0.9, "ratio", "NeonWalsendersNearlyUsed", "the next consumer cannot connect")

BUDGET_BURN_FAST = Threshold(2, "ratio", "NeonBudgetBurnFast", "twice the even pace over six hours ...")
BUDGET_BURN_SUSTAINED = Threshold(1.2, "ratio", "NeonBudgetBurnFast", "... and still over it in three days")
RUNAWAY_FACTOR = Threshold(
    3, "ratio", "NeonCostRunaway", "three times the week before: no growth, a loop or a compute that never ends"
)
RUNAWAY_USD_PER_HOUR = Threshold(2, "USD/hour", "NeonCostRunaway", "about $1,500 a month: worth waking somebody")
KEPT_AWAKE_USD_PER_DAY = Threshold(
    0.5, "USD/day", "NeonKeptAwakeForNothing", "$15 a month for nothing is worth a ticket"
)
WASTE_NEW_USD = Threshold(10, "USD/month", "NeonWasteNew", "below it the ticket costs more than the waste")
VARIANCE_USD = Threshold(1, "USD", "NeonReconciliationVariance", "cents are rounding, a dollar has a reason")
USAGE_AGE_SECONDS = Threshold(
    21_600, "seconds", "NeonUsageDataStale", "Neon shows usage within the hour; six hours are an outage of the feed"
)
RATE_CARD_AGE_SECONDS = Threshold(7_776_000, "seconds", "NeonRateCardOld", "90 days without a look at the price list")
UNALLOCATED_WARNING = Threshold(0.1, "ratio", "NeonCostUnallocated", "the target is 90 % with an owner")
TRANSFER_LEFT_BYTES = Threshold(
    10_000_000_000, "bytes", "NeonTransferAllowanceNearlyUsed", "10 GB are a day of a busy application", below=True
)

MIGRATION_LOCK_SECONDS = Threshold(
    1800, "seconds", "NeonMigrationLockStuck", "longer than migrations should take; a dead one holds it for ever"
)
SCAN_AGE_SECONDS = Threshold(
    86_400, "seconds", "NeonSchemaScanStale", "a compute in use is scanned at least once a day"
)

RESTORE_WINDOW_SECONDS = Threshold(
    86_400, "seconds", "NeonRestoreWindowShort", "less than a day does not outlast a night", below=True
)

PUBLISH_AGE_SECONDS = Threshold(
    60, "seconds", "NeonmeterPublishSLOBurn", "four publishes missed: what is on /metrics is old"
)
PUBLISH_SLO = Threshold(0.995, "ratio", "NeonmeterPublishSLOBurn", "fresh data 99.5 % of the time", below=True)
API_SLO = Threshold(0.99, "ratio", "NeonmeterApiSLOBurn", "99 % of requests to Neon answered well", below=True)
VISIT_SLO = Threshold(0.99, "ratio", "NeonmeterVisitSLOBurn", "99 % of visits bring something home", below=True)
ADDED_AWAKE_RATIO = Threshold(0.02, "ratio", "NeonmeterAddedAwakeTooMuch", "the promise of docs/observer-effect.md")
INVENTORY_AGE_SECONDS = Threshold(
    900, "seconds", "NeonmeterInventoryStale", "three rounds of the longest interval; states are unknown after it"
)
HEARTBEAT_AGE_SECONDS = Threshold(60, "seconds", "NeonmeterLoopStalled", "the loop turns every second")
LOOP_LAG_SECONDS = Threshold(1, "seconds", "NeonmeterLoopLag", "deadlines of visits are a few seconds")
CLOCK_SKEW_SECONDS = Threshold(
    5, "seconds", "NeonmeterClockSkew", "the wake rules compare our clock with Neon's to some seconds"
)
OPEN_FDS_WARNING = Threshold(0.8, "ratio", "NeonmeterFileDescriptorsNearlyUsed", "then connects and answers fail")
LEDGER_BYTES = Threshold(
    10_737_418_240, "bytes", "NeonmeterLedgerLarge", "10 GiB: years of a large fleet; retention does not work"
)

ALL = tuple(each for each in dict(globals()).values() if isinstance(each, Threshold))
"""Every threshold, for the test that compares them with the rules."""
