"""Lines of an invoice from CSV: headers as people write them, and one clear line on what cannot be used."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

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


def test_files_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    with pytest.raises(InvoiceError, match="No such file"):
        read_invoice(tmp_path / "none.csv")
    (tmp_path / "latin.csv").write_bytes(b"description,amount\nGeb\xfchr,1\n")
    with pytest.raises(InvoiceError, match="not UTF-8"):
        read_invoice(tmp_path / "latin.csv")
    (tmp_path / "bom.csv").write_bytes("description,amount\nCompute,1\n".encode("utf-8-sig"))
    assert len(read_invoice(tmp_path / "bom.csv").rows) == 1
