"""What may leave the machine: structure and numbers stay, every other text goes, and equal texts stay equal."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from exporter.recording.domain.pseudonyms import Json, Pseudonyms
from exporter.recording.words import vocabulary

EVIDENCE = sorted((Path(__file__).parents[2] / "evidence").rglob("*.yaml"))
KNOWN = sorted(vocabulary().fields)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
NAMES = st.sampled_from(KNOWN) | st.text(max_size=12)
TREES = st.recursive(
    SCALARS | st.text(max_size=20) | st.emails() | st.uuids().map(str) | st.from_regex(r"ep-[a-z0-9-]{1,12}\Z"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=25,
)
MARK = re.compile(r"zq\d+x", re.IGNORECASE)


def pseudonyms() -> Pseudonyms:
    return Pseudonyms(vocabulary())


def shape(tree: Json) -> object:
    """The structure with all numbers; texts are only texts, and names of fields only counted."""
    if isinstance(tree, dict):
        return [shape(value) for value in tree.values()]
    if isinstance(tree, list):
        return ("list", [shape(value) for value in tree])
    return "text" if isinstance(tree, str) else repr(tree)


def texts(tree: Json) -> Iterator[str]:
    if isinstance(tree, dict):
        for value in tree.values():
            yield from texts(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from texts(value)
    elif isinstance(tree, str):
        yield tree


def names(tree: Json) -> Iterator[str]:
    if isinstance(tree, dict):
        for name, value in tree.items():
            yield name
            yield from names(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from names(value)


@given(TREES)
def test_structure_and_numbers_stay(tree: Json) -> None:
    assert shape(pseudonyms().body(tree)) == shape(tree)


@given(st.lists(TREES, min_size=1, max_size=3))
def test_equal_texts_stay_equal_and_different_ones_different(trees: list[Json]) -> None:
    names_of = pseudonyms()
    became: dict[str, set[str]] = {}
    for tree in trees:
        for before, after in zip(texts(tree), texts(names_of.body(tree)), strict=True):
            became.setdefault(before, set()).add(after)
    replaced = {before: after - {before} for before, after in became.items()}
    assert all(len(after) <= 1 for after in replaced.values()), replaced
    forms = [after for one in replaced.values() for after in one]
    assert len(forms) == len(set(forms))


@given(TREES)
def test_what_stays_is_an_instant_or_a_word_of_the_list(tree: Json) -> None:
    words = vocabulary()
    said = pseudonyms().body(tree)
    for before, after in zip(texts(tree), texts(said), strict=True):
        if before == after and before:
            assert words.has_value(before) or re.fullmatch(r"[0-9A-F:/TZ .+-]+", before), before
    for name in names(said):
        assert not name or words.has_field(name) or re.fullmatch(r"[a-z0-9@.:/-]+", name), name


@given(st.text(min_size=1), st.lists(st.sampled_from(KNOWN), min_size=1, max_size=4))
def test_ids_that_refer_to_each_other_still_do(name: str, path: list[str]) -> None:
    """As a value, as the name of a field of somebody's own map, in a path and in a parameter."""
    text = f"zq1x{name}".replace("/", "").replace(",", "").replace("?", "")
    tree: Json = text
    for field in reversed(path):
        tree = {field: tree}
    names_of = pseudonyms()
    (said,) = texts(names_of.body(tree))
    assert next(names(names_of.body({"annotations": {text: 1}}))) == "annotations"
    assert list(names(names_of.body({"annotations": {text: 1}})))[1] == said
    assert names_of.path(f"/projects/{text}/branches") == f"/projects/{said}/branches"
    assert names_of.query([("project_ids", f"{text},{text}")]) == [("project_ids", f"{said},{said}")]


