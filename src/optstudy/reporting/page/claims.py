"""The claims of a study's page, with their numbers written for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from optstudy.analysis.verdicts import worded_effect, worded_verdict
from optstudy.inference.looks import level_of
from optstudy.inference.power import MOST_REPLICATES
from optstudy.metrics import amount, difference, metric, probability, span
from optstudy.reporting.page.miniature import miniature
from optstudy.reporting.style import with_display_names


def looks(study: Mapping[str, Any]) -> str:
    """Return when a study with looks could have stopped, in words; empty for any other study."""
    looks = study.get("looks", [])
    if len(looks) < 2:
        return ""
    *before, last = map(str, looks)
    level = level_of(len(looks))
    return f"it stops after {', '.join(before)} or {last}, when its primary claims are decided; each look at {level:g}"


def family(claims: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return the number of claims that p is corrected over, and how many of them are no longer in the study."""
    tests = max((claim["tests"] for claim in claims), default=0)
    return {"tests": tests, "withdrawn": tests - sum(claim["p_corrected"] is not None for claim in claims)}


def claim_row(claim: Mapping[str, Any], contenders: Iterable[str] = (), said: str = "") -> dict[str, Any]:
    """Return a claim with its numbers written for people; a page says the qualifier `said` elsewhere, once."""
    name, contenders = claim["metric"], list(contenders)
    worded = worded_verdict({**claim, "qualifier": ""} if said and claim["qualifier"] == said else claim)
    effect = worded_effect(claim)
    two_way = claim["two_way_low"] is not None
    return {
        **claim,
        "label": metric(name).label,
        "contrast": with_display_names(claim["contrast"], contenders),
        "effect": effect,
        "margin": amount(name, claim["margin"]),
        "worded": worded,
        "limits": worded.removeprefix(claim["verdict"]),
        "style": claim["verdict"].replace(" ", "-"),
        "pairs": [with_display_names(words, contenders) for words in _pairs(claim)],
        "power": _power(claim),
        "p": probability(claim["p"]),
        "p_corrected": probability(claim["p_corrected"]),
        "two_way": difference(name, claim["effect"], claim["two_way_low"], claim["two_way_high"]) if two_way else "",
        "miniature": miniature(
            claim["effect"],
            claim["ci_low"],
            claim["ci_high"],
            claim["margin"],
            f"{metric(name).label}: {effect}; margin {amount(name, claim['margin'])}",
        ),
        "wins": span(claim["probability"], claim["probability_low"], claim["probability_high"]),
    }


def common_qualifier(claims: Sequence[Mapping[str, Any]]) -> str:
    """Return the qualifier that all claims share, such as the weights that they started from; else nothing."""
    qualifiers = {str(claim["qualifier"]) for claim in claims}
    return qualifiers.pop() if len(qualifiers) == 1 else ""


def _pairs(claim: Mapping[str, Any]) -> list[str]:
    """Return the contrasts of a claim about each of several rivals, in words; none of a single one."""
    return [_pair(claim, pair) for pair in claim["pairs"]] if len(claim["pairs"]) > 1 else []


def _pair(claim: Mapping[str, Any], pair: Mapping[str, Any]) -> str:
    """Return one contrast of a claim about each of several rivals, in words."""
    effect = worded_effect({**pair, "metric": claim["metric"]})
    verdict = (pair["reason"] and f"not tested: {pair['reason']}") or pair["missed"] or pair["level"] or ""
    return ", ".join(words for words in (f"{pair['contrast']}: {effect}", verdict) if words)


def _power(claim: Mapping[str, Any]) -> str:
    """Return how many replicates an inconclusive claim needs, in words; empty for other claims."""
    needed = claim["replicates_needed"]
    if not needed:
        return ""
    low, high = claim["replicates_needed_low"], claim["replicates_needed_high"]
    replicates = f"{_many(needed)} replicates ({_many(low)} to {_many(high)}, as the spread is only estimated)"
    return f"80% power for a true difference of {amount(claim['metric'], 2 * claim['margin'])}: {replicates}"


def _many(replicates: int) -> str:
    return "10,000 or more" if replicates >= MOST_REPLICATES else str(replicates)
