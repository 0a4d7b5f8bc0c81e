"""`neonmeter price`: every golden case to the last digit, what must hold for any dump, and what is refused."""

from __future__ import annotations

import csv
import io
import json
import random
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, localcontext
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.errors import FINDINGS, OK, USAGE
from exporter.commands.main import main
from exporter.pricing.domain.components import METRIC_COMPONENTS
from tests.byte_hours import byte_hours

HOUR, DAY, GB = 3600, 86400, 10**9
FIELDS = ("project_id", "branch_id", "start", "granularity", "plan", "metric", "value")
Row = Mapping[str, object]


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def row(metric: str, value: int, start: object = "2026-07-01T00:00:00Z", **fields: object) -> dict[str, object]:
    given = {"project_id": "p1", "branch_id": "b1", "granularity": "hourly", "plan": "launch_v3", **fields}
    return {**given, "start": start, "metric": metric, "value": value, "unit": byte_hours(metric)}


def hours(metric: str, value: int, first: str, count: int, **fields: object) -> list[dict[str, object]]:
    return [row(metric, value, at(first) + hour * HOUR, **fields) for hour in range(count)]


def as_csv(rows: Iterable[Row]) -> str:
    rows = list(rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for mapping in rows for key in mapping)), restval="")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def as_json_lines(rows: Iterable[Row]) -> str:
    return "".join(json.dumps(mapping) + "\n" for mapping in rows)


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def total(self) -> str:
        return str(json.loads(self.out)["total"])

    @property
    def lines(self) -> list[dict[str, str]]:
        found: list[dict[str, str]] = json.loads(self.out)["lines"]
        return found


def priced(text: str, *arguments: str) -> Answer:
    """The command in this process, over stdin."""
    before = sys.stdin, sys.stdout, sys.stderr
    sys.stdin, sys.stdout, sys.stderr = io.StringIO(text), io.StringIO(), io.StringIO()
    try:
        code = main(["price", "-", *arguments])
        return Answer(code, sys.stdout.getvalue(), sys.stderr.getvalue())
    finally:
        sys.stdin, sys.stdout, sys.stderr = before


