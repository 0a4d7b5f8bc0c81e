"""The controls as a person reads them, and the frameworks whose clauses they serve: YAML files, strictly read.

``controls.yaml`` says what each control is; ``frameworks/<name>.yaml`` maps the clauses of one framework to controls.
Both are meant to be edited: every mistake is told with its place and what to do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from exporter.posture.domain.finding import SEVERITIES, Severity

PROFILES = ("neon", "postgres", "pgbouncer", "vault", "s3", "api")
EVALUATED = ("auto", "manual")
_CONTROL = {"id", "name", "title", "what", "why", "severity", "remedy", "sources", "profile", "evaluated", "unmapped"}
_REMEDY = {"text", "sql", "cli"}
_FRAMEWORK = {"id", "title", "version", "about", "clauses"}
_CLAUSE = {"id", "title", "controls"}
_ID = re.compile(r"P\d{2}\Z")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's where it is there: ten times as quick."""
_SLUG = re.compile(r"[a-z][a-z0-9_]*\Z")


class CatalogueError(ValueError):
    """The files cannot be used; ``problems`` has a line for each mistake, beginning with its place."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Remedy:
    """What ends a failure: words, and where there is one a statement or a command."""

    text: str
    sql: str = ""
    cli: str = ""


@dataclass(frozen=True, slots=True)
class Control:
    """One control."""

    id: str
    name: str
    """A slug, for labels and addresses: ``xtenant_grant``."""
    title: str
    what: str
    """When it fails."""
    why: str
    severity: Severity
    remedy: Remedy
    sources: tuple[str, ...]
    """Where the facts come from: views, API fields, commands."""
    profile: tuple[str, ...]
    """Which of the platforms it speaks of."""
    evaluated: str
    """``auto``, or ``manual``: for a person to look at."""
    unmapped: str = ""
    """Why no framework names it; empty when one does."""


@dataclass(frozen=True, slots=True)
class Clause:
    """One clause of a framework, titled in our own words."""

    id: str
    title: str
    controls: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Framework:
    """What one framework asks, as far as these controls can show it."""

    id: str
    title: str
    version: str
    about: str
    clauses: tuple[Clause, ...]

    def of(self, control: str) -> tuple[Clause, ...]:
        """The clauses that a control serves."""
        return tuple(clause for clause in self.clauses if control in clause.controls)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All of it."""

    controls: Mapping[str, Control]
    frameworks: Mapping[str, Framework]

    @property
    def severities(self) -> dict[str, Severity]:
        """By control, where the file says another severity than ours: for ``Policy.severities``."""
        return {
            id_: control.severity for id_, control in self.controls.items() if control.severity is not SEVERITIES[id_]
        }

    def clauses(self, control: str) -> dict[str, tuple[Clause, ...]]:
        """By framework: the clauses that a control serves."""
        found = {name: framework.of(control) for name, framework in self.frameworks.items()}
        return {name: clauses for name, clauses in found.items() if clauses}


def load_catalogue(folder: Path | None = None) -> Catalogue:
    """Read the files; ``folder`` holds files of one's own, which win over those shipped, file by file.

    Raises:
        CatalogueError: with all that is wrong in all of them.
    """
    problems: list[str] = []
    texts = {**_shipped(), **(_own(folder, problems) if folder else {})}
    trees = {name: _parsed(name, text, problems) for name, text in sorted(texts.items())}
    controls: dict[str, Control] = {}
    for place, entry in _entries("controls.yaml", trees.pop("controls.yaml", None), "controls", problems):
        control = _control(place, entry, problems)
        if control is not None:
            if control.id in controls or any(other.name == control.name for other in controls.values()):
                problems.append(f"{place}: {control.id} {control.name} is there twice")
            controls[control.id] = control
    frameworks: dict[str, Framework] = {}
    for name, tree in trees.items():
        framework = _framework(name, tree, problems)
        if framework is not None:
            frameworks[framework.id] = framework
    problems += _between(controls, frameworks)
    if problems:
        raise CatalogueError(problems)
    return Catalogue(dict(sorted(controls.items())), dict(sorted(frameworks.items())))


def _shipped() -> dict[str, str]:
    root = resources.files("exporter.posture")
    texts = {"controls.yaml": root.joinpath("controls.yaml").read_text(encoding="utf-8")}
    for entry in root.joinpath("frameworks").iterdir():
        if entry.name.endswith(".yaml"):
            texts[f"frameworks/{entry.name}"] = entry.read_text(encoding="utf-8")
    return texts


