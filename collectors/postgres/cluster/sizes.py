"""The size of every database: the most expensive query, so it runs rarely.

PostgreSQL looks at each file of each database, and on Neon each is a question to the page server; sizes move slowly.
Source: pg_database_size().
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from collectors.base import Epoch, NoDataError, Query, Reading, Result, Server, SqlCollector
from collectors.metric import Families, Kind, Metric, Scope, Unit
from collectors.postgres import query
from collectors.postgres.cluster.databases import MAX_DATABASES

SIZE = Metric(
    "pg_database_size_bytes", Kind.GAUGE, Unit.BYTES, Scope.ENDPOINT,
    "Size of the database; root storage is billed on the sum of them.", ("datname",),
    worse="up", max_series=MAX_DATABASES,
)  # fmt: skip
METRICS = (SIZE,)
_TABLE = (query.Column("size", SIZE),)


@dataclass(frozen=True, slots=True)
class DatabaseSizes:
    """Size of each database in bytes, by name; one whose size our role may not ask for is absent."""

    sizes: Mapping[str, int]


class SizesCollector(SqlCollector):
    """Reads the sizes from database `postgres`, without entering any other."""

    name = "sizes"
    title = "Sizes"
    source = "pg_database_size(), rarely: it is the most expensive query"
    metrics = METRICS
    interval = 900.0

    def queries(self, server: Server) -> tuple[Query, ...]:
        """One row a database whose size our role may ask for."""
        return (Query("sizes", query.load("sizes", server.version_num // 10_000)),)

    def read(self, results: Mapping[str, Result], epoch: Epoch) -> Reading:
        """Map the rows; a database whose size may not be asked simply has none.

        Raises:
            NoDataError: the query failed.
        """
        del epoch
        if "sizes" not in results:
            raise NoDataError("the sizes could not be read")
        families = Families()
        for row in query.records(results["sizes"]):
            query.fill(families, _TABLE, (row["datname"],), row)
        sizes = {labels[0]: int(size) for labels, size in families.get(SIZE).items()}
        return Reading(families, len(results["sizes"].rows), DatabaseSizes(sizes))
