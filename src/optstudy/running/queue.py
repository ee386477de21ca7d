"""The trainings of a study that are left, in the groups in which workers take them."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence

from optstudy.planning.fingerprints import Fingerprints
from optstudy.planning.jobs import Job, Unit, unit_jobs
from optstudy.planning.journal import Entry
from optstudy.planning.selection import Selections
from optstudy.spec import group_key
from optstudy.study.study import Study

GROUP = 16  # trainings handed to a worker as one stack: with more, a kill costs more, and a CPU gains no more
FEW = 4  # no fewer, where there are as many: they would take nearly as long


class JobQueue:
    """What `done`, the finished trainings by key, lacks of the units' jobs, as far as these can be named.

    `selections` and `finals` as in `unit_jobs`. `finished` counts trainings by contender, those of `done` included.
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
        self._study, self._content, self._done = study, fingerprints, done
        self._selections, self._finals = selections, finals
        self._units_of = defaultdict[str, list[Unit]](list)  # contenders that do the same share a training
        self._trials: dict[Unit, list[Job]] = {}
        self._searching = Counter[Unit]()  # the number of a unit's named trials that have not ended
        self._stacks: dict[tuple[str, str], deque[Job]] = {}
        self._alone = deque[Job]()
        self.finished = Counter[str]()
        for unit in units:
            self.finished[unit.contender] += self._name_jobs(unit)

    def take(self, workers: int) -> list[Job]:
        """Take the next group, empty where none is ready: of the jobs that stack, shared out to `workers`, or one.

        The longest queue comes first: a short one may grow yet, and a stack of few takes nearly as long as one of many.
        How jobs are grouped changes no result.
        """
        queue = max(self._stacks.values(), key=len, default=self._alone) or self._alone
        share = -(-sum(map(len, self._stacks.values())) // workers)
        most = 1 if queue is self._alone else min(GROUP, max(FEW, share))
        return [queue.popleft() for _ in range(min(most, len(queue)))]

    def ended(self, job: Job) -> list[str]:
        """Count a job that is now in `done`, and make ready what its end makes known; return whose it was."""
        waiting = self._units_of[job.key]
        for unit in waiting:
            self.finished[unit.contender] += 1
            self._searching[unit] -= job.stage == "tuning"
            if job.stage == "tuning" and not self._searching[unit]:  # now more can be known, and not before
                self._name_jobs(unit)
        return [unit.contender for unit in waiting]

    def _name_jobs(self, unit: Unit) -> int:
        """Make ready what can now be named of a unit and has not been; return how many of its jobs are finished."""
        known = self._trials.get(unit, [])
        jobs = unit_jobs(self._study, unit, self._content, self._done, self._selections, self._finals, known)
        self._trials[unit] = [job for job in jobs if job.stage == "tuning"]
        for job in jobs:
            if job.key not in self._done and unit not in self._units_of[job.key]:
                if not self._units_of[job.key]:
                    self._add(job)
                self._units_of[job.key].append(unit)
                self._searching[unit] += job.stage == "tuning"
        return sum(job.key in self._done for job in jobs)

    def _add(self, job: Job) -> None:
        """Put trials that stack first: what they select is then trained along with what is left."""
        if not job.spec.stacked:
            self._alone.append(job)
            return
        queue = self._stacks.setdefault((job.contender, group_key(job.spec)), deque())
        if job.stage == "tuning":
            queue.appendleft(job)
        else:
            queue.append(job)
