"""`python -m dashboards`: writes the dashboards' JSON beside this file. The JSON is committed; a test compares."""

from __future__ import annotations

from pathlib import Path

from dashboards import agent, drift, endpoint, finops, fleet
from dashboards.board import Board

HERE = Path(__file__).parent
BOARDS = (fleet.board, endpoint.board, finops.board, drift.board, agent.board)


def files() -> dict[Path, str]:
    """Every generated file with its text."""
    made: list[Board] = [make() for make in BOARDS]
    return {HERE / f"{board.uid.removeprefix('neonmeter-')}.json": board.to_json() for board in made}


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text)
