"""Lines of an invoice from CSV: headers as people write them, and one clear line on what cannot be used."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.errors import NeonmeterError
from exporter.cost.closing.invoice import InvoiceError, parse_invoice, read_invoice
from exporter.pricing.domain.components import STORAGE, Component


def test_headers_units_and_amounts_are_taken_as_people_write_them() -> None:
    text = (
        "Line Item;Qty;Unit of measure;Total (USD);Project ID\n"
        "Compute - Scale;1,524.20;CU-hours;$1,161.57;p1\n"
        "Storage;2.5;TB-months;875,00;\n"
        "Instant restore (history);744;GB-hours;0.20;\n"
        "Discount;;;(12.50);\n"
        ";;;;\n"
        "Total;;;2,024.27;\n"
    )
    found = parse_invoice(text, "x.csv")
    compute, storage, restore, discount = found.rows
    assert (compute.components, compute.quantity, compute.amount) == (
        (Component.COMPUTE,), Fraction("1524.2"), Fraction("1161.57")
    )  # fmt: skip
    assert (compute.project_id, compute.number) == ("p1", 2)
    assert (storage.components, storage.quantity, storage.amount) == (STORAGE, Fraction(2500), Fraction(875))
    assert (restore.components, restore.quantity) == ((Component.INSTANT_RESTORE,), Fraction(1))
    assert (discount.components, discount.amount) == ((), Fraction("-12.5"))
    assert found.notes == ()


@pytest.mark.parametrize(
    ("name", "component"),
    [("compute_unit_seconds", Component.COMPUTE), ("extra_branches", Component.EXTRA_BRANCHES),
     ("Public network transfer", Component.PUBLIC_TRANSFER), ("Private network transfer", Component.PRIVATE_TRANSFER),
     ("Snapshot storage", Component.SNAPSHOT_STORAGE), ("Child branch storage", Component.CHILD_STORAGE),
     ("Root branch storage", Component.ROOT_STORAGE), ("Additional branches", Component.EXTRA_BRANCHES)],
)  # fmt: skip
def test_what_a_line_is_for_is_recognised(name: str, component: Component) -> None:
    (row,) = parse_invoice(f"component,amount\n{name},1\n", "x").rows
    assert row.components == (component,)


def test_a_total_that_is_not_the_sum_is_noted() -> None:
    assert parse_invoice("name,cost\nCompute,1\nTotal,2\n", "x").notes == (
        "its total says 2.00, its lines sum to 1.00",
    )


def test_every_bad_line_is_told() -> None:
    with pytest.raises(InvoiceError) as problem:
        parse_invoice("description,amount,quantity,unit\nCompute,abc,1,\nCompute,1,2,parsecs\n,4,,\nCompute,NaN,,", "x")
    assert problem.value.problems == [
        "x: line 2: amount 'abc' is not a number; write it like 1234.56",
        "x: line 3: unit 'parsecs' is none of compute; write CU-hour",
        "x: line 4: has neither a description nor a component; say what the amount is for",
        "x: line 5: amount 'NaN' is not a number; write it like 1234.56",
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [("", "it has nothing"), ("a,b\n1,2\n", "it has a, b"), ("description,amount\n", "no lines under its header")],
)
def test_a_file_without_the_columns_is_refused(text: str, why: str) -> None:
    with pytest.raises(InvoiceError, match=why):
        parse_invoice(text, "x")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('description,amount\nCompute,1\n"Storage,2\nTransfer,3\n', 3),
        ('"description,amount\nCompute,1\n', 1),
        ('description,amount\n"Compute\n(Scale)",1\n"Storage" of the root,2\n', 4),
        ("description,amount\nCompute," + "1" * 200_000 + "\n", 2),
    ],
)
def test_broken_csv_is_one_error_that_names_the_line_it_begins_on(text: str, line: int) -> None:
    with pytest.raises(InvoiceError, match=rf"\Ax: line {line}: [^\n]+\Z"):
        parse_invoice(text, "x")


def test_a_number_of_very_many_decimals_is_refused_at_once() -> None:
    with pytest.raises(InvoiceError, match="line 2: amount '1e-999999999' is not a number"):
        parse_invoice("description,amount\nCompute,1e-999999999\n", "x")


CELLS = st.one_of(
    st.text(max_size=12),
    st.text('",;\t\r\n\0 a1.-()$', max_size=8),
    st.sampled_from(["Compute", "Storage", "Total", "CU-hours", "1.50", "-0.07", "1e400", "1e-400", "NaN", '"']),
)
HEADS = st.sampled_from(["", "description,amount\n", "component;qty;unit;total\n", "item\tcost\tproject\torg_id\n"])
TEXTS = st.builds(
    lambda head, lines, between, end: head + end.join(between.join(cells) for cells in lines),
    HEADS, st.lists(st.lists(CELLS, max_size=5), max_size=6), st.sampled_from(",;\t"),
    st.sampled_from(["\n", "\r\n", "\r"]),
)  # fmt: skip


@given(st.one_of(TEXTS.map(str.encode), st.binary(max_size=200)))
def test_whatever_the_file_holds_there_are_lines_or_a_clear_error(content: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "x.csv")
        path.write_bytes(content)
        with suppress(NeonmeterError):
            assert read_invoice(path).rows
    with suppress(NeonmeterError):
        assert parse_invoice(content.decode(errors="surrogateescape"), "x").rows


def test_files_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    with pytest.raises(InvoiceError, match="No such file"):
        read_invoice(tmp_path / "none.csv")
    (tmp_path / "latin.csv").write_bytes(b"description,amount\nGeb\xfchr,1\n")
    with pytest.raises(InvoiceError, match="not UTF-8"):
        read_invoice(tmp_path / "latin.csv")
    (tmp_path / "bom.csv").write_bytes("description,amount\nCompute,1\n".encode("utf-8-sig"))
    assert len(read_invoice(tmp_path / "bom.csv").rows) == 1
