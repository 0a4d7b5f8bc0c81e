"""Key stores, buckets and handshakes, from a real server to the finding; one that is away never passes."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectors.neon.inventory import Inventory
from collectors.platforms.domain.security import BucketFacts, HandshakeFacts, VaultFacts
from exporter.demo.postgres import Cluster, free_port
from exporter.posture.domain.evaluate import evaluate
from exporter.posture.domain.facts import Facts, RegistryFacts, TenantEntry
from exporter.posture.domain.finding import Outcome
from exporter.posture.fact_cache import FactCache
from exporter.posture.outside import Buckets, Handshakes, KeyStores
from exporter.posture.settings import BucketSettings, VaultSettings
from exporter.posture.sources import PostureSources, Source
from tests.exporter.drift.world import inventory
from tests.exporter.posture.policies import policy
from tests.fix_openbao import OpenBao
from tests.fix_s3 import KEYS, S3

NOW = 1_900_000_000.0


async def read(source: Source, fact_cache: FactCache, here: Inventory | None = None) -> None:
    sources = PostureSources((source,), fact_cache, lambda: NOW)
    await sources.look(here or inventory())


def outcomes(facts: Facts, control: str) -> dict[str, set[Outcome]]:
    found: dict[str, set[Outcome]] = {}
    for finding in evaluate(facts, policy(), NOW):
        if finding.control == control:
            found.setdefault(finding.tenant or finding.object_id, set()).add(finding.outcome)
    return found


async def test_a_tenant_without_a_key_and_a_key_that_can_leave(openbao: OpenBao, tmp_path: Path) -> None:
    openbao.do("POST", "transit/keys/tenant-a", type="aes256-gcm96")
    openbao.do("POST", "transit/keys/tenant-b", exportable=True)
    token = tmp_path / "token"
    token.write_text(openbao.token())
    settings = VaultSettings(name="bao", address=openbao.address, token_file=token)
    fact_cache = FactCache()
    try:
        await read(KeyStores([settings], 60), fact_cache)
        known = fact_cache.get("vault", "bao", VaultFacts)
        assert known is not None
        tenants = tuple(TenantEntry(name) for name in ("a", "b", "c"))
        registry = RegistryFacts("p1", "br1", tenants=tenants, schemas=(), roles=())
        facts = Facts(vaults=(known[1],), registries=(registry,))
        missing = [finding for finding in evaluate(facts, policy(), NOW) if finding.control == "P51"]
        assert {finding.tenant for finding in missing if finding.outcome is Outcome.FAIL} == {"c"}
        flags = [finding for finding in evaluate(facts, policy(), NOW) if finding.control == "P53"]
        assert [flag for flag in flags if flag.outcome is Outcome.FAIL and "tenant-b" in flag.object_id]
        assert not [flag for flag in flags if flag.outcome is Outcome.FAIL and "tenant-a" in flag.object_id]
        token.write_text("wrong")
        sources = PostureSources((KeyStores([settings], 60),), fact_cache, lambda: NOW)
        await sources.look(inventory())
        refused = fact_cache.get("vault", "bao", VaultFacts)
        assert refused is not None
        seen = evaluate(Facts(vaults=(refused[1],), registries=(registry,)), policy(), NOW)
        assert {finding.outcome for finding in seen if finding.control in ("P51", "P53")} <= {
            Outcome.ERROR,
            Outcome.UNKNOWN,
        }
    finally:
        for name in ("tenant-a", "tenant-b"):
            openbao.do("POST", f"transit/keys/{name}/config", deletion_allowed=True)
            openbao.do("DELETE", f"transit/keys/{name}")


async def test_a_bucket_that_guards_nothing(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.client("eu-west-2").create_bucket(
        Bucket="posture-bare", CreateBucketConfiguration={"LocationConstraint": "eu-west-2"}
    )
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEYS[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEYS[1])
    settings = BucketSettings(bucket="posture-bare", project="shop", region="eu-west-2", endpoint_url=s3.url)
    fact_cache = FactCache()
    await read(Buckets([settings], 60), fact_cache)
    known = fact_cache.get("s3", "posture-bare/", BucketFacts)
    assert known is not None
    assert known[1].project_id == "p1", "a project by its name"
    facts = Facts(buckets=(known[1],))
    assert Outcome.FAIL in set().union(*outcomes(facts, "P64").values()), "no copy at all"
    assert Outcome.FAIL in set().union(*outcomes(facts, "P65").values())
    assert set().union(*outcomes(facts, "P35").values()) == {Outcome.FAIL}, "London, for buckets too"


async def test_a_server_without_tls_fails_and_one_that_is_away_is_no_pass(postgres18: Cluster) -> None:
    plain, away = f"127.0.0.1:{postgres18.port}", f"127.0.0.1:{free_port()}"
    fact_cache = FactCache()
    await read(Handshakes([plain, away], None, 60), fact_cache)
    found = {}
    for name in (plain, away):
        known = fact_cache.get("tls", name, HandshakeFacts)
        assert known is not None
        found[name] = set().union(*outcomes(Facts(handshakes=(known[1],)), "P32").values())
    assert found == {plain: {Outcome.FAIL}, away: {Outcome.ERROR}}
