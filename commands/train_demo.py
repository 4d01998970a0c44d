"""``denseface train-demo``: train the tiny world's models from scratch, stage by stage."""

from __future__ import annotations

import argparse
from pathlib import Path

from .checks import MOST_PROCESSES, require_folder, require_within


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("stages", nargs="*", metavar="STAGE", help="stages to run, all by default")
    parser.add_argument("--folder", type=Path, default=Path("out/training"), help="work folder")
    parser.add_argument(
        "--weights", type=Path, help="folder for the weights; the bundled ones by default"
    )
    parser.add_argument("--images", type=int, default=20_000, help="training images")
    parser.add_argument("--workers", type=int, default=2, help="rendering processes")
    parser.add_argument("--threads", type=int, default=2, help="training threads")
    parser.add_argument(
        "--length", type=float, default=1.0, help="fraction of the full number of steps"
    )
    parser.add_argument(
        "--fresh", action="store_true", help="remove what earlier runs of these stages left"
    )


def run(args: argparse.Namespace) -> None:
    """Run stages in order; an interrupted stage resumes."""
    import torch

    from ..demo.bundled import WEIGHTS
    from ..errors import InputError
    from ..training.tiny.run import TrainingRun
    from ..training.tiny.stages import STAGES

    unknown = [name for name in args.stages if name not in STAGES]
    if unknown:
        raise InputError(
            "there is no such stage", where=unknown[0], fix=f"Stages are {', '.join(STAGES)}"
        )
    require_within("--images", args.images, 1, 10_000_000)
    require_within("--workers", args.workers, 1, MOST_PROCESSES)
    require_within("--threads", args.threads, 1, MOST_PROCESSES)
    require_within("--length", args.length, 1e-6, 1000)
    require_folder("--folder", args.folder)
    if args.weights is not None:
        require_folder("--weights", args.weights)
    torch.set_num_threads(args.threads)
    plan = TrainingRun(
        args.folder, args.weights or WEIGHTS, args.images, args.workers, args.length, args.fresh
    )
    for name in args.stages or STAGES:
        STAGES[name](plan)
