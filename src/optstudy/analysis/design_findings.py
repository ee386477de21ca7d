"""Fairness findings about a study file, before anything is trained."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from optstudy.analysis.findings import Finding, finding_of, findings_by
from optstudy.inference.intervals import LEVEL
from optstudy.inference.sign_flips import smallest_p
from optstudy.metrics import counted, metric
from optstudy.study.claim import SWEPT
from optstudy.study.groups import split_name
from optstudy.study.study import Study

SCHEDULE_FREE = "Defazio et al. 2024, arXiv:2405.15682: an average of the weights replaces the schedule"
MIN_DECADES = 2.0  # of a search space for learning rates


@dataclass(frozen=True)
class Design:
    """A study file; `withdrawn` primary claims are no longer in it."""

    study: Study
    withdrawn: int


def design_findings(study: Study, withdrawn: int = 0) -> list[Finding]:
    """Return the findings about a study file, of which `withdrawn` primary claims are gone since the first training.

    A study file cannot express unequal trials or epochs, selection on test data or on the best epoch, or pruning: they
    need no check.
    """
    return findings_by(DESIGN_CHECKS, Design(study, withdrawn))


def smallest_p_line(study: Study) -> str:
    """Return the smallest corrected p that the design can reach, in words; empty without primary claims."""
    primary = _primary(study)
    least = smallest_p(study.replicates)
    return f"{counted(primary, 'primary claim')}: the smallest corrected p is {least:.2g}" if primary else ""


def _primary(study: Study) -> int:
    return sum(claim.primary for claim in study.claims)


def _searched(study: Study) -> dict[str, set[str]]:
    """Return the names of the hyperparameters that each contender searches, empty if nothing is tuned.

    Those of a group of parameters are named without their group.
    """
    searches = {one.name: study.row(one).search for one in study.optimizers if study.tuning.trials}
    return {name: {split_name(key)[1] for key in search} for name, search in searches.items()}


def _nothing_tuned(design: Design) -> Iterator[Finding]:
    if not design.study.tuning.trials:
        yield finding_of(1, "", "nothing is tuned: the comparison holds for these settings only")


def _fixed_rate(design: Design) -> Iterator[Finding]:
    searches = _searched(design.study)
    for name in [name for name, searched in searches.items() if "learning_rate" not in searched]:
        if not design.study.row(design.study.contender(name)).rate_free:
            yield finding_of(1, name, "its learning rate is fixed, but others search theirs: the budgets are unequal")
        elif any("learning_rate" in other for other in searches.values()):
            only = f"only {', '.join(sorted(searches[name]))}" if searches[name] else "nothing"
            words = f"is rate-free: with as many trials it searches {only}, and others also their learning rate"
            yield finding_of(2, name, f"{words}: the comparison is about the budget, not about equal spaces")


def _scheduled_although_schedule_free(design: Design) -> Iterator[Finding]:
    for contender in design.study.optimizers:
        schedule = (contender.schedule or design.study.schedule).function
        if design.study.row(contender).schedule_free and schedule != "constant":
            words = f"is schedule-free, but its rate follows the schedule {schedule}: write `schedule: constant` for it"
            yield Finding(2, contender.name, words, SCHEDULE_FREE)


def _unsearched_decay(design: Design) -> Iterator[Finding]:
    searches = _searched(design.study)
    for name, searched in searches.items():
        if "weight_decay" not in searched and any("weight_decay" in other for other in searches.values()):
            only = f"only {', '.join(sorted(searched))}" if searched else "nothing"
            yield finding_of(2, name, f"searches {only}, but others also search weight_decay")


def _narrow_space(design: Design) -> Iterator[Finding]:
    for contender in design.study.optimizers:
        space = design.study.row(contender).rates
        decades = math.log10(space.high / space.low) if space and space.log else 0.0
        if space and decades < MIN_DECADES - 1e-9:
            words = f"its learning-rate space {space.low:g} to {space.high:g} is truncated: {decades:.1f} decades"
            yield finding_of(1, contender.name, f"{words}, fewer than {MIN_DECADES:g}")


def _default_outside_space(design: Design) -> Iterator[Finding]:
    for contender in design.study.optimizers:
        row = design.study.row(contender)
        space, default = row.rates, row.defaults.get("learning_rate")
        if space and isinstance(default, int | float) and not space.low <= default <= space.high:
            words = f"its default learning rate {default:g} is outside its space {space.low:g} to {space.high:g}"
            yield finding_of(1, contender.name, words)


def _shared_space(design: Design) -> Iterator[Finding]:
    families: dict[tuple[float, float], set[str]] = defaultdict(set)
    for contender in design.study.optimizers:
        row = design.study.row(contender)
        if space := row.rates:
            family = row.optimizer.replace("AdamW", "Adam") + str(row.fixed.get("momentum", ""))
            families[space.low, space.high].add(family)
    if len(families) == 1 and any(len(sharing) > 1 for sharing in families.values()):
        yield finding_of(1, "", "all contenders share one space for learning rates: its choice decides the ranking")


def _coarse_sweep(design: Design) -> Iterator[Finding]:
    study = design.study
    margins = [claim.margin or metric(SWEPT).margin or 0.0 for claim in study.claims if claim.metric == SWEPT]
    if study.sweep is None or not margins:
        return
    for name in study.sweep.contenders:
        space = study.row(study.contender(name)).rates
        assert space is not None
        step = math.log10(space.high / space.low) / (study.sweep.points - 1)
        if step > min(margins) + 1e-9:
            words = f"the rates of its sweep are {step:.2g} decades apart, but a claim's margin is {min(margins):g}"
            yield finding_of(13, name, f"{words}: add points")


def _one_search(design: Design) -> Iterator[Finding]:
    if design.study.tuning.trials and design.study.tuning.once:
        yield finding_of(3, "", "one search serves all replicates: verdicts hold for these hyperparameters only")


def _no_defaults(design: Design) -> Iterator[Finding]:
    if design.study.tuning.trials and not design.study.untuned:
        yield finding_of(8, "", "the defaults are not trained for comparison: set `untuned: true`")


def _too_few_replicates(design: Design) -> Iterator[Finding]:
    replicates = design.study.replicates
    least = smallest_p(replicates, design.withdrawn)
    if _primary(design.study) and least > LEVEL:
        gone = f" and {counted(design.withdrawn, 'withdrawn claim')}" if design.withdrawn else ""
        words = f"{replicates} replicates{gone}: the smallest corrected p is {least:.2g}"
        yield finding_of(7, "", f"{words}, so no verdict but `equivalent` can be reached: add replicates")


DESIGN_CHECKS = (
    _nothing_tuned,
    _fixed_rate,
    _scheduled_although_schedule_free,
    _unsearched_decay,
    _narrow_space,
    _default_outside_space,
    _shared_space,
    _coarse_sweep,
    _one_search,
    _no_defaults,
    _too_few_replicates,
)
