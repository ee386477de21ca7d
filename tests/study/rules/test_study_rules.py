"""The rules between keys of a study file: each is reported with key, value and what is allowed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from builders import tiny
from optstudy.catalogue import SAMPLERS, SCHEDULES
from optstudy.metrics import METRICS, Metric
from optstudy.tasks.kinds import TASKS
from study_texts import (
    CLASS,
    GOOD,
    contender,
    edited,
    missing_pieces,
    missing_words,
    of_ravine,
    with_claim,
    with_contender,
    with_data,
    with_gpt,
    with_model,
    with_pretraining,
)

# name -> (the file, words that its message must hold: the key, the value, and what is allowed)
WORDS: dict[str, tuple[str, list[str]]] = {
    "unknown argument": (
        edited("model: linear", "model: {name: cnn, arguments: {depth: 3}}"),
        ["model", "depth", "width"],
    ),
    "adapters of a network without pretrained weights": (
        with_contender("  - {name: adam, lora: {targets: [body]}}\n"),
        ["optimizers.1.lora", "transformer or causal_lm", "`pretrained`"],
    ),
    "adapters of nothing": (
        with_contender("  - {name: adam, lora: {rank: 0, targets: []}}\n"),
        ["optimizers.1.lora.rank", "optimizers.1.lora.targets"],
    ),
    "images by length": (
        edited("data: digits", "data: {name: digits, batches: by_length}"),
        ["data.batches", "by_length", "kind text, not image"],
    ),
    "duplicates": (edited("- adam", "- sgd"), ["optimizers", "distinct", "sgd"]),
    "duplicates but for case": (
        with_contender("  - {name: SGD, like: sgd}\n"),
        ["optimizers", "distinct"],
    ),
    "low above high": (
        with_contender("  - {name: adam, search: {learning_rate: {low: 1.0, high: 0.1}}}\n"),
        ["optimizers.1.search.learning_rate", "below high"],
    ),
    "negative rate": (
        with_contender("  - {name: adam, search: {learning_rate: {low: -0.1, high: 0.1}}}\n"),
        ["optimizers.1.search.learning_rate", "above 0"],
    ),
    "few replicates at the first look": (
        edited("replicates: 2", "replicates: {looks: [5, 6]}"),
        ["replicates.looks.0", "5", "at least 6"],
    ),
    "looks that are too far apart": (
        edited("replicates: 2", "replicates: {looks: [8, 12, 17]}"),
        ["replicates.looks.2", "17", "above 12 and at most 16"],
    ),
    "looks that decrease": (
        edited("replicates: 2", "replicates: {looks: [8, 8]}"),
        ["replicates.looks.1", "8", "above 8 and at most 12"],
    ),
    "widen without a search": (edited("trials: 2", "trials: 0\n  widen: true"), ["tuning.widen", "`trials: 0`"]),
    "widen after one search": (
        edited("trials: 2", "trials: 2\n  once: true\n  widen: true"),
        ["tuning.widen", "`once`"],
    ),
    "looks without a claim": (
        edited("replicates: 2", "replicates: {looks: [8, 12]}"),
        ["replicates.looks", "[8, 12]", "need a primary claim"],
    ),
    "class without search": (
        with_contender("  - {name: n, class: torch.optim.NAdam}\n"),
        ["optimizers.1", "search"],
    ),
    "sweep of a stranger": (
        edited("epochs: 2", "epochs: 2\nsweep: {contenders: [adamw]}"),
        ["sweep.contenders", "adamw", "sgd, adam"],
    ),
    "claim without contrast": (with_claim("{statement: s}"), ["claims.0", "better", "worse", "loses_less", "weights"]),
    "claim with half a contrast": (with_claim("{statement: s, better: adam}"), ["claims.0", "better", "than_each"]),
    "claim of two forms": (
        with_claim("{statement: s, better: adam, worse: sgd, than: sgd}"),
        ["claims.0", "give one of", "this claim has better and worse"],
    ),
    "claim about the mean and about each": (
        with_claim("{statement: s, worse: sgd, than: adam, than_each: [adam]}"),
        ["claims.0", "`worse` needs either `than`", "or `than_each`"],
    ),
    "claim of weights about rivals": (
        with_claim("{statement: s, weights: {adam: 1, sgd: -1}, than_each: [sgd]}"),
        ["claims.0.than_each", "no effect with `weights`"],
    ),
    "claim about losses than a mean": (
        with_claim("{statement: s, loses_less: adam, than: sgd}"),
        ["claims.0.than", "write `than_each`"],
    ),
    "claim about losses of a stranger": (
        with_claim("{statement: s, loses_less: adam, than_each: [sgd, rmsprop]}"),
        ["claims.0.than_each", "'rmsprop'", "sgd, adam"],
    ),
    "claim about losses of a variant": (
        with_claim("{statement: s, loses_less: adam/tuned}"),
        ["claims.0.loses_less", "'adam/tuned'", "sgd, adam"],
    ),
    "claim about losses in a study that does not tune": (
        with_claim("{statement: s, loses_less: adam}").replace("trials: 2", "trials: 0"),
        ["claims.0.loses_less", "needs tuned and untuned trainings", "`untuned: true`"],
    ),
    "claim about each, one itself": (
        with_claim("{statement: s, better: adam, than_each: [sgd, adam]}"),
        ["claims.0.than_each", "['sgd', 'adam']", "two sides"],
    ),
    "weights off balance": (
        with_claim("{statement: s, weights: {adam: 1.0, sgd: -0.5}}"),
        ["claims.0", "sum to zero"],
    ),
    "small weights off balance": (
        with_claim("{statement: s, weights: {adam: 1.0e-10, sgd: 1.0e-10}}"),
        ["claims.0.weights", "sum to zero"],
    ),
    "weights of zero": (
        with_claim("{statement: s, weights: {adam: 0, sgd: 0.0}}"),
        ["claims.0.weights", "two sides must have weights that are not zero"],
    ),
    "a weight of one contender": (
        with_claim("{statement: s, weights: {adam: 1, adam/tuned: -1, sgd: 0}}"),
        ["claims.0.weights", "two sides must have weights that are not zero"],
    ),
    "claim against itself": (
        with_claim("{statement: s, better: adam, than: adam}"),
        ["claims.0.than", "['adam']", "two sides"],
    ),
    "claim against itself by another name": (
        with_claim("{statement: s, better: adam, than: adam/tuned}"),
        ["claims.0.than", "['adam/tuned']", "two sides"],
    ),
    "claim about a stranger": (
        with_claim("{statement: s, better: adamw, than: sgd}"),
        ["claims.0", "adamw/tuned", "sgd/tuned", "adam/untuned"],
    ),
    "claim about another kind's metric": (
        with_claim("{statement: s, better: adam, than: sgd, metric: sign_changes}"),
        ["claims.0", "sign_changes"],
    ),
    "claim about a validation part that is not there": (
        with_data("{name: digits, validation_share: 0}").replace("trials: 2", "trials: 0")
        + "claims: [{statement: s, better: adam, than: sgd, metric: epochs_to_target}]\n",
        ["claims.0.metric", "epochs_to_target", "`validation_share` above 0"],
    ),
    "claim about seconds without a margin": (
        with_claim("{statement: s, better: adam, than: sgd, metric: seconds_to_target}"),
        ["claims.0.margin", "is required with `metric: seconds_to_target`", "in seconds"],
    ),
    "target without a validation part": (
        with_data("{name: digits, validation_share: 0}").replace("trials: 2", "trials: 0") + "target: 0.9\n",
        ["target", "0.9", "`validation_share` above 0"],
    ),
    "target of a function": (of_ravine("epochs: 2", "epochs: 2\ntarget: 0.9"), ["target", "0.9", "validation part"]),
    "claim about a sweep that is not run": (
        with_claim("{statement: s, better: adam, than: sgd, metric: learning_rate_tolerance}"),
        ["claims.0", "learning_rate_tolerance"],
    ),
    "claims said twice": (
        with_claim("{statement: s, better: adam, than: sgd}", "{statement: s, better: sgd, than: adam}"),
        ["claims", "distinct"],
    ),
    "too many primary claims": (
        with_claim(*(f"{{statement: s{n}, better: adam, than: sgd}}" for n in range(13))),
        ["claims", "13", "12", "primary: false"],
    ),
    "one class": (
        with_data("{name: digits, arguments: {classes: [1]}}"),
        ["data.arguments.classes", "[1]", "at least two"],
    ),
    "a class twice": (
        with_data("{name: digits, arguments: {classes: [1, 1, 2]}}"),
        ["data.arguments.classes", "[1, 1, 2]", "each once"],
    ),
    "a class that is true": (
        with_data("{name: digits, arguments: {classes: [true, 2]}}"),
        ["data.arguments.classes", "[True, 2]", "0, 1, 2"],
    ),
    "classes in lists": (
        with_data("{name: digits, arguments: {classes: [[1], [2]]}}"),
        ["data.arguments.classes", "[[1], [2]]", "0, 1, 2"],
    ),
    "a date for the user's own": (
        with_data("{class: sklearn.datasets.load_digits, kind: image, arguments: {day: 2020-01-31}}"),
        ["data.arguments.day", "2020", "text, a finite number"],
    ),
    "no number for the user's own": (
        with_model("{class: torch.nn.Identity, arguments: {rates: [1.0, .nan]}}"),
        ["model.arguments.rates", "[1.0, nan]", "a finite number"],
    ),
    "an infinite argument": (
        of_ravine("data: ravine", "data: {name: ravine, arguments: {condition: .inf}}"),
        ["data.arguments.condition", "inf", "a finite number above 0"],
    ),
    "an argument of 400 digits": (
        of_ravine("data: ravine", f"data: {{name: ravine, arguments: {{condition: {10**400}}}}}"),
        ["data.arguments.condition", "a finite number above 0"],
    ),
    "an argument beyond floats": (
        of_ravine("data: ravine", "data: {name: ravine, arguments: {condition: 1e400}}"),
        ["data.arguments.condition", "inf", "a finite number above 0"],
    ),
    "a model that reads no stream of tokens": (
        with_data("shakespeare"),
        ["model.name", "linear", "does not read data of kind 'language'", "gpt, token_lstm"],
    ),
    "scaling of a stream of tokens": (
        with_gpt("{}").replace("data: shakespeare", "data: {name: shakespeare, scaling: standardised}"),
        ["data.scaling", "standardised", "not language"],
    ),
    "a user's own stream of tokens": (
        with_data("{class: sklearn.datasets.load_digits, kind: language}"),
        ["data.kind", "language", "image, sequence, text"],
    ),
    "accuracy of a language": (
        with_gpt("{}").replace("trials: 2", "trials: 2\n  objective: val/accuracy"),
        ["tuning.objective", "val/accuracy", "val/loss, val/perplexity, val/bits_per_byte"],
    ),
    "dropout below 0": (
        with_gpt("{dropout: -0.1}"),
        ["model.arguments.dropout", "-0.1", "a finite number of 0 or more"],
    ),
    "biases in words": (with_gpt("{bias: some}"), ["model.arguments.bias", "'some'", "true or false"]),
    "heads of a gpt": (with_gpt("{heads: 3}"), ["model.arguments.heads", "3", "must divide the width: 128"]),
    "a width of 400 digits": (
        with_model(f"{{name: mlp, arguments: {{width: {10**400}}}}}"),
        ["model.arguments.width", "at most 1000000000"],
    ),
    "architecture that torchvision lacks": (
        with_model("{name: torchvision, arguments: {architecture: resnet19}}"),
        ["model.arguments.architecture", "'resnet19'", "resnet18"],
    ),
    "heads that do not share the width": (
        with_model("{name: vit, arguments: {heads: 5}}"),
        ["model.arguments.heads", "5", "must divide the width: 64"],
    ),
    "patches that leave rows out": (
        with_model("{name: vit, arguments: {patch: 3}}"),
        ["model.arguments.patch", "3", "a multiple of 3 pixels, not 8"],
    ),
    "a patch larger than the images": (
        with_model("{name: vit, arguments: {patch: 16}}"),
        ["model.arguments.patch", "16", "a multiple of 16 pixels, not 8"],
    ),
    "patches that leave rows of the pretraining's images out": (
        with_pretraining("adam")
        .replace("{name: linear,", "{name: vit, arguments: {patch: 8},")
        .replace("pretraining: {data: digits", "pretraining: {data: mnist"),
        ["pretraining.data.name", "'mnist'", "the model 'vit' needs images of a multiple of 8 pixels, not 28"],
    ),
    "maker of no weights": (
        with_model("{name: linear, pretrained_by: adam}"),
        ["model.pretrained_by", "'adam'", "needs `pretrained`"],
    ),
    "maker of other weights": (
        with_pretraining("adam").replace("pretrained: pretraining", "pretrained: pretraining, pretrained_by: sgd"),
        ["model.pretrained_by", "'sgd'", "pretraining"],
    ),
    "tokenizer of another model": (
        with_model("{name: transformer, arguments: {folder: mine}}").replace(
            "data: digits", "data: {name: text, arguments: {train: a, test: b}}"
        ),
        ["data.arguments.tokenizer", "'words'", "mine"],
    ),
    "subset of a function": (
        of_ravine("ravine", "{name: ravine, train_size: 5}"),
        ["data.train_size", "5", "ravine is an analytic function", "leave the key out"],
    ),
    "validation part of a function": (
        of_ravine("ravine", "{name: ravine, validation_share: 0.3}"),
        ["data.validation_share", "0.3", "ravine is an analytic function"],
    ),
    "frozen function": (
        of_ravine("- adam", "- {name: adam, freeze: [x]}"),
        ["optimizers.1.freeze", "['x']", "ravine is an analytic function"],
    ),
    "batches of a function": (
        of_ravine("epochs: 2", "epochs: 2\nbatch_size: 32\nprecision: bf16-mixed\ndecay_all: true\nstack: on"),
        ["batch_size: 32: has no effect", "precision: 'bf16-mixed'", "decay_all: True", "stack: 'on'"],
    ),
    "decay in a function": (
        of_ravine("- adam", "- {name: adam, fixed: {weight_decay: 0.1}}").replace(
            "- sgd", "- {name: sgd, search: {weight_decay: {low: 0.1, high: 1.0}}}"
        ),
        ["optimizers.0.search.weight_decay", "optimizers.1.fixed.weight_decay", "ravine is an analytic function"],
    ),
    "a search of no trials": (
        edited("trials: 2", "trials: 0\n  sampler: tpe\n  once: true"),
        ["tuning.sampler: 'tpe': has no effect with `trials: 0`", "tuning.once: True", "leave the key out"],
    ),
    "pretrained function": (
        of_ravine("model: point", "model: {name: point, pretrained: mine.pt}"),
        ["model.pretrained", "'mine.pt'", "ravine is an analytic function"],
    ),
    "network for a function": (
        of_ravine("model: point", "model: {class: torch.nn.Identity}"),
        ["model.class", "torch.nn.Identity", "'function'", "point"],
    ),
    "warm-up of no epoch": (
        edited("epochs: 2", "epochs: 2\nschedule: {warmup: 0.1}"),
        ["schedule.warmup", "0.1", "2 epochs", "interval: step"],
    ),
    "contender's warm-up of no epoch": (
        with_contender("  - {name: adam, schedule: {warmup: 0.2}}\n"),
        ["optimizers.1.schedule.warmup", "0.2", "interval: step"],
    ),
    "pretraining's warm-up of no epoch": (
        with_pretraining("adam", ", schedule: {warmup: 0.1}"),
        ["pretraining.schedule.warmup", "0.1", "3 epochs"],
    ),
    "pretraining that searches": (
        with_pretraining("{name: adam, search: {learning_rate: {low: 1.0e-3, high: 1.0e-2}}}"),
        ["pretraining.optimizer.search", "learning_rate", "`fixed`"],
    ),
    "pretraining with two schedules": (
        with_pretraining("{name: adam, schedule: constant}"),
        ["pretraining.optimizer.schedule", "constant", "pretraining.schedule"],
    ),
    "pretraining that freezes": (
        with_pretraining("{name: adam, freeze: [head]}"),
        ["pretraining.optimizer.freeze", "['head']", "all parameters"],
    ),
    "pretraining from scratch": (
        with_pretraining("{name: adam, from_scratch: true}"),
        ["pretraining.optimizer.from_scratch", "True"],
    ),
}

# name -> (the file, a piece of each line of its message: key path, value, and what is allowed)
LINES: dict[str, tuple[str, list[str]]] = {
    "two strangers": (
        with_claim("{statement: s, better: adamw, than: sgd}", "{statement: t, better: adam, than: [sgd, x]}"),
        ["claims.0.better: 'adamw': adamw/tuned has no", "claims.1.than: 'x': x/tuned has no"],
    ),
    "two arguments": (
        edited("model: linear", "model: {name: cnn, arguments: {depth: 3, width: 0}}"),
        [
            "model.arguments.depth: 3: cnn has no argument depth; allowed: width",
            "model.arguments.width: 0: must be a whole",
        ],
    ),
    "model, objective and claim": (
        edited("model: linear", "model: lstm").replace("data: digits", "data: ravine")
        + "  objective: val/loss\nclaims: [{statement: s, better: adam, than: sgd}]\n",
        [
            "model.name: 'lstm': does not read",
            "tuning.objective: 'val/loss': must be",
            "claims.0.metric: 'test_accuracy'",
        ],
    ),
    "a negative end": (
        contender("{name: adam, search: {learning_rate: {low: -1, high: 0.1, log: false}}}"),
        ["optimizers.1.search.learning_rate.low: -1.0: must be above 0"],
    ),
    "ends whose difference is infinite": (
        contender(
            "{name: n, class: torch.optim.NAdam, "
            "search: {momentum_decay: {low: -1.7e+308, high: 1.7e+308, log: false}}}"
        ),
        ["optimizers.1.search.momentum_decay.high: 1.7e+308: is too far from low -1.7e+308"],
    ),
    "a row's name": (
        contender("{name: momentum, like: adam}"),
        ["optimizers.1.like: 'adam': 'momentum' is the name of"],
    ),
    "a row's name, a class": (
        contender(CLASS.replace("name: n", "name: Adam") % "torch.optim.SGD"),
        ["optimizers.1.class"],
    ),
    "sgd with momentum": (
        edited("  - sgd\n", "  - {name: sgd, fixed: {momentum: 0.9}}\n"),
        ["optimizers.0.fixed.momentum: 0.9: `sgd` means momentum 0"],
    ),
    "sgd that searches momentum": (
        edited("  - sgd\n", "  - {name: sgd, search: {momentum: {low: 0.5, high: 0.9}}}\n"),
        ["optimizers.0.search: ['momentum']: `sgd` means momentum 0"],
    ),
    "adam with decoupled decay": (
        contender("{name: adam, fixed: {decoupled_weight_decay: true}}"),
        ["optimizers.1.fixed.decoupled_weight_decay: True: 'adam' means coupled decay"],
    ),
    "a name that is a missing value": (
        contender("{name: nan, like: adam}"),
        ["optimizers.1.name: 'nan': means a missing value"],
    ),
}


@pytest.mark.parametrize("name", WORDS)
def test_a_broken_rule_is_reported_with_key_and_what_is_allowed(name: str, write: Any) -> None:
    text, words = WORDS[name]
    assert missing_words(write(text), words) == []


@pytest.mark.parametrize("name", LINES)
def test_each_broken_rule_has_a_line_and_there_are_no_others(name: str, write: Any) -> None:
    text, pieces = LINES[name]
    assert missing_pieces(write(text), pieces) == []


def test_a_warm_up_of_an_epoch_or_by_steps_is_valid() -> None:
    assert tiny(epochs=5, schedule={"warmup": 0.2}).schedule.warmup == 0.2
    assert tiny(epochs=2, schedule={"warmup": 0.1, "interval": "step"}).schedule.warmup == 0.1


def test_rules_are_checked_once_all_types_are_right(write: Any) -> None:
    """Each pair: a file with problems of types and of rules, and the same file with right types."""
    claims = "claims: [{statement: s, better: adamw, than: sgd}]\n"
    assert missing_pieces(write(edited("epochs: 2", "epochs: 0") + claims), ["epochs: 0: must be greater than"]) == []
    assert missing_pieces(write(GOOD + claims), ["claims.0.better: 'adamw'"]) == []
    entry = "{name: adam, fixed: {momentun: 0.9}, clip: %s, search: {learning_rate: {low: 1, high: 0.1}}}"
    assert missing_pieces(write(contender(entry % -1)), ["optimizers.1.clip: -1"]) == []
    pieces = ["fixed.momentun: 0.9", "optimizers.1.search.learning_rate.low: 1.0: must be below"]
    assert missing_pieces(write(contender(entry % 1)), pieces) == []


def test_rules_between_blocks_are_checked_once_each_block_is_valid(write: Any) -> None:
    half = "claims: [{statement: s, better: adam, than: x}, {statement: t%s}]\n"
    assert missing_pieces(write(GOOD + half % ""), ["claims.1: give one of"]) == []
    assert missing_pieces(write(GOOD + half % ", better: sgd, than: adam"), ["claims.0.than: 'x'"]) == []


def test_an_unknown_optimizer_is_reported_before_names_that_appear_twice(write: Any) -> None:
    unknown = edited("  - adam\n", "  - sgd\n  - adm\n")
    assert missing_pieces(write(unknown), ["optimizers.2.name: 'adm': must be one of sgd, momentum"]) == []
    assert (
        missing_pieces(write(edited("  - adam\n", "  - sgd\n")), ["optimizers: ['sgd', 'sgd']: contenders must"]) == []
    )


def test_a_claim_about_a_sweep_is_checked_in_a_study_without_trainings(write: Any) -> None:
    claim = "{statement: s, better: adam, than: sgd, metric: learning_rate_tolerance}"
    text = with_claim(claim).replace("trials: 2", "trials: 0") + "untuned: false\nsweep: {contenders: [sgd, adam]}\n"
    assert missing_pieces(write(text), ["tuning.trials: 0: with `untuned: false` there is nothing to train"]) == []


def test_rows_that_are_added_to_the_tables_are_valid_in_a_study_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCHEDULES, "falling", SCHEDULES["linear"])
    monkeypatch.setitem(SAMPLERS, "halton", SAMPLERS["sobol"])
    monkeypatch.setitem(METRICS, "val_error", Metric("validation error", higher=False))
    task = TASKS["classification"]
    monkeypatch.setitem(TASKS, "classification", replace(task, objectives=(*task.objectives, "val/error")))
    study = tiny(schedule="falling", tuning={"sampler": "halton", "objective": "val/error"})
    assert (study.schedule.name, study.tuning.sampler, study.objective) == ("falling", "halton", "val/error")


def test_the_first_objective_of_the_task_is_the_default() -> None:
    assert tiny().objective == "val/accuracy"
    assert tiny(data="ravine", model="point", batch_size=64).objective == "loss"
