"""The words that may leave the machine, read from ``words.yaml`` beside this file."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml

from exporter.recording.domain.pseudonyms import Vocabulary


@cache
def vocabulary() -> Vocabulary:
    """All of them."""
    found = yaml.safe_load(Path(__file__).with_name("words.yaml").read_text("utf-8"))
    return Vocabulary(**{name: frozenset(words.split()) for name, words in found.items()})
