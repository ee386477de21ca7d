"""The tables of a study's page: means of contenders, and what their trainings cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from optstudy.analysis.study_results import StudyResults, spaces_of
from optstudy.metrics import decimals_of, metric, number, unit_of_level, value_of
from optstudy.reporting import summary
from optstudy.reporting.captions import counted_up_to, diverged_score, goal_in_words, seconds_in_words, swept
from optstudy.reporting.page.origins import worded
from optstudy.reporting.style import displayed


@dataclass(frozen=True)
class Cell:
    """A cell: its words, and the number by which a browser sorts its column."""

    words: str
    value: float | None = None


def means_table(results: StudyResults, variant: str) -> tuple[str, list[str], list[dict[str, Any]]]:
    """Return a variant, the labels of its metrics, and a row for each contender."""
    rows = results.comparison[results.comparison["variant"] == variant]
    names = [name for name in results.metrics if rows[f"{name}_mean"].notna().any()]
    columns = [_column(rows, name) for name in names]
    cells = [
        {
            "contender": displayed(row["contender"]),
            "cells": [column[place] for column in columns],
            "hyperparameters": _hyperparameters(results, row["contender"], variant),
            "diverged": int(row["diverged"]),
            "n": int(row["n"]),
        }
        for place, row in enumerate(rows.to_dict("records"))
    ]
    return variant, [metric(name).label for name in names], cells


def _column(rows: pd.DataFrame, name: str) -> list[Cell]:
    """Return the cells of a metric, all with the same decimals."""
    decimals = decimals_of(name, ((rows[f"{name}_ci_high"] - rows[f"{name}_ci_low"]) / 2).tolist())
    return [_cell(row, name, decimals) for row in rows.to_dict("records")]


def _cell(row: Mapping[Any, Any], name: str, decimals: int) -> Cell:
    mean, low, high = (row[f"{name}_{which}"] for which in ("mean", "ci_low", "ci_high"))
    if pd.isna(mean):
        return Cell("–")
    if metric(name).goal and row["reached"] < row["n"]:
        return Cell(f"reached in {int(row['reached'])} of {int(row['n'])}", mean)
    low, high = (value_of(name, end, decimals).removesuffix(unit_of_level(name)) for end in (low, high))
    return Cell(f"{value_of(name, mean, decimals)} ({low} to {high})", mean)


def price_table(results: StudyResults) -> list[dict[str, str]]:
    """Return a row of the table of prices for each contender; what is not known is a dash."""
    rows = []
    for row in results.price.to_dict("records"):
        reached = results.values.get((row["contender"], results.variant), {}).get("reached", ())
        missed = f", reached in {int(sum(reached))} of {len(reached)}" if reached and not all(reached) else ""
        seconds = seconds_as_text(row["seconds_to_target"])
        buffers = row["state_bytes"] / row["parameter_bytes"]
        rows.append(
            {
                "contender": displayed(row["contender"]),
                "step": seconds_as_text(row["seconds_per_step"]),
                "gradients": f"{row['gradients_per_step']:.2g}",
                "target": f"{seconds}{missed}" if seconds != "–" else "–",
                "state": bytes_as_text(row["state_bytes"])
                + ("" if pd.isna(buffers) else f" ({buffers:.2g} × parameters)"),
                "peak": bytes_as_text(row["peak_bytes"]),
            }
        )
    return rows


def price_notes(results: StudyResults) -> list[str]:
    """Return what a reader of the table of prices needs to know."""
    seconds = seconds_in_words(results.price)
    sentences = (
        [f"Seconds are {seconds}."] if seconds else ["Seconds per step are not known: several machines trained."]
    )
    if counted_up_to(results) == "epochs_to_target":
        sentences.append(
            f"The target is {goal_in_words(results)}; a replicate that misses it counts with the whole budget."
        )
    sentences.append("State is what the optimizer keeps between steps; peak memory is known on a GPU only.")
    return sentences


def seconds_as_text(seconds: float) -> str:
    """Write seconds to two significant digits, short ones in milliseconds: 1.4 ms, 12 s; a dash if not known."""
    if pd.isna(seconds):
        return "–"
    return f"{number(1000 * seconds, 0)} ms" if seconds < 0.1 else f"{number(seconds, 0)} s"


def bytes_as_text(count: float) -> str:
    """Write a number of bytes to two or three digits: 5.2 kB, 137 MB; a dash if it is not known."""
    if pd.isna(count):
        return "–"
    size = max(0, min(3, int(math.log10(count) // 3))) if count else 0
    scaled = count / 1000**size
    return f"{scaled:.{0 if scaled >= 100 or not size else 1}f} {('bytes', 'kB', 'MB', 'GB')[size]}"


def _hyperparameters(results: StudyResults, contender: str, variant: str) -> str:
    """Return the defaults, or the range of the selected values over the replicates."""
    facts = results.study["contenders"][contender]
    if variant == "untuned":
        values = facts["defaults"].items()
        return ", ".join(f"{worded(name)} {summary.value_in_words(value)}" for name, value in values)
    own = results.selected[results.selected["contender"] == contender]
    spaces = spaces_of(results.study, contender).items()
    return ", ".join(f"{worded(name)} {summary.selected_in_words(own[name], space, ' to ')}" for name, space in spaces)


def notes(results: StudyResults) -> list[str]:
    """Return what a reader of the table of optimizers needs to know."""
    sentences = [f"Diverged trainings are scored at {diverged_score(results)}."]
    if "reached" in results.comparison:
        sentences.append(
            f"Time to {goal_in_words(results)} is restricted to the budget; if a replicate missed it, the number that "
            "reached it is given."
        )
    if "learning_rate_tolerance" in results.metrics:
        sentences.append(f"Learning-rate tolerance: {swept(results)}.")
    if "sign_changes" in results.metrics:
        sentences.append("Sign changes are counted over all steps, also after reaching the tolerance.")
    return sentences
