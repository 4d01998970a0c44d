"""Time and memory of the bundled tiny world: rendering, one image, the whole demo."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ..demo.people import sample_heads
from ..demo.renderer.renderer import render
from ..pipelines.tiny.dense_face import DenseFacePipeline
from .result import Result, seconds

PACKAGE = (__package__ or "").rpartition(".")[0]
ROOT = Path(__file__).resolve().parents[1]


def rendering() -> Iterator[Result]:
    """Heads with image, depth, parts, landmarks and mask."""
    heads = sample_heads(range(16))
    yield Result("render", 16 / min(seconds(lambda: render(heads))), "images/s", 15, more=True)


def one_image() -> Iterator[Result]:
    """Redrawing a scene's head: 20 steps with guidance, encoding, decoding, mask, composite."""
    pipeline = DenseFacePipeline.load()
    images = render(sample_heads([2**41, 2**41 + 1])).rgb
    scene, who = images[:1], pipeline.identity(images[1:])

    def blended() -> object:
        return pipeline.personalise(scene, who, "smiling", (25.0, 0.0, 0.0), 1)

    def alone() -> object:
        return pipeline.face_image(who, "smiling", (25.0, 0.0, 0.0), 1)

    yield Result("one blended image, 128 px, 20 steps", min(seconds(blended)), "s", 4)
    yield Result("one image without a scene", min(seconds(alone)), "s", 4)


def whole_demo() -> Iterator[Result]:
    """``denseface demo`` in its own process, including start and imports."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        python("-m", f"{PACKAGE}.cli", "demo", "--out", folder)
        duration = time.perf_counter() - start
        report = json.loads((Path(folder) / "report.json").read_text())
    yield Result("denseface demo", duration, "s", 60)
    if "memory.peak_mb" in report:
        yield Result("denseface demo, peak memory", report["memory.peak_mb"], "MB", 3072)


def weights() -> Iterator[Result]:
    """Size of the bundled weights."""
    size = sum(file.stat().st_size for file in (ROOT / "demo" / "weights").glob("*.safetensors"))
    yield Result("bundled weights", size / 1e6, "MB", 24)


def importing() -> Iterator[Result]:
    """Import of the pack, as at the host's start (the host's own report: tests/host)."""
    yield Result("import of the pack", import_seconds(PACKAGE), "s", 0.05)


def import_seconds(module: str, after: str = "") -> float:
    """Seconds of an import in a process of its own, after some code; the fastest of three."""
    timed = f"start = time.perf_counter(); import {module}; print(time.perf_counter() - start)"
    return min(float(python("-c", f"import time; {after}{timed}")) for _ in range(3))


def python(*words: str) -> str:
    """The output of a new Python process."""
    command = [sys.executable, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    return done.stdout
