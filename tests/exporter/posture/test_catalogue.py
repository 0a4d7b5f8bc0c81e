"""The catalogue's files: complete, consistent with the code, and strict with whoever edits them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from exporter.posture.catalogue import _LOADER, Catalogue, CatalogueError, load_catalogue
from exporter.posture.domain.evaluate import automatic_controls
from exporter.posture.domain.finding import Severity

SHIPPED = Path(__file__).parents[3] / "exporter" / "posture"


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue()


def test_every_control_is_there_once_and_has_code(catalogue: Catalogue) -> None:
    assert list(catalogue.controls) == [f"P{number:02}" for number in range(1, len(catalogue.controls) + 1)]
    automatic = {control.id for control in catalogue.controls.values() if control.evaluated == "auto"}
    assert automatic <= automatic_controls()


def test_the_words_are_sentences_of_some_length(catalogue: Catalogue) -> None:
    for control in catalogue.controls.values():
        for text in (control.what, control.why, control.remedy.text):
            assert text.endswith("."), (control.id, text)
        assert not control.title.endswith("."), control.id
        assert len(control.title) <= 90, control.id
        assert control.remedy.sql == "" or control.remedy.sql.endswith(";"), control.id


def test_a_control_knows_its_clauses(catalogue: Catalogue) -> None:
    assert set(catalogue.frameworks) == {"c5", "cis", "gdpr", "iso27001", "soc2"}
    found = catalogue.clauses("P01")
    assert {clause.id for clause in found["gdpr"]} == {"Art. 25", "Art. 32(1)(b)"}
    assert {clause.id for clause in found["cis"]} == {"4.4"}
    assert catalogue.clauses("P68") == {}
    assert catalogue.controls["P68"].unmapped


def _copy(folder: Path, name: str, change: object) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    tree = yaml.load((SHIPPED / name).read_text(), Loader=_LOADER)
    change(tree)  # type: ignore[operator]
    path.write_text(json.dumps(tree))
    return folder


def test_a_folder_of_ones_own_wins_file_by_file(tmp_path: Path) -> None:
    def edit(tree: dict) -> None:
        tree["controls"][9]["severity"] = "high"
        tree["controls"][9]["title"] = "Nobody walks in"

    found = load_catalogue(_copy(tmp_path, "controls.yaml", edit))
    assert found.controls["P10"].title == "Nobody walks in"
    assert found.severities["P10"] is Severity.HIGH
    assert load_catalogue().severities["P10"] is Severity.MEDIUM
    (tmp_path / "frameworks").mkdir()
    (tmp_path / "frameworks" / "house.yaml").write_text(
        "id: house\ntitle: House rules\nversion: '1'\nabout: Ours.\n"
        "clauses:\n- {id: '1', title: Nobody reads others, controls: [P01, P02]}\n"
    )
    assert load_catalogue(tmp_path).frameworks["house"].of("P02")[0].title == "Nobody reads others"


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("controls.yaml", lambda t: t["controls"].pop(69), "P70 is missing"),
        ("controls.yaml", lambda t: t["controls"].append(t["controls"][0]), "P01 xtenant_grant is a duplicate"),
        ("controls.yaml", lambda t: t["controls"][0].update(id="P99"), "P99: nothing evaluates it"),
        ("controls.yaml", lambda t: t["controls"][0].update(severity="bad"), "P01.severity: must be one of critical"),
        ("controls.yaml", lambda t: t["controls"][0].update(severity=["x"]), "P01.severity: must be a text"),
        ("controls.yaml", lambda t: t["controls"][0].update(owner="me"), "P01.owner: is not known"),
        ("controls.yaml", lambda t: t["controls"][0].update(why=" "), "P01.why: must be a text"),
        ("controls.yaml", lambda t: t["controls"][0].update(remedy="fix it"), "P01.remedy: must be a mapping"),
        ("controls.yaml", lambda t: t["controls"][0].update(profile=["oracle"]), "'oracle' is none of neon"),
        ("controls.yaml", lambda t: t["controls"][0].update(evaluated="maybe"), "P01.evaluated: must be one of auto"),
        ("controls.yaml", lambda t: t.update(controls={}), "must hold a list `controls`"),
        ("controls.yaml", lambda t: t["controls"].insert(0, "P00"), "controls[0]: must be a mapping"),
        ("controls.yaml", lambda t: t["controls"][67].pop("unmapped"), "P68: no framework names it"),
        ("controls.yaml", lambda t: t["controls"][0].update(unmapped="x"), "P01: a framework names it"),
        ("frameworks/gdpr.yaml", lambda t: t["clauses"][0].update(controls=["P77"]), "no such control: P77"),
        ("frameworks/gdpr.yaml", lambda t: t["clauses"][0].update(controls=[]), "must be a list of at least one"),
        ("frameworks/gdpr.yaml", lambda t: t["clauses"].append(t["clauses"][0]), "is a duplicate"),
        ("frameworks/gdpr.yaml", lambda t: t.update(id="eu"), "must be the name of its file"),
    ],
)  # fmt: skip
def test_each_mistake_is_told_with_its_place(tmp_path: Path, name: str, change: object, says: str) -> None:
    with pytest.raises(CatalogueError) as told:
        load_catalogue(_copy(tmp_path, name, change))
    assert any(says in problem for problem in told.value.problems), told.value.problems
    assert all(problem.startswith(("controls.yaml", "frameworks/")) for problem in told.value.problems)


def test_what_is_no_yaml_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "controls.yaml").write_text("controls:\n  - id: [\n")
    with pytest.raises(CatalogueError, match=r"controls.yaml:\d+: is not YAML"):
        load_catalogue(tmp_path)
