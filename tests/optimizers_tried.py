"""The optimizers that docs/optimizers.md lists as tried, and the table in it: `make optimizers` writes it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from builders import tiny
from optstudy.catalogue import OPTIMIZERS
from optstudy.metrics import GRADIENTS_PER_STEP
from optstudy.planning.dry_run import weight_decay_of
from optstudy.training.train import train
from optstudy.user_code import import_class
from optstudy.user_process import UserProcess

DOCUMENT = Path(__file__).parents[1] / "docs" / "optimizers.md"
STUDY: dict[str, Any] = {
    "data": {"name": "digits", "train_size": 400},
    "model": "mlp",
    "epochs": 8,
    "batch_size": 32,
    "schedule": "constant",
}
ROWS_HEADER = "| row | class | weight decay | fixed | defaults | searched |\n"
ROWS_RULE = "| --- | --- | --- | --- | --- | --- |\n"
HEADER = "| optimizer | class | 400 digits, 8 epochs | weight decay | gradients per step | modes |\n"
RULE = "| --- | --- | --- | --- | --- | --- |\n"
RATES = {"learning_rate": {"low": 1e-4, "high": 1.0}}

HIDDEN = [{"name": "hidden", "hidden": True, "ndim": 2}, {"name": "rest", "like": "adamw", "names": ["*"]}]

# name -> class, and further keys of its contender
TRIED: dict[str, tuple[str, dict[str, Any]]] = {
    "Adadelta": ("torch.optim.Adadelta", {}),
    "Adafactor": ("torch.optim.Adafactor", {}),
    "Adagrad": ("torch.optim.Adagrad", {}),
    "Adamax": ("torch.optim.Adamax", {}),
    "ASGD": ("torch.optim.ASGD", {"defaults": {"learning_rate": 0.1}}),
    "LBFGS": ("torch.optim.LBFGS", {"fixed": {"max_iter": 4}, "defaults": {"learning_rate": 0.1}}),
    "Muon, with AdamW for the rest": ("torch.optim.Muon", {"groups": HIDDEN}),
    "NAdam": ("torch.optim.NAdam", {}),
    "RAdam": ("torch.optim.RAdam", {}),
    "Rprop": ("torch.optim.Rprop", {"defaults": {"learning_rate": 1e-4}}),
    "SparseAdam": ("torch.optim.SparseAdam", {}),
    "AdaBelief": ("pytorch_optimizer.AdaBelief", {}),
    "Adan": ("pytorch_optimizer.Adan", {"fixed": {"beta3": 0.99}}),
    "AdEMAMix": ("pytorch_optimizer.AdEMAMix", {"fixed": {"beta1": 0.9, "beta3": 0.999}}),
    "Lion": ("pytorch_optimizer.Lion", {"fixed": {"beta1": 0.95}, "defaults": {"learning_rate": 1e-3}}),
    "Prodigy": ("pytorch_optimizer.Prodigy", {"fixed": {"d_coef": 10.0}}),
    "Schedule-Free AdamW": ("schedulefree.AdamWScheduleFree", {"defaults": {"learning_rate": 0.01}}),
    "Schedule-Free AdamW, in pytorch-optimizer": (
        "pytorch_optimizer.ScheduleFreeAdamW",
        {"defaults": {"learning_rate": 0.01}},
    ),
    "Schedule-Free SGD": ("schedulefree.SGDScheduleFree", {"defaults": {"learning_rate": 1.0}}),
    "SOAP": ("pytorch_optimizer.SOAP", {}),
    "Lion, by lucidrains": ("lion_pytorch.Lion", {"defaults": {"learning_rate": 1e-3}}),
    "Prodigy, by its authors": ("prodigyopt.Prodigy", {"fixed": {"d_coef": 10.0}}),
    "Lookahead around Adam": ("optimizer_wrappers.LookaheadAdam", {"fixed": {"k": 5}}),
    "SAM around SGD": ("optimizer_wrappers.SamSgd", {}),
}


def is_installed(path: str) -> bool:
    """Return whether the package of a class is installed."""
    package = path.partition(".")[0]
    return find_spec("pytorch_optimizer" if package == "optimizer_wrappers" else package) is not None


def row(name: str) -> str:
    """Return the row of an optimizer: what came of a training with its defaults."""
    path, keys = TRIED[name]
    torch.set_num_threads(1)
    start = f"| {name} | `{path}` |"
    contender = {"name": "own", "class": path, "search": RATES, **keys}
    try:
        study = tiny(**STUDY, optimizers=["sgd", contender])
    except ValidationError as error:
        reason = error.errors()[0]["ctx"]["problems"][0].message
        return f"{start} refused: {reason} | | | |\n"
    own = study.contender("own")
    spec = study.spec(own, 0, 5, study.row(own).defaults)
    [result] = train([spec])
    assert result.status != "failed", (name, result.message)
    loss = result.metrics["train/loss"]
    learned = "diverges" if result.status == "diverged" else "learns" if loss < 1.5 else "loss above 1.5"
    modes = all(callable(getattr(import_class(path), mode, None)) for mode in ("train", "eval"))
    with UserProcess() as process:
        decay = weight_decay_of(study, own, process)
    gradients = f"{result.metrics.get(GRADIENTS_PER_STEP, 1.0):.0f}"
    return f"{start} {learned} | {decay} | {gradients} | {'train, eval' if modes else ''} |\n"


def table_row(name: str) -> str:
    """Return the line of a row of the optimizer table."""
    row = OPTIMIZERS[name]
    spaces = [f"{_short(key)} {space.low:g} to {space.high:g}" for key, space in row.search.items()]
    given = [[f"{_short(key)} {value}" for key, value in values.items()] for values in (row.fixed, row.defaults)]
    cells = [f"`{name}`", f"`{row.optimizer}`", str(row.decay), *(", ".join(one) for one in (*given, spaces))]
    return f"| {' | '.join(cells)} |\n"


def _short(name: str) -> str:
    return {"learning_rate": "rate", "weight_decay": "decay"}.get(name, name)


def with_table(text: str, rows: Iterable[str], head: str = HEADER + RULE) -> str:
    """Return a document with these rows in the table of this head."""
    before, found, rest = text.partition(head)
    assert found, "the document has no such table"
    lines = rest.splitlines(keepends=True)
    count = next((index for index, line in enumerate(lines) if not line.startswith("|")), len(lines))
    return before + found + "".join(rows) + "".join(lines[count:])


def main() -> int:
    """Write the table; return 1 if a package is missing."""
    missing = sorted({path.partition(".")[0] for path, _ in TRIED.values() if not is_installed(path)})
    if missing:
        print(f"not installed: {', '.join(missing)}", file=sys.stderr)
        return 1
    text = DOCUMENT.read_text(encoding="utf-8")
    text = with_table(text, map(table_row, OPTIMIZERS), ROWS_HEADER + ROWS_RULE)
    DOCUMENT.write_text(with_table(text, [row(name) for name in TRIED]), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
