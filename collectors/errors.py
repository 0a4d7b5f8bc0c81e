"""The one base of our errors: a sentence for a person, and the exit code of a command that ends by it.

NeonmeterError                 3 upstream: Neon, a server or a file did not do what was asked
UsageError                   2 options or settings cannot be used
SettingsError              ... with one line for each problem
"""

from __future__ import annotations

from typing import ClassVar

OK, FINDINGS, USAGE, UPSTREAM = 0, 1, 2, 3
"""Exit codes of commands: all is well; something was found; usage or settings; Neon or a server did not answer."""


class NeonmeterError(Exception):
    """Something that a person can act on. Its text is one or more lines: what happened, where, what to do."""

    exit_code: ClassVar[int] = UPSTREAM
    """What a command ends with when this reaches the command line."""
    outcome: ClassVar[str] = "error"
    """What a turn of a job or step of the agent is counted as when it ends with this."""
    heading: str = ""
    """A line that is printed above the text, which is then indented."""

    @property
    def lines(self) -> tuple[str, ...]:
        """The text, line by line."""
        return tuple(str(self).splitlines())


class UsageError(NeonmeterError):
    """Options or settings that cannot be used."""

    exit_code = USAGE
