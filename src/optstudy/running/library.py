"""optstudy as a library: runs a study that a program or a notebook gives, and holds its results as frames."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optstudy.analysis.study_results import StudyResults, read_study_results
from optstudy.cell_classes import with_paths
from optstudy.environment import default_workers
from optstudy.errors import StudyError
from optstudy.files import write_text
from optstudy.planning.layout import MLRUNS, StudyPaths
from optstudy.reporting.pages import answer_in_html
from optstudy.reporting.printed.progress import shown
from optstudy.reporting.summary import notes_in_text
from optstudy.reporting.terminal import plain_console
from optstudy.running import stages
from optstudy.study.study import Study, load_study, study_of

if TYPE_CHECKING:
    import pandas as pd

CODE = "code"  # folder of `mlruns` with the modules of classes that a program gave as objects


@dataclass(frozen=True, eq=False)
class Results:
    """The results of a finished study; a notebook shows its answer, its tables and its headline figure.

    Attributes:
        study: The study.
        folder: Its tables, figures and page.
        results: All that its page is made from.
    """

    study: Study
    folder: Path
    results: StudyResults

    @property
    def comparison(self) -> pd.DataFrame:
        """Return one row per contender and variant: mean, standard deviation and 95% interval of each metric."""
        return self.results.comparison

    @property
    def runs(self) -> pd.DataFrame:
        """Return one row per final run: contender, variant, replicate, hyperparameters, metrics, seconds."""
        return self.results.runs

    @property
    def curves(self) -> pd.DataFrame:
        """Return one row per final run and epoch."""
        return self.results.curves

    @property
    def tuning(self) -> pd.DataFrame:
        """Return one row per trial of the searches; empty if nothing was searched."""
        return self.results.tuning

    @property
    def claims(self) -> pd.DataFrame:
        """Return one row per claim: statement, verdict, effect, interval, p; empty if the study states none."""
        import pandas as pd

        return pd.DataFrame([{**claim, "pairs": len(claim["pairs"])} for claim in self.results.claims])

    @property
    def report(self) -> Path:
        """Return the path of the page."""
        return self.folder / "report.html"

    @property
    def figures(self) -> dict[str, Path]:
        """Return the figures by name, as SVG; a PNG of each lies beside it."""
        return {path.stem: path for path in sorted((self.folder / "figures").glob("*.svg"))}

    def summary(self) -> str:
        """Return the question, the answer and the verdicts as text."""
        return notes_in_text(self.results)

    def __repr__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        figure = self.figures.get("headline")
        return answer_in_html(self.results, figure.read_text(encoding="utf-8") if figure else "")


def run(
    study: Study | Mapping[str, Any] | Path | str,
    workers: int | None = None,
    results: Path | str = "results",
    progress: bool = True,
) -> Results:
    """Tune, train and compare a study; resume it if it was interrupted.

    Args:
        study: A study, the path of a study file, or the content of one. In a content, `class` may be a class itself,
            also one of a notebook's cell: its source, and that of all it uses of the notebook, becomes a module in
            `mlruns/code`, and is part of the keys of its trainings.
        workers: Number of worker processes; by default one per core.
        results: Folder of the tables and pages; `mlruns` is in the current folder.
        progress: Whether to print how far the study is.

    Raises:
        StudyError: The study, its data or its classes are wrong; nothing is written.
        StudyHeld: Another process runs the study.
        TrainingFailed: A training raised. All others are done, and are not repeated.
        StoreIncomplete: All trainings are done, but MLflow or Optuna could not be completed.
    """
    with _study_from(study) as known:
        paths = StudyPaths(known, Path(results))
        count = default_workers() if workers is None else workers
        if not progress:
            stages.run(paths, count, lambda _: None, lambda _: None)
        else:
            console = plain_console()
            with shown(console, count) as on_progress:
                stages.run(paths, count, partial(console.print, markup=False, soft_wrap=True), on_progress)
    return Results(known, paths.tables, read_study_results(paths.tables))


@contextmanager
def _study_from(given: Study | Mapping[str, Any] | Path | str) -> Iterator[Study]:
    """Yield the study that is given. Modules written for it are removed if it, or what it names, is wrong."""
    if isinstance(given, Study):
        yield given
        return
    if isinstance(given, str | Path):
        yield load_study(Path(given))
        return
    if not isinstance(given, Mapping):
        raise StudyError(f"study: {str(given)[:80]!r}: must be a Study, the path of a study file, or its content")
    content, modules = with_paths(given)
    written = _write_modules(modules)
    try:
        yield study_of(Path("study"), content)
    except StudyError:
        for path in written:
            path.unlink(missing_ok=True)
        for folder in (MLRUNS / CODE, MLRUNS) if written else ():
            with suppress(OSError):  # it has other files
                folder.rmdir()
        raise


def _write_modules(modules: Mapping[str, str]) -> list[Path]:
    """Write modules that do not exist yet, and make their folder one that this process and its workers import from."""
    folder = (MLRUNS / CODE).resolve()
    new = {folder / f"{name}.py": source for name, source in modules.items()}
    written = [path for path in new if not path.exists()]
    for path in written:
        write_text(path, new[path])
    if modules and str(folder) not in sys.path:
        sys.path.append(str(folder))
    importlib.invalidate_caches()
    return written
