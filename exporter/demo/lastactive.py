"""How the API sees last_active: at once, late, only at the suspend, or wrong.

How quickly Neon's own API follows is not documented, so an agent must hold its promise under every one of these.
"""

from __future__ import annotations

import threading
from collections import deque
from enum import StrEnum

from exporter.demo.view import View
from exporter.demo.world import TwinEndpoint

_WATCHED = 100
"""In a world with more projects than this, what was true earlier is known only for what was asked for."""


class Follow(StrEnum):
    """``frozen`` moves when the compute suspends; ``lying`` advances by itself while the compute runs."""

    EXACT = "exact"
    LAGGING = "lagging"
    FROZEN = "frozen"
    LYING = "lying"


class LastActive:
    """last_active of endpoints as the API tells it. ``follow`` and ``lag`` (seconds) may be changed at any time."""

    def __init__(self, view: View, follow: Follow = Follow.EXACT, lag: float = 0.0) -> None:
        """Look at ``view``; for ``lagging``, call ``observe`` a few times a second."""
        self._view = view
        self._past: dict[str, deque[tuple[float, float | None]]] = {}
        self._lock = threading.Lock()
        self.follow = follow
        self.lag = lag

    def observe(self) -> None:
        """Remember what is true now, for those who look later."""
        projects = self._view.project_ids()
        if self.follow is not Follow.LAGGING or len(projects) > _WATCHED:
            return
        for project_id in projects:
            for endpoint in self._view.endpoints(project_id):
                self._remember(endpoint)

    def _remember(self, endpoint: TwinEndpoint) -> None:
        now = self._view.now()
        with self._lock:
            past = self._past.setdefault(endpoint.id, deque([(0.0, endpoint.last_active)]))
            if past[-1][1] != endpoint.last_active:
                past.append((now, endpoint.last_active))
            while len(past) > 1 and past[1][0] <= now - self.lag:
                past.popleft()

    def seen(self, endpoint: TwinEndpoint) -> float | None:
        """What the API says; None when it says nothing."""
        if self.follow is Follow.LAGGING:
            self._remember(endpoint)
            with self._lock:
                return self._past[endpoint.id][0][1]
        if endpoint.current_state != "active" or endpoint.last_active is None:
            return endpoint.last_active
        if self.follow is Follow.LYING:
            return self._view.now()
        if self.follow is Follow.FROZEN:
            # The value of the last suspend: a monitor suspends at last_active + T.
            if endpoint.suspended_at is None or endpoint.suspend_after is None:
                return None
            return min(endpoint.suspended_at - endpoint.suspend_after, endpoint.last_active)
        return endpoint.last_active
