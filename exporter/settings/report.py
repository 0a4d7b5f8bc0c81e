"""The section of the monthly review: whose it is, and which tags a project or branch carries in it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from exporter.settings.section import Section


class TagRuleSettings(Section):
    """Tags for what matches; for each key the first rule that gives it wins."""

    project: str = Field("*", description="Glob over project id or name.")
    branch: str = Field("*", description="Glob over branch id or name; rows without a branch match only *.")
    tags: dict[str, str] = Field(description="Such as team, env, cost_center; any other key goes to FOCUS too.")

    @field_validator("tags")
    @classmethod
    def _tags_say_something(cls, tags: dict[str, str]) -> dict[str, str]:
        if not tags or any(not key.strip() or not value.strip() for key, value in tags.items()):
            raise ValueError("tags: give at least one key, and no key or value that is empty")
        return tags


class ReportSettings(Section):
    """The monthly review and its FOCUS files."""

    company: str = Field("", description="Shown in the head of the review.")
    provider: str = Field("Neon", description="Who provides the service: FOCUS ServiceProviderName.")
    publisher: str = Field("Neon", description="Who made the service: PublisherName of FOCUS 1.2.")
    invoice_issuer: str = Field("Neon", description="Who sends the invoice: FOCUS InvoiceIssuerName.")
    required_tags: list[Annotated[str, Field(min_length=1)]] = Field(
        ["team", "env", "cost_center"], description="Tags that all cost should carry: tag compliance counts these."
    )
    tags: list[TagRuleSettings] = Field([], description="Which tags a project or branch carries.")
