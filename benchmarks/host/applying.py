"""Time of the nodes, without sampling: loading, applying on a warm graph, importing."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from ..result import Result, seconds
from ..tiny_world import PACKAGE, import_seconds
from .published import write_faceid
from .world import CFG, ENCODER, IDENTITY, Size, World, random_pose_branch, randomise

WARM = 5.0
"""Target in milliseconds for an apply node on a warm graph."""
GUARDS = 8.0
"""Target in milliseconds: 0.5 % of one full-size step at 256 px on this kind of machine."""
FACEID_SECONDS = 0.5
"""Target in seconds for loading a FaceID file that is in the disk cache."""
SFSR_FILE = 90
"""Target in megabytes for an SFSR adapter file for Stable Diffusion 1.5."""


def warm(what: str, apply: Callable[[], object], runs: int = 21) -> Result:
    """Milliseconds of a node's execution on a warm graph."""
    return Result.of(what, [1000 * each for each in seconds(apply, runs)], "ms", WARM)


def applying(size: Size) -> Iterator[Result]:
    """The nodes on a full-size MODEL; its weights stay uninitialised."""
    from ...nodes.dense_face.adapter import ApplyAdapter
    from ...nodes.dense_face.joint import JointGuider

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
        yield warm("Apply SFSR, FaceID and FineFace", world.with_published)


def guards() -> Iterator[Result]:
    """What checks of values add to a sampling: linked values of a node, and its last latent."""
    from ...nodes.checked_inputs import checked
    from ...nodes.dense_face.annotations import SampleAnnotated
    from ...nodes.host.finite import Finite

    # Only the checks of a node with many inputs.
    nothing: Any = classmethod(lambda cls, **_: None)
    node: Any = checked(type("Checked", (SampleAnnotated,), {"execute": nothing}))
    latent = torch.zeros(4, 4, 64, 64)
    given = {"latent_image": {"samples": latent}, "sigmas": torch.zeros(21), "cfg": 7.0}
    look = Finite("")

    def guarded() -> None:
        node.execute(**given)
        look(lambda: latent)

    runs = [1000 * each for each in seconds(guarded, 21)]
    yield Result.of("checks of values in a sampling, batch 4, 512 px", runs, "ms", GUARDS)


def loading(size: Size) -> Iterator[Result]:
    """Loading a half-precision adapter file (adapter, pose branch, token) into the host."""
    from ...dense_face.adapter import PCAdapter
    from ...dense_face.checkpoints.adapter_file import DenseFaceAdapter, save_adapter
    from ...dense_face.identity_token import IdentityToken
    from ...nodes.host.dense_face.adapter_file import load_parts

    layers = World(size, fill=False).adapter.layers
    adapter = randomise(PCAdapter(layers, id_dim=IDENTITY, fused=True))
    token = IdentityToken(size.layout.context_dim)
    whole = DenseFaceAdapter(adapter, random_pose_branch(size), token, {"encoder": ENCODER})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "adapter.safetensors"
        save_adapter(path, whole, dtype=torch.float16)
        what = f"load an adapter file of {path.stat().st_size / 1e6:.0f} MB"
        yield Result.of(what, seconds(lambda: load_parts(path)), "s")


def faceid_file(size: Size) -> Iterator[Result]:
    """A FaceID file as published to an adapter of Load SFSR Adapter."""
    from ...sfsr.ip_adapter.load import load_published

    target = World(size, fill=False).target
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ip-adapter-faceid_sd15.bin"
        write_faceid(path, target)
        load_published(path, target=target)  # fills the disk cache
        what = f"load a FaceID file of {path.stat().st_size / 1e6:.0f} MB"
        times = seconds(lambda: load_published(path, target=target))
        yield Result.of(what, times, "s", FACEID_SECONDS)


def sfsr_file(size: Size) -> Iterator[Result]:
    """Size of a half-precision SFSR adapter file: one recogniser, blendshapes, background hint."""
    adapter: Any = World(size, fill=False).sfsr.adapter
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sfsr.safetensors"
        adapter.save(path, {}, torch.float16)
        yield Result("SFSR adapter's file", path.stat().st_size / 1e6, "MB", SFSR_FILE)


def importing_nodes() -> Iterator[Result]:
    """Importing the nodes into a running host, each time in a new process."""
    # What the host has imported when it comes to the packs; its server runs on aiohttp.
    host = (
        f"from {PACKAGE}.benchmarks.host.world import start_host; start_host(); "
        "import aiohttp.web, comfy.utils, folder_paths; from comfy_api.latest import io; "
    )
    duration = import_seconds(f"{PACKAGE}.nodes", after=host)
    yield Result("import of the pack's nodes in the host", duration, "s", 0.05)
