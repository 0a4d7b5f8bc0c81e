"""What every section of the settings is: closed, immutable, and silent about the values it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr

Seconds = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A part of the tree; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, hide_input_in_errors=True)


class Secret(Section):
    """A section with a password."""

    password: SecretStr | None = Field(None, description="The password itself; better by file or environment.")
    password_file: Path | None = Field(None, description="A file with the password, read again at every connect.")
