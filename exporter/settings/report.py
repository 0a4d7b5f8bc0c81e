"""The section of the monthly review: the names in its header, and the tags of projects and branches."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from exporter.settings.section import Section


class TagRuleSettings(Section):
    """Tags of the projects and branches that match; for each key the first rule that sets it wins."""

    project: str = Field("*", description="Glob over project id or name.")
    branch: str = Field("*", description="Glob over branch id or name; cost without a branch matches only *.")
    tags: dict[str, str] = Field(
        description="Keys such as team, env, cost_center; other keys are exported to FOCUS as well."
    )

    @field_validator("tags")
    @classmethod
    def _tags_say_something(cls, tags: dict[str, str]) -> dict[str, str]:
        if not tags or any(not key.strip() or not value.strip() for key, value in tags.items()):
            raise ValueError("tags: give at least one key, and no key or value that is empty")
        return tags


class ReportSettings(Section):
    """The monthly review and its FOCUS files."""

    company: str = Field("", description="Company name in the header of the review.")
    provider: str = Field("Neon", description="Provider of the service: FOCUS ServiceProviderName.")
    publisher: str = Field("Neon", description="Publisher of the service: PublisherName of FOCUS 1.2.")
    invoice_issuer: str = Field("Neon", description="Issuer of the invoice: FOCUS InvoiceIssuerName.")
    required_tags: list[Annotated[str, Field(min_length=1)]] = Field(
        ["team", "env", "cost_center"],
        description="Tags that all cost should have; tag compliance counts these.",
    )
    tags: list[TagRuleSettings] = Field([], description="Tags of projects and branches.")
