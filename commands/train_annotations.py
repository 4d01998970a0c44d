"""``denseface train-annotations``: an annotation head for a model, from a data set of faces."""

from __future__ import annotations

import argparse
from pathlib import Path

from .trainer_options import about, add_options, schedule_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "dataset",
        type=Path,
        metavar="DATASET",
        help="output of denseface annotate or render, or the T2I-Dense-Face data set",
    )
    add_options(parser, "head", "out/annotation-head", batch=16, rate=2e-3, size=256)
    parser.add_argument("--width", type=int, default=192, help="channels inside the head")
    parser.add_argument("--scale", type=int, default=2, help="cells of the maps per latent cell")


def run(args: argparse.Namespace) -> None:
    """Train; unusable parts of the data set are reported on standard error."""
    import logging

    from ..dense_face.annotation.head_file import save_head
    from ..pipelines.single_file import load_checkpoint, tokenizer_for
    from ..training.annotation_head import HeadPlan, train_head
    from ..training.processes import process_state

    logging.basicConfig(format="%(message)s")
    schedule = schedule_of(args)
    plan = HeadPlan(
        args.dataset, args.folder, args.size, args.width, args.scale, args.scheme,
        args.batch, args.workers, args.seed,
    )  # fmt: skip
    base = load_checkpoint(args.base)
    tokenize = tokenizer_for(base, args.tokenizer)
    task = train_head(base, plan, tokenize, schedule, fresh=args.fresh)
    if process_state().is_main_process:
        save_head(args.out, task.head, about(args, "train-annotations", base.metadata))
        print(args.out)
