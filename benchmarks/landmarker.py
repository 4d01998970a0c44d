"""Time of the landmarker, compared with its three networks alone."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from statistics import median

import numpy as np
import torch
from torch import Tensor

from ..commands.faces import TASK_FILE_VARIABLE
from ..faces.detection import FaceSelection, detect_faces
from ..faces.dnn import Network
from ..faces.mediapipe.landmarker import BLENDSHAPE_LANDMARKS, Landmarker
from ..faces.mediapipe.task_file import read_task_file
from .result import Result, seconds

ROUNDS = 9
FRAMES = 32
#: Relative difference of two medians of the same thing on a busy machine.
_NOISE = 0.05


def landmarker() -> Iterator[Result]:
    """A 512 px photograph and a batch of them; skipped without the landmarker file."""
    path = os.environ.get(TASK_FILE_VARIABLE)
    if not path or importlib.util.find_spec("skimage") is None:
        print(f"landmarker skipped: {TASK_FILE_VARIABLE} names no file, or scikit-image is missing")
        return
    image = photograph()
    quick, steady = Landmarker(path), Landmarker(path, steady=True)
    batch = [image] * FRAMES
    alone, whole, twice, single, frames = timed(
        [
            networks(path),
            lambda: quick.find(image),
            lambda: steady.find(image),
            lambda: detect_faces(quick, batch[:1], FaceSelection()),
            lambda: detect_faces(quick, batch, FaceSelection()),
        ]
    )
    per_frame = [each / FRAMES for each in frames]
    yield Result.of("landmarker: its three networks alone", alone, "ms")
    yield Result.of("landmarker: a face of a 512 px image", whole, "ms", 40)
    ratio = median(whole) / median(alone)
    yield Result("the same relative to the networks alone", ratio, "x", 1.5)
    yield Result.of("landmarker: a batch of one, all checks", single, "ms")
    yield Result.of("landmarker: a frame of 32, all checks", per_frame, "ms")
    ratio = median(per_frame) / median(single)
    yield Result("the same relative to a batch of one", ratio, "x", 1 + _NOISE)
    yield Result.of("landmarker: looking twice", twice, "ms")


def photograph() -> Tensor:
    """scikit-image's astronaut, [3, 512, 512] in 0..1."""
    from skimage import data

    return torch.from_numpy(data.astronaut()).permute(2, 0, 1).float() / 255


def networks(path: str) -> Callable[[], object]:
    """Run each of the three networks once on prepared input."""
    task = read_task_file(path)
    detector = Network(task.detector, ("regressors", "classificators"), path)
    mesh = Network(task.mesh, ("Identity", "Identity_1"), path)
    expression = Network(task.blendshapes, ("StatefulPartitionedCall:0",), path)
    rng = np.random.default_rng(0)
    square = rng.uniform(-1, 1, (1, 3, 128, 128)).astype(np.float32)
    face = rng.uniform(0, 1, (1, 3, 256, 256)).astype(np.float32)
    points = rng.uniform(0, 256, (1, len(BLENDSHAPE_LANDMARKS), 2)).astype(np.float32)
    return lambda: (detector(square), mesh(face), expression(points))


def timed(functions: Sequence[Callable[[], object]]) -> list[list[float]]:
    """Milliseconds of each function in each round, interleaved.

    Each runs once untimed first, to warm the processor's caches.
    """
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(ROUNDS):
        for function, kept in zip(functions, times, strict=True):
            kept += [1000 * each for each in seconds(function, runs=1)]
    return times
