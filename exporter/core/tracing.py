"""The tracing seam: spans of visits and API calls, which cost next to nothing until somebody asked for them.

The rest of the program writes ``with span("visit", endpoint=...) as visit: ...; visit.set(status="ok")`` and never sees
OpenTelemetry. ``exporter.app.otlp`` alone puts a tracer behind it, when the extra is installed and an endpoint
configured. Attributes are ids, routes, counts and statuses: never SQL text, a DSN or a key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.trace import Span as OtelSpan
    from opentelemetry.trace import Tracer

Attribute = str | int | float | bool


class Span:
    """A span that goes nowhere; what callers hold when nothing is configured."""

    __slots__ = ()

    def set(self, **attributes: Attribute) -> None:
        """Add attributes."""

    def fail(self, reason: str) -> None:
        """Mark it failed, with one line for a person (never a DSN)."""

    def __enter__(self) -> Span:
        return self

    def __exit__(self, *_problem: object) -> None:
        return None


class _RealSpan(Span):
    """A span of OpenTelemetry's."""

    __slots__ = ("_failed", "_span")

    def __init__(self, span: OtelSpan, failed: Callable[[str], object]) -> None:
        self._span = span
        self._failed = failed

    def set(self, **attributes: Attribute) -> None:
        self._span.set_attributes(attributes)

    def fail(self, reason: str) -> None:
        self._span.set_status(self._failed(reason))  # type: ignore[arg-type]


_NOTHING = Span()
_tracer: Tracer | None = None


def use(tracer: Tracer | None) -> None:
    """Send spans to a tracer from now on; None sends them nowhere again."""
    global _tracer  # noqa: PLW0603 - a process has one tracer, and handing it through every signature buys nothing
    _tracer = tracer


def span(name: str, **attributes: Attribute) -> AbstractContextManager[Span]:
    """A span around a block, child of the one around it. An exception that leaves the block marks it failed."""
    return _NOTHING if _tracer is None else _real(_tracer, name, attributes)


def record(name: str, start: float, end: float, **attributes: Attribute) -> None:
    """A span of something that is over already (an API call, told by a callback). Times in unix seconds."""
    if _tracer is not None:
        done = _tracer.start_span(name, start_time=int(start * 1e9), attributes=attributes)
        done.end(int(end * 1e9))


@contextmanager
def _real(tracer: Tracer, name: str, attributes: dict[str, Attribute]) -> Iterator[Span]:
    from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415 - only with a tracer is it installed for sure

    def failed(reason: str) -> Status:
        return Status(StatusCode.ERROR, reason)

    # The text of an exception may carry what must not leave (a conninfo): its class name is told, nothing else.
    with tracer.start_as_current_span(
        name, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield _RealSpan(current, failed)
        except BaseException as problem:
            current.set_status(failed(type(problem).__name__))
            raise
