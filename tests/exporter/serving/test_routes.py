"""What is answered where, to whom compressed, and who may ask for a reload."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import threading
import time
from pathlib import Path

import httpx
import pytest

from exporter.core.selfmetrics import AGENT, SCRAPES, SelfMetrics
from exporter.serving.http import Request
from exporter.serving.routes import Routes, accepts_members, refuse_reload
from tests.exporter.serving.served import TestView, endpoint, families, overview, plain, serving
from tests.fix_prometheus import PrometheusFactory

PACKED = {"Accept-Encoding": "gzip"}


def filled(targets: int = 30, series: int = 10) -> TestView:
    view = TestView()
    for number in range(targets):
        view.builder.put(number, endpoint(number), families(1, series))
    view.publish(5.0)
    return view


@pytest.mark.fault("network: a storm of reloads by HTTP")
def test_a_storm_of_reloads() -> None:
    begun, hold = threading.Event(), threading.Event()

    class Slow(TestView):
        def reload(self) -> tuple[bool, str]:
            begun.set()
            hold.wait(60)
            return super().reload()

    routes, answers = Routes(Slow()), list[int]()
    request = Request("POST", "/-/reload", "", {"host": "127.0.0.1"})
    first = threading.Thread(target=lambda: answers.append(routes.answer(request).status))
    first.start()
    assert begun.wait(60)
    busy = [routes.answer(request) for _ in range(100)]
    assert {answer.status for answer in busy} == {429}
    assert all(dict(answer.headers)["Retry-After"] == "2" for answer in busy)
    hold.set()
    first.join(60)
    answers += [routes.answer(request).status for _ in range(100)]
    assert answers.count(200) == 30 and answers.count(429) == 71


@pytest.mark.parametrize(
    ("offer", "taken"),
    [
        ("gzip", True), ("GZIP", True), (" gzip ", True), ("gzip;q=1.0", True), ("gzip;q=0.5", True), ("gzip,", True),
        ("", False), ("identity", False), ("gzip;q=0", False), ("gzip; q=0.0", False), ("*", False),
        ("gzip, deflate", False), ("gzip, deflate, br", False), ("deflate, gzip", False), ("br, gzip", False),
        ("gzip, identity;q=0.5", False), ("x-gzip", False), ("gzipped", False),
    ],
)  # fmt: skip
def test_only_who_offers_gzip_alone_gets_members(offer: str, taken: bool) -> None:
    assert accepts_members(offer) is taken


def test_metrics_plain_and_packed() -> None:
    view = filled()
    metrics = SelfMetrics()
    with serving(view, metrics) as (_server, client):
        text = client.get("/metrics", headers={"Accept-Encoding": "identity"})
        assert text.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert text.headers["x-neonmeter-generation"] == "1"
        assert text.headers["vary"] == "Accept-Encoding"
        assert "content-encoding" not in text.headers
        assert text.content == plain(view.current)
        with client.stream("GET", "/metrics", headers=PACKED) as packed:
            body = b"".join(packed.iter_raw())
        assert packed.headers["content-encoding"] == "gzip"
        assert packed.headers["etag"] != text.headers["etag"]
        assert gzip.decompress(body) == text.content
    assert metrics.families().get(SCRAPES) == {("identity",): 1, ("gzip",): 1}


def test_httpx_as_it_comes_gets_all_of_it() -> None:
    view = filled()
    with serving(view) as (_server, client):
        assert client.get("/metrics").content == plain(view.current)


def test_why_members_are_not_for_everybody() -> None:
    """The reason of the rule: a client that decodes the first member only is wrong without an error."""
    view = filled()
    with serving(view) as (_server, client):
        seen = client.get("/metrics", headers=PACKED).content
    whole = plain(view.current)
    assert whole.startswith(seen)
    assert len(seen) < len(whole) / 10


@pytest.mark.deep
def test_chromium_and_curl_show_all_of_it(tmp_path: Path) -> None:
    view = filled()
    marks = plain(view.current).count(b"\n")
    with serving(view) as (server, _client):
        if shutil.which("curl"):
            done = subprocess.run(
                ["curl", "-s", "--compressed", f"{server.url}/metrics"], check=True, capture_output=True
            )
            assert done.stdout.count(b"\n") == marks
        chromium = shutil.which("chromium")
        if chromium is None:
            pytest.skip("chromium is not installed")
        flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
        flags += " --disable-component-update --disable-sync --dump-dom"
        done = subprocess.run(
            [chromium, *flags.split(), f"--user-data-dir={tmp_path}", f"{server.url}/metrics"],
            check=True, capture_output=True, timeout=60,
        )  # fmt: skip
    assert done.stdout.count(b"\nneonmeter_test_mark") + done.stdout.count(b"\npg_test_") == 30 * 21


def test_metrics_before_the_first_publish() -> None:
    with serving(TestView()) as (_server, client):
        assert client.get("/metrics").status_code == 200
        with client.stream("GET", "/metrics", headers=PACKED) as packed:
            assert gzip.decompress(b"".join(packed.iter_raw())) == b""


def test_health_and_readiness() -> None:
    view = filled()
    with serving(view) as (_server, client):
        assert (client.get("/healthz").status_code, client.get("/readyz").text) == (200, "ready\n")
        view.healthy = (False, "no heartbeat for 90 s")
        view.readiness = (False, "draining")
        assert (client.get("/healthz").status_code, client.get("/healthz").text) == (503, "no heartbeat for 90 s\n")
        assert client.get("/readyz").status_code == 503
        assert client.get("/metrics").status_code == 200


def test_other_paths_and_methods_get_one_line() -> None:
    with serving(filled()) as (_server, client):
        for method, path, status in [
            ("GET", "/nope", 404), ("GET", "/metrics/", 404), ("GET", "/../etc/passwd", 404),
            ("POST", "/metrics", 405), ("DELETE", "/", 405), ("GET", "/-/reload", 405), ("PUT", "/-/reload", 405),
        ]:  # fmt: skip
            answer = client.request(method, path)
            assert answer.status_code == status, path
            assert answer.text.count("\n") == 1
            assert ("allow" in answer.headers) == (status == 405)


def test_pages_are_locked_down_and_targets_come_as_json() -> None:
    view = filled()
    view.index = overview(time.time())
    view.rows = view.index.targets
    with serving(view) as (_server, client):
        for path in ("/", "/targets"):
            page = client.get(path)
            assert page.headers["content-type"] == "text/html; charset=utf-8"
            assert page.headers["content-security-policy"].startswith("default-src 'none'; style-src 'unsafe-inline'")
            assert page.headers["cache-control"] == "no-store"
        by_query = client.get("/targets?format=json")
        by_header = client.get("/targets", headers={"Accept": "application/json"})
        assert by_query.json() == by_header.json()
        assert [row["name"] for row in by_query.json()] == ["main", "pr-1", "eu"]
        assert json.dumps(by_query.json()[1]["rule"]) == '"R1"'
        assert (
            "html" in client.get("/targets?format=html", headers={"Accept": "application/json"}).headers["content-type"]
        )
        assert "api_key: '**********'" in client.get("/config").text


def test_reload() -> None:
    view = filled()
    with serving(view) as (server, client):
        assert client.post("/-/reload").text == "reloaded\n"
        assert client.post("/-/reload", headers={"Origin": server.url}).status_code == 200
        for refused in (
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Host": "rebound.example"},
            {"Host": "rebound.example", "Origin": "http://rebound.example"},
        ):
            assert client.post("/-/reload", headers=refused).status_code == 403, refused
        assert view.reloads == 2
        view.reload = lambda: (False, "neon.org_id: unknown; the old settings stay")  # type: ignore[method-assign]
        assert client.post("/-/reload").status_code == 422


@pytest.mark.parametrize(
    ("host", "loopback", "refused"),
    [
        ("localhost:9719", True, False), ("127.0.0.1:9719", True, False), ("127.8.8.8", True, False),
        ("[::1]:9719", True, False), ("localhost.evil.example", True, True), ("127.0.0.1.evil.example:80", True, True),
        ("neonmeter.monitoring.svc:9719", False, False),
    ],
)  # fmt: skip
def test_names_of_loopback(host: str, loopback: bool, refused: bool) -> None:
    request = Request("POST", "/-/reload", "", {"host": host})
    assert bool(refuse_reload(request, loopback=loopback)) is refused


def test_a_real_prometheus_reads_every_sample_of_many_members(prometheus_of: PrometheusFactory) -> None:
    view = filled(targets=2700, series=4)
    metrics = SelfMetrics()
    odd = families(1, 0)
    odd.put(next(m for m, _ in families(1, 1).items() if m.labels == ("datname",)), {
        (name,): 1.5 for name in ('a"b', "c\\d", "e\nf", "nul\0", "%r %s", "caf\u00e9 \U0001f600", "\u2028", "\r", "")
    })  # fmt: skip
    view.builder.put("odd", endpoint(9999), odd)
    assert b"".join(view.publish().gzip).count(b"\x1f\x8b\x08") > 1000  # members
    with serving(view, metrics) as (server, _client), prometheus_of(server.url.removeprefix("http://")) as prometheus:
        prometheus.wait('up{job="neonmeter"}', lambda value: value == 1)
        prometheus.wait("scrape_samples_scraped", lambda value: value == view.current.series)
        assert prometheus.value("count(pg_test_calls_total)") == 2700 * 4
        assert prometheus.value("sum(pg_test_calls_total)") == 2700 * (4000 + 6)
        rows = prometheus.query('pg_test_size_bytes{endpoint_id=~".*9999"}')
        names = {row["metric"].get("datname", "") for row in rows}  # type: ignore[attr-defined]
        assert names == {'a"b', "c\\d", "e\nf", "nul\0", "%r %s", "caf\u00e9 \U0001f600", "\u2028", "\r", ""}
    assert set(metrics.families().get(SCRAPES)) == {("gzip",)}


@pytest.mark.deep
def test_prometheus_sees_the_agent_before_anything_is_collected(prometheus_of: PrometheusFactory) -> None:
    view = TestView()
    metrics = SelfMetrics()
    view.builder.put("agent", AGENT, metrics.families())
    view.publish()
    with serving(view, metrics) as (server, _client), prometheus_of(server.url.removeprefix("http://")) as prometheus:
        prometheus.wait("neonmeter_build_info", lambda value: value == 1)


def test_httpx_is_what_we_think() -> None:
    assert "," in httpx.Client(trust_env=False).headers["accept-encoding"]
