"""The designs under which a project trained on the same data with the same seed: the first is registered.

Whoever changes a design after results on the same splits and seeds may have been led by them, also under another name
of the study (Simmons et al. 2011, doi:10.1177/0956797611417632; Nosek et al. 2018, doi:10.1073/pnas.1708274114).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from optstudy.keys import canonical
from optstudy.planning.fingerprints import Fingerprints
from optstudy.planning.jobs import changes
from optstudy.planning.journal import Entry, Stated, journal_folder
from optstudy.spec import fields_of
from optstudy.study.study import Study
from optstudy.tasks.kinds import task_of


@dataclass(frozen=True)
class Design:
    """What a study file stated when a training ended: `study` is its name, `started_ms` when that training started."""

    study: str
    started_ms: int
    stated: Stated


@dataclass(frozen=True)
class History:
    """The designs on the same data and seed.

    Attributes:
        designs: In the order of their first trainings.
        number: Which of them is the study's own, from 1.
        registered: What the first of them stated.
        changed: A line for each setting in which the study's own differs from it: if there is one, no claim is
            confirmatory.
    """

    designs: tuple[Design, ...]
    number: int
    registered: Stated
    changed: tuple[str, ...]

    @property
    def confirmed(self) -> Stated:
        """Return what was registered of the claims that can be confirmed: nothing if settings have changed."""
        return Stated(replicates=self.registered.replicates) if self.changed else self.registered


# Keys of a study file that only add to what is compared, or that change no number.
NO_DESIGN = {"name", "question", "seed", "untuned", "sweep", "target", "timeout", "stack", "claims"}


def settings_of(study: Study) -> dict[str, Any]:
    """Return what a study file states about how it compares: all its keys but `NO_DESIGN`.

    Its claims are stated beside them (see `Stated`). A key that is left out and one with its default value are the
    same, so that a new key of a later version changes no design.
    """
    contenders = {}
    for contender in study.optimizers:
        row = contender.row()  # as the file states it: what `tuning.widen` announced is no change
        own = contender.model_dump(mode="json", exclude_defaults=True, exclude={"name", "like", "class_path"})
        if contender.schedule is not None:
            own["schedule"] = contender.schedule.resolved()
        spaces = {name: fields_of(space) for name, space in row.search.items()} if study.tuning.trials else {}
        shown = {"optimizer": row.optimizer, "defaults": row.defaults, "fixed": row.fixed, "search": spaces}
        contenders[contender.name] = {**own, **shown}
    settings = {
        **study.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={*NO_DESIGN, "optimizers"}),
        "data": study.data.resolved(),
        "model": {**study.model.resolved(), "pretrained": study.model.pretrained},
        "batch_size": study.batch_size,
        "schedule": study.schedule.resolved(),
        "replicates": study.replicates_as_stated,
        "tuning": {
            "trials": study.tuning.trials,
            "sampler": study.tuning.sampler,
            **study.tuning.model_dump(exclude_defaults=True),
            "objective": study.objective,
        },
        "contenders": contenders,
    }
    return dict(json.loads(json.dumps(settings)))  # as it will be read from a journal


def changed_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return `key: old -> new` for every setting that differs; a contender that only one design has changes no other's.

    Claims about such a contender differ, too, so that nothing is gained by a new name.
    """
    both = before["contenders"].keys() & now["contenders"].keys()
    old, new = (
        {**design, "contenders": {name: own for name, own in design["contenders"].items() if name in both}}
        for design in (before, now)
    )
    return changes(old, new)


def history_of(
    study: Study, stated: Stated, fingerprints: Fingerprints, entries: Mapping[str, Entry], mlruns: Path
) -> History:
    """Return the history of a study's design: `stated` is what its file states now, `entries` is its journal.

    Trainings from before designs were recorded count in the study's own journal alone, with the claims that they state.
    """
    now = replace(stated, seed=study.seed, design=settings_of(study))
    first = next(iter(entries.values()), None)
    if first is not None and first.claims.seed is None:
        return History((Design(study.name, first.started_ms, now),), 1, first.claims, ())
    place = _place(fingerprints.data, study.data.resolved())
    recorded = [
        Design(study.name, entry.started_ms, entry.claims)
        for entry in entries.values()
        if _is_recorded(entry.claims, study.seed) and _place(entry.digests["data"], entry.spec["data"]) == place
    ]
    for path in sorted(journal_folder(mlruns).glob("*.jsonl")):
        if path.stem != study.name:
            recorded += _recorded_by_others(path, fingerprints.data, place, study.seed)
    recorded.sort(key=lambda design: design.started_ms)
    distinct = dict[str, Design]()
    for design in [*recorded, Design(study.name, 0, now)]:
        distinct.setdefault(_identity(design.stated), design)
    designs = tuple(distinct.values())
    registered = designs[0].stated
    changed = changed_settings(registered.design, now.design)
    return History(designs, 1 + list(distinct).index(_identity(now)), registered, tuple(changed))


def _is_recorded(stated: Stated, seed: int) -> bool:
    return bool(stated.design) and stated.seed == seed


def _identity(stated: Stated) -> str:
    return canonical([dict(stated.design), sorted(stated.primary), sorted(stated.exploratory)])


def _place(digest: str, data: Mapping[str, Any]) -> tuple[str, str]:
    """Return what tells data apart: their digest, and the name of an analytic function, which has no values."""
    return digest, "" if task_of(data["kind"]).examples else str(data["name"])


def _recorded_by_others(path: Path, digest: str, place: tuple[str, str], seed: int) -> Iterator[Design]:
    """Yield the designs in the journal of another study; a line that cannot be read is that study's own problem."""
    for line in path.read_bytes().split(b"\n"):
        if b'"design": {"' not in line or digest.encode() not in line:
            continue
        try:
            record = json.loads(line)
            stated = Stated(**{name: _frozen(value) for name, value in record["claims"].items()})
            here = _place(record["digests"]["data"], record["spec"]["data"])
            design = Design(path.stem, int(record["started_ms"]), stated)
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        if here == place and _is_recorded(stated, seed):
            yield design


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
