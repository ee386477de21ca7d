"""A study that a command has opened: held against other processes, with its journal and the digests of its names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from optstudy.analysis.evaluate_claims import stated
from optstudy.errors import StudyError
from optstudy.planning import journal
from optstudy.planning.designs import History, history_of
from optstudy.planning.fingerprints import Fingerprints
from optstudy.planning.journal import Entry
from optstudy.planning.layout import StudyPaths, remove_leftovers
from optstudy.planning.preflight import fingerprints_of, recorded_fingerprints
from optstudy.records.databases import check_stores
from optstudy.study.study import Study

Say = Callable[[str], None]


@dataclass
class Session:
    """An open study. `entries` are its finished trainings by key; the training loop adds to them."""

    paths: StudyPaths
    fingerprints: Fingerprints
    entries: dict[str, Entry] = field(default_factory=dict)

    @property
    def study(self) -> Study:
        """Return the study."""
        return self.paths.study

    def at_look(self, replicates: int) -> Session:
        """Return the session of the study with so many replicates; both have the same entries."""
        return replace(self, paths=replace(self.paths, study=self.study.at_look(replicates)))

    def history(self) -> History:
        """Return the designs with which this project trained on the study's data and seed."""
        return history_of(self.study, stated(self.study), self.fingerprints, self.entries, self.paths.mlruns)


@contextmanager
def open_session(
    paths: StudyPaths,
    *,
    report_only: bool = False,
    accept: int | None = None,
    check: Callable[[Session], None] = lambda _: None,
) -> Iterator[Session]:
    """Open a study for one command, and hold it while the body runs.

    With `report_only` nothing will be trained: any finished training with the right spec and data counts, whatever
    version or machine trained it. With `accept`, those of that training version count. `check` is called before
    anything is written, and so are all checks that raise StudyError (its subclass DataError included). Raises StudyHeld
    if another process holds the study.
    """
    size = _size(paths)
    session = read_session(paths, report_only=report_only, accept=accept)
    check(session)
    with journal.hold(paths.journal):
        remove_leftovers(paths)
        if _size(paths) != size:  # another process wrote meanwhile, or left a torn line
            session.entries = journal.read_journal(paths.journal)
        yield session


def read_session(paths: StudyPaths, *, report_only: bool = False, accept: int | None = None) -> Session:
    """Return an open study that is not held: for commands that write nothing."""
    check_stores(paths.mlruns)
    entries = journal.read_journal(paths.journal)
    if report_only:
        return Session(paths, recorded_fingerprints(paths.study, entries), entries)
    if accept is not None:
        _check_accepted(paths, entries, accept)
    return Session(paths, fingerprints_of(paths.study, paths.mlruns, entries, accept), entries)


def _check_accepted(paths: StudyPaths, entries: dict[str, Entry], accept: int) -> None:
    """Raise StudyError if the journal has no training of the version that is to be accepted."""
    versions = sorted({int(entry.facts["training_version"]) for entry in entries.values()})
    if accept not in versions:
        known = ", ".join(map(str, versions)) or "none"
        raise StudyError(f"{paths.journal}: --accept-version: {accept}: must be a version in the journal: {known}")


def _size(paths: StudyPaths) -> int:
    return paths.journal.stat().st_size if paths.journal.exists() else 0
