"""Time and memory of the bundled tiny world: rendering, one image, the whole demo."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ..demo.people import sample_heads
from ..demo.renderer.renderer import render
from ..pipelines.tiny.dense_face import DenseFacePipeline
from .result import Result

PACKAGE = (__package__ or "").rpartition(".")[0]
ROOT = Path(__file__).resolve().parents[1]


def best(function: Callable[[], object], runs: int = 3) -> float:
    """Seconds of the fastest of several runs, after a warm-up run."""
    function()
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def rendering() -> Iterator[Result]:
    """Heads with image, depth, parts, landmarks and mask."""
    heads = sample_heads(range(16))
    yield Result("render", 16 / best(lambda: render(heads)), "images/s", 15, more=True)


def one_image() -> Iterator[Result]:
    """Redrawing a scene's head: 20 steps with guidance, encoding, decoding, mask, composite."""
    pipeline = DenseFacePipeline.load()
    images = render(sample_heads([2**41, 2**41 + 1])).rgb
    scene, who = images[:1], pipeline.identity(images[1:])

    def blended() -> object:
        return pipeline.personalise(scene, who, "smiling", (25.0, 0.0, 0.0), 1)

    def alone() -> object:
        return pipeline.face_image(who, "smiling", (25.0, 0.0, 0.0), 1)

    yield Result("one blended image, 128 px, 20 steps", best(blended), "s", 4)
    yield Result("one image without a scene", best(alone), "s", 4)


def whole_demo() -> Iterator[Result]:
    """``denseface demo`` in its own process, including start and imports."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        python("-m", f"{PACKAGE}.cli", "demo", "--out", folder)
        seconds = time.perf_counter() - start
        report = json.loads((Path(folder) / "report.json").read_text())
    yield Result("denseface demo", seconds, "s", 60)
    if "memory.peak_mb" in report:
        yield Result("denseface demo, peak memory", report["memory.peak_mb"], "MB", 3072)


def weights() -> Iterator[Result]:
    """Size of the bundled weights."""
    size = sum(file.stat().st_size for file in (ROOT / "demo" / "weights").glob("*.safetensors"))
    yield Result("bundled weights", size / 1e6, "MB", 20)


def importing() -> Iterator[Result]:
    """Import of the pack, as at the host's start (the host's own report: tests/host)."""
    code = (
        "import time; start = time.perf_counter(); "
        f"import {PACKAGE}; print(time.perf_counter() - start)"
    )
    times = [float(python("-c", code)) for _ in range(3)]
    yield Result("import of the pack", min(times), "s", 0.05)


def python(*words: str) -> str:
    """The output of a new Python process."""
    command = [sys.executable, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    return done.stdout
