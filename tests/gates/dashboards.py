"""`make dashboards`: the gate of the dashboards, and what it checked: rules, queries on a real Prometheus, pictures.

    python -m tests.gates.dashboards [--pictures FOLDER]

What cannot be done here (no npm, no chromium) is said and skipped; everything else must hold.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from dashboards import __main__ as generator
from dashboards import kubernetes
from tests.dashboards import asking, drawing, rules
from tests.dashboards.chromium import chromium, find_chromium
from tests.dashboards.seeded.world import exposition, seeded_prometheus

PICTURES = Path(".cache/pictures")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the gate; 0 when all holds, 1 when something does not."""
    parser = argparse.ArgumentParser(prog="make dashboards", description=__doc__)
    parser.add_argument("--pictures", type=Path, default=PICTURES, help="where the PNGs go")
    options = parser.parse_args(arguments)
    began = time.monotonic()
    problems = [*_generated(), *_rules()]
    with tempfile.TemporaryDirectory(prefix="neonmeter-gate-") as folder:
        problems += _seen(Path(folder), options.pictures)
    for problem in problems:
        print(f"  WRONG  {problem}", file=sys.stderr)
    print(
        f"dashboards: {'all holds' if not problems else f'{len(problems)} problems'} ({time.monotonic() - began:.0f} s)"
    )
    return 1 if problems else 0


def _generated() -> Iterator[str]:
    files = {**generator.files(), **kubernetes.files()}
    for path, text in files.items():
        if not path.exists() or path.read_text() != text:
            yield f"{path.name} is old: run `python -m dashboards` and `python -m dashboards.kubernetes`"
    print(f"generated    {len(files)} files are as committed")


def _rules() -> Iterator[str]:
    boards = rules.boards()
    for board in boards.values():
        for rule in rules.RULES:
            yield from rules.problems(rule, board, boards)
        panels = rules.panels(board)
        queries = sum(len(panel["targets"]) for panel in panels)
        marks = len(board["annotations"]["list"])
        print(f"rules        {board['title']:34} {len(panels):3} panels  {queries:3} queries  {marks} annotations")
    total = sum(len(rules.panels(board)) for board in boards.values())
    held = f"{len(rules.RULES)} rules, {len(rules.exceptions())} exceptions with reasons"
    print(f"             {len(boards)} dashboards, {total} panels, {held}")


def _seen(folder: Path, pictures: Path) -> Iterator[str]:
    if shutil.which("prometheus") is None or shutil.which("promtool") is None:
        print("queries      SKIPPED: prometheus is not installed (apt-get install prometheus)")
        print("pictures     SKIPPED: they need it, too")
        return
    with seeded_prometheus(folder) as server:
        yield from _queries(server.url)
        yield from _pictures(server.url, folder, pictures)


def _queries(url: str) -> Iterator[str]:
    asked = [entry for board in rules.boards().values() for entry in asking.ask(url, board)]
    for entry in asked:
        if entry.error:
            yield f"{entry.name}: {entry.error}"
        elif not entry.series and entry.panel not in rules.excused("returns data", entry.board):
            yield f"{entry.name} returns nothing"
    for board in rules.boards().values():
        yield from (
            f"{board['uid']} ${name} has no values" for name, count in asking.variables(url, board).items() if not count
        )
    series = sum(entry.series for entry in asked)
    names = len(exposition().names)
    print(
        f"queries      {len(asked)} asked of a real Prometheus with {names} seeded families: {series} series came back"
    )


def _pictures(url: str, folder: Path, pictures: Path) -> Iterator[str]:
    _install()
    program = find_chromium()
    reason = drawing.why_not() or ("" if program else "chromium is not installed (apt-get install chromium)")
    if reason or program is None:
        print(f"pictures     SKIPPED: {reason}")
        return
    pictures.mkdir(parents=True, exist_ok=True)
    out = drawing.bundle(folder / "page")
    drawn_panels = 0
    with drawing.serving_page(out, url) as page, chromium(program) as browser:
        for uid in rules.boards():
            for theme in drawing.THEMES:
                drawn = drawing.draw(browser, page, uid, theme)
                (pictures / f"{uid.removeprefix('neonmeter-')}-{theme}.png").write_bytes(drawn.png)
                yield from (f"{uid} {theme} {entry}" for entry in drawn.not_drawn())
                drawn_panels += len(drawn.panels) - len(drawn.not_drawn())
    count = len(rules.boards()) * len(drawing.THEMES)
    print(f"pictures     {count} drawn by Grafana's own panel components, {drawn_panels} panels: {pictures}/")


def _install() -> None:
    """Grafana's components by their lock, once; without npm the pictures are skipped."""
    if shutil.which("npm") is None or (drawing.PANELS / "node_modules" / "@grafana" / "ui").exists():
        return
    print("pictures     installing Grafana's panel components (npm ci) ...", flush=True)
    npm = ["npm", "ci", "--legacy-peer-deps", "--ignore-scripts", "--silent", "--prefix", str(drawing.PANELS)]
    subprocess.run(npm, check=False, timeout=900)


if __name__ == "__main__":
    sys.exit(main())
