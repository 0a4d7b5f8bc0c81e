"""Where good ends: the limits that tiles, tables and alerts share, so that a red tile and a page mean the same.

A tile turns amber at ``warning`` and red at ``critical``; the alert rules compare with the same two numbers, and a test
holds them to it.
"""

from __future__ import annotations

from dataclasses import dataclass

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
GB = 1e9


@dataclass(frozen=True, slots=True)
class Limit:
    """Two numbers in the base unit of the metric; ``worse`` says which way is bad."""

    warning: float
    critical: float
    worse: str = "up"

    def __post_init__(self) -> None:
        """Refuse limits in the wrong order.

        Raises:
            ValueError: critical is on the good side of warning.
        """
        if (self.critical > self.warning) != (self.worse == "up"):
            raise ValueError(f"{self}: critical must lie beyond warning")


# Availability: computes that the control plane says are active, and that did not answer our last visit.
COMPUTES_SILENT = Limit(0.5, 1)

# Performance
TRANSACTION_AGE = Limit(15 * MINUTE, HOUR)
IDLE_IN_TRANSACTION = Limit(5 * MINUTE, 30 * MINUTE)
LOCK_WAIT = Limit(MINUTE, 5 * MINUTE)
LOCKS_WAITING = Limit(1, 10)
CONNECTIONS_USED = Limit(0.8, 0.9)
XID_AGE = Limit(500e6, 1.5e9)
POOL_WAIT = Limit(1, 10)
STATEMENT_MEAN = Limit(0.1, 1)
COLD_START = Limit(3, 10)
STATEMENTS_TRACKED = Limit(0.9, 0.99)

# Change data capture. Neon drops a logical slot after about 40 hours without a consumer.
SLOT_RETAINED = Limit(5 * GB, 20 * GB)
SLOT_LAG = Limit(1 * GB, 10 * GB)
SLOT_UNREAD = Limit(6 * HOUR, 30 * HOUR)
SLOTS_LOST = Limit(0.5, 1)
REPLICA_LAG = Limit(30, 5 * MINUTE)

# FinOps. Ratios of 1; money never pages but for a runaway.
BUDGET_FORECAST = Limit(1.0, 1.2)
BUDGET_BURN = Limit(1.5, 3.0)
ANOMALY_USD = Limit(5, 50)
WASTE_RATIO = Limit(0.10, 0.25)
UNALLOCATED_RATIO = Limit(0.10, 0.25)
FORECAST_ERROR = Limit(0.12, 0.25)
RATE_CARD_AGE = Limit(45 * DAY, 90 * DAY)
BILLING_AGE = Limit(6 * HOUR, 24 * HOUR)
AGENT_COST_RATIO = Limit(0.01, 0.02)

# Drift and posture
DRIFTED_DATABASES = Limit(1, 10)
DRIFT_AGE = Limit(DAY, 7 * DAY)
MIGRATIONS_FAILED = Limit(0.5, 1)
MIGRATIONS_PENDING = Limit(1, 20)
API_KEY_AGE = Limit(90 * DAY, 365 * DAY)
MIGRATION_LOCK_AGE = Limit(10 * MINUTE, HOUR)
SCAN_AGE = Limit(2 * DAY, 7 * DAY)
POSTURE_FINDINGS = Limit(0.5, 1)
POSTURE_SCORE = Limit(0.9, 0.7, worse="down")

# The agent
INVENTORY_AGE = Limit(15 * MINUTE, HOUR)
VISIT_AGE = Limit(HOUR, 6 * HOUR)
HEARTBEAT_AGE = Limit(2 * MINUTE, 5 * MINUTE)
LOOP_LAG = Limit(1, 5)
API_ERROR_RATIO = Limit(0.01, 0.05)
ROUND_ERROR_RATIO = Limit(0.01, 0.05)
CAUSED_WAKES = Limit(0.5, 1)
BREAKERS_OPEN = Limit(1, 5)
SERIES_TRUNCATED = Limit(1, 1000)
CLOCK_SKEW = Limit(30, 5 * MINUTE)
OPEN_FILES_RATIO = Limit(0.7, 0.9)

# What only alerts compare with: one number each.
DATABASE_CONNECTIONS_USED = 0.9  # a person set this limit, so closer to it is meant
POOL_USED = 0.9
DEADLOCKS_PER_HOUR = 5.0  # one is bad luck, several are an order of locks
ROLLBACK_RATIO = 0.2
CACHE_HIT_RATIO = 0.9  # an hour of work with one block in ten from below shared buffers
TEMP_BYTES_PER_SECOND = 10e6
XMIN_AGE = 10e6
EVICTIONS_PER_HOUR = 10.0  # what is evicted between two visits is missing from every total
SLOTS_USED = 0.9
BUDGET_BURN_SUSTAINED = 1.2  # over three days, beside BUDGET_BURN over six hours
RUNAWAY_FACTOR = 3.0  # times the week before: no growth, but a loop or a compute that never ends
RUNAWAY_USD_PER_HOUR = 2.0  # about $1,500 a month: worth waking somebody
KEPT_AWAKE_USD_PER_DAY = 0.5  # $15 a month for nothing is worth a ticket
WASTE_NEW_USD = 10.0  # a month; below it the ticket costs more
VARIANCE_USD = 1.0  # cents are rounding, a dollar has a reason
TRANSFER_LEFT = 10 * GB
RESTORE_WINDOW = DAY  # less does not outlast a night
PASSWORD_AGE = 180 * DAY
KEY_AGE = 90 * DAY
PUBLISH_AGE = MINUTE  # four publishes missed: what is on /metrics is old
PUBLISH_SLO = 0.995
API_SLO = 0.99
VISIT_SLO = 0.99
ADDED_AWAKE_RATIO = 0.02  # the promise of docs/observer-effect.md
LEDGER_BYTES = 10 * GB
