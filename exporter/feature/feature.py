"""What the app plugs in. A feature declares what is its own; the composition root knows only the list of features.

One `Feature` lives as long as the process; ``start`` makes a `FeatureRun` for one generation of the settings, and a
reload closes it and starts another. What a run has shown leaves the state when the next one does not name it, or when
there is no next one (`exporter.core.state.State.show`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from collectors.metric import Metric
from collectors.neon.inventory import Inventory
from collectors.postgres.evidence import Evidence
from collectors.wake.state import WakeState
from exporter.core.command_line import Commands
from exporter.feature.services import Services
from exporter.sampling.computes import Compute
from exporter.sampling.readings import OnFacts
from exporter.sampling.user_databases import DatabaseScanner
from exporter.settings.tree import CoreSettings

Tree = TypeVar("Tree", bound=CoreSettings)
Schemas = Mapping[str, Sequence[str]]
"""Name of a part of the store to its migrations, in order (`exporter.storage.store.Schemas`)."""


@dataclass(frozen=True, slots=True)
class MetricGroup:
    """Metrics under one heading of the documentation, and where their facts come from."""

    title: str
    source: str
    metrics: tuple[Metric, ...]


@dataclass(frozen=True, slots=True)
class Job:
    """Something that runs by itself: every ``seconds``, first after ``first_in`` seconds."""

    name: str
    seconds: float
    run: Callable[[], Awaitable[None]]
    first_in: float = 0.0


class FeatureRun:
    """One generation of a feature at work. Lives on the event loop; a subclass overrides what it has."""

    @property
    def jobs(self) -> Sequence[Job]:
        """What runs beside the rounds."""
        return ()

    @property
    def switched_off(self) -> Sequence[str]:
        """Owners of parts of the feature that these settings switch off: what they showed leaves at once."""
        return ()

    @property
    def scanners(self) -> Sequence[DatabaseScanner]:
        """What is to be read inside user databases."""
        return ()

    @property
    def wanted_settings(self) -> Sequence[str]:
        """Names of server settings that a visit is to read beside the usual ones."""
        return ()

    @property
    def subscriptions(self) -> Mapping[type, OnFacts]:
        """What to do with the facts of a collector (`collectors.base.Reading.facts`), by their type."""
        return {}

    async def on_evidence(
        self, compute: Compute, evidence: Evidence, before: WakeState, after: WakeState, at: float
    ) -> None:
        """Take in who else was there at a visit at ``at`` (unix seconds of the API's clock).

        ``before`` and ``after`` are the wake states around the visit.

        Raises:
            StoreError: the disk is full or the file damaged.
        """

    async def recall(self, inventory: Inventory) -> None:
        """Once, before Neon is asked: show what an earlier run stored. The inventory is from before our start too.

        Raises:
            StoreError: the file is damaged.
        """

    async def before_visits(self, inventory: Inventory) -> None:
        """Take in a fresh inventory, before any compute is visited.

        It may be a part of a reading that is under way (``Inventory.complete``): all other projects are unknown.

        Raises:
            StoreError: the disk is full or the file damaged.
        """

    async def on_inventory(self, inventory: Inventory) -> None:
        """Take in a fresh inventory, after the visits that it allowed.

        Raises:
            StoreError: the disk is full or the file damaged.
        """

    def notes(self) -> Iterable[str]:
        """Sentences for the index page: what is degraded and needs a person."""
        return ()

    async def close(self) -> None:
        """Let go of connections and files of this generation."""


class Feature(ABC, Generic[Tree]):
    """What a feature declares. Instances hold what outlives a reload; ``Tree`` is the settings that it reads."""

    name: ClassVar[str]
    """Owner of what it shows in the state and of its pages under /api/v1/."""
    schemas: ClassVar[Schemas] = {}
    """Its tables in the store."""
    ledger_schemas: ClassVar[Schemas] = {}
    """Its tables in the ledger, where that is a PostgreSQL database."""
    metrics: ClassVar[tuple[MetricGroup, ...]] = ()
    """Its metrics by heading, in the order of the documentation."""

    def add_commands(self, commands: Commands) -> None:
        """Declare its commands; imports nothing heavy."""

    @abstractmethod
    def start(self, services: Services, settings: Tree) -> FeatureRun | None:
        """Begin a generation; None where the settings switch the feature off. Opens no connection.

        Raises:
            NeonmeterError: a file that the settings name cannot be used.
        """
