"""The settings tree told to people: an example file, a JSON schema, docs/config.md. All come from the tree itself."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Union

import yaml
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from exporter.app.settings import ORDER, Settings
from exporter.settings import PREFIX

_EXAMPLES: dict[str, Any] = {
    "neon.api_key_file": "/run/secrets/neon-api-key",
    "postgres.dsn": "postgresql://monitor@{host}/postgres",
    "postgres.password_file": "/run/secrets/monitor-password",
    "postgres.overrides": [{"project": "*-sandbox", "enabled": False}],
    "sampling.expected_slots": [{"project": "orders", "branch": "main", "slot": "debezium"}],
    "sampling.collectors": {"settings": {"interval_seconds": 900}},
    "pgbouncer": [{"name": "orders", "dsn": "postgresql://stats@pgbouncer:6432/pgbouncer",
                   "password_file": "/run/secrets/pgbouncer-stats"}],
    "tenants": [{"role": "^(?P<tenant>.+)_app$"}, {"schema": "^t_(?P<tenant>[a-z0-9]+)$"},
                {"database": "^customer_(?P<tenant>.+)$"}, {"tenant": "__shared__", "role": "^postgres$"}],
    "cost.extra_lines": [{"name": "Support", "category": "Purchase", "amount": "500.00", "from": "2026-01-01"}],
    "report.tags": [{"branch": "main", "tags": {"env": "prod"}},
                    {"project": "shop-*", "tags": {"team": "web", "cost_center": "4711"}}],
    "budgets": [{"name": "everything", "amount": "2500.00"},
                {"name": "payments", "scope": "tag", "match": "team=payments", "amount": "400.00"}],
}  # fmt: skip


def schema() -> str:
    """The JSON schema of the settings, for editors and for other tools."""
    tree = Settings.model_json_schema(by_alias=True)
    tree["properties"] = {name: tree["properties"][name] for name in ORDER}
    return json.dumps(tree, indent=2)


def in_force(settings: Settings) -> str:
    """The tree as YAML, with every secret masked."""
    return yaml.safe_dump(settings.masked(), sort_keys=False)


def example() -> str:
    """A complete settings file: every key with what it means; all but the least that is useful commented out."""
    lines = [
        "# Settings of neonmeter. Every key can also be set by environment, as NEONMETER_SECTION__KEY.",
        "# Only an API key is needed: it gives inventory and cost. A DSN template adds what happens inside.",
    ]
    for name in ORDER:
        field = Settings.model_fields[name]
        model = _model(field.annotation)
        if model is None:
            continue
        lines += ["", f"# {_doc(model).split('. ')[0].rstrip('.')}."]
        lines += _list_example(name) if _is_list(field.annotation) else _section_example(name, model)
    return "\n".join(lines) + "\n"


def _section_example(section: str, model: type[BaseModel]) -> list[str]:
    body: list[str] = []
    live = False
    for name, field in model.model_fields.items():
        key = field.alias or name
        given = _EXAMPLES.get(f"{section}.{key}")
        value = given if given is not None else _plain(field.get_default(call_default_factory=True))
        on = f"{section}.{key}" in ("neon.api_key_file", "postgres.dsn", "postgres.password_file")
        live = live or on
        text = yaml.safe_dump({key: value}, default_flow_style=True, width=10_000).strip()[1:-1]
        body.append(f"  {'' if on else '# '}{text}{f'  # {field.description}' if field.description else ''}")
    return [f"{section}:" if live else f"# {section}:", *body]


def _list_example(name: str) -> list[str]:
    examples = [yaml.safe_dump(item, default_flow_style=True, width=10_000).strip() for item in _EXAMPLES[name]]
    return [f"# {name}:", *[f"#   - {example}" for example in examples]]


def markdown() -> str:
    """docs/config.md."""
    lines = [
        "# Settings",
        "",
        "Generated from the settings tree by `make docs`. One YAML file (`--config FILE` or `NEONMETER_CONFIG`);",
        f"an environment variable `{PREFIX}SECTION__KEY` wins over the file, and `NEON_API_KEY` is enough to start.",
        "Unknown keys are refused. `neonmeter config example` prints a file to start from, `config check` judges one,",
        "`config show` prints what is in force with secrets masked, `config schema` the JSON schema.",
    ]
    for path, model, many in _sections():
        lines += ["", f"## {path}" + (" (a list)" if many else ""), "", _doc(model), ""]
        lines += ["| key | type | default | meaning |", "|---|---|---|---|"]
        for name, field in model.model_fields.items():
            default = "required" if field.is_required() else f"`{_yaml(field.get_default(call_default_factory=True))}`"
            meaning = field.description or ""
            lines.append(f"| `{field.alias or name}` | {_type(field)} | {default} | {meaning} |")
    return "\n".join(lines) + "\n"


def _sections() -> Iterator[tuple[str, type[BaseModel], bool]]:
    for name in ORDER:
        field = Settings.model_fields[name]
        model = _model(field.annotation)
        if model is None:
            continue
        yield name, model, _is_list(field.annotation)
        for inner, inner_field in model.model_fields.items():
            nested = _model(inner_field.annotation)
            if nested is not None:
                yield f"{name}.{inner}", nested, _is_list(inner_field.annotation)


def _doc(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").split())


def _model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for get_arg in typing.get_args(annotation) if (found := _model(get_arg))), None)


def _is_list(annotation: Any) -> bool:
    return typing.get_origin(annotation) is list


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    if isinstance(value, Path):
        return str(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _yaml(value: Any) -> str:
    if isinstance(value, BaseModel):
        return "as below"
    return "" if value is None else json.dumps(_plain(value), default=str)


def _type(field: FieldInfo) -> str:
    return _type_name(field.annotation)


def _type_name(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, Union):
        return " or ".join(_type_name(argument) for argument in arguments if argument is not type(None))
    if origin is typing.Literal:
        return " or ".join(f"`{argument}`" for argument in arguments)
    if origin is list:
        return f"list of {_type_name(arguments[0])}"
    if origin is dict:
        return f"map to {_type_name(arguments[1])}"
    if origin is typing.Annotated:
        return _type_name(arguments[0])
    names = {str: "text", int: "whole number", float: "number", bool: "yes/no", Path: "file", SecretStr: "secret"}
    names |= {Decimal: "amount", date: "day"}
    return names.get(annotation, "section")
