"""Options shared by the trainers on data sets of faces, and their schedule."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from .checks import (
    MOST_PROCESSES,
    require_file,
    require_folder,
    require_present,
    require_within,
)

if TYPE_CHECKING:
    from ..training.loop import Schedule

_HIGHEST_SEED = 2**42
"""Seeds are multiplied by a million (``training.loop.step_generator``)."""
PRECISIONS = ("no", "bf16", "fp16")


def add_options(
    parser: argparse.ArgumentParser, what: str, folder: str, *, batch: int, rate: float, size: int
) -> None:
    """Add the options for base, files and schedule.

    Args:
        what: What is trained, for the help. folder: Default work folder.
        batch, rate, size: Defaults.
    """
    parser.add_argument(
        "--base", type=Path, required=True, help="Stable Diffusion 1.5, one .safetensors file"
    )
    parser.add_argument("--out", type=Path, required=True, help=f"file of the {what} to write")
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(folder),
        help="work folder; an interrupted run resumes from it",
    )
    parser.add_argument(
        "--tokenizer",
        type=Path,
        metavar="FOLDER",
        help="CLIP's vocab.json and merges.txt, for captions; without it the prompt is empty",
    )
    parser.add_argument("--steps", type=int, default=20_000, help="training steps")
    parser.add_argument("--batch", type=int, default=batch, help="images per step and process")
    parser.add_argument("--rate", type=float, default=rate, help="peak learning rate")
    parser.add_argument("--size", type=int, default=size, help="image side in px, a multiple of 64")
    parser.add_argument(
        "--scheme", choices=("mesh", "ibug"), default="mesh", help="478 landmarks, or 68"
    )
    parser.add_argument("--workers", type=int, default=2, help="data loading processes")
    parser.add_argument("--save-every", type=int, default=200, help="steps between saved states")
    parser.add_argument(
        "--fresh", action="store_true", help="remove what an earlier run left in --folder"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, order and noise")
    parser.add_argument("--precision", choices=PRECISIONS, default="bf16", help="of the networks")


def schedule_of(args: argparse.Namespace) -> Schedule:
    """The schedule from :func:`add_options`.

    Raises:
        InputError: A number is out of range, data set or a file is missing, or nothing can be
            written.
    """
    from ..training.data.dataset import require_data_set
    from ..training.loop import Schedule

    if args.steps < 1:
        raise InputError(f"cannot train for {args.steps} steps", fix="Use 1 or more")
    require_within("--workers", args.workers, 0, MOST_PROCESSES)
    require_within("--save-every", args.save_every, 1, 2**53)
    require_within("--rate", args.rate, 1e-12, 1e3)
    require_within("--seed", args.seed, 0, _HIGHEST_SEED)
    require_file("--out", args.out)
    require_folder("--folder", args.folder)
    require_data_set(args.dataset)
    require_present(args)
    return Schedule(
        args.steps,
        args.rate,
        warmup=min(100, args.steps),
        save_every=args.save_every,
        precision=args.precision,
    )


def about(args: argparse.Namespace, command: str, metadata: dict[str, str]) -> dict[str, str]:
    """The result's metadata: how it was trained.

    Args:
        metadata: The base file's.
    """
    return {
        "base_model": metadata.get("base_model") or str(args.base.stem),
        "command": f"denseface {command} --size {args.size} --batch {args.batch}",
        "steps": str(args.steps),
        "seed": str(args.seed),
    }
