"""Which contenders stack is decided once and stored; how their trainings are grouped leaves none out and mixes none."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import tiny
from optstudy.plan import GROUP, Content, Ready, unit_jobs, units
from optstudy.runs import group_key
from optstudy.stacking import Decision, decisions, read_stored
from optstudy.stages import Place, content_of, prepare

NADAM = {
    "name": "nadam",
    "class": "torch.optim.NAdam",
    "search": {"learning_rate": {"low": 1e-3, "high": 1e-1}},
}


@pytest.mark.parametrize(
    ("study", "contender", "reason"),
    [
        (tiny(), "adam", ""),
        (tiny(model={"name": "cnn"}, stack="on"), "adam", ""),
        (tiny(stack="off"), "adam", "the study says so"),
        (tiny(optimizers=["sgd", NADAM]), "nadam", "has no stacked form"),
        (tiny(model="resnet20"), "adam", "running statistics"),
        (tiny(precision="bf16-mixed"), "adam", "bf16-mixed"),
        (tiny(data="ravine", model="point", tuning={"trials": 2}), "sgd", "a function"),
    ],
)
def test_a_contender_stacks_or_says_why_not(study: object, contender: str, reason: str) -> None:
    found = decisions(study, "digest", "", {})[contender].solo  # type: ignore[arg-type]
    assert (found == "") == (reason == "")
    assert reason in found


def test_auto_leaves_large_networks_alone() -> None:
    large = {"name": "mlp", "arguments": {"width": 4096}}
    assert "wins nothing" in decisions(tiny(model=large), "digest", "", {})["sgd"].solo
    assert decisions(tiny(model=large, stack="on"), "digest", "", {})["sgd"].solo == ""


def test_a_decision_is_stored_said_once_and_then_believed(tmp_path: Path) -> None:
    place = Place(tiny(optimizers=["sgd", NADAM]), tmp_path / "results", tmp_path / "mlruns")
    said: list[str] = []
    content = prepare(place, said.append)
    assert [line.split(":")[0] for line in said] == ["nadam"]
    assert read_stored(place.mlruns) == {decision.key: decision.solo for decision in content.stacking.values()}
    assert prepare(place, said.append) == content
    assert len(said) == 1
    stored = {content.stacking["sgd"].key: "because it was said"}
    assert decisions(place.study, content.data, "", stored)["sgd"].solo == "because it was said"
    assert content_of(place.study, place.mlruns) == content


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("stacked", [True, False])
def test_every_ready_training_is_in_one_group_of_its_kind(workers: int, stacked: bool) -> None:
    study = tiny(optimizers=["sgd", "adam"], replicates=10, tuning={"trials": 5})
    content = Content("digest", "", {name: Decision("key", "" if stacked else "alone") for name in ("sgd", "adam")})
    names = ["sgd", "adam"]
    jobs = [job for unit in units(study, names) for job in unit_jobs(study, unit, content, {}, None, True)]
    ready = Ready()
    for job in jobs:
        ready.add(job)
    groups = []
    while group := ready.take(workers):
        groups.append(group)
    assert sorted(job.key for group in groups for job in group) == sorted(job.key for job in jobs)
    for group in groups:
        assert len({(job.contender, group_key(job.spec)) for job in group}) == 1
        assert len(group) <= (GROUP if stacked else 1)
    if stacked:
        assert len(groups) >= 2 * workers  # every worker has a share of both
