"""Facts as JSON and back, by the types of their fields, so that what was read outlives the agent.

A fact that was not known stays unknown: an ``Unread`` is written as ``{"unread": status, "why": ...}``.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar, Union

from collectors.base import Status, Unread

_MARK = "unread"
Fact = TypeVar("Fact")


class CodecError(ValueError):
    """What was written does not fit the types any more (a newer or older neonmeter): read it again."""


def encode(value: object) -> Any:
    """Plain data."""
    if isinstance(value, Unread):
        return {_MARK: value.status.value, "why": value.why}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: encode(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): encode(part) for key, part in value.items()}
    if isinstance(value, (tuple, list)):
        return [encode(part) for part in value]
    return value


def decode(kind: type[Fact], plain: object) -> Fact:
    """The fact again.

    Raises:
        CodecError: it does not fit.
    """
    try:
        made: Fact = _decode(kind, plain)
    except (TypeError, ValueError, KeyError) as problem:
        raise CodecError(f"{getattr(kind, '__name__', kind)}: {problem}") from None
    return made


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _decode(kind: Any, plain: Any) -> Any:
    origin = typing.get_origin(kind)
    if origin in (Union, types.UnionType):
        return _decode_union(typing.get_args(kind), plain)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if not isinstance(plain, dict):
            raise TypeError("no mapping")
        hints = _hints(kind)
        known = {field.name for field in dataclasses.fields(kind)}
        return kind(**{name: _decode(hints[name], part) for name, part in plain.items() if name in known})
    if origin is tuple:
        if not isinstance(plain, list):
            raise TypeError("no list")
        (inner, *_) = typing.get_args(kind)
        return tuple(_decode(inner, part) for part in plain)
    if origin is not None and issubclass(origin, Mapping):
        _, inner = typing.get_args(kind)
        if not isinstance(plain, dict):
            raise TypeError("no mapping")
        return {key: _decode(inner, part) for key, part in plain.items()}
    if kind is float and isinstance(plain, int) and not isinstance(plain, bool):
        return float(plain)
    if not isinstance(plain, kind) or (kind is int and isinstance(plain, bool)):
        raise TypeError(f"{type(plain).__name__} is not a {kind.__name__}")
    return plain


def _decode_union(kinds: tuple[Any, ...], plain: Any) -> Any:
    if Unread in kinds and isinstance(plain, dict) and _MARK in plain:
        return Unread(Status(plain[_MARK]), str(plain["why"]))
    if plain is None and type(None) in kinds:
        return None
    others = [kind for kind in kinds if kind not in (Unread, type(None))]
    for other in others[:-1]:
        try:
            return _decode(other, plain)
        except (TypeError, ValueError):
            continue
    return _decode(others[-1], plain)
