"""Measure speed and memory on this machine and compare with the targets (``make bench``)."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import torch

from ..errors import FacePackError
from . import face_mesh, landmarker, readers, smirk, tiny_world, training, training_memory
from .host.world import FULL, SMALL, Size, start_host
from .result import Result

Part = Callable[[], Iterable[Result]]


def full_size(size: Size, clock: str) -> dict[str, Part]:
    """The parts that need ComfyUI."""
    from .host.applying import applying, faceid_file, guards, importing_nodes, loading, sfsr_file
    from .host.midpoint import midpoint
    from .host.resident import resident
    from .host.steps import CLOCKS, profiled, steps
    from .host.variants import BARE, Variants

    variants = Variants(size)

    def with_profiles() -> Iterable[Result]:
        for result in steps(variants, clock=CLOCKS[clock]):
            yield result
            if result.missed and result.what in variants.makers:
                for name in (BARE, result.what):
                    print(f"\nprofile: {name}\n{profiled(variants[name], size.side)}")

    return {
        "import": importing_nodes,
        "apply": lambda: applying(size),
        "guards": guards,
        "load": lambda: loading(size),
        "faceid": lambda: faceid_file(size),
        "sfsr_file": lambda: sfsr_file(size),
        "steps": with_profiles,
        "midpoint": lambda: midpoint(variants, clock=CLOCKS[clock]),
        "memory": lambda: resident(size),
    }


def on_gpu(clock: str) -> dict[str, Part]:
    """The parts that need CUDA."""
    from .host import gpu

    size = replace(FULL, side=64)
    return {
        "gpu_parity": gpu.parity,
        "steps512": full_size(size, clock)["steps"],
        "gpu_memory": lambda: gpu.memory(size),
    }


def main() -> None:
    """Run the benchmarks one after another."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", metavar="PART", help="may be repeated")
    parser.add_argument("--small", action="store_true", help="use a trivial network, for a dry run")
    parser.add_argument("--pixels", type=int, default=0, help="side of the image, 256 or 512")
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="clock for steps: wall, or cpu (with one thread) on a busy machine",
    )
    chosen = parser.parse_args()
    threads = torch.get_num_threads()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPU cores, ", end="")
    print(f"{threads} threads, torch {torch.__version__}, Python {platform.python_version()}")
    parts: dict[str, Part] = {
        "pack": tiny_world.importing,
        "weights": tiny_world.weights,
        "render": tiny_world.rendering,
        "image": tiny_world.one_image,
        "demo": tiny_world.whole_demo,
        "landmarker": landmarker.landmarker,
        "face_mesh": face_mesh.face_mesh,
        "smirk": smirk.smirk,
        "readers": readers.readers,
        "base_loading": training_memory.loading_a_base,
        "plans": training_memory.plans_at_512,
        "training": training.training,
    }
    if start_host():
        size = SMALL if chosen.small else FULL
        if chosen.pixels:
            size = replace(size, side=chosen.pixels // 8)
        parts |= full_size(size, chosen.clock)
        if torch.cuda.is_available() and not chosen.small and not chosen.pixels:
            parts |= on_gpu(chosen.clock)
    else:
        print("no ComfyUI at COMFYUI_PATH or ~/ComfyUI: the full-size benchmarks are skipped")
    try:
        _print(parts, chosen.only or list(parts))
    except FacePackError as error:
        sys.exit(f"bench: {error}")


def _print(parts: Mapping[str, Part], names: Iterable[str]) -> None:
    for name in names:
        if name not in parts:
            sys.exit(f"bench: there is no part {name!r}. Choose from {', '.join(parts)}.")
        for result in parts[name]():
            print(result, flush=True)


if __name__ == "__main__":
    main()
