"""How the figures of a review come about, for who has to answer for them."""

from __future__ import annotations

from exporter.report.facts import ReviewFacts


def method(facts: ReviewFacts) -> tuple[tuple[str, str], ...]:
    """Terms and their explanation, in the order of the page."""
    entries = [
        (
            "Usage",
            "Neon's own consumption figures, hour by hour, kept as whole numbers in neonmeter's ledger. Neon gives "
            "usage and no prices.",
        ),
        ("Prices", f"{facts.rates or 'no price was needed'}. A billing month has 744 hours, a GB is 10^9 bytes."),
        (
            "Rounding",
            "Amounts are exact fractions until they are shown. A table is rounded to the cent together with its total, "
            "so its rows always add up to it; the same row may differ by a cent in another table.",
        ),
        (
            "Tenants",
            "The compute of an hour goes to tenants by how long their statements were busy; the rest of the hour is "
            "idle, and an hour in which nothing was observed is not attributed. Nothing is spread to hide a rest.",
        ),
        (
            "From month to month",
            "Price effect: this month's quantity times the change of the price. Usage effect: last month's price times "
            "the change of the quantity. New and gone branches stand apart. Together they are the difference, exactly.",
        ),
    ]
    if facts.next_month or facts.day_one:
        entries.append(
            (
                "Forecast",
                "From the days so far, by weekday and trend; the range is how far such forecasts were off before.",
            )
        )
    return tuple(entries)
