"""The house rules of docs/architecture.md, read from the syntax tree; each is one test that lists every violation.

``KNOWN_*`` are the violations of today. They are compared exactly: a new one fails, and so does an entry that no longer
occurs, so the tables can only shrink.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

pytestmark = pytest.mark.house

ROOT = Path(__file__).parent.parent
PACKAGES = ("collectors", "exporter", "dashboards")

# The lowest first; a room imports only rooms of the lines before its own. Rooms of one line do not import each other.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("exporter.version",),
    ("collectors.errors",),
    ("collectors.metric",),
    ("collectors.base",),
    ("collectors.slices",),
    ("collectors.threads",),
    ("collectors.http_body",),
    ("collectors.postgres",),
    ("collectors.neon",),
    ("collectors.platforms",),
    ("collectors.pgbouncer",),
    ("collectors.wake",),
    ("collectors.registry",),
    ("exporter.core",),
    ("exporter.pricing",),
    ("exporter.storage",),
    ("exporter.settings",),
    ("exporter.tenancy",),
    ("exporter.sampling",),
    ("exporter.documents",),
    ("exporter.feature",),
    ("exporter.cost", "exporter.awake", "exporter.drift", "exporter.posture", "exporter.recovery"),
    ("exporter.report",),
    ("exporter.serving",),
    ("exporter.app",),
    ("exporter.demo",),
    ("exporter.recording",),
    ("exporter.commands",),
    ("exporter.__main__",),
    ("dashboards",),
)
NAMED = re.compile(r"(?:collectors|exporter)(?:\.\w+)+(?::\w+)?")
RANK = {room: rank for rank, rooms in enumerate(LAYERS) for room in rooms}

KNOWN_UPWARD: Collection[tuple[str, str]] = frozenset()  # fmt: skip

# Circles of modules within what the layers allow, each as its members in alphabetical order.
KNOWN_CIRCLES: Collection[str] = ()

ONLY_IN = {
    "apscheduler": ("exporter/app/schedule.py",),
    "opentelemetry": ("exporter/app/otlp.py", "exporter/core/tracing.py"),
    "pandas": ("exporter/documents/", "exporter/report/"),
}
DOMAIN_MAY_IMPORT = ("collectors.metric", "collectors.base")
DOMAIN_NEVER_IMPORTS = {"time", "random", "os", "pathlib", "asyncio", "io", "sqlite3", "socket", "subprocess"}
DOMAIN_NEVER_CALLS = {"open", "now", "utcnow", "today", "getenv"}

# Why a file below 60 lines is a file of its own.
SMALL: Mapping[str, str] = {
    "collectors/threads.py": "asyncio knows nothing of what runs on them",
    "collectors/errors.py": "the one base of errors, below everything else",
    "collectors/slices.py": "reading Neon and visiting computes share it",
    "exporter/app/interpreter.py": "it knows nothing of the agent that it is set up for",
    "exporter/app/log.py": "logging knows nothing of what is logged",
    "exporter/app/reference.py": "a program of its own: `make docs`",
    "exporter/app/settings.py": "the whole tree: only the composition may know it",
    "exporter/commands/entry.py": "it decides whether anything else may be imported",
    "exporter/commands/menu.py": "the one list of commands, in the order of the help",
    "exporter/core/http_client.py": "without any library, for the healthcheck",
    "exporter/feature/ports.py": "the contract between features",
    "exporter/settings/report.py": "a section that three rooms read",
    "exporter/settings/secret.py": "secrets are read in one place",
    "exporter/settings/section.py": "what every section is made from",
    "exporter/app/features.py": "the one list that a new feature is added to",
    "collectors/neon/domain/pace.py": "how often, without asking anybody",
    "exporter/sampling/wake_states.py": "commands read them too, and make no visits",
    "exporter/sampling/shards.py": "the hash knows neither the settings nor the name of a host",
    "exporter/core/feeds.py": "sampling and cost report their readings of one API the same way",
    "exporter/sampling/poolers.py": "self-run PgBouncers have nothing to do with visits",
    "exporter/tenancy/rules.py": "the rules themselves are pure and do not know the settings",
    "exporter/recording/words.py": "what may leave the machine is data, read in one place",
    "exporter/version.py": "read by the build, which must import nothing else",
    "collectors/registry.py": "the one list that a new collector is added to",
    "collectors/postgres/cluster/sizes.py": "one file is one collector",
    "exporter/pricing/domain/calendar.py": "the billing calendar, which the ledger and every feature of money share",
    "exporter/pricing/domain/usage.py": "what the ledger stores, without anything of prices",
}  # fmt: skip
KNOWN_SMALL: Collection[str] = ()


def files(*packages: str) -> list[Path]:
    return sorted(
        path
        for package in packages
        for path in (ROOT / package).rglob("*.py")
        if not {"node_modules", "__pycache__"} & set(path.parts)
    )


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def modules() -> dict[str, Path]:
    return {module_of(path): path for path in files(*PACKAGES)}


def imports(tree: ast.Module, package: str = "") -> Iterator[str]:
    """Names of what is imported anywhere in the tree, in functions and under TYPE_CHECKING too.

    A ``from a import b`` yields ``a`` and ``a.b``. A text such as ``"exporter.app.agent:run_command"`` counts, because
    the module is imported by that name later.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and NAMED.fullmatch(node.value):
            yield node.value.partition(":")[0]


