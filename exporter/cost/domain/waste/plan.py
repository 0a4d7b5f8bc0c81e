"""The rules of waste about transfer and the plan itself: allowances that end, and features that nobody uses."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from exporter.cost.domain.allocate import Confidence
from exporter.cost.domain.waste.waste import Policy, Pool, ProjectFacts, Purse, Unknown, Waste
from exporter.cost.domain.waste.words import dollars, number, percent
from exporter.pricing.domain.components import Component
from exporter.pricing.domain.usage import PROJECT_LEVEL


def egress_cliff(project: ProjectFacts, policy: Policy, purse: Purse, now: int) -> Iterator[Waste | Unknown]:
    """Public transfer near or past its allowance: what the month will cost past it at the present pace."""
    del now
    transfer = project.transfer
    if transfer is None or transfer.allowance is None or transfer.expected < policy.egress * transfer.allowance:
        return
    if transfer.rate is None:
        yield Unknown("egress_cliff", project.id, "the plan has no public rate for transfer")
        return
    usd = purse.take(Pool(project.id, PROJECT_LEVEL, Component.PUBLIC_TRANSFER))
    past = transfer.used >= transfer.allowance
    yield Waste(
        "egress_cliff", project.id, "", usd,
        f"{number(transfer.used)} of {transfer.allowance} GB used, {number(transfer.expected)} expected in the month;"
        f" the next GB costs {dollars(transfer.rate) if past else 0} USD",
        "read less, compress, or put the readers into the same region over private networking (Scale)",
        "SELECT query, rows, calls FROM pg_stat_statements ORDER BY rows DESC LIMIT 20;  -- in database postgres",
        Confidence.ESTIMATED,
    )  # fmt: skip


def plan_features(project: ProjectFacts, policy: Policy, purse: Purse, now: int) -> Iterator[Waste | Unknown]:
    """A plan whose features nobody uses: the lower compute rate of the other, less its smaller branch allowance."""
    del policy, now
    cheaper = project.cheaper
    if cheaper is None:
        return
    if cheaper.needs is None:
        yield Unknown("plan_features", project.id, "Neon does not say which features its projects use")
        return
    if cheaper.needs:
        return
    pools = [Pool(project.id, name, Component.COMPUTE) for name in sorted({c.branch_id for c in project.computes})]
    saved = sum((purse.left(pool) for pool in pools), Fraction()) * cheaper.compute_saved
    net = saved - cheaper.branches_added
    if net <= 0:
        return
    share = net / sum((purse.left(pool) for pool in pools), Fraction())
    usd = sum((purse.take(pool, share) for pool in pools), Fraction())
    lost = f", less ${dollars(cheaper.branches_added)} for branches" if cheaper.branches_added else ""
    yield Waste(
        "plan_features", project.id, "", usd,
        f"no feature of its plan beyond {cheaper.name} is in use;"
        f" its compute costs {percent(cheaper.compute_saved)} less there{lost}",
        f"change the organisation's plan to {cheaper.name}, unless its SLA, support or sign-on are wanted;"
        " it holds for all projects at once",
        f"Neon Console > Billing > Change plan > {cheaper.name}", Confidence.ESTIMATED,
    )  # fmt: skip
