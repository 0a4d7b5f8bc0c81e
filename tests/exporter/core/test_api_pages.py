"""Pages of detail are swapped whole and served as they are."""

from __future__ import annotations

import httpx

from exporter.core.api_pages import ApiPages
from exporter.serving.http import HttpServer
from exporter.serving.routes import Routes
from tests.exporter.serving.served import TestView


def test_a_room_is_replaced_whole_and_leaves_others_alone() -> None:
    details = ApiPages()
    details.replace("drift", {"p/b1": {"a": 1}, "p/b2": {"a": 2}, "p/b1.md": "# Drift"})
    details.replace("posture", {"": {"score": 1}})
    details.replace("drift", {"p/b1": {"a": 3}})
    assert details.get("/api/v1/drift/p/b2") is None
    found = details.get("/api/v1/posture/")
    assert found is not None
    assert b'"score": 1' in found.body
    listed = details.get("/api/v1/")
    assert listed is not None
    assert b"/api/v1/drift/p/b1" in listed.body


def test_pages_are_served_and_absent_ones_are_named() -> None:
    details = ApiPages()
    details.put("drift", "p/b1", {"changes": []})
    details.put("drift", "p/b1.md", "# Nothing")
    server = HttpServer(Routes(TestView(), details=details).answer)
    server.start()
    try:
        with httpx.Client(base_url=server.url) as client:
            assert client.get("/api/v1/drift/p/b1").json() == {"changes": []}
            text = client.get("/api/v1/drift/p/b1.md")
            assert (text.text, text.headers["content-type"]) == ("# Nothing", "text/markdown; charset=utf-8")
            assert client.get("/api/v1/drift/p/b9").status_code == 404
            assert client.post("/api/v1/drift/p/b1").status_code == 405
            assert "/api/v1/drift/p/b1" in client.get("/api/v1/").json()["pages"]
    finally:
        server.stop()
