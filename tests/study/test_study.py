"""A study file is right, or every mistake in it is named with what is allowed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from builders import tiny
from optstudy.catalogue import OPTIMIZERS
from optstudy.study.study import Claim, Study, StudyError, Sweep, Tuning, load_study

GOOD = """\
name: good
data: digits
model: linear
epochs: 2
replicates: 2
optimizers:
  - sgd
  - adam
tuning:
  trials: 2
"""

NADAM = """\
  - name: nadam
    class: torch.optim.NAdam
    fixed:
      momentum_decay: 4.0e-3
    search:
      learning_rate: {low: 1.0e-4, high: 1.0e-1, log: true}
      weight_decay: {low: 1.0e-6, high: 1.0e-2, log: true}
"""


def edited(before: str, after: str) -> str:
    assert before in GOOD
    return GOOD.replace(before, after)


def with_contender(text: str) -> str:
    return edited("  - adam\n", text)


def with_data(text: str) -> str:
    return edited("data: digits", f"data: {text}")


def with_model(text: str) -> str:
    return edited("model: linear", f"model: {text}")


def of_ravine(before: str, after: str) -> str:
    return edited("model: linear", "model: point").replace("data: digits", "data: ravine").replace(before, after)


def with_pretraining(optimizer: str, rest: str = "") -> str:
    block = f"pretraining: {{data: digits, optimizer: {optimizer}, epochs: 3{rest}}}\n"
    return with_model("{name: linear, pretrained: pretraining}") + block


def with_claim(*claims: str) -> str:
    return GOOD + "claims:\n" + "".join(f"  - {claim}\n" for claim in claims)


# name -> (the file, words that its message must hold: the key, and what is allowed)
BROKEN: dict[str, tuple[str, list[str]]] = {
    "wrong type": (edited("epochs: 2", "epochs: many"), ["epochs", "'many'", "integer"]),
    "fraction": (edited("epochs: 2", "epochs: 2.5"), ["epochs", "2.5", "integer"]),
    "boolean count": (edited("epochs: 2", "epochs: true"), ["epochs", "True", "integer"]),
    "zero epochs": (edited("epochs: 2", "epochs: 0"), ["epochs", "0", "greater than or equal to 1"]),
    "unknown key": (edited("epochs: 2", "epochs: 2\nepoch: 3"), ["epoch", "unknown key"]),
    "missing key": (edited("epochs: 2\n", ""), ["epochs", "required"]),
    "unknown optimizer": (edited("- adam", "- adan"), ["optimizers.1", "adan", "sgd, momentum"]),
    "unknown data": (edited("data: digits", "data: digit"), ["data.name", "'digit'", "digits"]),
    "unknown model": (edited("model: linear", "model: liner"), ["model.name", "'liner'", "linear, mlp, cnn"]),
    "unknown argument": (
        edited("model: linear", "model: {name: cnn, arguments: {depth: 3}}"),
        ["model", "depth", "width"],
    ),
    "empty list": (
        edited("  - sgd\n  - adam\n", "").replace("optimizers:", "optimizers: []"),
        ["optimizers", "at least 1"],
    ),
    "no list": (
        edited("  - sgd\n  - adam\n", "").replace("optimizers:", "optimizers: sgd"),
        ["optimizers", "'sgd'", "must be a list"],
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
    "infinite rate": (
        with_contender("  - {name: adam, search: {learning_rate: {low: 0.1, high: .inf}}}\n"),
        ["optimizers.1.search.learning_rate.high", "finite"],
    ),
    "rate in words": (
        with_contender("  - {name: adam, search: {learning_rate: {low: small, high: 0.1}}}\n"),
        ["optimizers.1.search.learning_rate.low", "'small'", "number"],
    ),
    "space without high": (
        with_contender("  - {name: adam, search: {learning_rate: {low: 0.1}}}\n"),
        ["optimizers.1.search.learning_rate.high", "required"],
    ),
    "unknown hyperparameter": (
        with_contender("  - {name: adam, fixed: {momentun: 0.9}}\n"),
        ["optimizers.1", "momentun", "amsgrad"],
    ),
    "fixed and searched": (
        with_contender(
            "  - {name: adam, fixed: {learning_rate: 0.1}, search: {learning_rate: {low: 0.1, high: 1.0}}}\n"
        ),
        ["optimizers.1", "learning_rate", "both"],
    ),
    "like nothing": (with_contender("  - {name: mine, like: adan}\n"), ["optimizers.1", "adan", "adamw"]),
    "class that is no optimizer": (
        with_contender(NADAM.replace("torch.optim.NAdam", "torch.nn.Linear")),
        ["optimizers.1", "torch.nn.Linear", "torch.optim.Optimizer"],
    ),
    "class that is not there": (
        with_contender(NADAM.replace("torch.optim.NAdam", "torch.optim.Nadam")),
        ["optimizers.1", "Nadam"],
    ),
    "module that is not there": (
        with_contender(NADAM.replace("torch.optim.NAdam", "no_such.Thing")),
        ["optimizers.1", "no_such", "imported"],
    ),
    "class without search": (
        with_contender("  - {name: n, class: torch.optim.NAdam}\n"),
        ["optimizers.1", "search"],
    ),
    "path in a name": (edited("name: good", "name: ../good"), ["name", "'../good'", "pattern"]),
    "path in a contender's name": (
        with_contender("  - {name: a/b, like: adam}\n"),
        ["optimizers.1.name", "a/b", "pattern"],
    ),
    "unknown sampler": (edited("trials: 2", "trials: 2\n  sampler: grid"), ["tuning.sampler", "'grid'", "sobol"]),
    "objective on test data": (
        edited("trials: 2", "trials: 2\n  objective: test/accuracy"),
        ["tuning.objective", "test/accuracy", "val/accuracy"],
    ),
    "unknown schedule": (edited("epochs: 2", "epochs: 2\nschedule: linear"), ["schedule", "linear", "cosine"]),
    "unknown stack": (GOOD + "stack: 1\n", ["stack", "1", "'auto', 'on' or 'off'"]),
    "negative clip": (edited("epochs: 2", "epochs: 2\nclip: -1"), ["clip", "-1", "greater than 0"]),
    "one replicate": (edited("replicates: 2", "replicates: 1"), ["replicates", "1", "greater than or equal to 2"]),
    "target above one": (edited("epochs: 2", "epochs: 2\ntarget: 90"), ["target", "90", "less than or equal to 1"]),
    "sweep of a stranger": (
        edited("epochs: 2", "epochs: 2\nsweep: {contenders: [adamw]}"),
        ["sweep.contenders", "adamw", "sgd, adam"],
    ),
    "sweep of two points": (
        edited("epochs: 2", "epochs: 2\nsweep: {contenders: [sgd], points: 2}"),
        ["sweep.points", "2", "greater than or equal to 3"],
    ),
    "claim without contrast": (with_claim("{statement: s}"), ["claims.0", "better", "than", "weights"]),
    "claim with half a contrast": (with_claim("{statement: s, better: adam}"), ["claims.0", "better", "than"]),
    "weights off balance": (
        with_claim("{statement: s, weights: {adam: 1.0, sgd: -0.5}}"),
        ["claims.0", "sum to zero"],
    ),
    "small weights off balance": (
        with_claim("{statement: s, weights: {adam: 1.0e-10, sgd: 1.0e-10}}"),
        ["claims.0.weights", "sum to zero"],
    ),
    "weights beyond floats": (
        with_claim("{statement: s, weights: {adam: 1.0e+300, sgd: -1.0e+300}}"),
        ["claims.0.weights.adam", "1e+300", "less than or equal to 1000000", "claims.0.weights.sgd"],
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
    "claim about an unknown metric": (
        with_claim("{statement: s, better: adam, than: sgd, metric: f1}"),
        ["claims.0.metric", "f1", "test_accuracy"],
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
    "target without a validation part": (
        with_data("{name: digits, validation_share: 0}").replace("trials: 2", "trials: 0") + "target: 0.9\n",
        ["target", "0.9", "`validation_share` above 0"],
    ),
    "target of a function": (of_ravine("epochs: 2", "epochs: 2\ntarget: 0.9"), ["target", "0.9", "validation part"]),
    "claim about a sweep that is not run": (
        with_claim("{statement: s, better: adam, than: sgd, metric: learning_rate_tolerance}"),
        ["claims.0", "learning_rate_tolerance"],
    ),
    "claim with an unknown topic": (
        with_claim("{statement: s, better: adam, than: sgd, topic: speed}"),
        ["claims.0.topic", "speed", "adam-fast"],
    ),
    "claim without margin": (
        with_claim("{statement: s, better: adam, than: sgd, margin: 0}"),
        ["claims.0.margin", "0", "greater than 0"],
    ),
    "claims said twice": (
        with_claim("{statement: s, better: adam, than: sgd}", "{statement: s, better: sgd, than: adam}"),
        ["claims", "distinct"],
    ),
    "too many primary claims": (
        with_claim(*(f"{{statement: s{n}, better: adam, than: sgd}}" for n in range(13))),
        ["claims", "13", "12", "primary: false"],
    ),
    "validation share above one": (
        edited("data: digits", "data: {name: digits, validation_share: 1.5}"),
        ["data.validation_share", "1.5", "less than 1"],
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
        with_data("{class: os.getcwd, kind: image, arguments: {day: 2020-01-31}}"),
        ["data.arguments.day", "2020", "text, a finite number"],
    ),
    "no number for the user's own": (
        with_model("{class: os.getcwd, arguments: {rates: [1.0, .nan]}}"),
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
    "an argument beyond floats, as text": (
        of_ravine("data: ravine", "data: {name: ravine, arguments: {condition: 1e400}}"),
        ["data.arguments.condition", "'1e400'", "a finite number above 0"],
    ),
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
    "weights without a name": (
        with_model("{name: linear, pretrained: ''}"),
        ["model.pretrained", "''", "at least 1 character"],
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
        ["data.train_size", "5", "ravine is a function", "leave the key out"],
    ),
    "validation part of a function": (
        of_ravine("ravine", "{name: ravine, validation_share: 0.3}"),
        ["data.validation_share", "0.3", "ravine is a function"],
    ),
    "frozen function": (
        of_ravine("- adam", "- {name: adam, freeze: [x]}"),
        ["optimizers.1.freeze", "['x']", "ravine is a function"],
    ),
    "batches of a function": (
        of_ravine("epochs: 2", "epochs: 2\nbatch_size: 32\nprecision: bf16-mixed\ndecay_all: true\nstack: on"),
        ["batch_size: 32: ravine is a function", "precision: 'bf16-mixed'", "decay_all: True", "stack: 'on'"],
    ),
    "decay in a function": (
        of_ravine("- adam", "- {name: adam, fixed: {weight_decay: 0.1}}").replace(
            "- sgd", "- {name: sgd, search: {weight_decay: {low: 0.1, high: 1.0}}}"
        ),
        ["optimizers.0.search.weight_decay", "optimizers.1.fixed.weight_decay", "ravine is a function", "decays"],
    ),
    "a search of no trials": (
        edited("trials: 2", "trials: 0\n  sampler: tpe\n  once: true"),
        ["tuning.sampler: 'tpe': with `trials: 0`", "tuning.once: True", "leave the key out"],
    ),
    "pretrained function": (
        of_ravine("model: point", "model: {name: point, pretrained: mine.pt}"),
        ["model.pretrained", "'mine.pt'", "ravine is a function"],
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
    "key twice": (edited("epochs: 2", "epochs: 2\nepochs: 3"), ["line 5", "'epochs'", "twice"]),
    "key twice in a block": (edited("trials: 2", "trials: 2\n  trials: 3"), ["line 11", "'trials'", "twice"]),
    "bad YAML": ("name: [good\n", ["not valid YAML"]),
    "no mapping": ("- good\n", ["mapping"]),
    "empty file": ("", ["mapping"]),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_mistake_is_named_with_file_key_and_what_is_allowed(name: str, write: Any) -> None:
    text, words = BROKEN[name]
    path = write(text)
    with pytest.raises(StudyError) as caught:
        load_study(path)
    message = str(caught.value)
    assert all(line.startswith(str(path)) for line in message.splitlines())
    assert [word for word in words if word not in message] == []


def test_all_mistakes_are_reported_at_once(write: Any) -> None:
    path = write(edited("epochs: 2", "epochs: 0\nepoch: 3").replace("- adam", "- adan"))
    with pytest.raises(StudyError) as caught:
        load_study(path)
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize("name", ["wrong type", "class that is no optimizer", "bad YAML", "missing file"])
def test_bad_input_exits_2_without_traceback_and_writes_nothing(name: str, write: Any, tmp_path: Path) -> None:
    path = tmp_path / "none.yaml" if name == "missing file" else write(BROKEN[name][0])
    before = sorted(tmp_path.rglob("*"))
    command = [sys.executable, "-m", "optstudy.cli", "run", str(path)]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    assert str(path) in ended.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_a_key_that_a_merge_brings_can_be_said_anew(write: Any) -> None:
    path = write(
        with_contender(
            "  - &b {name: adam, clip: 1.0, decay: null}\n  - {<<: *b, name: other, like: adam, clip: 2.0}\n"
        )
    )
    assert [contender.clip for contender in load_study(path).optimizers] == [None, 1.0, 2.0]


def test_a_pretraining_takes_a_class_without_a_search(write: Any) -> None:
    study = load_study(write(with_pretraining("{name: n, class: torch.optim.NAdam, fixed: {learning_rate: 0.01}}")))
    assert study.pretraining_spec().hyperparameters == {"learning_rate": 0.01, "weight_decay": 0.0}


def test_a_warm_up_of_an_epoch_or_by_steps_is_valid() -> None:
    assert tiny(epochs=5, schedule={"warmup": 0.2}).schedule.warmup == 0.2
    assert tiny(epochs=2, schedule={"warmup": 0.1, "interval": "step"}).schedule.warmup == 0.1


def test_a_class_from_the_study_file_takes_its_defaults_from_its_signature(write: Any) -> None:
    row = load_study(write(with_contender(NADAM))).contender("nadam").row()
    assert row.optimizer == "torch.optim.NAdam"
    assert row.defaults == {"learning_rate": 0.002, "weight_decay": 0.0}
    assert row.fixed == {"momentum_decay": 0.004}


def test_numbers_that_yaml_reads_as_text_are_numbers() -> None:
    study = tiny(optimizers=[{"name": "adam", "search": {"learning_rate": {"low": "1e-4", "high": "1e-2"}}}])
    assert study.contender("adam").row().search["learning_rate"].low == 1e-4
    ravine = tiny(data={"name": "ravine", "arguments": {"condition": "1e3"}}, model="point", batch_size=64)
    assert ravine.data.resolved()["arguments"] == {"condition": 1000.0, "tolerance": 1e-3}


@pytest.mark.parametrize("word", ["auto", "on", "off"])
@pytest.mark.parametrize("quote", ["", "'", '"'])
def test_stack_is_the_word_that_is_written(word: str, quote: str, write: Any) -> None:
    assert load_study(write(f"{GOOD}stack: {quote}{word}{quote}\n")).stack == word


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_name_alone_is_the_row_of_the_table(name: str) -> None:
    assert tiny(optimizers=[name]).contender(name).row() == OPTIMIZERS[name]


def test_fixing_a_hyperparameter_takes_it_out_of_the_search() -> None:
    row = tiny(optimizers=[{"name": "a", "like": "adam", "fixed": {"weight_decay": 0.0}}]).contender("a").row()
    assert set(row.search) == {"learning_rate"}
    assert row.fixed["weight_decay"] == 0.0


def test_searching_momentum_takes_it_out_of_what_is_fixed() -> None:
    search = {"momentum": {"low": 0.5, "high": 0.99}}
    row = tiny(optimizers=[{"name": "m", "like": "momentum", "search": search}]).contender("m").row()
    assert "momentum" not in row.fixed
    assert row.defaults["momentum"] == 0.9


@pytest.mark.parametrize("path", sorted(Path("configs").glob("*.yaml")), ids=str)
def test_shipped_studies_are_valid_and_named_as_their_files(path: Path) -> None:
    assert load_study(path).name == path.stem


def test_the_documented_contenders_are_valid() -> None:
    page = (Path(__file__).parents[2] / "docs" / "study-file.md").read_text()
    block = page.split("```yaml\n")[1].split("```")[0]
    study = tiny(**yaml.safe_load(block))
    assert [contender.name for contender in study.optimizers] == ["sgd", "adam-constant", "heavy", "nadam"]


def test_the_documented_claims_are_valid() -> None:
    page = (Path(__file__).parents[2] / "docs" / "study-file.md").read_text()
    block = page.split("```yaml\n")[2].split("```")[0]
    study = tiny(**yaml.safe_load(block), optimizers=["sgd", "momentum", "adam", "adamw"])
    assert study.claims[0].contrast("tuned") == {("momentum", "tuned"): 1.0, ("adam", "tuned"): -1.0}
    assert study.claims[1].contrast("tuned")["momentum", "tuned"] == -0.5


def test_weights_sum_to_zero_but_for_the_rounding_of_the_largest() -> None:
    weights = {"adam": 1e5, "sgd": 2e5, "adam/untuned": -3e5 - 1e-5}
    assert tiny(claims=[{"statement": "s", "weights": weights}]).claims[0].weights == weights
    weights["adam/untuned"] = -3e5 - 1e-3
    with pytest.raises(ValidationError, match="must sum to zero"):
        tiny(claims=[{"statement": "s", "weights": weights}])


def test_a_claim_is_a_contrast_in_the_variant_that_the_study_is_about() -> None:
    claim = {"statement": "s", "better": "adam", "than": ["sgd", "adam/untuned"]}
    study = tiny(claims=[claim])
    weights = {("adam", "tuned"): 1.0, ("sgd", "tuned"): -0.5, ("adam", "untuned"): -0.5}
    assert study.claims[0].contrast(study.variants[0]) == weights
    alone = tiny(tuning={"trials": 0}, claims=[{**claim, "than": "sgd"}])
    assert alone.claims[0].contrast(alone.variants[0]) == {("adam", "untuned"): 1.0, ("sgd", "untuned"): -1.0}


def test_every_key_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "study-file.md").read_text()
    keys = [
        *Study.model_fields,
        *Tuning.model_fields,
        *Sweep.model_fields,
        *Claim.model_fields,
        "like",
        "class",
        "search",
        "fixed",
        "defaults",
        "decay",
    ]
    assert [key for key in keys if f"`{key}`" not in page and f"`tuning.{key}`" not in page and key != "tuning"] == []


def contender(text: str) -> str:
    return with_contender(f"  - {text}\n")


CLASS = "{name: n, class: %s, search: {learning_rate: {low: 0.01, high: 0.1}}}"

# name -> (the file, a piece of each line of its message: key path, value, and what is allowed)
MISTAKES: dict[str, tuple[str, list[str]]] = {
    "two strangers": (
        with_claim("{statement: s, better: adamw, than: sgd}", "{statement: t, better: adam, than: [sgd, x]}"),
        ["claims.0.better: 'adamw': adamw/tuned has no", "claims.1.than: 'x': x/tuned has no"],
    ),
    "a field and a rule": (
        edited("epochs: 2", "epochs: 0") + "claims: [{statement: s, better: adamw, than: sgd}]\n",
        ["epochs: 0: must be greater than or equal to 1", "claims.0.better: 'adamw'"],
    ),
    "twice, and a stranger": (
        edited("  - adam\n", "  - sgd\n  - adm\n"),
        ["optimizers.2.name: 'adm': must be one of sgd, momentum", "optimizers: ['sgd', 'sgd']: contenders must"],
    ),
    "a wrong contender, which claims may name": (
        edited("  - adam\n", "  - adm\n") + "claims: [{statement: s, better: adm, than: x}, {statement: t}]\n",
        ["optimizers.1.name: 'adm'", "claims.1: give either", "claims.0.than: 'x'"],
    ),
    "two arguments": (
        edited("model: linear", "model: {name: cnn, arguments: {depth: 3, width: 0}}"),
        ["model.arguments.depth: 3: cnn takes no depth; allowed: width", "model.arguments.width: 0: must be a whole"],
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
    "three in one contender": (
        contender("{name: adam, fixed: {momentun: 0.9}, clip: -1, search: {learning_rate: {low: 1, high: 0.1}}}"),
        ["optimizers.1.search.learning_rate.low: 1.0: must lie below", "optimizers.1.clip: -1", "fixed.momentun: 0.9"],
    ),
    "unknown keys": (
        edited("trials: 2", "trials: 2\n  trails: 3"),
        ["tuning.trails: 3: unknown key; allowed: trials, sampler, objective, once"],
    ),
    "the only contender": (edited("  - sgd\n  - adam\n", "  - adm\n"), ["optimizers.0.name: 'adm': must be one of"]),
    "a negative end": (
        contender("{name: adam, search: {learning_rate: {low: -1, high: 0.1, log: false}}}"),
        ["optimizers.1.search.learning_rate.low: -1.0: must be above 0"],
    ),
    "ends whose difference is infinite": (
        contender(
            "{name: n, class: torch.optim.NAdam, "
            "search: {momentum_decay: {low: -1.7e+308, high: 1.7e+308, log: false}}}"
        ),
        ["optimizers.1.search.momentum_decay.high: 1.7e+308: lies so far from low -1.7e+308"],
    ),
    "a momentum of one": (
        contender("{name: m, like: momentum, search: {momentum: {low: 0.5, high: 1.0}}}"),
        ["optimizers.1.search.momentum.high: 1.0: must be at least 0 and below 1"],
    ),
    "values that no optimizer means": (
        contender("{name: adam, fixed: {learning_rate: -1, beta1: 2.0, eps: 0}, defaults: {weight_decay: -1}}"),
        [
            "optimizers.1.defaults.weight_decay: -1.0: must be 0 or more",
            "optimizers.1.fixed.learning_rate: -1.0: must be above 0",
            "optimizers.1.fixed.beta1: 2.0: must be at least 0 and below 1",
            "optimizers.1.fixed.eps: 0.0: must be above 0",
        ],
    ),
    "torch's names": (
        contender("{name: adam, fixed: {lr: 0.5, betas: 1, params: 2}}"),
        ["fixed.lr: 0.5: is torch's name: write learning_rate", "fixed.betas: 1.0: is", "fixed.params: 2.0: is"],
    ),
    "flags and numbers": (
        contender("{name: adam, fixed: {learning_rate: true, amsgrad: 1}}"),
        ["fixed.learning_rate: True: must be a number", "fixed.amsgrad: 1.0: must be true or false"],
    ),
    "steps up the loss": (
        contender("{name: adam, fixed: {maximize: true}}").replace("- sgd", "- {name: sgd, fixed: {maximize: false}}"),
        ["optimizers.1.fixed.maximize: True: must be false: it would climb the loss"],
    ),
    "steps up the loss, by a class": (
        contender(CLASS.replace("search", "fixed: {maximize: true}, search") % "torch.optim.NAdam"),
        ["optimizers.1.fixed.maximize: True: must be false"],
    ),
    "one as a flag": (GOOD + "untuned: 1\ndecay_all: 0\n", ["decay_all: 0: must be true or false", "untuned: 1: must"]),
    "a default that would be lost": (
        contender("{name: momentum, defaults: {momentum: 0.5}}"),
        ["optimizers.1.defaults.momentum: 0.5: is fixed"],
    ),
    "a closure": (contender(CLASS % "torch.optim.LBFGS"), ["optimizers.1.class: 'torch.optim.LBFGS': cannot be used"]),
    "matrices alone": (
        contender(CLASS % "torch.optim.Muon"),
        ["optimizers.1.class: 'torch.optim.Muon': cannot be used"],
    ),
    "sparse": (
        contender(CLASS % "torch.optim.SparseAdam"),
        ["optimizers.1.class: 'torch.optim.SparseAdam': cannot be"],
    ),
    "no optimizer": (
        contender(CLASS % "torch.optim.Optimizer"),
        ["optimizers.1.class: 'torch.optim.Optimizer': must be"],
    ),
    "no path": (contender(CLASS % "..X"), ["optimizers.1.class: '..X': '..X' is not a path"]),
    "decay without class": (
        contender("{name: adam, decay: decoupled}"),
        ["optimizers.1.decay: 'decoupled': goes with"],
    ),
    "decay against torch": (
        contender(CLASS.replace("search", "decay: coupled, search") % "torch.optim.AdamW"),
        ["optimizers.1.decay: 'coupled': torch.optim.AdamW has decoupled decay"],
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
        ["optimizers.1.name: 'nan': is a missing"],
    ),
    "many epochs": (edited("epochs: 2", "epochs: 1.0e+23"), ["epochs: 1e+23: must be a valid integer"]),
    "many digits": (GOOD + "seed: " + "9" * 5000, ["not valid YAML: a number too long to be meant"]),
    "many more": (GOOD + "clip: 0x" + "f" * 5000, ["not valid YAML: a number too long to be meant"]),
    "no end of lists": ("name: " + "[" * 100_000, ["nested too deeply"]),
    "no date": (GOOD + "question: 2020-02-31\n", ["not valid YAML: day is out of range"]),
    "no character": (
        edited("model: linear", 'model: {name: linear, pretrained: "a\\0b"}'),
        ["a character that is none"],
    ),
    "text in numbers": (GOOD + "question: 3\n", ["question: 3: must be text"]),
    "a number as a block": (edited("model: linear", "model: 3"), ["model: 3: must be a mapping of keys"]),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_each_mistake_has_a_line_of_its_own_and_there_are_no_others(name: str, write: Any) -> None:
    text, pieces = MISTAKES[name]
    with pytest.raises(StudyError) as caught:
        load_study(write(text))
    lines = str(caught.value).splitlines()
    assert len(lines) == len(pieces), lines
    assert [(piece, line) for piece, line in zip(pieces, lines, strict=True) if piece not in line] == []


MODULES = {
    "an error of syntax": "class Mine(",
    "an exception": "raise RuntimeError('no')",
    "an exit": "raise SystemExit(3)",
}


@pytest.mark.parametrize("name", MODULES)
def test_a_class_whose_module_cannot_be_imported_is_a_mistake_of_the_file(
    name: str, write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = "broken_" + name.replace(" ", "_")
    (tmp_path / f"{module}.py").write_text(MODULES[name])
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(StudyError, match=f"optimizers.1.class: '{module}.Mine': .*cannot be imported"):
        load_study(write(contender(CLASS % f"{module}.Mine")))


OWN = """\
import torch


