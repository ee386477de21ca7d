"""What a study's names stand for on this machine, as digests, and the keys of its trainings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from optstudy.catalogue import EXTRA_PACKAGES, OPTIMIZERS, optimizer_path
from optstudy.environment import device_kind, torch_minor
from optstudy.keys import TRAINING_VERSION, canonical, content_key, digest, training_key
from optstudy.planning.journal import Entry
from optstudy.spec import RunSpec, spec_fields
from optstudy.tasks.datasets import split_digest
from optstudy.tasks.kinds import task_of
from optstudy.user_code import user_code_digest


@dataclass(frozen=True)
class Decision:
    """Why a contender's trainings run one by one, empty if they are stacked; `key` hashes what it rests on."""

    key: str
    not_stacked_because: str


@dataclass(frozen=True)
class Fingerprints:
    """Digests of what a study's names stand for.

    Attributes:
        data: Digest of the data set.
        weights: Digest of the pretrained weights, or the key of the pretraining; empty if there are none.
        stacking: Per contender, whether its trainings are stacked; nothing is stacked if it is empty.
        recorded: Keys of finished trainings that are used in place of current ones: by content key if `report_only`,
            else by the current key.
        report_only: Nothing will be trained, so trainings that are not `recorded` need no key.
    """

    data: str
    weights: str = ""
    stacking: Mapping[str, Decision] = field(default_factory=dict)
    recorded: Mapping[str, str] = field(default_factory=dict)
    report_only: bool = False

    def stacked(self, contender: str) -> bool:
        """Return whether a contender's trainings are stacked."""
        return contender in self.stacking and not self.stacking[contender].not_stacked_because

    def key(self, spec: RunSpec) -> str:
        """Return the key of a training."""
        if self.report_only:
            content = content_key(spec_fields(spec), self.data)
            return self.recorded.get(content, content)
        key = current_key(spec_fields(spec), self.digests(spec))
        return self.recorded.get(key, key)

    def digests(self, spec: RunSpec) -> dict[str, str]:
        """Return the digests that the journal keeps beside a training's spec, by name."""
        split = split_digest(spec.data, spec.split_seed)
        return {"data": self.data, "split": split, "user_code": code_digest(spec_fields(spec))}


def code_digest(spec: Mapping[str, Any]) -> str:
    """Return the digest of the user's classes and functions that a training needs; empty if there are none.

    A row whose class is not torch's counts as well, by the version of its package: another one may compute other
    numbers. Data are left out: their values have a digest of their own.
    """
    groups = (group.get("optimizer", "") for group in spec.get("groups", ()))
    paths = (spec["optimizer"], spec["model"]["class"] or "", spec["schedule"]["name"], *groups)
    digests = [user_code_digest(path) for path in paths if "." in path]
    digests += _package_version(spec["optimizer"])
    return digest(canonical(digests)) if any(digests) else ""


def _package_version(optimizer: str) -> list[str]:
    """Return the package and version of a row of the table; nothing for torch's rows, and for classes."""
    package = EXTRA_PACKAGES.get(optimizer_path(optimizer).partition(".")[0]) if optimizer in OPTIMIZERS else None
    return [f"{package} {version(package)}"] if package else []


def device_of(kind: str) -> str:
    """Return the kind of device that data of this kind are trained on here: "cpu" or "cuda"."""
    return task_of(kind).device or device_kind()


def current_key(spec: Mapping[str, Any], digests: Mapping[str, str], training_version: int | None = None) -> str:
    """Return the key that a training with these digests has here and now, or had here with another training version."""
    return training_key(
        spec,
        data=digests["data"],
        split=digests["split"],
        user_code=digests["user_code"],
        training_version=TRAINING_VERSION if training_version is None else training_version,
        torch=torch_minor(),
        device=device_of(spec["data"]["kind"]),
    )


def recorded_keys(entries: Mapping[str, Entry]) -> dict[str, str]:
    """Return the keys of all entries by their content key; of several with one content, the current or else the last.

    So a report finds its trainings by spec and data alone, independent of the version and machine that trained them.
    """
    keys: dict[str, str] = {}
    for key, entry in sorted(entries.items(), key=lambda item: (_is_current(item[1]), item[1].ended_ms)):
        keys[content_key(entry.spec, entry.digests["data"])] = key
    return keys


def accepted_keys(entries: Mapping[str, Entry], training_version: int) -> dict[str, str]:
    """Return the keys of entries that differ from current trainings in their training version alone, by current key."""
    keys: dict[str, str] = {}
    for key, entry in entries.items():
        current = current_key(entry.spec, entry.digests)
        if current not in entries and key == current_key(entry.spec, entry.digests, training_version):
            keys[current] = key
    return keys


def _is_current(entry: Entry) -> bool:
    return entry.key == current_key(entry.spec, entry.digests)
