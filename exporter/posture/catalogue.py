"""The controls as a person reads them, and the frameworks whose clauses they serve: YAML files, strictly read.

``controls.yaml`` says what each control is; ``frameworks/<name>.yaml`` maps the clauses of one framework to controls,
and a control may name clauses itself. Both are meant to be edited: every mistake is told with its place and what to do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from collectors.errors import UsageError
from exporter.posture.domain.evaluate import automatic_controls
from exporter.posture.domain.finding import Severity

PROFILES = ("neon", "postgres", "pgbouncer", "vault", "s3", "api")
EVALUATED = ("auto", "manual")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's where it is there: ten times as quick."""
Kind = TypeVar("Kind", bound=BaseModel)


class CatalogueError(UsageError):
    """The files cannot be used; there is a line for each mistake, beginning with its place."""

    heading = "neonmeter cannot start with the settings:"

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("must be a text")
    return value.strip()


def _optional(value: object) -> str:
    return "" if value == "" else _text(value)


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(text, str) and text for text in value):
        raise ValueError("must be a list of at least one text")
    if len(set(value)) != len(value):
        raise ValueError("names something twice")
    return tuple(value)


def _like(pattern: str, says: str) -> Callable[[object], str]:
    def check(value: object) -> str:
        text = _text(value)
        if not re.fullmatch(pattern, text):
            raise ValueError(says)
        return text

    return check


def _one_of(*choices: str) -> Callable[[object], str]:
    return _like("|".join(choices), f"must be one of {', '.join(choices)}")


def _profile(value: object) -> tuple[str, ...]:
    names = _texts(value)
    for name in names:
        if name not in PROFILES:
            raise ValueError(f"{name!r} is none of {', '.join(PROFILES)}")
    return names


def _remedy(value: object) -> object:
    if not isinstance(value, Mapping):
        raise ValueError("must be a mapping with text, and sql or cli where there is one")  # noqa: TRY004 - pydantic's
    return value


def _clauses(value: object) -> object:
    if not isinstance(value, Mapping):
        raise ValueError("must be a mapping of frameworks to lists of clauses")  # noqa: TRY004 - as above
    return {str(name): _texts(clauses) for name, clauses in value.items()}


Words = Annotated[str, BeforeValidator(_text)]
Optional = Annotated[str, BeforeValidator(_optional)]
Names = Annotated[tuple[str, ...], BeforeValidator(_texts)]


class _Entry(BaseModel):
    """Strict: what is not known is a mistake, and what is missing is told as what it must be."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Remedy(_Entry):
    """What ends a failure: words, and where there is one a statement or a command."""

    text: Words = ""
    sql: Optional = ""
    cli: Optional = ""


class Control(_Entry):
    """What one control is, why it matters and what ends a failure."""

    id: Annotated[str, BeforeValidator(_like(r"P\d{2}", "must be P and two digits"))] = ""
    name: Annotated[
        str, BeforeValidator(_like(r"[a-z][a-z0-9_]*", "must be lower-case words with underscores"))
    ] = ""  # fmt: skip
    """A slug, for labels and addresses: ``xtenant_grant``."""
    title: Words = ""
    what: Words = ""
    """When it fails."""
    why: Words = ""
    severity: Annotated[Severity, BeforeValidator(_one_of(*Severity))] = Severity.INFO
    """Of a failure; its rule may say a lower one of a failure that is less than a whole one."""
    remedy: Annotated[Remedy, BeforeValidator(_remedy)] = None  # type: ignore[assignment]
    sources: Names = ()
    """Where the facts come from: views, API fields, commands."""
    profile: Annotated[tuple[str, ...], BeforeValidator(_profile)] = ()
    """Which of the platforms it speaks of."""
    evaluated: Annotated[str, BeforeValidator(_one_of(*EVALUATED))] = ""
    """``auto``, or ``manual``: for a person to look at."""
    clauses: Annotated[Mapping[str, tuple[str, ...]], BeforeValidator(_clauses)] = {}
    """By framework, clauses that it serves beside those that name it in the framework's own file."""
    unmapped: Optional = ""
    """Why no framework names it; empty when one does."""


class Clause(_Entry):
    """One clause of a framework, titled in our own words."""

    id: Words = ""
    title: Words = ""
    controls: Names = ()


class Framework(_Entry):
    """What one framework asks, as far as these controls can show it."""

    id: Words = ""
    title: Words = ""
    version: Words = ""
    about: Words = ""
    clauses: tuple[Clause, ...] = ()

    def of(self, control: str) -> tuple[Clause, ...]:
        """The clauses that a control serves."""
        return tuple(clause for clause in self.clauses if control in clause.controls)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Every control and every framework, by id."""

    controls: Mapping[str, Control]
    frameworks: Mapping[str, Framework]

    @property
    def severities(self) -> dict[str, Severity]:
        """The severity of each control's failures: for ``Policy.severities``."""
        return {id_: control.severity for id_, control in self.controls.items()}

    def clauses(self, control: str) -> dict[str, tuple[Clause, ...]]:
        """By framework: the clauses that a control serves."""
        found = {name: framework.of(control) for name, framework in self.frameworks.items()}
        return {name: clauses for name, clauses in found.items() if clauses}


@cache
def shipped() -> Catalogue:
    """The catalogue that comes with neonmeter."""
    return _load({}, [])


def load_catalogue(folder: Path | None = None) -> Catalogue:
    """Read the files; ``folder`` holds files of one's own, which win over those shipped, file by file.

    Raises:
        CatalogueError: with all that is wrong in all of them.
    """
    if folder is None:
        return shipped()
    problems: list[str] = []
    return _load(_own(folder, problems), problems, expected=frozenset(shipped().controls))


