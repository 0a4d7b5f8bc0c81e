"""What stands around the code agrees with it: CI, pre-commit, issue forms, project metadata, the index of the docs."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.house

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def read(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text())


def test_ci_runs_the_make_targets_on_every_supported_python() -> None:
    jobs = read(".github/workflows/ci.yml")["jobs"]
    supported = [line.split()[-1] for line in PROJECT["classifiers"] if re.search(r"Python :: 3\.\d+", line)]
    assert jobs["test"]["strategy"]["matrix"]["python"] == supported
    assert PROJECT["requires-python"] == f">={supported[0]}"
    steps = [step for job in jobs.values() for step in job["steps"]]
    targets = {word for step in steps for word in re.findall(r"\bmake ([a-z-]+)", step.get("run", ""))}
    assert {"lint", "test", "test-all"} <= targets
    assert targets <= set(re.findall(r"(?m)^([a-z-]+(?: [a-z-]+)*):", (ROOT / "Makefile").read_text()))
    assert all(re.search(r"@v\d+$", step["uses"]) for step in steps if "uses" in step)


def test_pre_commit_calls_the_linters_of_make_lint() -> None:
    hooks = [hook for repo in read(".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]
    called = [hook["entry"].replace(".venv/bin/", "$(BIN)/").replace(" --force-exclude", "") for hook in hooks]
    makefile = (ROOT / "Makefile").read_text()
    assert [f"\t{entry}" in makefile.replace(" .\n", "\n").splitlines() for entry in called] == [True] * 3


@pytest.mark.parametrize("name", ["bug", "proposal"])
def test_issue_forms_are_what_a_forge_accepts(name: str) -> None:
    form = read(f".github/ISSUE_TEMPLATE/{name}.yml")
    assert {"name", "description", "body"} <= set(form)
    kinds = {"markdown": {"value"}, "textarea": {"label"}, "input": {"label"}, "checkboxes": {"label", "options"}}
    for part in form["body"]:
        assert kinds[part["type"]] <= set(part["attributes"])
    named = [part["id"] for part in form["body"] if part["type"] != "markdown"]
    assert len(named) == len(set(named))


def test_the_index_of_the_docs_names_every_page() -> None:
    index = (ROOT / "docs/README.md").read_text()
    pages = {path.name for path in (ROOT / "docs").iterdir() if path.suffix in (".md", ".sql")} - {"README.md"}
    linked = re.findall(r"\]\(([^)]+)\)", index)
    assert len(linked) == len(set(linked))
    assert {link for link in linked if not link.startswith("../")} == pages


def test_project_urls_exist() -> None:
    assert PROJECT["urls"]
    for target in PROJECT["urls"].values():
        assert (ROOT / target).exists()
