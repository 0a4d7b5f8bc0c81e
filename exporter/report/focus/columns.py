"""The columns of the FOCUS files, in the order in which they are written: 1.4, 1.2, and 1.4's Billing Period.

Both versions of Cost and Usage are made from the same rows. 1.2 does not know split charges and the two provider
columns; what it lacks of them goes into custom columns, whose names begin with ``x_``.
"""

from __future__ import annotations

from typing import Final

_SPLIT: Final = (
    "AllocatedMethodDetails", "AllocatedMethodId", "AllocatedResourceId", "AllocatedResourceName", "AllocatedTags",
)  # fmt: skip
_BOTH: Final = (
    "AvailabilityZone", "BilledCost", "BillingAccountId", "BillingAccountName", "BillingAccountType",
    "BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart", "CapacityReservationId", "CapacityReservationStatus",
    "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargeFrequency", "ChargePeriodEnd", "ChargePeriodStart",
    "CommitmentDiscountCategory", "CommitmentDiscountId", "CommitmentDiscountName", "CommitmentDiscountQuantity",
    "CommitmentDiscountStatus", "CommitmentDiscountType", "CommitmentDiscountUnit", "ConsumedQuantity", "ConsumedUnit",
    "ContractedCost", "ContractedUnitPrice", "EffectiveCost", "InvoiceId", "InvoiceIssuerName", "ListCost",
    "ListUnitPrice", "PricingCategory", "PricingCurrency", "PricingCurrencyContractedUnitPrice",
    "PricingCurrencyEffectiveCost", "PricingCurrencyListUnitPrice", "PricingQuantity", "PricingUnit", "RegionId",
    "RegionName", "ResourceId", "ResourceName", "ResourceType", "ServiceCategory", "ServiceName", "ServiceSubcategory",
    "SkuId", "SkuMeter", "SkuPriceDetails", "SkuPriceId", "SubAccountId", "SubAccountName", "SubAccountType", "Tags",
)  # fmt: skip
_ONLY_14: Final = (
    "CommitmentProgramEligibilityDetails", "ContractApplied", "HostProviderName", "InvoiceDetailId",
    "ServiceProviderName",
)  # fmt: skip
_ONLY_12: Final = ("ProviderName", "PublisherName")

X_COMPONENT: Final = "x_Component"
X_CONFIDENCE: Final = "x_Confidence"
X_ORIGIN_ID: Final = "x_SplitOriginId"
X_ORIGIN_COST: Final = "x_SplitOriginCost"
X_PLAN: Final = "x_Plan"
X_CORRECTS: Final = "x_CorrectedPeriod"
_OWN: Final = (X_COMPONENT, X_CONFIDENCE, X_CORRECTS, X_PLAN, X_ORIGIN_COST, X_ORIGIN_ID)
_OWN_12: Final = tuple(f"x_{name}" for name in _SPLIT)

COST_AND_USAGE_14: Final = (*sorted((*_SPLIT, *_BOTH, *_ONLY_14)), *_OWN)
"""65 columns of FOCUS 1.4, then our own."""
COST_AND_USAGE_12: Final = (*sorted((*_BOTH, *_ONLY_12)), *sorted((*_OWN, *_OWN_12)))
"""57 columns of FOCUS 1.2, then our own."""
BILLING_PERIOD_14: Final = (
    "BillingPeriodCreated", "BillingPeriodEnd", "BillingPeriodLastUpdated", "BillingPeriodStart",
    "BillingPeriodStatus", "InvoiceIssuerName",
)  # fmt: skip

DECIMALS: Final = frozenset(
    {
        "BilledCost", "CommitmentDiscountQuantity", "ConsumedQuantity", "ContractedCost", "ContractedUnitPrice",
        "EffectiveCost", "ListCost", "ListUnitPrice", "PricingCurrencyContractedUnitPrice",
        "PricingCurrencyEffectiveCost", "PricingCurrencyListUnitPrice", "PricingQuantity", X_ORIGIN_COST,
    }
)  # fmt: skip
"""Columns of numbers."""
INSTANTS: Final = frozenset(
    {
        "BillingPeriodCreated", "BillingPeriodEnd", "BillingPeriodLastUpdated", "BillingPeriodStart",
        "ChargePeriodEnd", "ChargePeriodStart",
    }
)  # fmt: skip
"""Columns of instants."""


def as_12(row: dict[str, str], publisher: str) -> dict[str, str]:
    """A row of 1.4 in the columns of 1.2."""
    names = {"ProviderName": row["ServiceProviderName"], "PublisherName": publisher}
    names |= {f"x_{name}": row.get(name, "") for name in _SPLIT}
    return {column: names.get(column, row.get(column, "")) for column in COST_AND_USAGE_12}