def exact(cost: Fraction) -> str:
    """What a person with long division would write: all digits, or the first 40 rounded."""
    with localcontext() as context:
        context.prec = 40
        text = format(Decimal(cost.numerator) / Decimal(cost.denominator), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def four(size: int, start: str) -> list[dict[str, object]]:
    return [row("public_network_transfer_bytes", size * GB, start, project_id=f"p{n}") for n in range(4)]


GOLDEN: dict[str, tuple[list[dict[str, object]], Fraction, str]] = {
    "compute on Scale": (
        [row("compute_unit_seconds", 500_000, plan="scale_v3")],
        Fraction(500_000, 3600) * Fraction("0.222"),
        "30.8333333333333333333333333333",
    ),
    "root storage": (
        [row("root_branch_bytes_month", 25 * 10**11)],
        Fraction(25 * 10**11, 744 * GB) * Fraction("0.35"),
        "1.17607526881720430107526881",
    ),
    "snapshots": (
        [row("snapshot_storage_bytes_month", 75 * 10**11, branch_id="")],
        Fraction(75 * 10**11, 744 * GB) * Fraction("0.09"),
        "0.90725806451612903225806451",
    ),
    "snapshots before May": (
        [row("snapshot_storage_bytes_month", 75 * 10**11, "2026-04-30T23:00:00Z", branch_id="")],
        Fraction(),
        "0",
    ),
    "2 GB for 31 days": (
        hours("child_branch_bytes_month", 2 * GB, "2026-07-01", 744),
        Fraction("0.70"),
        "0.7",
    ),
    "2 GB for 30 days": (
        hours("child_branch_bytes_month", 2 * GB, "2026-06-01", 720),
        Fraction(2 * 720, 744) * Fraction("0.35"),
        "0.67741935483870967741935483",
    ),
    "2 GB for 28 days": (
        hours("child_branch_bytes_month", 2 * GB, "2026-02-01", 672),
        Fraction(2 * 672, 744) * Fraction("0.35"),
        "0.63225806451612903225806451",
    ),
    "a day of 288 branch-hours": (
        [row("extra_branches_month", 288, branch_id="", granularity="daily")],
        Fraction(72, 744) * Fraction("1.50"),
        "0.14516129032258064516129032",
    ),
    "12 children for 31 days": (
        hours("extra_branches_month", 12, "2026-07-01", 744, branch_id=""),
        Fraction("4.50"),
        "4.5",
    ),
    "30 children for 12 hours": (
        hours("extra_branches_month", 30, "2026-07-01", 12, branch_id=""),
        Fraction(252, 744) * Fraction("1.50"),
        "0.5080645161290322580645161290",
    ),
    "400 and 150 GB in one project": (
        [
            row("public_network_transfer_bytes", 400 * GB),
            row("public_network_transfer_bytes", 150 * GB, branch_id="b2"),
        ],
        Fraction(5),
        "5",
    ),
    "four projects of 400 GB": (four(400, "2026-06-01T00:00:00Z"), Fraction(), "0"),
    "four projects of 400 GB in May": (four(400, "2026-05-01T00:00:00Z"), Fraction(150), "150"),
    "a quarter CU on Launch": (
        hours("compute_unit_seconds", 900, "2026-07-01", 744),
        Fraction("19.716"),
        "19.716",
    ),
    "a quarter CU on Scale": (
        hours("compute_unit_seconds", 900, "2026-07-01", 744, plan="scale_v3"),
        Fraction("41.292"),
        "41.292",
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
@pytest.mark.parametrize("form", [as_csv, as_json_lines], ids=["csv", "json"])
def test_golden_cases_to_the_last_digit(name: str, form: type) -> None:
    rows, cost, text = GOLDEN[name]
    answer = priced(form(rows), "--json")
    assert (answer.code, answer.err) == (OK, "")
    assert answer.total == exact(cost)
    assert answer.total.startswith(text)
    assert len(answer.total.replace(".", "").lstrip("0")) >= 28 or Fraction(answer.total) == cost
    document = json.loads(answer.out)
    assert list(document) == ["currency", "total", "lines"]
    assert document["currency"] == "USD"
    for line in answer.lines:
        assert list(line) == ["project_id", "branch_id", "component", "quantity", "unit", "rate", "cost"]
        assert abs(Fraction(line["quantity"]) * Fraction(line["rate"]) - Fraction(line["cost"])) < Fraction(1, 10**25)
    assert abs(sum(Fraction(line["cost"]) for line in answer.lines) - cost) < Fraction(1, 10**25)


def test_as_a_person_runs_it(tmp_path: Path) -> None:
    dump = tmp_path / "usage.csv"
    dump.write_text(as_csv([*GOLDEN["compute on Scale"][0], *GOLDEN["a day of 288 branch-hours"][0]]))
    ran = subprocess.run(
        [sys.executable, "-m", "exporter", "price", str(dump)], capture_output=True, text=True, timeout=300, check=False
    )
    assert (ran.returncode, ran.stderr) == (OK, "")
    assert "Total of 2 lines: 30.97849462365591397849462365591397849462 USD" in ran.stdout
    assert "lower bound" in ran.stdout
    assert "~30.833333" in ran.stdout


dumps = st.lists(
    st.builds(
        row,
        metric=st.sampled_from(sorted(METRIC_COMPONENTS)),
        value=st.integers(0, 10**13),
        start=st.integers(at("2026-02-27") // HOUR, at("2026-06-03") // HOUR).map(lambda hour: hour * HOUR),
        plan=st.sampled_from(["launch_v3", "scale_v3"]),
        project_id=st.sampled_from(["p1", "p2"]),
        branch_id=st.sampled_from(["", "b1", "b2"]),
    ).filter(lambda entry: entry["plan"] == "scale_v3" or not str(entry["metric"]).startswith("private")),
    min_size=1,
    max_size=12,
    unique_by=lambda entry: tuple(str(entry[key]) for key in FIELDS if key != "value"),
)


@settings(max_examples=40)
@given(dumps, st.randoms())
def test_lines_sum_to_the_total_in_any_order_and_form(rows: list[Row], shuffler: random.Random) -> None:
    answer = priced(as_csv(rows), "--json")
    assert answer.code == OK
    shuffled = list(rows)
    shuffler.shuffle(shuffled)
    assert priced(as_json_lines(shuffled), "--json").out == answer.out
    costs = [Fraction(line["cost"]) for line in answer.lines]
    assert all(cost >= 0 for cost in costs)
    assert abs(sum(costs) - Fraction(answer.total)) <= Fraction(answer.total) / 10**35


@settings(max_examples=40)
@given(dumps)
def test_a_bucket_that_is_there_twice_counts_once_and_one_of_zero_changes_nothing(rows: list[Row]) -> None:
    once = priced(as_csv(rows), "--json")
    twice = priced(as_csv([*rows, *rows]), "--json")
    assert twice.out == once.out
    assert f"{len(rows)} repeated bucket" in twice.err
    nothing = row("compute_unit_seconds", 0, at("2026-03-05"), project_id="p9")
    assert priced(as_csv([*rows, nothing]), "--json").out == once.out


@settings(max_examples=40)
@given(dumps, st.integers(2, 1000))
def test_without_allowances_the_cost_grows_as_the_use(rows: list[Row], times: int) -> None:
    free = ("extra_branches_month", "public_network_transfer_bytes")
    plain = [mapping for mapping in rows if mapping["metric"] not in free] or [row("compute_unit_seconds", 1)]
    grown = [{**mapping, "value": int(str(mapping["value"])) * times} for mapping in plain]
    one, many = priced(as_csv(plain), "--json"), priced(as_csv(grown), "--json")
    difference = abs(Fraction(one.total) * times - Fraction(many.total))
    assert difference <= Fraction(many.total) / 10**35


@pytest.mark.parametrize("beyond", [-1, 0, 1])
@pytest.mark.parametrize(("month", "allowance"), [("2026-06-01", 500), ("2026-05-01", 100)])
def test_one_byte_around_the_allowance(month: str, allowance: int, beyond: int) -> None:
    rows = [row("public_network_transfer_bytes", allowance * GB + beyond, f"{month}T00:00:00Z")]
    assert priced(as_csv(rows), "--json").total == ("0.0000000001" if beyond > 0 else "0")


def test_a_change_of_plan_in_mid_period() -> None:
    rows = [
        row("compute_unit_seconds", 3600, "2026-07-10T09:00:00Z"),
        row("compute_unit_seconds", 3600, "2026-07-10T10:00:00Z", plan="scale_v3"),
        # The allowance of transfer is one for the month, whatever the plan was.
        row("public_network_transfer_bytes", 300 * GB, "2026-07-10T09:00:00Z"),
        row("public_network_transfer_bytes", 300 * GB, "2026-07-10T10:00:00Z", plan="scale_v3"),
        # That of branches is the plan's of the hour.
        row("extra_branches_month", 24, "2026-07-10T09:00:00Z", branch_id=""),
        row("extra_branches_month", 24, "2026-07-10T10:00:00Z", branch_id="", plan="scale_v3"),
    ]
    answer = priced(as_csv(rows), "--json")
    branches = Fraction(24 - 9, 744) * Fraction("1.5")
    assert answer.total == exact(Fraction("0.106") + Fraction("0.222") + 10 + branches)


def test_plans_that_have_no_price_are_said_and_the_rest_is_priced() -> None:
    rows = [row("compute_unit_seconds", 3600, plan="business"), row("compute_unit_seconds", 7200, project_id="p2")]
    answer = priced(as_csv(rows), "--json")
    assert answer.code == FINDINGS
    assert answer.total == "0.212"
    assert [line["rate"] for line in answer.lines] == [None, "0.106"]
    assert answer.err.startswith("pricing_unknown: p1 compute: plan 'business'")
    table = priced(as_csv(rows))
    assert "unknown" in table.out
    assert "not in the total" in table.out


@pytest.mark.parametrize("plan", ["scale", "Scale", "scale_v3"])
def test_a_plan_by_the_name_a_person_has_for_it(plan: str) -> None:
    dump = "project_id,start,granularity,metric,value\np1,2026-07-01T00:00:00Z,hourly,compute_unit_seconds,3600\n"
    assert priced(dump, "--json", "--plan", plan).total == "0.222"


def test_of_hours_and_days_of_the_same_time_the_hours_count() -> None:
    rows = [
        *hours("extra_branches_month", 30, "2026-07-01", 12, branch_id=""),
        row("extra_branches_month", 360, branch_id="", granularity="daily"),
        row("extra_branches_month", 240, "2026-07-02T00:00:00Z", branch_id="", granularity="daily"),
        row("extra_branches_month", 600, branch_id="", granularity="monthly"),
    ]
    answer = priced(as_csv(rows), "--json")
    assert answer.total == exact(Fraction(252 + 24, 744) * Fraction("1.5"))
    assert "2 coarser buckets were left out" in answer.err


def test_a_later_reading_of_a_bucket_counts() -> None:
    rows = [row("compute_unit_seconds", 7200, observed_at=20), row("compute_unit_seconds", 3600, observed_at=10)]
    assert priced(as_csv(rows), "--json").total == "0.212"


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("project_id", "", "project_id is empty"),
        ("start", "yesterday", "2026-07-01T00:00:00Z"),
        ("start", "2026-07-01T00:30:00Z", "begins at 2026-07-01T00:00:00Z"),
        ("start", "1e400", "unix seconds"),
        ("granularity", "weekly", "hourly, daily or monthly"),
        ("plan", "", "--plan"),
        ("metric", "cpu", "compute_unit_seconds"),
        ("value", "-1", "whole number of at least 0"),
        ("value", "1.5", "whole number of at least 0"),
        ("value", "1e999999999", "whole number of at least 0"),
        ("value", "NaN", "whole number of at least 0"),
        ("value", "", "whole number of at least 0"),
    ],
)
@pytest.mark.parametrize("form", [as_csv, as_json_lines], ids=["csv", "json"])
def test_a_bad_line_is_one_clear_error_and_nothing_is_priced(field: str, value: str, says: str, form: type) -> None:
    bad = {**row("compute_unit_seconds", 1), field: value}
    answer = priced(form([row("compute_unit_seconds", 5, project_id="p0"), bad]), "--json")
    assert (answer.code, answer.out) == (USAGE, "")
    (line,) = answer.err.splitlines()
    assert line.startswith(f"stdin: line {3 if form is as_csv else 2}: ")
    assert says in line


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no usage"),
        ("project_id,start\n", "granularity, metric, value is missing"),
        ("project_id,project_id\n", "named twice"),
        ('{"project_id": 1', "line 1: not valid JSON"),
        ("\n\n[1]\n", "line 3: must be one JSON object"),
        ("project_id,start,granularity,metric,value,plan\np1,0\n", "line 2: 2 cells under 6 columns"),
    ],
)
def test_what_is_no_dump(text: str, says: str) -> None:
    answer = priced(text)
    assert (answer.code, answer.out) == (USAGE, "")
    assert says in answer.err


def test_two_figures_for_one_bucket_are_refused() -> None:
    answer = priced(as_csv([row("compute_unit_seconds", 1), row("compute_unit_seconds", 2)]))
    assert answer.code == USAGE
    assert "2 here and 1 on line 2" in answer.err


def test_files_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["price", str(tmp_path / "missing.csv")]) == USAGE
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    assert main(["price", str(tmp_path / "binary")]) == USAGE
    missing, binary = capsys.readouterr().err.splitlines()
    assert "No such file" in missing
    assert "UTF-8" in binary
