"""Building a cache: every process computes its files, and those that are there are kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, default_collate
from tqdm import tqdm

from ...storage import make_folder, write_weights
from ..data.dataset import FEATURES, NAN, Sample
from ..runs.fingerprint import Fingerprint
from ..runs.memory import DTYPES, autocast
from ..runs.processes import in_all, local_processes, on_main, process_state
from ..runs.work_folder import locked
from .manifest import claim, digest_of
from .prepared import Prepared, PreparedPhotos
from .records import CachedRecords, ShardPlan
from .shard import ShardContent, is_written, made_from

if TYPE_CHECKING:
    from ..photos.encoding import PhotoEncoder
    from ..photos.photo_set import PhotoSet
    from ..settings.config import TrainerConfig

T = TypeVar("T")
_SETTINGS = ("size", "scheme", "precision", "variants", "flip", "buckets")


def build_cache(
    folder: Path,
    photos: PhotoSet,
    encoder: PhotoEncoder,
    config: TrainerConfig,
) -> CachedRecords:
    """The cache of a trainer's photographs, complete; what a killed run has left is kept.

    Several processes compute files each; on machines without a common folder each machine those
    that it lacks. Another run is refused as long as there is something to compute.

    Args:
        encoder: Its networks, frozen.

    Raises:
        InputError: The folder holds another cache, is filled by another run, or cannot be written
            to.
        ModelFileError: The manifest is damaged.
    """
    content, state = encoder.content, process_state()
    named: dict[str, object] = {"trainer": content.trainer, "map size": photos.data.map_size}
    named |= {name: getattr(config, name) for name in _SETTINGS}
    shaping = config.shaping
    named |= {name: shaping.get(name, "") for name in ("tokenizer", "encoder")}
    fingerprint = Fingerprint.of(encoder, named, {"data set": photos.data.checksum})
    plan = ShardPlan(folder, photos.data.groups())
    digest = digest_of(fingerprint)

    def begin() -> None:
        if state.is_local_main_process:
            make_folder(folder)
            claim(folder, fingerprint)

    work = _Builder(photos, encoder, config, plan, digest)

    def alone() -> None:
        if work.missing(0, 1) or work.lacks_empty():
            held.enter_context(locked(folder, "is filling this cache", "--cache"))

    with ExitStack() as held:
        on_main(alone)
        in_all(begin)
        in_all(lambda: work.build(state.process_index, state.num_processes))
        in_all(lambda: work.build(state.local_process_index, local_processes()))
    return CachedRecords(photos.data, plan, digest, content.texts, photos.data.defects)


@dataclass(frozen=True, eq=False)
class _Builder:
    photos: PhotoSet
    encoder: PhotoEncoder
    config: TrainerConfig
    plan: ShardPlan
    digest: str

    def missing(self, rank: int, processes: int) -> list[int]:
        """The numbers of the missing files that fall to one of several processes."""
        return [
            shard
            for shard in range(rank, len(self.plan.shards), processes)
            if not is_written(self.plan.path(shard), self.digest)
        ]

    def lacks_empty(self) -> bool:
        """Whether the file of the empty prompt is missing, and needed."""
        return self.encoder.content.texts and not is_written(self.plan.empty, self.digest)

    def build(self, rank: int, processes: int) -> None:
        """Compute the missing files that fall to one of several processes."""
        missing, empty = self.missing(rank, processes), rank == 0 and self.lacks_empty()
        if not missing and not empty:
            return
        self.encoder.to(torch.device(process_state().device or "cpu"))
        with torch.no_grad():
            if empty:
                about = made_from(self.plan.empty, self.digest)
                write_weights(self.plan.empty, {"context": self._contexts([""])}, about)
            self._shards(missing, show=rank == 0)
        self.encoder.to("cpu")  # the device is the trained networks' now

    def _shards(self, missing: Sequence[int], *, show: bool) -> None:
        records = [record for shard in missing for record in self.plan.shards[shard]]
        loader = DataLoader(
            PreparedPhotos(self.photos, self.config, self.encoder.recogniser is not None),
            sampler=records,
            batch_size=None,
            num_workers=self.config.workers,
        )
        prepared = iter(loader)
        with tqdm(total=len(records), desc="cache", unit="image", disable=not show) as bar:
            for shard in missing:
                found = list(islice(prepared, len(self.plan.shards[shard])))
                self._content(found).write(self.plan.path(shard), self.digest)
                bar.update(len(found))

    def _content(self, records: Sequence[Prepared]) -> ShardContent:
        samples = [sample for record in records for sample in record.variants]
        usable = [sample for sample in samples if sample is not None]
        numbers = iter(range(len(usable)))
        places = torch.tensor([-1 if each is None else next(numbers) for each in samples])
        rows = self._rows(usable)
        contexts: Tensor | None = None
        if self.encoder.content.texts and usable:
            texts = {text: i for i, text in enumerate(dict.fromkeys(s["caption"] for s in usable))}
            rows["text"] = torch.tensor([texts[sample["caption"]] for sample in usable])
            contexts = self._contexts(list(texts))
        return ShardContent(
            rows=rows,
            places=places.view(len(records), -1),
            features=self._features(records),
            contexts=contexts,
            keys=[record.key for record in records],
            captions=[record.caption for record in records],
            defects=[defect for record in records for defect in record.defects],
        )

    def _rows(self, samples: Sequence[Sample]) -> dict[str, Tensor]:
        content, found = self.encoder.content, dict[str, list[Tensor]]()
        for chunk in _chunks(samples, self.config.batch):
            batch = default_collate(list(chunk))
            with self._as_in_a_step():
                tensors = content.encode(self.encoder, batch)
            tensors |= {name: batch[name] for name in content.labels}
            for name, tensor in tensors.items():
                found.setdefault(name, []).append(tensor.cpu())
        return {name: torch.cat(parts) for name, parts in found.items()}

    def _features(self, records: Sequence[Prepared]) -> Tensor:
        """Identities [K, 512] of the whole images, NaN where there is none."""
        recogniser = self.encoder.recogniser
        features = torch.stack([record.feature for record in records])
        if recogniser is None:
            return features
        features = torch.full((len(records), FEATURES), NAN)
        faces = {i: r.face for i, r in enumerate(records) if r.face is not None}
        for chunk in _chunks(list(faces), self.config.batch):
            crops = torch.stack([faces[i] for i in chunk]).to(self.encoder.device)
            with self._as_in_a_step():
                features[list(chunk)] = recogniser.read(crops).cpu()
        return features

    def _as_in_a_step(self) -> torch.autocast:
        return autocast(self.config.precision, self.encoder.device.type)

    def _contexts(self, texts: Sequence[str]) -> Tensor:
        """Hidden states in the precision in which the UNet reads them."""
        with self._as_in_a_step():
            parts = [self.encoder.contexts(chunk) for chunk in _chunks(texts, self.config.batch)]
        return torch.cat(parts).to("cpu", DTYPES[self.config.precision])


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[first : first + size] for first in range(0, len(items), size))