class Open(torch.optim.SGD):
    def __init__(self, params, **more):
        super().__init__(params, **more)


class Strict(torch.optim.AdamW):
    def __init__(self, params, lr, rho=2.0):
        super().__init__(params, lr)
"""


def test_a_users_own_optimizer_says_what_it_takes(write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_optimizers.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    for text, words in (
        (CLASS % "own_optimizers.Strict", "own_optimizers.Strict needs learning_rate: in `fixed`, or in `search` and"),
        (
            CLASS.replace("search", "fixed: {anything: 3, learning_rate: true}, search") % "own_optimizers.Open",
            "number",
        ),
    ):
        with pytest.raises(StudyError, match=words):
            load_study(write(contender(text)))
    text = (
        CLASS.replace("search", "fixed: {rho: 2.5}, defaults: {learning_rate: 0.1}, search") % "own_optimizers.Strict"
    )
    row = load_study(write(contender(text))).contender("n").row()
    assert (row.decay, row.fixed, row.defaults) == ("decoupled", {"rho": 2.5}, {"learning_rate": 0.1})
    text = CLASS.replace("search", "fixed: {nesterov: true, momentum: 0.9}, search") % "own_optimizers.Open"
    assert load_study(write(contender(text))).contender("n").row().decay == "coupled"


@pytest.mark.parametrize(
    ("path", "fixed", "decay"),
    [
        ("torch.optim.AdamW", "{}", "decoupled"),
        ("torch.optim.Adafactor", "{}", "decoupled"),
        ("torch.optim.NAdam", "{}", "coupled"),
        ("torch.optim.NAdam", "{decoupled_weight_decay: true}", "decoupled"),
        ("torch.optim.Adagrad", "{}", "coupled"),
    ],
)
def test_decay_is_named_as_torch_applies_it(path: str, fixed: str, decay: str, write: Any) -> None:
    import torch

    text = CLASS.replace("search", f"fixed: {fixed}, search") % path
    row = load_study(write(contender(text))).contender("n").row()
    theta = torch.nn.Parameter(torch.tensor([[3.0]]))
    theta.grad = torch.zeros_like(theta)
    given = {"lr": 0.1, "weight_decay": 0.5, **row.fixed}
    cls = getattr(torch.optim, path.rpartition(".")[2])
    cls([theta], **given).step()
    decoupled = abs(theta.item() - 3.0 * (1 - 0.1 * 0.5)) < 1e-6  # multiplied by the rate; no gradient, no other step
    assert row.decay == decay == ("decoupled" if decoupled else "coupled")
