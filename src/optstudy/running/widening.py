"""Widens spaces whose ends cut the response off, as a study file with `tuning.widen` announces.

Only validation values decide, and the journal alone has them: a study that was interrupted widens as any other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from optstudy.analysis.space_audit import audit_spaces
from optstudy.catalogue import Choices, Space
from optstudy.planning.jobs import selected_trial, trial_jobs, units
from optstudy.records.rows import tuning_row
from optstudy.running.session import Say, Session
from optstudy.study.study import Study

MOST_WIDENINGS = 2  # of each contender's space
DECADE = 10.0


def with_wider_spaces(
    session: Session,
    contenders: Sequence[str],
    say: Say = lambda _: None,
    search: Callable[[Session], None] | None = None,
) -> Session:
    """Return the session of the study with the spaces that its searches ask for, each widened at most twice.

    The searches of the first look decide, so that no later look is searched in another space. `search` runs them;
    without it, a space is not widened until its searches are in the journal.
    """
    first = session.at_look(session.study.looks[0])
    if not session.study.tuning.widen:
        return session
    for _ in range(MOST_WIDENINGS):
        if search is not None:
            search(first)
        wider = wider_spaces(first, contenders)
        if not wider:
            break
        for name, space in wider.items():
            say(f"{name}: an end of its learning rates cut its scores off: widened to {space.low:g} to {space.high:g}")
        first = replace(first, paths=replace(first.paths, study=first.study.with_spaces(wider)))
    return first.at_look(session.study.replicates)


def wider_spaces(session: Session, contenders: Sequence[str]) -> dict[str, Space]:
    """Return the space of learning rates, wider by a decade, of each contender that the space audit finds cut off.

    A space on a linear scale has no decades, and stays as it is.
    """
    import pandas as pd

    found, study = {}, session.study
    rows = {name: _trials(session, name) for name in contenders}
    trials = pd.DataFrame([{"contender": name, **row} for name, own in rows.items() for row in own or ()])
    audit = audit_spaces(study, trials, {}) if len(trials) else None
    for name in contenders:
        space = study.row(study.contender(name)).rates
        ends = audit.of(name).cut_off if audit else ()
        if space is not None and space.log and ends:
            low = space.low / DECADE if "low" in ends else space.low
            high = space.high * DECADE if "high" in ends else space.high
            found[name] = replace(space, low=low, high=high)
    return found


def widest(study: Study, spaces: Mapping[str, Space | Choices]) -> dict[str, Space | Choices]:
    """Return spaces that hold every trial of a study: Optuna takes no trial outside of the space that it is told."""
    most = DECADE**MOST_WIDENINGS
    return {
        name: replace(space, low=space.low / most, high=space.high * most)
        if study.tuning.widen and name == "learning_rate" and isinstance(space, Space) and space.log
        else space
        for name, space in spaces.items()
    }


def _trials(session: Session, contender: str) -> list[Mapping[str, object]] | None:
    """Return the rows of a contender's trials; None unless all its searches are finished."""
    rows = list[Mapping[str, object]]()
    for unit in units(session.study, [contender]):
        jobs = trial_jobs(session.study, contender, unit.replicates[0], session.fingerprints, session.entries)
        if selected_trial(session.study, jobs, session.entries) is None:
            return None
        rows += [tuning_row(job, session.entries[job.key]) for job in jobs]
    return rows
