"""The section of posture refuses what cannot work, each with its place and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.app.settings import load
from exporter.posture.domain.policy import Policy
from exporter.posture.policy import policy_of
from exporter.posture.settings import PostureSettings, problems_of_posture
from exporter.settings import SettingsError

WAIVER = {"control": "P10", "object": "*", "reason": "known", "approver": "ann", "expires": "2027-01-01"}


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"waivers": [{**WAIVER, "control": "P99"}]}, "posture.waivers[0].control: no such control: P99"),
        ({"waivers": [{**WAIVER, "expires": "soon"}]}, "posture.waivers[0].expires: "),
        ({"waivers": [{key: WAIVER[key] for key in WAIVER if key != "approver"}]}, "waivers[0].approver: field"),
        ({"allow": {"key_addresses": ["home"]}}, "posture.allow.key_addresses[0]: home is not an address range"),
        ({"allow": {"email_domains": ["a@b.example"]}}, "posture.allow.email_domains[0]: a@b.example is not a domain"),
        ({"allow": {"region": []}}, "posture.allow.region: unknown key; did you mean regions?"),
        ({"tls": ["host"]}, "posture.tls[0]: host is not HOST:PORT"),
        ({"classified_columns": "("}, "posture.classified_columns: not a regular expression"),
        ({"vaults": [{"address": "vault"}]}, "posture.vaults[0]: address: write https://HOST:PORT"),
        ({"vaults": [{"address": "https://v", "key": "k"}]}, "posture.vaults[0].key: must hold {tenant} once"),
        ({"vaults": [{"address": "https://v", "approle": "r"}]}, "approle and secret_id_file go together"),
        ({"vaults": [{"address": "https://v"}, {"address": "https://w"}]}, "vault is a duplicate"),
        ({"profiles": [{"profile": "staging"}]}, "posture.profiles[0].profile: "),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused(section: dict[str, Any], says: str, tmp_path: Path) -> None:
    path = tmp_path / "neonmeter.yaml"
    path.write_text(yaml.safe_dump({"posture": section}))
    with pytest.raises(SettingsError) as told:
        load(path)
    assert any(says in problem for problem in told.value.problems), told.value.problems


def test_the_preflight_looks_at_files(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    told = list(
        problems_of_posture(
            PostureSettings.model_validate(
                {
                    "vaults": [{"address": "http://vault.example:8200", "token_file": gone, "ca_file": gone}],
                    "s3": [{"bucket": "b"}, {"bucket": "b"}],
                    "catalogue": gone,
                }
            )
        )
    )
    for place in ("vaults[0].address", "vaults[0].token_file", "vaults[0].ca_file", "s3[1]", "catalogue"):
        assert any(name.startswith(f"posture.{place}") for name in told), place
    (tmp_path / "controls.yaml").write_text("controls: []\n")
    (problem, *_) = problems_of_posture(PostureSettings(catalogue=tmp_path))
    assert problem.startswith("posture.catalogue: controls.yaml")


def test_without_settings_the_policy_is_the_usual_one() -> None:
    assert policy_of(PostureSettings()) == Policy()
