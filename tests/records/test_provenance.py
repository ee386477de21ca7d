"""Where results come from."""

from __future__ import annotations

from dataclasses import replace

from optstudy.records.provenance import trained_by
from record_samples import entry, trials

OLD = {"training_version": 1, "python": "3.11.9", "device": "cpu"}
NEW = {"training_version": 1, "python": "3.13.1", "device": "cpu"}


def test_provenance_counts_trainings_by_machine_and_versions_the_most_frequent_first() -> None:
    entries = [replace(entry(job), facts=facts) for job, facts in zip(trials(), (OLD, NEW, OLD, OLD), strict=True)]
    expected = [{**OLD, "trainings": 3}, {**NEW, "trainings": 1}]
    assert trained_by(entries) == expected
    assert trained_by(entries[::-1]) == expected


def test_the_order_of_facts_in_an_entry_does_not_distinguish_machines() -> None:
    first, second, *_ = trials()
    reordered = dict(reversed(OLD.items()))
    entries = [replace(entry(first), facts=OLD), replace(entry(second), facts=reordered)]
    assert trained_by(entries) == [{**OLD, "trainings": 2}]


def test_provenance_of_no_training_is_empty() -> None:
    assert trained_by([]) == []
