"""Secrets: given inline or by file, and read again at every use so that a rotation needs no restart."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr


class SecretError(OSError):
    """A secret file cannot be read; ``strerror`` names the file, never its content."""

    def __init__(self, message: str) -> None:
        super().__init__(5, message)

    def __str__(self) -> str:
        return str(self.strerror)


def read_secret(inline: SecretStr | None, file: Path | None) -> str | None:
    """The secret's text, or None when none was given; the file wins, since it is what gets rotated.

    Raises:
        SecretError: the file is missing, unreadable or empty.
    """
    if file is not None:
        try:
            text = file.read_text().strip()
        except OSError as error:
            raise SecretError(f"{file}: cannot be read ({error.strerror}); is it mounted?") from None
        except UnicodeDecodeError:
            raise SecretError(f"{file}: is not text; a secret is one line of text") from None
        if not text:
            raise SecretError(f"{file}: is empty")
        return text
    return inline.get_secret_value() if inline is not None else None