def test_a_host_keeps_the_id_of_its_compute() -> None:
    names_of = pseudonyms()
    said = names_of.body(
        {
            "id": "ep-cool-darkness-123456",
            "host": "ep-cool-darkness-123456.us-east-2.aws.neon.tech",
            "pooler_host": "ep-cool-darkness-123456-pooler.us-east-2.aws.neon.tech",
            "proxy_host": "us-east-2.aws.neon.tech",
        }
    )
    assert isinstance(said, dict)
    assert said["host"] == f"{said['id']}.{said['proxy_host']}"
    assert said["pooler_host"] == f"{said['id']}-pooler.{said['proxy_host']}"
    assert str(said["host"]).endswith(".invalid")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("current_state", "active"), ("region_id", "aws-eu-central-1"), ("period_plan", "launch_v3"),
        ("metric_name", "root_branch_bytes_month"), ("created_at", "2026-07-31T12:00:00Z"), ("period_plan", "scale_v4"),
        ("compute_release_version", "10452"), ("parent_lsn", "0/1E88E60"), ("action", "start_compute"),
        ("scopes", "ai_gateway:invoke"),
    ],
)  # fmt: skip
def test_states_plans_regions_and_instants_stay(field: str, value: str) -> None:
    assert pseudonyms().body({field: value}) == {field: value}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("role", "123"),
        ("name", "active"), ("name", "production"), ("current_state", "acme-internal"), ("plan", "acme launch"),
        ("version", "v2-of-acme"), ("comment", "launch"), ("url", "https://acme.example/x?token=1"),
        ("token_id_short", "napi_abcd"), ("api_token", "napi_0123456789"), ("sql", "select 1"), ("login", "launch"),
        ("connection_uri", "postgresql://u:p@ep-x.neon.tech/db"), ("email", "a.b@acme.example"),
    ],
)  # fmt: skip
def test_words_in_other_fields_and_other_words_go(field: str, value: str) -> None:
    said = pseudonyms().body({field: value})
    assert isinstance(said, dict)
    assert said != {field: value}
    assert "acme" not in json.dumps(said)


def test_what_is_somebodys_own_goes_with_its_names() -> None:
    said = json.dumps(
        pseudonyms().body({"settings": {"pg_settings": {"max_connections": "active", "acme.key": "12:30"}}})
    )
    assert "max_connections" not in said
    assert "active" not in said
    assert "acme" not in said
    assert "12:30" not in said


def test_the_words_of_an_error_stay_and_what_it_names_goes() -> None:
    names_of = pseudonyms()
    project = names_of.of("delicate-dawn-12345678")
    body: Json = {"code": "", "message": "project delicate-dawn-12345678 not found: 'from' must be before 'to' (zq7x)"}
    said = names_of.body(body, error=True)
    assert isinstance(said, dict)
    assert said["message"] == f"project {project} not found: 'from' must be before 'to' ({names_of.of('zq7x')})"
    assert list(said) == list(body)


def test_only_headers_of_the_list_stay_and_only_in_their_form() -> None:
    headers = {
        "Date": "Sun, 29 Nov 2026 10:00:00 GMT", "X-Request-Id": "zq1x", "Server": "zq2x", "Retry-After": "zq3x",
        "Content-Type": "application/json; boundary=zq4x", "X-RateLimit-Limit": "700", "Set-Cookie": "zq5x",
    }  # fmt: skip
    assert pseudonyms().headers(headers) == {
        "date": "Sun, 29 Nov 2026 10:00:00 GMT", "content-type": "application/json", "x-ratelimit-limit": "700",
    }  # fmt: skip


def marked(tree: Any, count: list[int]) -> Any:
    """The tree with every text, and every name of a field that is not the API's, holding a mark of its own."""

    def mark() -> str:
        count[0] += 1
        return f"zq{count[0]}x"

    if isinstance(tree, dict):
        changed = {str(name): marked(value, count) for name, value in tree.items()}
        return {**changed, mark(): mark(), f"{mark()}_at": mark(), f"x_{mark()}": [mark(), {mark(): mark()}]}
    if isinstance(tree, list):
        return [*(marked(value, count) for value in tree), mark()]
    if isinstance(tree, str):
        forms = ("{}", "a {} b", "{}@{}.example", "ep-{}-x.us-east-2.aws.neon.tech", "https://{}.example/{}?k={}",
                 "postgresql://{}:{}@{}.example/db", "{} production", "active {}", "2026-11-29T{}", "\n{}\t",
                 "{}.1.2.3")  # fmt: skip
        form = forms[count[0] % len(forms)]
        return form.format(*(mark() for _ in range(form.count("{}"))))
    return tree


@pytest.mark.parametrize("page", EVIDENCE, ids=lambda path: path.name)
@pytest.mark.parametrize("error", [False, True])
def test_no_mark_in_the_evidence_leaves(page: Path, error: bool) -> None:
    """Every text of every recorded shape, as an answer and as an error: none of it leaves."""
    count = [0]
    for document in yaml.safe_load_all(page.read_text("utf-8")):
        tree = json.loads(json.dumps(document, default=str))
        planted = marked(tree, count)
        if isinstance(planted, dict):
            planted["message"] = f"project zq{count[0]}x of zq{count[0] + 1}x@acme.example not found"
        assert not MARK.findall(json.dumps(pseudonyms().body(planted, error=error)))
    assert count[0]
