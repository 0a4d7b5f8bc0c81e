"""Runbooks are pages of the agent: listed, laid out, escaped, and nothing else of the disk is reachable."""

from __future__ import annotations

import pytest

from exporter.serving import runbooks


def test_every_runbook_is_a_page() -> None:
    index = runbooks.page("/runbooks")
    assert index is not None
    for name in runbooks.texts():
        assert f'href="/runbooks/{name}"' in index
        html = runbooks.page(f"/runbooks/{name}")
        assert html is not None
        assert html.count("<section>") == html.count("</section>") == 4, "Meaning, Impact, Diagnosis, Mitigation"
        assert html.count("<ul>") == html.count("</ul>") == 1
        assert "```" not in html
        assert html.count("<pre>") == runbooks.texts()[name].count("```") / 2


def test_code_is_escaped() -> None:
    html = runbooks.page("/runbooks/NeonLockWaitLong")
    assert html is not None
    assert "cardinality(pg_blocking_pids(pid)) &gt; 0" in html


@pytest.mark.parametrize("path", ["/runbooks/Nothing", "/runbooks/../routes", "/runbooks/NeonLockWaitLong/x"])
def test_other_paths_are_none(path: str) -> None:
    assert runbooks.page(path) is None
