"""Training of an SFSR adapter from a cache: its step, and how fast records are read.

Ratios within one run, in processor time, with networks small enough for a minute or two.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import torch

from ..pipelines.base import (
    Base,
    clip_config,
    load_base,
    new_text_encoder,
    new_unet,
    new_vae,
    save_base,
)
from ..pipelines.layout import UNetLayout
from ..pipelines.text import token_ids
from ..training.data.batches import Batches
from ..training.data.rendered_faces import RenderPlan, render_faces
from ..training.data.writer import open_writer
from ..training.photos.cached import encoder_for
from ..training.photos.encoding import PhotoEncoder
from ..training.photos.sfsr import CONTENT, face_batches, sfsr_task
from ..training.runs.loop import step_generator
from ..training.settings.config import SFSRConfig
from .result import Result

STEP, LOADER, RANKS = 1.05, 2.0, 0.9
"""Targets: step against UNet, loader against step, records of a rank against those of one alone."""
_IMAGES, _SIDE, _BATCH, _RUNS = 8, 256, 2, 9
_PROCESSES, _LOADED, _READ = 4, 8, 8
"""Ranks, images in their batches, and batches that each reads."""
_WIDTH = 768


def training() -> Iterator[Result]:
    """The step, and the loader with images and with a cache."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plan = RenderPlan(_IMAGES, size=_SIDE, per_person=2)
        render_faces(plan, open_writer("webdataset", folder / "faces"))
        base = _base(folder / "base.safetensors")
        plain, _ = _run(folder, base, batch=_LOADED)
        batches, task = _run(folder, base, cache=folder / "cache")
        ratios, step = _step(task, batches)
        yield Result.of("SFSR on noise, a step from the cache", ratios, "x UNet", STEP)
        large, _ = _run(folder, base, cache=folder / "cache", batch=_LOADED)
        read = median(_records(large) for _ in range(3))
        yield Result(f"loader from the cache, batch {_LOADED}", read, "records/s")
        yield Result("of it, images in a step", read * step / _BATCH, "x step", LOADER, True)
        for what, each in (("cache", large), ("images", plain)):
            # In turn, so that each pair runs under the same conditions.
            pairs = [(_records(each, rank), _records(each)) for rank in range(_PROCESSES)]
            found = median(one / alone for one, alone in pairs)
            what = f"records from the {what} per processor second, {_PROCESSES} ranks"
            yield Result(what, found, "x one rank", RANKS, True)


def _base(path: Path) -> Base:
    """Two levels of Stable Diffusion 1.5's UNet in their own widths, and the tiny world's VAE."""
    unet = new_unet(
        UNetLayout(320, (1, 2), 2, (True, True), context_dim=_WIDTH, image_size=_SIDE // 8)
    )
    text = clip_config(*_words(), width=_WIDTH, layers=1, heads=12)
    save_base(path, unet, new_vae(), new_text_encoder(text), {})
    return load_base(path)


def _words() -> tuple[int, int, int, int]:
    from ..demo.vocabulary import CONTEXT_LENGTH, END, START, WORDS

    return len(WORDS), CONTEXT_LENGTH, START, END


def _run(folder: Path, base: Base, **more: Any) -> tuple[Batches, Any]:
    config = SFSRConfig(
        dataset=folder / "faces", base=folder, out=folder / "out", encoder="tiny-world", size=_SIDE,
        scheme="ibug", workers=0, precision="no", identity_loss=False,
        **{"batch": _BATCH, **more},
    )  # fmt: skip
    encoder = PhotoEncoder(base, token_ids, CONTENT)
    batches = face_batches(config, recogniser=False, encoder=encoder)
    task = sfsr_task(base, config, token_ids, encoder=encoder_for(batches, encoder))
    return batches, task.train()


def _step(task: Any, batches: Batches) -> tuple[list[float], float]:
    """Processor time of a step as a multiple of the UNet's, and its median in seconds."""
    batch = batches.checked(next(iter(batches.loader(0, 1))))
    x = torch.randn(_BATCH, 4, _SIDE // 8, _SIDE // 8, requires_grad=True)
    t = torch.randint(1000, (_BATCH,))

    def bare() -> None:
        task.unet(x, t, batch["context"]).sample.square().mean().backward()

    def step() -> None:
        task(step_generator(1, 0), batch)["loss"].backward()

    pairs = [(_seconds(step), _seconds(bare)) for _ in range(_RUNS + 1)][1:]
    return [one / other for one, other in pairs], median(one for one, _ in pairs)


def _seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _records(batches: Batches, rank: int | None = None) -> float:
    """Records per processor second; of one rank of several where one is given."""
    from accelerate.data_loader import prepare_data_loader

    loader: Any = batches.loader(0, _READ * _PROCESSES)
    if rank is not None:
        loader = prepare_data_loader(
            loader, num_processes=_PROCESSES, process_index=rank, put_on_device=False
        )
    counted = 0

    def read() -> None:
        nonlocal counted
        for batch in loader:
            counted += len(batch["key"])

    taken = _seconds(read)
    return counted / taken
