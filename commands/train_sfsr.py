"""``denseface train-sfsr``: an SFSR adapter for a model, from a data set of faces."""

from __future__ import annotations

import argparse
from pathlib import Path

from .train_annotations import PRECISIONS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "dataset",
        type=Path,
        metavar="DATASET",
        help="folder that denseface annotate (with the landmarker) or render wrote",
    )
    parser.add_argument(
        "--base", type=Path, required=True, help="Stable Diffusion 1.5, one .safetensors file"
    )
    parser.add_argument("--out", type=Path, required=True, help="file of the adapter to write")
    parser.add_argument(
        "--ir-se50",
        type=Path,
        metavar="FILE",
        help="IR-SE50's weights: they say who people are, and whether drawn faces show them",
    )
    parser.add_argument(
        "--encoder",
        help="without --ir-se50: name of the network whose identities the data set has, such as "
        "insightface/buffalo_l",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("out/sfsr-adapter"),
        help="work folder; a run that was stopped goes on from what it holds",
    )
    parser.add_argument(
        "--tokenizer",
        type=Path,
        metavar="FOLDER",
        help="CLIP's vocab.json and merges.txt, for captions; without it nothing is said",
    )
    parser.add_argument("--steps", type=int, default=20_000, help="steps of training")
    parser.add_argument("--batch", type=int, default=8, help="pictures a step and process")
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate at its highest")
    parser.add_argument("--size", type=int, default=512, help="pixels along a side, by 64s")
    parser.add_argument("--tokens", type=int, default=4, help="tokens of each source")
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

    from ..errors import InputError
    from ..faces.ir_se50 import load_ir_se50
    from ..pipelines.single_file import load_checkpoint, tokenizer_for
    from ..training.loop import Schedule
    from ..training.sfsr_photos import SFSRPlan, train_sfsr

    logging.basicConfig(format="%(message)s")
    if args.steps < 1:
        raise InputError(f"{args.steps} steps were asked for", fix="Use 1 or more")
    if (args.ir_se50 is None) == (args.encoder is None):
        raise InputError(
            "it is not settled who measures identities",
            where="--ir-se50, --encoder",
            fix="Give IR-SE50's file, or the name of the data set's own encoder, one of the two",
        )
    plan = SFSRPlan(
        args.dataset, args.folder, args.encoder or "", args.size, args.scheme, args.tokens,
        args.batch, args.workers, args.seed,
    )  # fmt: skip
    schedule = Schedule(
        args.steps,
        args.rate,
        warmup=min(100, args.steps),
        save_every=args.save_every,
        precision=args.precision,
    )
    net = None if args.ir_se50 is None else load_ir_se50(args.ir_se50)
    base = load_checkpoint(args.base)
    tokenize = tokenizer_for(base, args.tokenizer)
    adapter, source = train_sfsr(base, plan, tokenize, schedule, net)
    if source.share[0] == 0:
        about = {
            "base_model": base.metadata.get("base_model", args.base.stem),
            "command": f"denseface train-sfsr --size {args.size} --batch {args.batch}",
            "steps": str(args.steps),
            "seed": str(args.seed),
        }
        adapter.save(args.out, about)
        print(args.out)
