"""Rows of Cost and Usage in FOCUS 1.4: one a charge, or one a tenant of a split charge.

Costs at list and at contract prices are price x quantity, to the last digit, and only what is billed is rounded: of a
closed month it is the cents that were closed, of an open one the contract cost as it stands. The dimensions and prices
of a split charge are the same on all of its rows; an empty cell is null.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction

from exporter.documents.formats import json_text
from exporter.documents.text import zulu
from exporter.pricing.domain.calendar import day_text
from exporter.pricing.domain.rates import RateCard, decimal_text, to_decimal
from exporter.report.facts import WORDS, ReviewFacts
from exporter.report.focus import columns
from exporter.report.focus.charges import PLACES, RATIO_PLACES, Billed, Charge, Part

Row = dict[str, str]
_HOSTS = {"aws": "AWS", "azure": "Microsoft Azure", "gcp": "Google Cloud"}
_EXACT = Context(prec=80)


@dataclass(frozen=True, slots=True)
class Party:
    """Who provides, hosts and invoices; ``regions`` is by project id."""

    provider: str = "Neon"
    publisher: str = "Neon"
    issuer: str = "Neon"
    regions: Mapping[str, str] | None = None

    def region(self, project_id: str) -> str:
        """Neon's id of a project's region, as ``aws-us-east-2``; empty when it is not known."""
        return (self.regions or {}).get(project_id, "")

    def host(self, project_id: str) -> str:
        """Whose machines they are; the provider's own name when it is not known, as FOCUS asks for."""
        cloud, dash, _ = self.region(project_id).partition("-")
        return _HOSTS.get(cloud, self.provider) if dash else self.provider


def common(facts: ReviewFacts, party: Party, org_id: str, project_id: str) -> Row:
    """What every row says: whose it is, of which month, who provides it. No sub-account where there is no project."""
    this, names = facts.this, facts.names
    region = party.region(project_id)
    row = {
        "BillingAccountId": org_id,
        "BillingAccountName": names.get(org_id, org_id),
        "BillingAccountType": "Organization",
        "BillingCurrency": "USD",
        "BillingPeriodStart": zulu(this.start),
        "BillingPeriodEnd": zulu(this.end),
        "HostProviderName": party.host(project_id),
        "InvoiceIssuerName": party.issuer,
        "PricingCurrency": "USD",
        "ServiceCategory": "Databases",
        "ServiceName": "Neon Postgres",
        "ServiceProviderName": party.provider,
        "ServiceSubcategory": "Relational Databases",
    }
    if project_id and not project_id.startswith("__"):
        row["SubAccountId"] = project_id
        row["SubAccountName"] = names.get(project_id, project_id)
        row["SubAccountType"] = "Project"
    if region:
        row["RegionId"] = region
        row["RegionName"] = region.partition("-")[2] or region
    return row