def _load(own: Mapping[str, str], problems: list[str], *, expected: frozenset[str] = frozenset()) -> Catalogue:
    trees = {name: _parsed(name, text, problems) for name, text in sorted({**_shipped(), **own}.items())}
    controls: dict[str, Control] = {}
    for place, entry in _entries("controls.yaml", trees.pop("controls.yaml", None), "controls", problems):
        control = _read(Control, place, entry, problems)
        if control is not None:
            if control.id in controls or any(other.name == control.name for other in controls.values()):
                problems.append(f"{place}: {control.id} {control.name} is a duplicate")
            controls[control.id] = control
    frameworks: dict[str, Framework] = {}
    for name, tree in trees.items():
        framework = _framework(name, tree, problems)
        if framework is not None:
            frameworks[framework.id] = _with_named(framework, controls, problems)
    problems += _between(controls, frameworks, expected | automatic_controls())
    if problems:
        raise CatalogueError(problems)
    return Catalogue(dict(sorted(controls.items())), dict(sorted(frameworks.items())))


def _shipped() -> dict[str, str]:
    root = resources.files("exporter.posture")
    texts = {"controls.yaml": root.joinpath("controls.yaml").read_text(encoding="utf-8")}
    for file in root.joinpath("frameworks").iterdir():
        if file.name.endswith(".yaml"):
            texts[f"frameworks/{file.name}"] = file.read_text(encoding="utf-8")
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


def _entries(name: str, tree: Any, key: str, problems: list[str]) -> Iterator[tuple[str, object]]:
    found = tree.get(key) if isinstance(tree, dict) else None
    if not isinstance(found, list) or not found:
        if tree is not None:
            problems.append(f"{name}: must hold a list `{key}`")
        return
    for number, entry in enumerate(found):
        id_ = entry.get("id") if isinstance(entry, dict) else None
        yield (f"{name}: {id_}" if isinstance(id_, str) else f"{name}: {key}[{number}]"), entry


def _read(kind: type[Kind], place: str, tree: object, problems: list[str]) -> Kind | None:
    """An entry of a file; None after what is wrong with it was added to the problems."""
    try:
        return kind.model_validate(tree)
    except ValidationError as wrong:
        for error in wrong.errors():
            path = "".join(f".{step}" for step in error["loc"])
            text = str(error.get("ctx", {}).get("error") or error["msg"])
            if error["type"] == "extra_forbidden":
                owner = kind if len(error["loc"]) == 1 else Remedy
                text = f"is not known; use one of {', '.join(sorted(owner.model_fields))}"
            elif error["type"] == "model_type":
                text = "must be a mapping"
            problems.append(f"{place}{path}: {text}")
    return None


def _framework(name: str, tree: Any, problems: list[str]) -> Framework | None:
    if not isinstance(tree, dict):
        problems.append(f"{name}: must be a mapping with {', '.join(sorted(Framework.model_fields))}")
        return None
    before = len(problems)
    framework = _read(Framework, name, {**tree, "clauses": []}, problems)
    if framework is not None and f"frameworks/{framework.id}.yaml" != name:
        problems.append(f"{name}.id: must be the name of its file")
    clauses: dict[str, Clause] = {}
    for place, entry in _entries(name, tree, "clauses", problems):
        clause = _read(Clause, place, entry, problems)
        if clause is not None:
            if clause.id in clauses:
                problems.append(f"{place}: is a duplicate")
            clauses[clause.id] = clause
    if framework is None or len(problems) > before:
        return None
    return framework.model_copy(update={"clauses": tuple(clauses.values())})


def _with_named(framework: Framework, controls: Mapping[str, Control], problems: list[str]) -> Framework:
    """The framework with the controls that name its clauses themselves."""
    clauses = {clause.id: clause for clause in framework.clauses}
    for control in controls.values():
        for id_ in control.clauses.get(framework.id, ()):
            clause = clauses.get(id_)
            if clause is None:
                problems.append(f"controls.yaml: {control.id}.clauses: {framework.id} has no clause {id_}")
            elif control.id not in clause.controls:
                clauses[id_] = clause.model_copy(update={"controls": (*clause.controls, control.id)})
    return framework.model_copy(update={"clauses": tuple(clauses.values())})


def _between(
    controls: Mapping[str, Control], frameworks: Mapping[str, Framework], expected: frozenset[str]
) -> Iterator[str]:
    """What is wrong between the files, and between them and the code; ``expected``: the required controls."""
    if not controls:
        return
    mapped: set[str] = set()
    for framework in frameworks.values():
        for clause in framework.clauses:
            mapped |= set(clause.controls)
            for id_ in set(clause.controls) - controls.keys():
                yield f"frameworks/{framework.id}.yaml: {clause.id}: no such control: {id_}"
    yield from (f"controls.yaml: {id_} is missing" for id_ in sorted(expected - controls.keys()))
    for id_, control in sorted(controls.items()):
        if id_ not in expected and control.evaluated == "auto":
            yield f"controls.yaml: {id_}: nothing evaluates it; the controls are {min(expected)} to {max(expected)}"
        for name in control.clauses.keys() - frameworks.keys():
            yield f"controls.yaml: {id_}.clauses: no such framework: {name}; there are {', '.join(frameworks)}"
        if id_ not in mapped and not control.unmapped and frameworks:
            yield f"controls.yaml: {id_}: no framework names it; map it, or say why in `unmapped`"
        if id_ in mapped and control.unmapped:
            yield f"controls.yaml: {id_}: a framework names it; take `unmapped` out"
