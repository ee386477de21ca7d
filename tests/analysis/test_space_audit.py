"""Laws of `analysis.space_audit`: shipped trials, spaces of known shape, pairs without a difference that matters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from builders import tiny
from optstudy.analysis.evaluate_claims import claim_rows, stated
from optstudy.analysis.findings import TABLE_CHECKS, Finding, Tables
from optstudy.analysis.space_audit import SMALL_SOURCE, ContenderAudit, SpaceAudit, audit_spaces, read_audit, untestable
from optstudy.files import write_json, write_text
from shipped_tables import ShippedTables, shipped

REPLICATES, TRIALS = 8, 8


@pytest.fixture(scope="module")
def digits() -> ShippedTables:
    return shipped("digits")


@pytest.fixture(scope="module")
def audited(digits: ShippedTables) -> SpaceAudit:
    return audit_spaces(*digits)


def findings(study: Any, audit: SpaceAudit) -> list[Finding]:
    tables = Tables(study, {}, pd.DataFrame(), {}, audit)
    return [finding for check in TABLE_CHECKS for finding in check(tables)]


def test_the_spaces_of_adam_and_adamw_in_digits_are_cut_off_at_their_high_end(audited: SpaceAudit) -> None:
    ends = {own.contender: own.cut_off for own in audited.contenders}
    assert ends["adam"] == ends["adamw"] == ("high",)
    assert ends["sgd"] == ends["rmsprop"] == ()


def test_weight_decay_is_inert_in_digits_so_that_adamw_against_adam_is_not_tested(
    digits: ShippedTables, audited: SpaceAudit
) -> None:
    assert all(own.inert == ["weight_decay"] for own in audited.contenders)
    [(pair, reason)] = untestable(digits.study, audited).items()
    assert pair == {"adam", "adamw"}
    assert reason.startswith("adam and adamw differ only in weight decay, which has no effect: it explains 0.0")


def test_searches_of_six_trials_in_digits_are_too_small(digits: ShippedTables, audited: SpaceAudit) -> None:
    """Counted by hand from the trials: those of a replicate whose learning rate is in the good region."""
    adam = audited.of("rmsprop")
    assert adam.good is not None
    own = digits.tuning[digits.tuning["contender"] == "rmsprop"]
    inside = own["learning_rate"].between(*adam.good).groupby(own["replicate"]).sum()
    assert adam.in_good == pytest.approx(inside.mean())
    assert list(adam.missed) == inside.index[inside == 0].tolist()
    small = [finding for finding in findings(digits.study, audited) if "good region" in finding.finding]
    assert {finding.contender for finding in small} == {"sgd", "momentum", "rmsprop", "adam", "adamw"}
    assert "0.75 of 6 trials" in small[0].finding
    assert {(finding.rule, finding.source) for finding in small} == {(6, SMALL_SOURCE)}


def test_in_digits_transfer_untuned_adam_is_ahead_of_tuned_adam_by_the_paired_interval() -> None:
    study, _, values = shipped("digits_transfer")
    audit = audit_spaces(study, pd.DataFrame({"contender": []}), values)
    assert {own.contender for own in audit.contenders if own.untuned_ahead} == {"adam", "adamw", "adamw-frozen"}
    untuned, tuned = (np.array(values["adam", variant]["test_accuracy"]) for variant in ("untuned", "tuned"))
    ahead = audit.of("adam").untuned_ahead
    assert ahead is not None
    assert ahead[0] == pytest.approx(np.mean(untuned - tuned))
    [words] = [finding.finding for finding in findings(study, audit) if finding.contender == "adam"]
    assert words.startswith("its defaults are better than its tuned hyperparameters, by 3.5 pp (0.0 to 6.9)")


def trials_of(study: Any, effect: float, seed: int = 0) -> pd.DataFrame:
    """Return trials with a peak inside the space of learning rates, and a decay whose upper half costs `effect`."""
    rng = np.random.default_rng(seed)
    rows = []
    for contender in study.optimizers:
        search = study.row(contender).search
        for replicate in range(REPLICATES):
            for trial in range(TRIALS):
                places = {key: (trial + rng.random()) / TRIALS for key in search}
                places = {key: place if key == "learning_rate" else rng.random() for key, place in places.items()}
                score = 0.97 - 0.8 * (places["learning_rate"] - 0.6) ** 2 + rng.normal(0, 0.005)
                score -= effect * (places.get("weight_decay", 0.0) > 0.5)
                values = {key: space.at(places[key]) for key, space in search.items()}
                rows.append(
                    {
                        "contender": contender.name,
                        "replicate": replicate,
                        "trial": trial,
                        "val_accuracy": score,
                        **values,
                    }
                )
    return pd.DataFrame(rows)


@pytest.mark.parametrize(("effect", "inert"), [(0.0, ["weight_decay"]), (0.04, [])])
def test_a_hyperparameter_is_inert_only_if_good_scores_do_not_depend_on_it(effect: float, inert: list[str]) -> None:
    study = tiny(optimizers=["adam"], replicates=REPLICATES, tuning={"trials": TRIALS})
    audit = audit_spaces(study, trials_of(study, effect), {})
    assert [own.inert for own in audit.contenders] == [inert]
    assert [own.cut_off for own in audit.contenders] == [()]
    assert audit == audit_spaces(study, trials_of(study, effect), {})  # the same trials give the same audit


def audit_of(study: Any, *inert: str) -> SpaceAudit:
    """Return an audit in which weight decay is inert in these contenders, and explains half in the others."""
    shares = {one.name: 0.0 if one.name in inert else 0.5 for one in study.optimizers}
    return SpaceAudit(6, "", tuple(ContenderAudit(name, shares={"weight_decay": own}) for name, own in shares.items()))


CLONE = {"name": "clone", "like": "adam"}
SPACE = {"low": 1e-5, "high": 1e-3}
# changes of a clone of adam -> whether weight decay is all that it differs in
CLONES: dict[str, tuple[dict[str, Any], bool]] = {
    "nothing": ({}, True),
    "another space of weight decay": ({"search": {"weight_decay": SPACE}}, True),
    "a fixed weight decay": ({"fixed": {"weight_decay": 1e-4}}, True),
    "no weight decay": ({"fixed": {"weight_decay": 0.0}}, True),
    "a fixed weight decay beyond the space": ({"fixed": {"weight_decay": 1.0}}, False),
    "decoupled decay": ({"like": "adamw"}, True),
    "another space of learning rates": ({"search": {"learning_rate": SPACE}}, False),
    "another default learning rate": ({"defaults": {"learning_rate": 0.01}}, False),
    "another momentum": ({"fixed": {"beta1": 0.5}}, False),
    "another schedule": ({"schedule": "constant"}, False),
    "the study's schedule, written out": ({"schedule": "cosine"}, True),
    "clipping": ({"clip": 1.0}, False),
    "another optimizer": ({"like": "rmsprop"}, False),
}


@pytest.mark.parametrize("name", CLONES)
def test_contenders_cannot_be_told_apart_if_they_differ_only_in_what_is_inert(name: str) -> None:
    changes, alike = CLONES[name]
    study = tiny(optimizers=["adam", {**CLONE, **changes}])
    assert set(untestable(study, audit_of(study, "adam", "clone"))) == (
        {frozenset(("adam", "clone"))} if alike else set()
    )


@pytest.mark.parametrize("inert", [[], ["adam"], ["clone"]])
def test_contenders_can_be_told_apart_if_what_they_differ_in_matters_in_one_of_them(inert: list[str]) -> None:
    study = tiny(optimizers=["adam", {**CLONE, "like": "adamw"}])
    assert untestable(study, audit_of(study, *inert)) == {}


def test_without_a_search_contenders_with_other_defaults_are_not_alike() -> None:
    study = tiny(optimizers=["adam", {**CLONE, "defaults": {"weight_decay": 1e-3}}, "adamw"], tuning={"trials": 0})
    assert untestable(study, SpaceAudit()) == {}


def test_of_a_function_adam_and_adamw_are_trained_alike() -> None:
    study = tiny(data="ravine", model="point", batch_size=64, optimizers=["adam", "adamw", "sgd"])
    assert untestable(study, SpaceAudit()) == {frozenset(("adam", "adamw")): "adam and adamw are trained alike"}


def test_the_audit_is_read_as_it_was_written_and_says_nothing_if_damaged(audited: SpaceAudit, tmp_path: Path) -> None:
    write_json(tmp_path / "audit.json", audited.row())
    assert read_audit(tmp_path) == audited
    write_text(tmp_path / "audit.json", '{"trials": 6, "contenders": [{"contender": 3}]}')
    assert read_audit(tmp_path) == read_audit(tmp_path / "none") == SpaceAudit()


def test_findings_of_the_audit_have_the_rule_and_say_what_to_do() -> None:
    study = tiny()
    audit = SpaceAudit(6, "test_accuracy", (ContenderAudit("sgd", ("low",), (0.1, 1.0), 1.5, (2, 5)),))
    cut_off, small = findings(study, audit)
    assert cut_off.finding.startswith("its score at the low end of its learning rates is within one standard error")
    assert "1.5 of 6 trials" in small.finding
    assert small.finding.endswith("the searches of replicates 2, 5 missed it: add trials")
    assert {cut_off.rule, small.rule} == {6}
    enough = replace(audit, contenders=(ContenderAudit("sgd", (), (0.1, 1.0), 2.0, (5,)),))
    assert findings(study, enough) == []


def test_adamw_against_adam_gets_the_verdict_not_tested_in_digits(audited: SpaceAudit) -> None:
    claims = [
        {"statement": "AdamW", "better": "adamw", "than": "adam"},
        {"statement": "SGD", "better": "adam", "than": "sgd"},
    ]
    study, _, values = shipped("digits", claims=claims)
    no_answers = pd.DataFrame({"contender": [], "variant": []})
    alike = untestable(study, audited)
    not_tested, tested = claim_rows(study, no_answers, values, stated(study), alike)
    assert (not_tested["verdict"], not_tested["reason"]) == ("not tested", *alike.values())
    assert tested["verdict"] != "not tested"
