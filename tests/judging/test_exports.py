"""Exports of other tools are judged as docs/judge.md says: Weights & Biases' CSV, and Optuna's trials_dataframe."""

from __future__ import annotations

from pathlib import Path

import optuna

from optstudy.judging.judge import judge
from optstudy.judging.user_runs import Columns, read_csv

WANDB = '"Name","State","Notes","Tags","Created","Runtime","Sweep","optimizer","seed","val_loss","test_accuracy"\n'


def test_an_export_of_weights_and_biases(tmp_path: Path) -> None:
    rows = [
        f'"glad-sun-{seed}","finished","-","","2026-01-0{1 + seed}T10:00:00.000Z","{100 + seed}","","{name}","{seed}",'
        f'"0.{seed}","{0.9 + lead + seed / 1000}"\n'
        for name, lead in (("adam", 0.02), ("sgd", 0.0))
        for seed in range(6)
    ]
    crashed = '"odd-moon-7","crashed","-","","2026-01-09T10:00:00.000Z","3","","sgd","7","",""\n'
    (tmp_path / "wandb.csv").write_text(WANDB + "".join(rows) + crashed)
    columns = Columns("optimizer", "seed", "test_accuracy", where="State = finished")
    judgement = judge("wandb.csv", read_csv(tmp_path / "wandb.csv"), columns)
    assert [pair.level for pair in judgement.pairs] == ["ahead by more than the margin"]
    assert judgement.leader == "adam"


def test_a_table_of_optunas_trials(tmp_path: Path) -> None:
    """Three trials for each optimizer and seed; the one with the lowest validation loss counts, never a pruned one."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="minimize", sampler=optuna.samplers.RandomSampler(seed=0))
    best: dict[tuple[str, int], tuple[float, float]] = {}
    for optimizer, seed in [(name, seed) for name in ("sgd", "adam") for seed in range(6) for _ in range(3)]:
        study.enqueue_trial({"optimizer": optimizer})
        trial = study.ask()
        trial.suggest_categorical("optimizer", ["sgd", "adam"])
        rate = trial.suggest_float("lr", 1e-4, 1.0, log=True)
        test = 0.5 + rate / 10 + (0.3 if optimizer == "adam" else 0.0)
        trial.set_user_attr("seed", seed)
        trial.set_user_attr("test_accuracy", test)
        study.tell(trial, rate)
        best[optimizer, seed] = min(best.get((optimizer, seed), (9.0, 0.0)), (rate, test))
    pruned = study.ask()
    pruned.suggest_categorical("optimizer", ["sgd", "adam"])
    pruned.set_user_attr("seed", 0)
    study.tell(pruned, state=optuna.trial.TrialState.PRUNED)
    study.trials_dataframe().to_csv(tmp_path / "trials.csv")
    names = ("params_optimizer", "user_attrs_seed", "user_attrs_test_accuracy", "value:min")
    judgement = judge("t", read_csv(tmp_path / "trials.csv"), Columns(*names, where="state = COMPLETE"))
    found = {(name, int(seed)): value for name, own in judgement.values.items() for seed, value in own.items()}
    assert found == {key: test for key, (_, test) in best.items()}
    assert judgement.notes[0].endswith("the one with the lowest value counts.")
    assert not any("chosen is unknown" in one.finding for one in judgement.findings)
