"""Time of the nodes, without sampling: loading, applying on a warm graph, importing."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from .host import ENCODER, IDENTITY, Size, World, random_pose_branch, randomise
from .result import Result
from .tiny_world import PACKAGE, python
from .variants import CFG

WARM = 5.0
"""Target in milliseconds for an apply node on a warm graph."""
SFSR_FILE = 90
"""Target in megabytes for an SFSR adapter file for Stable Diffusion 1.5."""


def warm(what: str, apply: Callable[[], object], runs: int = 21) -> Result:
    """Milliseconds of a node's execution on a warm graph."""
    apply()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        apply()
        times.append(1000 * (time.perf_counter() - start))
    return Result(what, statistics.median(times), "ms", WARM, limits=(min(times), max(times)))


def applying(size: Size) -> Iterator[Result]:
    """The nodes on a full-size MODEL; its weights stay uninitialised."""
    from ..nodes.dense_face.adapter import ApplyAdapter
    from ..nodes.dense_face.joint import JointGuider

    world = World(size, fill=False)
    with torch.inference_mode():
        for mode in ("weights", "runtime"):

            def apply(weight: float = 1.0, mode: str = mode) -> Any:
                arguments = (world.model, world.loaded, world.people, weight, 0.0, 1.0, mode)
                return ApplyAdapter.execute(*arguments).result[0]

            yield warm(f"Apply Dense-Face Adapter, {mode}", apply)
            face = apply()
            mask = torch.zeros(1, 8, 8)
            mask[:, :4] = 1

            def joined(face: Any = face, mask: Any = mask) -> Any:
                conds = world.text
                modes = (world.model, *conds, face, *conds)
                return JointGuider.execute(*modes, mask, CFG, CFG, 0.0, 1.0, 0.0)

            yield warm(f"Joint Guider, adapter in mode {mode}", joined)
        yield warm("Apply SFSR with a scene", lambda: world.with_sfsr(scene=True))


def loading(size: Size) -> Iterator[Result]:
    """Loading a half-precision adapter file (adapter, pose branch, token) into the host."""
    from ..dense_face.adapter import PCAdapter
    from ..dense_face.checkpoints.adapter_file import DenseFaceAdapter, save_adapter
    from ..dense_face.identity_token import IdentityToken
    from ..nodes.host.dense_face.adapter_file import load_parts

    layers = World(size, fill=False).adapter.layers
    adapter = randomise(PCAdapter(layers, id_dim=IDENTITY, fused=True))
    token = IdentityToken(size.layout.context_dim)
    whole = DenseFaceAdapter(adapter, random_pose_branch(size), token, {"encoder": ENCODER})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "adapter.safetensors"
        save_adapter(path, whole, dtype=torch.float16)
        times = []
        for _ in range(3):
            start = time.perf_counter()
            load_parts(path)
            times.append(time.perf_counter() - start)
        megabytes = path.stat().st_size / 1e6
    what = f"load an adapter file of {megabytes:.0f} MB"
    yield Result(what, statistics.median(times), "s", limits=(min(times), max(times)))


def sfsr_file(size: Size) -> Iterator[Result]:
    """Size of a half-precision SFSR adapter file: one recogniser, blendshapes, background hint."""
    adapter: Any = World(size, fill=False).sfsr.adapter
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sfsr.safetensors"
        adapter.save(path, {}, torch.float16)
        megabytes = path.stat().st_size / 1e6
    yield Result("SFSR adapter's file", megabytes, "MB", SFSR_FILE)


def importing_nodes() -> Iterator[Result]:
    """Importing the nodes into a running host, each time in a new process."""
    code = (
        f"from {PACKAGE}.benchmarks.host import start_host; start_host(); "
        "import time, comfy.utils, folder_paths; from comfy_api.latest import io; "
        f"start = time.perf_counter(); import {PACKAGE}.nodes; print(time.perf_counter() - start)"
    )
    times = [float(python("-c", code)) for _ in range(3)]
    yield Result("import of the pack's nodes in the host", min(times), "s", 0.05)