def _own(folder: Path, problems: list[str]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for path in [folder / "controls.yaml", *sorted((folder / "frameworks").glob("*.yaml"))]:
        if path.exists():
            try:
                texts[path.relative_to(folder).as_posix()] = path.read_text(encoding="utf-8")
            except (OSError, UnicodeError) as problem:
                problems.append(f"{path}: cannot be read: {problem}")
    return texts


def _parsed(name: str, text: str, problems: list[str]) -> Any:
    try:
        return yaml.load(text, Loader=_LOADER)  # noqa: S506 - a safe loader
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problems.append(f"{name}{line}: is not YAML: {getattr(problem, 'problem', problem)}")
        return None


def _entries(name: str, tree: Any, key: str, problems: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    found = tree.get(key) if isinstance(tree, dict) else None
    if not isinstance(found, list) or not found:
        if tree is not None:
            problems.append(f"{name}: must hold a list `{key}`")
        return
    for number, entry in enumerate(found):
        place = f"{name}: {key}[{number}]"
        if not isinstance(entry, dict):
            problems.append(f"{place}: must be a mapping")
        else:
            yield (f"{name}: {entry['id']}" if isinstance(entry.get("id"), str) else place), entry


def _text(place: str, tree: dict[str, Any], key: str, problems: list[str], *, wanted: bool = True) -> str:
    value = tree.get(key, "")
    if not isinstance(value, str) or (wanted and not value.strip()):
        problems.append(f"{place}.{key}: must be a text")
        return ""
    return value.strip()


def _texts(place: str, tree: dict[str, Any], key: str, problems: list[str]) -> tuple[str, ...]:
    value = tree.get(key)
    if not isinstance(value, list) or not value or not all(isinstance(entry, str) and entry for entry in value):
        problems.append(f"{place}.{key}: must be a list of at least one text")
        return ()
    if len(set(value)) != len(value):
        problems.append(f"{place}.{key}: names something twice")
    return tuple(value)


def _unknown(place: str, tree: dict[str, Any], known: set[str], problems: list[str]) -> None:
    problems += [f"{place}.{key}: is not known; there are {', '.join(sorted(known))}" for key in tree.keys() - known]


def _control(place: str, tree: dict[str, Any], problems: list[str]) -> Control | None:
    before = len(problems)
    _unknown(place, tree, _CONTROL, problems)
    texts = {key: _text(place, tree, key, problems) for key in ("id", "name", "title", "what", "why", "evaluated")}
    if texts["id"] and not _ID.match(texts["id"]):
        problems.append(f"{place}.id: must be P and two digits")
    if texts["name"] and not _SLUG.match(texts["name"]):
        problems.append(f"{place}.name: must be lower-case words with underscores")
    if texts["evaluated"] not in EVALUATED:
        problems.append(f"{place}.evaluated: must be one of {', '.join(EVALUATED)}")
    profile = _texts(place, tree, "profile", problems)
    problems += [
        f"{place}.profile: {entry!r} is none of {', '.join(PROFILES)}" for entry in set(profile) - set(PROFILES)
    ]
    severity = _text(place, tree, "severity", problems)
    if severity not in set(Severity):
        problems.append(f"{place}.severity: must be one of {', '.join(Severity)}")
    remedy = tree.get("remedy")
    if not isinstance(remedy, dict):
        problems.append(f"{place}.remedy: must be a mapping with text, and sql or cli where there is one")
        return None
    _unknown(f"{place}.remedy", remedy, _REMEDY, problems)
    ends = Remedy(
        _text(f"{place}.remedy", remedy, "text", problems),
        _text(f"{place}.remedy", remedy, "sql", problems, wanted=False),
        _text(f"{place}.remedy", remedy, "cli", problems, wanted=False),
    )
    sources = _texts(place, tree, "sources", problems)
    unmapped = _text(place, tree, "unmapped", problems, wanted=False)
    if len(problems) > before:
        return None
    return Control(**texts, severity=Severity(severity), remedy=ends, sources=sources, profile=profile,
                   unmapped=unmapped)  # fmt: skip


def _framework(name: str, tree: Any, problems: list[str]) -> Framework | None:
    if not isinstance(tree, dict):
        problems.append(f"{name}: must be a mapping with {', '.join(sorted(_FRAMEWORK))}")
        return None
    before = len(problems)
    _unknown(name, tree, _FRAMEWORK, problems)
    texts = {key: _text(name, tree, key, problems) for key in ("id", "title", "version", "about")}
    if texts["id"] and f"frameworks/{texts['id']}.yaml" != name:
        problems.append(f"{name}.id: must be the name of its file")
    clauses: dict[str, Clause] = {}
    for place, entry in _entries(name, tree, "clauses", problems):
        _unknown(place, entry, _CLAUSE, problems)
        number = _text(place, entry, "id", problems)
        if number in clauses:
            problems.append(f"{place}: is there twice")
        title, controls = _text(place, entry, "title", problems), _texts(place, entry, "controls", problems)
        clauses[number] = Clause(number, title, controls)
    if len(problems) > before:
        return None
    return Framework(**texts, clauses=tuple(clauses.values()))


def _between(controls: Mapping[str, Control], frameworks: Mapping[str, Framework]) -> Iterator[str]:
    """What is wrong between the files, and between them and the code."""
    if not controls:
        return
    mapped: set[str] = set()
    for framework in frameworks.values():
        for clause in framework.clauses:
            mapped |= set(clause.controls)
            for id_ in set(clause.controls) - controls.keys():
                yield f"frameworks/{framework.id}.yaml: {clause.id}: there is no control {id_}"
    yield from (f"controls.yaml: {id_} is missing" for id_ in sorted(SEVERITIES.keys() - controls.keys()))
    for id_ in sorted(controls.keys() - SEVERITIES.keys()):
        yield f"controls.yaml: {id_}: nothing evaluates it; the controls are P01 to P70"
    for id_, control in controls.items():
        if id_ not in mapped and not control.unmapped and frameworks:
            yield f"controls.yaml: {id_}: no framework names it; map it, or say why in `unmapped`"
        if id_ in mapped and control.unmapped:
            yield f"controls.yaml: {id_}: a framework names it; take `unmapped` out"
