"""Price components."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

GB = 10**9
MONTH_HOURS = 744


class Component(StrEnum):
    """What an invoice has a line for; the value is the ``component`` label."""

    COMPUTE = "compute"
    ROOT_STORAGE = "root_storage"
    CHILD_STORAGE = "child_storage"
    INSTANT_RESTORE = "instant_restore"
    SNAPSHOT_STORAGE = "snapshot_storage"
    EXTRA_BRANCHES = "extra_branches"
    PUBLIC_TRANSFER = "public_transfer"
    PRIVATE_TRANSFER = "private_transfer"


METRIC_COMPONENTS: Mapping[str, Component] = {
    "compute_unit_seconds": Component.COMPUTE,
    "root_branch_bytes_month": Component.ROOT_STORAGE,
    "child_branch_bytes_month": Component.CHILD_STORAGE,
    "instant_restore_bytes_month": Component.INSTANT_RESTORE,
    "snapshot_storage_bytes_month": Component.SNAPSHOT_STORAGE,
    "extra_branches_month": Component.EXTRA_BRANCHES,
    "public_network_transfer_bytes": Component.PUBLIC_TRANSFER,
    "private_network_transfer_bytes": Component.PRIVATE_TRANSFER,
}
"""Metric names of ``/consumption_history/v2`` and the component each is billed as."""

UNITS: Mapping[Component, str] = {
    Component.COMPUTE: "CU-hour",
    Component.ROOT_STORAGE: "GB-month",
    Component.CHILD_STORAGE: "GB-month",
    Component.INSTANT_RESTORE: "GB-month",
    Component.SNAPSHOT_STORAGE: "GB-month",
    Component.EXTRA_BRANCHES: "branch-month",
    Component.PUBLIC_TRANSFER: "GB",
    Component.PRIVATE_TRANSFER: "GB",
}
"""The unit that a rate is per."""

ALLOWANCE_UNITS: Mapping[Component, str] = {Component.EXTRA_BRANCHES: "child branches", Component.PUBLIC_TRANSFER: "GB"}
"""The components that can have an allowance, and the unit it is in."""
