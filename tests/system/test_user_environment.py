"""A user's variables, settings of matplotlib and files in the working folder change nothing in a study's results."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from test_resume import command, study_in, tables

STUDY = """\
name: killed
data: digits
model: linear
epochs: 2
batch_size: 512
replicates: 2
optimizers:
  - sgd
  - {name: mine, class: mine.Mine, search: {learning_rate: {low: 0.01, high: 0.1}}}
tuning: {trials: 2}
claims:
  - {statement: Mine wins, better: mine, than: sgd}
"""
MINE = """
import warnings

from torch.optim import SGD


class Mine(SGD):
    def step(self, closure=None):
        warnings.warn("an old function", DeprecationWarning, stacklevel=1)
        assert closure is None or callable(closure)
        return super().step(closure)
"""
MATPLOTLIBRC = """\
backend: module://no.such_backend
text.usetex: True
font.family: fantasy
font.size: 30
figure.dpi: 33
savefig.dpi: 44
savefig.bbox: tight
savefig.transparent: True
savefig.format: pdf
svg.fonttype: path
svg.hashsalt: other
axes.prop_cycle: cycler('color', ['ff0000'])
axes.formatter.use_locale: True
axes.unicode_minus: False
timezone: Asia/Kathmandu
path.simplify: False
"""
VARIABLES = {
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "LC_ALL": "tr_TR.UTF-8",
    "LANG": "de_DE",
    "TERM": "dumb",
    "COLUMNS": "20",
    "NO_COLOR": "1",
    "TZ": "Asia/Kathmandu",
    "OMP_NUM_THREADS": "3",
    "MKL_NUM_THREADS": "3",
    "PYTHONWARNINGS": "error",
    "PYTHONHASHSEED": "1",
    "PYTHONOPTIMIZE": "1",
    "PYTHONUTF8": "0",
    "PYTHONIOENCODING": "ascii",
    "SOURCE_DATE_EPOCH": "0",
}
LIBRARIES = ("yaml", "typing", "random", "json", "selectors", "torch", "mlflow", "optuna", "pandas", "rich", "typer")


@pytest.mark.long
def test_results_are_the_same_in_an_odd_environment(tmp_path: Path) -> None:
    plain, odd = study_in(tmp_path / "plain", text=STUDY), study_in(tmp_path / "odd", text=STUDY)
    for folder in (plain, odd):
        (folder / "mine.py").write_text(MINE)
    (odd / "matplotlibrc").write_text(MATPLOTLIBRC)
    for name in LIBRARIES:
        (odd / f"{name}.py").write_text("raise SystemExit('the wrong module is imported')")
    # `python -m` imports from the working folder before anything of ours runs; the command `optstudy` does not.
    code = "import sys; from optstudy.cli import main; main()"
    for folder, variables, mask in ((plain, {}, 0o022), (odd, VARIABLES, 0o077)):
        arguments = [command(folder)[0], "-P", "-c", code, "run", "study.yaml", "--workers", "2"]
        environment = {**os.environ, **variables}
        ran = subprocess.run(
            arguments, cwd=folder, env=environment, capture_output=True, text=True, umask=mask, timeout=600
        )
        assert (ran.returncode, ran.stderr[-1000:]) == (0, "")
    assert tables(odd) == tables(plain)