def imports_of(path: Path) -> Iterator[str]:
    module = module_of(path)
    return imports(parse(path), module if path.name == "__init__.py" else module.rpartition(".")[0])


def own_imports(module: str) -> set[str]:
    """The modules of ours that a module imports; a package only where none of its modules is named."""
    names = {name for name in imports_of(modules()[module]) if name in modules()}
    return {name for name in names if not any(other.startswith(f"{name}.") for other in names)} - {module}


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[0] if parts[0] == "dashboards" else ".".join(parts[:2])


def fail_with(violations: Collection[str]) -> None:
    if violations:
        pytest.fail("\n".join(sorted(violations)), pytrace=False)


def compare(found: Mapping[str, str], known: Collection[str], where: str) -> None:
    """Both ways: what is found and not known, and what is known and no longer found."""
    new = [f"{key}: {text}" for key, text in found.items() if key not in known]
    fail_with([*new, *(f"{key}: no longer so; take it out of {where}" for key in known if key not in found)])


def test_every_form_of_an_import_counts() -> None:
    text = """
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from exporter.a import B
def function():
    import exporter.c
    from . import d
    from ..e import f
    return Lazy("exporter.g.h:run")
"""
    assert set(imports(ast.parse(text), "exporter.room.part")) >= {
        "exporter.a", "exporter.c", "exporter.room.part.d", "exporter.room.e", "exporter.g.h",
    }  # fmt: skip


def test_every_room_has_a_layer() -> None:
    rooms = {room_of(module) for module in modules()} - {"collectors", "exporter"}
    assert rooms == set(RANK)


def test_rooms_import_only_rooms_below_them() -> None:
    found: dict[str, list[str]] = {}
    for module in modules():
        room = room_of(module)
        for imported in own_imports(module):
            other = room_of(imported)
            if room != other and RANK.get(other, -1) >= RANK.get(room, -1):
                found.setdefault(f"{room} -> {other}", []).append(f"\n    {module} imports {imported}")
    known = {f"{room} -> {other}" for room, other in KNOWN_UPWARD}
    compare({edge: "".join(sorted(lines)) for edge, lines in found.items()}, known, "KNOWN_UPWARD")


def circles(graph: Mapping[str, Collection[str]]) -> set[tuple[str, ...]]:
    """The strongly connected components of more than one node."""

    def reachable(start: str) -> set[str]:
        reached: set[str] = set()
        waiting = [start]
        while waiting:
            for following in graph.get(waiting.pop(), ()):
                if following not in reached:
                    reached.add(following)
                    waiting.append(following)
        return reached

    reached = {node: reachable(node) for node in graph}
    return {
        tuple(sorted(other for other in reached[node] if node in reached.get(other, ())))
        for node in graph
        if node in reached[node]
    }


