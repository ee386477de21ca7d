"""The robustness card and the tuning curves in words and numbers for the page."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from optstudy.analysis.budgets import leads_by_budget, leads_in_words, tested_by
from optstudy.analysis.leaders import leader
from optstudy.analysis.study_results import StudyResults
from optstudy.metrics import amount, counted, metric
from optstudy.reporting.style import displayed, with_display_names


@dataclass(frozen=True)
class CardRow:
    """A row of the card, written for people.

    Attributes:
        what: Who leads, or the claim's statement.
        ahead: Share of redraws of the study's own way that are ahead; of the leader, that its group leads.
        same_sign: Share whose effect has the sign of the study's; empty for the leader.
        same_verdict: Share with the verdict of the study's t interval; empty for the leader.
        others: The smallest and largest share ahead over the other ways.
        weakest: The way with the smallest.
    """

    what: str
    ahead: str
    same_sign: str
    same_verdict: str
    others: str
    weakest: str


@dataclass(frozen=True)
class TuningRow:
    """What tuning does for a contender: its tunability, and two columns for each number of trials that is shown.

    `gains` are over its defaults, `ahead` are the probabilities that one search is ahead of one of the leader's.
    """

    contender: str
    tunability: str
    gains: tuple[str, ...]
    ahead: tuple[str, ...]


def card_rows(results: StudyResults) -> list[CardRow]:
    """Return the rows of the card, the leader's first; none if the study has no card."""
    card = results.card
    own = card[(card["kind"] == "winner") & (card["subject"] == leading(results))]
    group = with_display_names(str(own["group"].iloc[0]), results.contenders) if len(own) else ""
    rows = [_row(f"{group} leads", own, "same_winner")] if len(own) else []
    for claim in results.claims:
        own = card[(card["kind"] == "claim") & (card["subject"] == claim["id"])]
        rows += [_row(claim["statement"], own, "ahead")] if len(own) else []
    return rows


def _row(what: str, rows: pd.DataFrame, share: str) -> CardRow:
    [own] = rows[rows["baseline"]].to_dict("records")
    others = rows[~rows["baseline"]]
    weakest = others.sort_values(share, kind="stable").iloc[0]
    return CardRow(
        what,
        _percent(own[share]),
        _percent(own["same_sign"]) if share == "ahead" else "",
        _percent(own["same_verdict"]),
        f"{_percent(others[share].min())} to {_percent(others[share].max())}",
        _way(weakest),
    )


def _percent(share: float | None) -> str:
    return "" if pd.isna(share) else f"{share:.0%}"


def _way(row: pd.Series) -> str:
    """Return a specification in words."""
    if not pd.isna(row["left_out"]):
        return f"without replicate {int(row['left_out'])}"
    rule = metric(row["rule"]).label
    space = "whole space" if row["space"] == "whole" else row["space"]
    return f"{counted(int(row['trials']), 'trial')}, {space}, by {rule}"


def other_ways(results: StudyResults) -> int:
    """Return the number of specifications besides the study's own."""
    names = ["trials", "space", "rule", "left_out"]
    return max(0, len(results.card.drop_duplicates(names)) - 1)


def budget_words(results: StudyResults) -> str:
    """Return who leads with how many trials; empty without tuning curves."""
    return leads_in_words(leads_by_budget(results.tuning_curves, _tested(results), results.groups))


def budget_columns(results: StudyResults) -> list[int]:
    """Return the numbers of trials whose gains the page shows: one, and the study's own."""
    own = results.study["trials"]
    shown = set(results.tuning_curves["trials"]) & {1, own}
    return sorted(int(k) for k in shown)


def tuning_rows(results: StudyResults) -> list[TuningRow]:
    """Return what tuning does for each contender; none without tuning curves."""
    name, rows = _tested(results), []
    column = f"ahead_of_{leading(results)}"
    for contender, own in results.tuning_curves.groupby("contender", sort=False):
        by_trials = own.set_index("trials")
        gains = [by_trials.loc[k, "gain"] for k in budget_columns(results)]
        tuned = own["tunability"].iloc[0]
        words = tuple("–" if pd.isna(gain) else _gain(name, gain) for gain in gains)
        shares = [by_trials[column].get(k) if column in by_trials else None for k in budget_columns(results)]
        ahead = tuple(_percent(share) or "–" for share in shares)
        rows.append(TuningRow(displayed(str(contender)), "–" if pd.isna(tuned) else f"{tuned:.2f}", words, ahead))
    return rows


def leading(results: StudyResults) -> str:
    """Return the contender with the best mean; empty if there are fewer than two."""
    first = next((leader(results, name, results.variant) for name in results.metrics), None)
    return first.contender if first is not None else ""


def _gain(name: str, gain: float) -> str:
    text = amount(name, float(f"{gain:.2g}"))
    return text.replace("-", "−") if gain < 0 else f"+{text}"


def _tested(results: StudyResults) -> str:
    return tested_by(results.objective, list(results.tuning.columns))
