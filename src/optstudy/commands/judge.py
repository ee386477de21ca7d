"""The command `optstudy judge`: its options, and what it prints."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from optstudy.errors import StudyError


def judge(
    runs: Annotated[Path | None, typer.Argument(metavar="[RUNS.csv]", help="A CSV with a row for each run.")] = None,
    *,
    group: Annotated[str, typer.Option(help="Column whose values are compared, such as optimizer.")],
    metric: Annotated[str, typer.Option(help="Column that they are compared by.")],
    pair: Annotated[str, typer.Option(help="Column that pairs runs of different groups, such as seed.")] = "",
    margin: Annotated[float | None, typer.Option(help="Smallest difference that matters.")] = None,
    lower: Annotated[bool | None, typer.Option("--lower/--higher", help="Which values are better.")] = None,
    select: Annotated[str, typer.Option(help="Column that selects one of several rows; NAME:min or NAME:max.")] = "",
    diverged: Annotated[float | None, typer.Option(help="What a run counts whose metric is not finite.")] = None,
    where: Annotated[str, typer.Option(help="Which rows count, such as \"model = 'cnn'\".")] = "",
    mlflow: Annotated[str, typer.Option(metavar="URI", help="Read an MLflow store instead of a CSV.")] = "",
    experiment: Annotated[str, typer.Option(help="Experiment of the MLflow store.")] = "",
    output: Annotated[Path, typer.Option(file_okay=False, help="Folder of the page and the tables.")] = Path("judged"),
) -> None:
    """Compare runs that you already have: a CSV with a row for each, or an MLflow experiment. Trains nothing."""
    from optstudy.judging.judge import judge as judged
    from optstudy.judging.user_runs import Columns, check_numbers, read_csv

    check_numbers(margin, diverged)
    columns = Columns(group, pair, metric, select, diverged, where)
    if runs is not None and not mlflow and not experiment:
        judgement = judged(str(runs), read_csv(runs), columns, lower, margin)
    elif runs is None and mlflow and experiment:
        from optstudy.records.mlflow_experiments import read_experiment

        read = read_experiment(mlflow, experiment, where)
        judgement = judged(read.source, read.table, read.columns(columns), lower, margin, read.notes)
    else:
        raise StudyError("give either RUNS.csv, or --mlflow URI and --experiment NAME")
    from optstudy.reporting import judged as shown
    from optstudy.reporting.terminal import make_console

    console = make_console()
    say = partial(console.print, markup=False, soft_wrap=True)
    shown.write_judged(judgement, output)
    for part in [shown.answer(judgement), *shown.tables(judgement), *shown.lines(judgement)]:
        say(part)
    say(f"Report: {output}/judged.html, with judged.json and judged.csv beside it")
