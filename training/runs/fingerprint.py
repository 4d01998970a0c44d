"""What a training run was started with: settings, and checksums of what it reads.

A state fits only the run that it was saved by. Resuming it with another base, encoder or data set
would give weights that look trained and are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from ...storage import tensor_checksum

BATCH, PROCESSES = "batch", "processes"
"""Settings of a run on a data set: images in a batch, and how many processes share a step's."""
_HOLDERS = ("source", "encoder")
"""Children of the trainers on photographs: their networks are named, as they are to a user."""
_SHOWN = 60


@dataclass(frozen=True)
class Fingerprint:
    """Settings by name, and checksums of weights and data by name."""

    settings: Mapping[str, str] = field(default_factory=dict)
    checksums: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, task: nn.Module, settings: Mapping[str, object], checksums: Mapping[str, str]
    ) -> Fingerprint:
        """That of a task: its frozen networks are added to the checksums."""
        named = {name: str(value) for name, value in settings.items()}
        return cls(named, {**frozen_checksums(task), **checksums})

    def differences(self, other: Fingerprint) -> list[str]:
        """What this run has instead of what ``other`` had, in words; empty if all is the same.

        The images of a step may be shared by another number of processes, in other batches.
        """
        names = _names(self.settings, other.settings)
        if BATCH in self.settings and PROCESSES in names:
            names = [name for name in names if name not in (BATCH, PROCESSES)]
        found = [
            f"{name} {_shown(self.settings, name)} instead of {_shown(other.settings, name)}"
            for name in names
        ]
        changed = _names(self.checksums, other.checksums)
        if changed:
            found.append(f"other contents of {', '.join(changed)}")
        return found


def frozen_checksums(task: nn.Module) -> dict[str, str]:
    """A checksum for each network of a task that training does not change."""
    return {
        name.replace("_", " "): tensor_checksum(tensors)
        for name, network in _networks(task)
        if (tensors := _frozen(network))
    }


def _networks(task: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The direct children by name, and the children of what only holds networks."""
    for name, child in task.named_children():
        if name in _HOLDERS and next(child.parameters(recurse=False), None) is None:
            yield from _networks(child)
        else:
            yield name, child


def _frozen(module: nn.Module) -> dict[str, Tensor]:
    parameters = dict(module.named_parameters())
    if any(parameter.requires_grad for parameter in parameters.values()):
        return {n: p for n, p in parameters.items() if not p.requires_grad}
    return {**parameters, **dict(module.named_buffers())} if parameters else {}


def _names(ours: Mapping[str, str], theirs: Mapping[str, str]) -> list[str]:
    return [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]


def _shown(settings: Mapping[str, str], name: str) -> str:
    value = settings.get(name, "none") or "none"
    return value if len(value) <= _SHOWN else f"{value[:_SHOWN]}..."