def test_modules_do_not_import_each_other_in_circles() -> None:
    graph = {
        module: {
            imported for imported in own_imports(module) if (room_of(module), room_of(imported)) not in KNOWN_UPWARD
        }
        for module in modules()
    }
    compare({" ".join(circle): "a circle of imports" for circle in circles(graph)}, KNOWN_CIRCLES, "KNOWN_CIRCLES")


def test_circles_are_found() -> None:
    assert circles({"a": ["b"], "b": ["c"], "c": ["b", "d"], "d": []}) == {("b", "c")}


def test_packages_of_others_stand_where_they_belong() -> None:
    fail_with(
        {
            f"{name_of(path)} imports {root}, which belongs in {' '.join(ONLY_IN.get(root, ('tests/',)))}"
            for path in files(*PACKAGES)
            for root in {module.split(".")[0] for module in imports_of(path)}
            if root == "tests" or (root in ONLY_IN and not name_of(path).startswith(ONLY_IN[root]))
        }
    )


def impurities(path: Path) -> Iterator[str]:
    for module in imports_of(path):
        root = module.split(".")[0]
        if root in DOMAIN_NEVER_IMPORTS:
            yield f"imports {module}: a computation gets what it needs as an argument"
        elif root in ("exporter", "collectors"):
            if not (module.startswith(DOMAIN_MAY_IMPORT) or ".domain" in module):
                yield f"imports {module}: neither a domain nor one of {' '.join(DOMAIN_MAY_IMPORT)}"
        elif root not in sys.stdlib_module_names:
            yield f"imports {module}: only the standard library"
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.AsyncFunctionDef | ast.Await):
            yield f"line {node.lineno}: a computation does not wait"
        if isinstance(node, ast.Call):
            called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            if called in DOMAIN_NEVER_CALLS:
                yield f"line {node.lineno} calls {called}(): a computation has no clock, files or environment"


def test_domains_are_pure() -> None:
    domains = [path for path in files(*PACKAGES) if "domain" in path.parts]
    fail_with({f"{name_of(path)} {impurity}" for path in domains for impurity in impurities(path)})


def oversizes(path: Path) -> Iterator[str]:
    lines = len(path.read_text().splitlines())
    if lines > 400:
        yield f"{lines} lines, more than 400"
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > 50:
                yield f"line {node.lineno}: {node.name} has {length} lines, more than 50"


def test_files_have_at_most_400_lines_and_functions_50() -> None:
    fail_with({f"{name_of(path)} {size}" for path in files(*PACKAGES, "tests") for size in oversizes(path)})


def test_files_below_60_lines_have_a_reason() -> None:
    found = {
        name_of(path): f"{lines} lines: merge it, or name a reason in SMALL"
        for path in files(*PACKAGES)
        if (lines := len(path.read_text().splitlines())) < 60 and path.name not in ("__init__.py", "__main__.py")
    }
    assert not set(SMALL) & set(KNOWN_SMALL)
    compare(found, {*SMALL, *KNOWN_SMALL}, "SMALL or KNOWN_SMALL")


def test_files_are_named_for_a_noun_and_described() -> None:
    everything = files(*PACKAGES, "tests")
    fail_with({f"{name_of(path)}: name the file for what it holds" for path in everything if "util" in path.stem})
    fail_with(
        {
            f"{name_of(path)}: the module has no docstring"
            for path in everything
            if path.read_text().strip() and not ast.get_docstring(parse(path))
        }
    )


def test_the_top_level_holds_only_its_rooms() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    rooms = {"exporter", "collectors", "dashboards", "alerts", "tests", "docs", "deploy", "requirements"}
    documents = {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE"}
    found = {line.split("/")[0] for line in listed.stdout.splitlines()}
    unexpected = {name for name in found if not name.startswith(".")} - rooms - documents
    assert unexpected <= {"pyproject.toml", "Dockerfile", "Makefile"}
