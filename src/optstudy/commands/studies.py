"""The commands about study files: run, check, plan, report, merge. Heavy imports wait until a command needs them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from optstudy.environment import default_workers
from optstudy.errors import StoreIncomplete, StudyError

if TYPE_CHECKING:
    from optstudy.planning.layout import StudyPaths
    from optstudy.study.study import Study

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study file.")]
Workers = Annotated[int, typer.Option(min=1, help="Worker processes, one thread each.")]
Results = Annotated[Path, typer.Option(file_okay=False, help="Folder of the tables, with one folder per study.")]


def run(
    study_file: StudyFile,
    workers: Workers = default_workers(),
    results: Results = Path("results"),
    accept_version: Annotated[
        int | None, typer.Option("--accept-version", help="Keep finished trainings of this older training version.")
    ] = None,
) -> None:
    """Tune, train and compare. Resume an interrupted study."""
    from optstudy.planning.layout import StudyPaths
    from optstudy.study.study import load_study
    from optstudy.user_process import warm_up

    study = load_study(study_file)
    paths = StudyPaths(study, results)
    if not paths.journal.exists():  # a study that has begun may have nothing left to train
        warm_up()
    from optstudy.reporting.printed.progress import shown
    from optstudy.reporting.terminal import make_console, print_results
    from optstudy.running import stages

    console = make_console()
    say = partial(console.print, markup=False, soft_wrap=True)  # paths may hold brackets, and logs have no width
    incomplete = None
    with shown(console, workers) as on_progress:
        try:
            comparison = stages.run(paths, workers, say, on_progress, accept_version)
        except StoreIncomplete as error:
            comparison, incomplete = error.comparison, error
    print_results(console, study, paths.tables, comparison)
    say(f"Report: {paths.tables}/report.html, tables beside it. MLflow: optstudy ui --open")
    if incomplete is not None:
        raise incomplete


def check(
    study_file: StudyFile,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if there are findings.")] = False,
    measure: Annotated[bool, typer.Option("--measure", help="Estimate its cost on this machine.")] = False,
    workers: Workers = default_workers(),
    results: Results = Path("results"),
) -> None:
    """Validate a study and try its parts; list what is left to train, and what a reviewer would object to.

    Trains and writes nothing.
    """
    from optstudy.analysis.design_findings import design_findings, smallest_p_line
    from optstudy.analysis.findings import history_findings, table_findings
    from optstudy.planning.dry_run import group_lines, names_own_parts
    from optstudy.planning.journal import journal_folder
    from optstudy.planning.layout import StudyPaths
    from optstudy.study.study import load_study

    study = load_study(study_file)
    paths = StudyPaths(study, results)
    # A study of rows of our tables that is the first of its folder has nothing to try or to tell, and needs no slow
    # import. After others, it may be a later design on their data and seed.
    tells = any(journal_folder(paths.mlruns).glob("*.jsonl")) or names_own_parts(study)
    lines, session = _summary_lines(study_file, study), None
    if tells or measure:
        from optstudy.planning.new_trainings import journal_lines
        from optstudy.running.session import read_session

        session = read_session(paths)
        if study.tuning.widen:
            from optstudy.running.widening import with_wider_spaces

            session = with_wider_spaces(session, paths.contenders)
        lines += group_lines(session.study)
        lines += journal_lines(_at_its_look(session.paths), session.fingerprints, session.entries) if tells else []
    for line in lines:
        typer.echo(line)
    findings = [*design_findings(study), *table_findings(study, results / study.name)]
    if session is not None:
        history = session.history()
        findings += history_findings(study, history.confirmed, 0, history.number, history.changed)
    for finding in findings:
        typer.echo(f"{finding.contender or 'study'}: {finding.finding} (rule {finding.rule}; {finding.source})")
    if smallest_p_line(study):
        typer.echo(smallest_p_line(study))
    if measure and session is not None:
        from optstudy.running.cost import cost_line, cost_of

        typer.echo(cost_line(cost_of(session, workers)))
    if strict and findings:
        raise typer.Exit(1)


def _at_its_look(paths: StudyPaths) -> Study:
    """Return a study with the replicates at which its tables say that it is decided, else up to its last look."""
    from optstudy.files import read_rows

    study, claims = paths.study, read_rows(paths.tables / "claims.json")
    shown = {claim.get("n") for claim in claims}
    decided = claims and all(claim.get("verdict") != "inconclusive" for claim in claims)
    return next((study.at_look(look) for look in study.looks if decided and shown == {look}), study)


def _summary_lines(study_file: Path, study: Study) -> list[str]:
    """Return what a study consists of, in words."""
    from optstudy.metrics import counted
    from optstudy.planning.jobs import jobs_in

    names = [contender.name for contender in study.optimizers]
    most = counted(sum(jobs_in(study, name) for name in names), "training")
    if len(study.looks) > 1:
        first = study.at_look(study.looks[0])
        most = f"{sum(jobs_in(first, name) for name in names)} to {most}"
    looks = f"{', '.join(map(str, study.looks[:-1]))} or " if len(study.looks) > 1 else ""
    search = f"{study.tuning.trials} {study.tuning.sampler} trials per search"
    return [
        f"{study_file}: valid: {study.name}: {', '.join(names)}",
        f"{looks}{study.looks[-1]} replicates, {search}: {most} of {counted(study.epochs, 'epoch')}",
    ]


def plan(study_file: StudyFile, workers: Workers = default_workers(), results: Results = Path("results")) -> None:
    """Say how many replicates and trials decide a study's claims, from the trials of a pilot; train nothing.

    The pilot is the study itself, if it has been run, else a shipped study that `make gallery` has rebuilt.
    """
    from optstudy.analysis.planner import effects_of, forecasts, plan_sentence, read_pilot
    from optstudy.planning.layout import StudyPaths
    from optstudy.reporting.terminal import make_console, plan_table
    from optstudy.study.study import load_study

    study = load_study(study_file)
    pilot = read_pilot(study, results, Path("gallery/results"))
    seconds = pilot.seconds()
    if not pilot.own:  # its seconds are those of another machine
        from optstudy.running.cost import cost_of
        from optstudy.running.session import read_session

        seconds = cost_of(read_session(StudyPaths(study, results)), workers).each
    left_out, found = effects_of(study, pilot, pilot.budget)[1], forecasts(study, pilot, seconds)
    console = make_console()
    console.print(plan_table(pilot.name, found, workers))
    console.print(f"{plan_sentence(study, found, left_out, workers)}.", markup=False, soft_wrap=True)


def report(
    study_files: Annotated[list[Path] | None, typer.Argument(metavar="[STUDY.yaml ...]")] = None,
    results: Results = Path("results"),
    evidence: Annotated[bool, typer.Option("--evidence", help="Write the journal beside the tables, too.")] = False,
) -> None:
    """Rebuild tables and report from the journals, complete MLflow and Optuna; by default all studies in configs/."""
    from optstudy.planning.layout import StudyPaths
    from optstudy.planning.merge import write_evidence
    from optstudy.reporting.pages import write_index
    from optstudy.reporting.printed.progress import shown
    from optstudy.reporting.terminal import make_console, print_results
    from optstudy.running import stages
    from optstudy.study.study import load_study

    console = make_console()
    say = partial(console.print, markup=False, soft_wrap=True)
    files = study_files or sorted(Path("configs").glob("*.yaml"))
    studies = [StudyPaths(load_study(path), results) for path in files]
    if not study_files:
        studies = [paths for paths in studies if paths.journal.exists()]
        if not studies:
            reason = "none of its studies has been started" if files else "there is no study file in it"
            raise StudyError(
                f"configs: {reason}: name study files, or change to the folder where `optstudy run` was run"
            )
    complete, incomplete = [], list[str]()
    for paths in studies:
        try:
            with shown(console, 1) as on_progress:
                table = stages.report(paths, say, on_progress)
        except StoreIncomplete as error:
            table = error.comparison
            incomplete.append(f"{paths.study.name}: {error}")
        if table is not None:
            complete.append(paths.study.name)
            if evidence:
                say(f"Evidence: {write_evidence(paths)}")
            print_results(console, paths.study, paths.tables, table)
    if len(complete) > 1:
        write_index(results, complete)
        say(f"Index: {results}/index.html")
    if len(complete) < len(studies):
        raise typer.Exit(1)
    if incomplete:
        raise StoreIncomplete("\n".join(incomplete))


def merge(
    study_file: StudyFile,
    sources: Annotated[
        list[Path], typer.Argument(metavar="JOURNAL_OR_FOLDER", help="Journals, or folders that hold one.")
    ],
) -> None:
    """Add finished trainings from other machines, or from shipped evidence, to the study's journal. Trains nothing.

    `optstudy report` then shows them, and `optstudy run` trains what is missing.
    """
    from optstudy.metrics import counted
    from optstudy.planning.layout import StudyPaths
    from optstudy.planning.merge import merge as merged
    from optstudy.study.study import load_study

    paths = StudyPaths(load_study(study_file), Path("results"))
    result = merged(paths, sources)
    weights = f", and {counted(result.weights, 'file')} of weights" if result.weights else ""
    typer.echo(f"{paths.study.name}: {counted(result.found, 'training')} read, {result.new} of them new{weights}")
