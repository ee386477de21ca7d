"""Says which trainings of a study its journal has, and why others are new: how they differ from the finished ones."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from optstudy.environment import torch_minor
from optstudy.keys import TRAINING_VERSION, canonical
from optstudy.planning.fingerprints import Fingerprints, device_of
from optstudy.planning.jobs import Job, changes, jobs_in, named_jobs
from optstudy.planning.journal import Entry
from optstudy.spec import spec_fields
from optstudy.study.study import Study

MOST_SHOWN = 3  # differences
WITHIN = ("seed", "split_seed", "hyperparameters")  # fields of the spec in which trainings of one contender differ


def journal_lines(study: Study, fingerprints: Fingerprints, entries: Mapping[str, Entry]) -> list[str]:
    """Return how many of a study's trainings are in the journal, and a line for each contender with new ones."""
    jobs = {one.name: named_jobs(study, [one.name], fingerprints, entries) for one in study.optimizers}
    used = {job.key for known in jobs.values() for job in known}
    unused = [entry for key, entry in entries.items() if key not in used]  # the study has changed since them
    lines, total, left = list[str](), 0, 0
    for name, known in jobs.items():
        of, new = jobs_in(study, name), [job for job in known if job.key not in entries]
        count = of - len(known) + len(new)  # some become known when a search has ended
        if count:
            reason = _why_new(new, fingerprints, unused) or "not trained yet"
            lines.append(f"{name}: {count} of {of} trainings are new: {reason}")
        total, left = total + of, left + count
    return [f"{total - left} of {total} trainings are in the journal, {left or 'none'} to train", *lines]


def _why_new(new: Sequence[Job], fingerprints: Fingerprints, unused: Sequence[Entry]) -> str:
    """Return how a contender's new trainings differ from the most similar ones; empty if there are none like them."""
    before = defaultdict[str, list[Entry]](list)
    for entry in unused:
        if entry.spec["optimizer"] == new[0].spec.optimizer:
            before[canonical(_shared(entry.spec, entry.digests, entry.facts))].append(entry)
    spec, digests = json.loads(canonical(spec_fields(new[0].spec))), fingerprints.digests(new[0].spec)
    facts = {"training_version": TRAINING_VERSION, "torch": torch_minor(), "device": device_of(spec["data"]["kind"])}
    now = _shared(spec, digests, facts)
    if before and canonical(now) not in before:
        differences = min((changes(json.loads(shared), now) for shared in before), key=len)
        more = f", and {len(differences) - MOST_SHOWN} more" if len(differences) > MOST_SHOWN else ""
        return ", ".join(differences[:MOST_SHOWN]) + more
    values = defaultdict[tuple[int, int], list[Mapping[str, Any]]](list)
    for entry in before[canonical(now)]:
        values[entry.spec["seed"], entry.spec["split_seed"]].append(entry.spec["hyperparameters"])
    reasons = [_other_values(job, values[job.spec.seed, job.spec.split_seed]) for job in new]
    return "; ".join(dict.fromkeys(filter(None, reasons)))


def _other_values(job: Job, before: Sequence[Mapping[str, Any]]) -> str:
    """Return which hyperparameters have other values than those `before` at the same place of the study, and why."""
    if not before:
        return ""
    now = json.loads(canonical(job.spec.hyperparameters))  # as a journal has it: lists for tuples
    names = min(([n for n in {**old, **now} if old.get(n) != now.get(n)] for old in before), key=len)
    if not names:
        return "the split changed, as another scikit-learn draws it"
    what = "defaults" if job.variant in ("untuned", "sweep") else "search space or sampler"
    return f"its {what} changed (other values of {', '.join(names)})"


def _shared(spec: Mapping[str, Any], digests: Mapping[str, str], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the keys of a contender's trainings are made from, as far as all of them share it."""
    own = {"data_digest": digests["data"], "user_code": digests["user_code"]}
    versions = {"training_version": facts["training_version"], "device": facts["device"]}
    torch = ".".join(str(facts["torch"]).split(".")[:2])
    return {name: value for name, value in spec.items() if name not in WITHIN} | own | versions | {"torch": torch}
