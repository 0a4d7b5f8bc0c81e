"""The house rules of docs/architecture.md, held by the syntax tree: one-way imports, pure computations, small rooms."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("collectors", "exporter", "dashboards", "tests")
FILES = sorted(
    path
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
    if "node_modules" not in path.parts and "__pycache__" not in path.parts
)
PRODUCT = [path for path in FILES if path.relative_to(ROOT).parts[0] != "tests"]

ONLY_IN = {
    "apscheduler": {"exporter/app/schedule.py"},
    "opentelemetry": {"exporter/app/otlp.py", "exporter/core/tracing.py"},
}
COMPUTE_MAY = ("collectors.metric", "collectors.base", "exporter.cost.domain")
COMPUTE_NEVER_IMPORTS = {"time", "random", "os", "pathlib", "asyncio", "io", "sqlite3", "socket", "subprocess"}
COMPUTE_NEVER_CALLS = {"open", "now", "utcnow", "today", "getenv"}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", PRODUCT, ids=name_of)
def test_imports_go_one_way(path: Path) -> None:
    name = name_of(path)
    for module in imports(path):
        root = module.split(".")[0]
        if name.startswith("collectors/"):
            assert root not in ("exporter", "dashboards"), (
                f"{name} imports {module}: collectors know nothing of serving"
            )
        if root in ONLY_IN:
            assert name in ONLY_IN[root], f"{name} imports {root}: that belongs in {ONLY_IN[root]}"
        if root == "pandas":
            assert name.startswith("exporter/report/"), f"{name} imports pandas: only the report may"
        assert root != "tests", f"{name} imports tests"


@pytest.mark.parametrize("path", sorted(path for path in PRODUCT if "domain" in path.parts), ids=name_of)
def test_computations_are_pure(path: Path) -> None:
    for module in imports(path):
        root = module.split(".")[0]
        assert root not in COMPUTE_NEVER_IMPORTS, f"{module}: a computation gets what it needs as an argument"
        if root in ("exporter", "collectors"):
            assert module.startswith(COMPUTE_MAY) or ".domain" in module, f"{module}: imports only {COMPUTE_MAY}"
        else:
            assert root in __import__("sys").stdlib_module_names, f"{module}: only the standard library"
    for node in ast.walk(ast.parse(path.read_text())):
        assert not isinstance(node, ast.AsyncFunctionDef | ast.Await), "a computation does not wait"
        if isinstance(node, ast.Call):
            called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            assert called not in COMPUTE_NEVER_CALLS, f"{called}(): a computation has no clock, files or environment"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_rooms_stay_small(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) <= 400, f"{len(lines)} lines: the room is crowded, redesign it"
    assert "util" not in path.stem, "name the file for the noun a user knows"
    tree = ast.parse(path.read_text())
    assert not lines or ast.get_docstring(tree), "a module's first line says what, then why"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= 50, f"{node.name} has {length} lines"


def test_the_top_level_holds_only_its_rooms() -> None:
    import subprocess

    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    schemas = ["exporter", "collectors", "dashboards", "alerts", "tests", "docs", "deploy", "requirements"]
    files = ["pyproject.toml", "Dockerfile", "README.md", "Makefile", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md"]
    found = {line.split("/")[0] for line in listed.stdout.splitlines()}
    assert {name for name in found if not name.startswith(".")} <= {*schemas, *files}
