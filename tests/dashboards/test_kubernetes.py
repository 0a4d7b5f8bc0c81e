"""The manifests are what the generator writes; they hold the dashboards and the rules unchanged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from dashboards import kubernetes

pytestmark = pytest.mark.house
ROOT = Path(__file__).parents[2]
MADE = kubernetes.files()


def test_the_committed_manifests_are_what_the_generator_writes() -> None:
    found = {path: path.read_text() for path in kubernetes.OUT.glob("*.yaml")}
    assert found == MADE, "run `python -m dashboards.kubernetes`"


def test_every_manifest_is_listed() -> None:
    listed = yaml.safe_load((kubernetes.OUT / "kustomization.yaml").read_text())["resources"]
    assert sorted(listed) == sorted(path.name for path in MADE if path.name != "kustomization.yaml")


@pytest.mark.parametrize("path", sorted((ROOT / "dashboards").glob("*.json")), ids=lambda path: path.stem)
def test_a_config_map_holds_its_dashboard(path: Path) -> None:
    made = yaml.safe_load(MADE[kubernetes.OUT / f"dashboard-{path.stem}.yaml"])
    (text,) = made["data"].values()
    assert json.loads(text) == json.loads(path.read_text())
    assert made["metadata"]["labels"]["grafana_dashboard"] == "1"


@pytest.mark.parametrize("path", sorted((ROOT / "alerts").glob("*.rules.yml")), ids=lambda path: path.name)
def test_a_prometheus_rule_holds_its_groups(path: Path) -> None:
    made = yaml.safe_load(MADE[kubernetes.OUT / f"rules-{path.name.removesuffix('.rules.yml')}.yaml"])
    assert made["spec"]["groups"] == yaml.safe_load(path.read_text())["groups"]


@pytest.mark.parametrize("name", ["dashboards", "datasources"])
def test_provisioning_files_are_what_grafana_reads(name: str) -> None:
    made = yaml.safe_load((ROOT / "dashboards" / "provisioning" / f"{name}.yaml").read_text())
    assert made["apiVersion"] == 1
    (entry,) = made["providers" if name == "dashboards" else "datasources"]
    assert entry["type"] == ("file" if name == "dashboards" else "prometheus")
