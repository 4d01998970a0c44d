"""``denseface train-demo``: train the tiny world's models from zero, stage by stage."""

from __future__ import annotations

import argparse
from pathlib import Path

STAGE_NAMES = (
    "data", "analyzer", "evaluator", "vae", "decoder", "parts", "expression", "base",
    "dense-face", "annotation", "sfsr", "sfsr-midpoint", "sfsr-one-step",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "stages", nargs="*", choices=[*STAGE_NAMES, []], help="stages to run, all by default"
    )
    parser.add_argument("--folder", type=Path, default=Path("out/training"), help="work folder")
    parser.add_argument("--weights", type=Path, help="folder of the results; ours by default")
    parser.add_argument("--images", type=int, default=20_000, help="training images")
    parser.add_argument("--workers", type=int, default=2, help="processes that render")
    parser.add_argument("--threads", type=int, default=2, help="threads that train")
    parser.add_argument("--length", type=float, default=1.0, help="share of the full length")


def run(args: argparse.Namespace) -> None:
    """Run the stages in their order; a stage that was stopped goes on where it was."""
    import torch

    from ..demo.bundled import WEIGHTS
    from ..training.tiny.stages import STAGES
    from ..training.tiny.work_folder import Run

    torch.set_num_threads(args.threads)
    plan = Run(args.folder, args.weights or WEIGHTS, args.images, args.workers, args.length)
    for name in args.stages or STAGE_NAMES:
        STAGES[name](plan)
