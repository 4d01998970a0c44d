"""``denseface train-annotations``: an annotation head for a model, from a data set of faces."""

from __future__ import annotations

import argparse
from pathlib import Path

PRECISIONS = ("no", "bf16", "fp16")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "dataset",
        type=Path,
        metavar="DATASET",
        help="folder that denseface annotate or render wrote, or the T2I-Dense-Face data set",
    )
    parser.add_argument(
        "--base", type=Path, required=True, help="Stable Diffusion 1.5, one .safetensors file"
    )
    parser.add_argument("--out", type=Path, required=True, help="file of the head to write")
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("out/annotation-head"),
        help="work folder; a run that was stopped goes on from what it holds",
    )
    parser.add_argument(
        "--tokenizer",
        type=Path,
        metavar="FOLDER",
        help="CLIP's vocab.json and merges.txt, for captions; without it nothing is said",
    )
    parser.add_argument("--steps", type=int, default=20_000, help="steps of training")
    parser.add_argument("--batch", type=int, default=16, help="pictures a step and process")
    parser.add_argument("--rate", type=float, default=2e-3, help="learning rate at its highest")
    parser.add_argument("--size", type=int, default=256, help="pixels along a side, by 64s")
    parser.add_argument("--width", type=int, default=192, help="channels inside the head")
    parser.add_argument("--scale", type=int, default=2, help="cells of the maps per latent cell")
    parser.add_argument(
        "--scheme", choices=("mesh", "ibug"), default="mesh", help="478 landmarks, or 68"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes that read pictures")
    parser.add_argument("--save-every", type=int, default=200, help="steps between saved states")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and noise")
    parser.add_argument("--precision", choices=PRECISIONS, default="bf16", help="of the networks")


def run(args: argparse.Namespace) -> None:
    """Train; what could not be used of the data set is told on standard error."""
    import logging

    from ..dense_face.annotation_file import save_head
    from ..errors import InputError
    from ..pipelines.single_file import load_checkpoint, tokenizer_for
    from ..training.annotation_head import HeadPlan, train_head
    from ..training.loop import Schedule

    logging.basicConfig(format="%(message)s")
    if args.steps < 1:
        raise InputError(f"{args.steps} steps were asked for", fix="Use 1 or more")
    plan = HeadPlan(
        args.dataset, args.folder, args.size, args.width, args.scale, args.scheme,
        args.batch, args.workers, args.seed,
    )  # fmt: skip
    schedule = Schedule(
        args.steps,
        args.rate,
        warmup=min(100, args.steps),
        save_every=args.save_every,
        precision=args.precision,
    )
    base = load_checkpoint(args.base)
    tokenize = tokenizer_for(base, args.tokenizer)
    task = train_head(base, plan, tokenize, schedule)
    if task.share[0] == 0:
        about = {
            "base_model": base.metadata.get("base_model", args.base.stem),
            "command": f"denseface train-annotations --size {args.size} --batch {args.batch}",
            "steps": str(args.steps),
            "seed": str(args.seed),
        }
        save_head(args.out, task.head, about)
        print(args.out)
