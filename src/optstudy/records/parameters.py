"""The settings of contenders and trainings in words: what MLflow shows as the parameters of their runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from optstudy.catalogue import OPTIMIZERS, Choices, Hyperparameters, Space, label, labelled, optimizer_path
from optstudy.errors import DataError
from optstudy.planning.dry_run import weight_decay_of
from optstudy.planning.jobs import Job
from optstudy.spec import RunSpec
from optstudy.study.hyperparameters import decay_of
from optstudy.study.schema import Contender
from optstudy.study.study import Study
from optstudy.tasks.kinds import task_of
from optstudy.user_code import import_class
from optstudy.user_process import UserProcess


def contender_parameters(study: Study, name: str) -> dict[str, object]:
    """Return what all trainings of a contender share and what distinguishes it from other contenders.

    MLflow's Compare starts with the first three in alphabetical order that differ. So texts are called `with`, and what
    it shows are contender, learning rate and optimizer.
    """
    contender = study.contender(name)
    row, spec = study.row(contender), study.spec(contender, 0, 0, {})
    spaces = {f"search {key}": _space(space) for key, space in row.search.items()}
    freeze = {"freeze": ", ".join(spec.freeze) or "none"} if task_of(study.kind).examples else {}
    return {
        **_shared(spec, row.fixed),
        "with decay": _decay(study, contender),
        "with defaults": _pairs(row.defaults) or "those of the optimizer",
        "clip": "none" if spec.clip is None else f"gradient norm {spec.clip:g}",
        **({"clip_value": spec.clip_value} if spec.clip_value else {}),
        **({"average": _pairs(spec.average)} if spec.average else {}),
        **({"lora": _pairs(spec.lora)} if spec.lora else {}),
        **({"accumulate": spec.accumulate} if spec.accumulate > 1 else {}),
        **{f"group {group['name']}": _group(group) for group in spec.groups},
        **spaces,
        **freeze,
    }


def _space(space: Space | Choices) -> str:
    if isinstance(space, Choices):
        return f"one of {', '.join(map(label, space.choices))}"
    return f"{space.low:g} to {space.high:g}{'' if space.log else ', linear'}{', whole numbers' if space.whole else ''}"


def _group(group: Mapping[str, Any]) -> str:
    """Return a group in words: `torch.optim.Muon, decoupled decay; ndim 2, hidden`."""
    rule = _listed({key: group[key] for key in ("ndim", "names", "modules") if key in group})
    hidden = "hidden" if group.get("hidden") else ""
    path = f"{optimizer_path(group['optimizer'])}, {_decay_of(group['optimizer'])}" if "optimizer" in group else ""
    multiples = ", ".join(f"{factor:g} times its {key}" for key, factor in group.get("multiply", {}).items())
    return "; ".join(filter(None, (path, ", ".join(filter(None, (rule, hidden))), multiples)))


def _decay_of(optimizer: str) -> str:
    """Return how a group's own optimizer decays weights, if the table or torch says so."""
    known = OPTIMIZERS[optimizer].decay if optimizer in OPTIMIZERS else None
    if optimizer.startswith("torch.optim."):
        known = decay_of(import_class(optimizer), {})
    return f"{known or 'its own'} decay"


def _listed(values: Mapping[str, Sequence[object]]) -> str:
    return ", ".join(f"{name} {' '.join(map(str, several))}" for name, several in values.items())


def _decay(study: Study, contender: Contender) -> str:
    with suppress(DataError), UserProcess(study.timeout) as process:
        return weight_decay_of(study, contender, process) or "not known"
    return "not known"


def training_parameters(job: Job) -> dict[str, object]:
    """Return the settings of one training.

    MLflow's plots of trials start with the first three in alphabetical order that differ, which should be learning
    rate, optimizer and weight decay. So seeds are no parameters, and fixed hyperparameters are called `with`.
    """
    spec = job.spec
    fixed = {name: value for name, value in spec.hyperparameters.items() if name not in job.hyperparameters}
    return {"data": spec.data["name"] or spec.data["class"], **_shared(spec, fixed), **labelled(job.hyperparameters)}


def _shared(spec: RunSpec, fixed: Hyperparameters) -> dict[str, object]:
    parameters: dict[str, object] = {
        "optimizer": optimizer_path(spec.optimizer),
        "with": _pairs(fixed) or "no fixed hyperparameters",
        "epochs": spec.epochs,
        "schedule": _schedule(spec.schedule),
        "model": _model(spec.model),
    }
    if task_of(spec.data["kind"]).examples:
        weights = spec.pretrained["source"] if spec.pretrained else "random weights"
        parameters |= {"batch_size": spec.batch_size, "precision": spec.precision, "starts_from": weights}
    return parameters


def _pairs(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {label(value) if isinstance(value, tuple) else value}" for name, value in values.items())


def _schedule(schedule: Mapping[str, Any]) -> str:
    """Return a schedule in words: `cosine, end 0.1, by epoch, no warm-up`."""
    warmup = f"warm-up for {schedule['warmup']:g} of the budget" if schedule["warmup"] else "no warm-up"
    arguments = _pairs({key: value for key, value in schedule.items() if key not in ("name", "interval", "warmup")})
    return ", ".join(filter(None, (schedule["name"], arguments, f"by {schedule['interval']}", warmup)))


def _model(model: Mapping[str, Any]) -> str:
    """Return a model with its arguments: `mlp: width 128`."""
    name, arguments = str(model["name"] or model["class"]), _pairs(model["arguments"])
    return f"{name}: {arguments}" if arguments else name
