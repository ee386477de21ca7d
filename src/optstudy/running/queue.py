"""The trainings of a study that are left, in groups for workers."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence

from optstudy.planning.fingerprints import Fingerprints
from optstudy.planning.jobs import Job, Unit, unit_jobs
from optstudy.planning.journal import Entry
from optstudy.planning.selection import Selections
from optstudy.spec import group_key
from optstudy.study.study import Study

MAX_GROUP = 16  # trainings in one stack: more gain nothing on a CPU, and a kill would lose more
MIN_GROUP = 4  # fewer take nearly as long


class JobQueue:
    """The jobs of some units that are not among `done`, the finished trainings by key.

    `selections` and `finals` are as in `unit_jobs`. `finished` counts the finished trainings of each contender.
    """

    def __init__(
        self,
        study: Study,
        units: Sequence[Unit],
        fingerprints: Fingerprints,
        done: Mapping[str, Entry],
        selections: Selections | None = None,
        finals: bool = True,
    ) -> None:
        self._study, self._fingerprints, self._done = study, fingerprints, done
        self._selections, self._finals = selections, finals
        self._units_of = defaultdict[str, list[Unit]](list)  # by key: contenders with equal specs share a training
        self._trials: dict[Unit, list[Job]] = {}
        self._searching = Counter[Unit]()  # number of a unit's known trials that have not ended
        self._stacks: dict[tuple[str, str], deque[Job]] = {}
        self._alone = deque[Job]()
        self.finished = Counter[str]()
        for unit in units:
            self.finished[unit.contender] += self._queue_known_jobs(unit)

    def take(self, workers: int) -> list[Job]:
        """Take the next group, empty if none is ready: jobs that stack, shared out to `workers`, or one job alone.

        The longest queue comes first: a short one may still grow, and a small stack takes nearly as long as a large
        one. How jobs are grouped changes no result.
        """
        queue = max(self._stacks.values(), key=len, default=self._alone) or self._alone
        share = -(-sum(map(len, self._stacks.values())) // workers)
        most = 1 if queue is self._alone else min(MAX_GROUP, max(MIN_GROUP, share))
        return [queue.popleft() for _ in range(min(most, len(queue)))]

    def ended(self, job: Job) -> list[str]:
        """Count a job that is now in `done`, and queue what its end makes known; return its contenders."""
        waiting = self._units_of[job.key]
        for unit in waiting:
            self.finished[unit.contender] += 1
            self._searching[unit] -= job.stage == "tuning"
            if job.stage == "tuning" and not self._searching[unit]:  # more jobs can become known only now
                self._queue_known_jobs(unit)
        return [unit.contender for unit in waiting]

    def _queue_known_jobs(self, unit: Unit) -> int:
        """Queue the jobs of a unit that have become known; return how many of its jobs are finished."""
        known = self._trials.get(unit, [])
        jobs = unit_jobs(self._study, unit, self._fingerprints, self._done, self._selections, self._finals, known)
        self._trials[unit] = [job for job in jobs if job.stage == "tuning"]
        for job in jobs:
            if job.key not in self._done and unit not in self._units_of[job.key]:
                if not self._units_of[job.key]:
                    self._add(job)
                self._units_of[job.key].append(unit)
                self._searching[unit] += job.stage == "tuning"
        return sum(job.key in self._done for job in jobs)

    def _add(self, job: Job) -> None:
        """Queue a job. Trials that stack come first, so that what they select is trained with what is left."""
        if not job.spec.stacked:
            self._alone.append(job)
            return
        queue = self._stacks.setdefault((job.contender, group_key(job.spec)), deque())
        if job.stage == "tuning":
            queue.appendleft(job)
        else:
            queue.append(job)
