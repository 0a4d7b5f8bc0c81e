"""The policy of the tests: the usual one, with the severities of the shipped controls."""

from __future__ import annotations

from typing import Any

from exporter.posture.catalogue import shipped
from exporter.posture.domain.policy import Policy

SEVERITIES = shipped().severities


def policy(**wanted: Any) -> Policy:
    return Policy(**{"severities": SEVERITIES, **wanted})