class Rows:
    """Writes charges of one month as rows."""

    def __init__(self, facts: ReviewFacts, card: RateCard, party: Party) -> None:
        """Take the month of the facts."""
        self._facts = facts
        self._card = card
        self._party = party

    def usage(self, charges: Iterable[Charge], billed: Billed) -> Iterator[Row]:
        """Rows of metered charges."""
        for charge in charges:
            base = {**common(self._facts, self._party, charge.org_id, charge.project_id), **self._charge(charge)}
            costs = [billed.cost(charge, part, _cost(charge.rate.amount, charge, part)) for part in charge.parts]
            for part, cost in zip(charge.parts, costs, strict=True):
                row = {**base, **self._amounts(charge, part, cost)}
                if charge.split:
                    row |= self._split(charge, part, sum(costs, Decimal()))
                yield row

    def _charge(self, charge: Charge) -> Row:
        names = self._facts.names
        resource = charge.branch_id or charge.project_id
        label = self._plan(charge.plan)
        what = charge.component.spec.title.partition(" (")[0]
        tags = self._facts.tagging.of(charge.project_id, charge.branch_id)
        listed = Fraction() if charge.included else charge.rate.list_amount
        paid = Fraction() if charge.included else charge.rate.amount
        return {
            "ChargeCategory": "Usage",
            "ChargeDescription": f"{what}, {label} plan{', within the allowance' if charge.included else ''}",
            "ChargeFrequency": "Usage-Based",
            "ChargePeriodStart": zulu(charge.start),
            "ChargePeriodEnd": zulu(charge.end),
            "ContractedUnitPrice": decimal_text(paid),
            "ListUnitPrice": decimal_text(listed),
            "PricingCategory": "Standard",
            "PricingCurrencyContractedUnitPrice": decimal_text(paid),
            "PricingCurrencyListUnitPrice": decimal_text(listed),
            "ResourceId": resource,
            "ResourceName": names.get(resource, resource),
            "ResourceType": "Branch" if charge.branch_id else "Project",
            **sku(charge, label),
            "Tags": json_text(tags) if tags else "",
            columns.X_COMPONENT: charge.component.value,
            columns.X_PLAN: charge.plan,
        }

    def _plan(self, plan: str) -> str:
        card = self._card.plans.get(plan)
        return card.label if card is not None and card.label else plan

    @staticmethod
    def _amounts(charge: Charge, part: Part, billed: Decimal) -> Row:
        quantity = decimal_text(Decimal(part.units).scaleb(-PLACES, _EXACT))
        unit = charge.component.spec.focus_unit
        contracted = decimal_text(_cost(charge.rate.amount, charge, part))
        return {
            "PricingQuantity": quantity,
            "PricingUnit": unit,
            "ConsumedQuantity": quantity,
            "ConsumedUnit": unit,
            "ListCost": decimal_text(_cost(charge.rate.list_amount, charge, part)),
            "ContractedCost": contracted,
            "BilledCost": decimal_text(billed),
            "EffectiveCost": decimal_text(billed),
            "PricingCurrencyEffectiveCost": decimal_text(billed),
            columns.X_CONFIDENCE: "lower_bound" if charge.lower_bound else part.confidence.value,
        }

    def _split(self, charge: Charge, part: Part, whole: Decimal) -> Row:
        # On a charge of the project a tenant may have a part of several branches: the branch tells them apart.
        tenants = [row.tenant for row in charge.parts]
        branch = self._facts.name(part.branch_id)
        ambiguous = tenants.count(part.tenant) > 1
        name = WORDS.get(part.tenant, part.tenant)
        ratio = Decimal(part.ratio).scaleb(-RATIO_PLACES)
        element = {"AllocatedRatio": ratio, "x_Confidence": part.confidence.value}
        return {
            "AllocatedMethodId": charge.component.spec.measure.value,
            "AllocatedMethodDetails": json_text({"Elements": [element]}),
            "AllocatedResourceId": f"{part.branch_id}/{part.tenant}" if ambiguous else part.tenant,
            "AllocatedResourceName": f"{branch} / {name}" if ambiguous else name,
            columns.X_ORIGIN_ID: charge.key,
            columns.X_ORIGIN_COST: decimal_text(whole),
        }


def sku(charge: Charge, label: str) -> Row:
    """What is sold, how it is metered, and at which price: the same for every customer with the same price."""
    component = charge.component.value.replace("_", "-")
    plan = label.lower().replace(" ", "-")
    since = day_text(charge.rate.valid_from)
    contract = "" if charge.rate.listed is None else f"-contract-{decimal_text(charge.rate.amount)}"
    price = f"neon-{plan}-{component}-{'included' if charge.included else since + contract}"
    details = {
        "x_Plan": label,
        "x_PriceSince": since,
        "x_PriceSource": f"{charge.rate.source.name}, {charge.rate.source.date}",
    }
    return {
        "SkuId": f"neon-{component}",
        "SkuMeter": charge.component.spec.metric,
        "SkuPriceId": price,
        "SkuPriceDetails": json_text(details),
    }


def _cost(rate: Fraction, charge: Charge, part: Part) -> Decimal:
    """Price x quantity with all of its digits; what the allowance covers costs nothing."""
    if charge.included:
        return Decimal(0)
    return _EXACT.multiply(to_decimal(rate), Decimal(part.units).scaleb(-PLACES, _EXACT))
