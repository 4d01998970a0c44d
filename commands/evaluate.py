"""``denseface evaluate``: evaluate a method on held-out people."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..evaluation.metrics import Report

METHODS = ("dense-face", "annotations", "sfsr")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("method", choices=METHODS, help="method to evaluate")
    parser.add_argument("--seed", type=int, default=0, help="selects the people, 0 by default")
    parser.add_argument("--count", type=int, default=256, help="images, 256 by default")
    parser.add_argument("--steps", type=int, default=20, help="denoising steps, 20 by default")
    parser.add_argument("--guidance", type=float, help="guidance scale, 3 by default, 2 for sfsr")
    parser.add_argument("--weights", type=Path, help="folder with weights other than the bundled")
    parser.add_argument(
        "--other",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="sfsr: another adapter file to evaluate on the same cases; may be repeated",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> None:
    """Print each metric; progress goes to standard error."""
    from ..errors import InputError
    from ..evaluation.held_out import check_count
    from ..evaluation.metrics import json_of

    check_count(args.count)
    if args.other and args.method != "sfsr":
        raise InputError(
            f"--other is not available for {args.method}",
            where="--other",
            fix="Leave it out, or evaluate sfsr",
        )
    methods = {"dense-face": _dense_face, "annotations": _annotations, "sfsr": _sfsr}
    report = methods[args.method](args)
    if args.json:
        print(json_of(report))
        return
    width = max(map(len, report))
    for name, value in report.items():
        print(f"{name:<{width}}  {value:10.3f}")
    print(f"{args.count} images of people never trained on, seed {args.seed}")


def _dense_face(args: argparse.Namespace) -> Report:
    from ..demo.bundled import WEIGHTS, load_bundled
    from ..demo.networks.evaluator import load_evaluator
    from ..evaluation.dense_face import Plan, evaluate
    from ..pipelines.tiny.dense_face import GUIDANCE, DenseFacePipeline

    folder = args.weights or WEIGHTS
    pipeline = DenseFacePipeline.load(folder, progress=True)
    evaluator = load_bundled(load_evaluator, folder, "tiny_evaluator")
    plan = Plan.full(args.seed, args.count, args.steps, _or(args.guidance, GUIDANCE))
    return evaluate(pipeline, evaluator, plan)


def _annotations(args: argparse.Namespace) -> Report:
    from ..demo.bundled import WEIGHTS, load_bundled
    from ..dense_face.annotation.head_file import load_head
    from ..evaluation.annotations import evaluate
    from ..pipelines.tiny.dense_face import GUIDANCE, DenseFacePipeline

    folder = args.weights or WEIGHTS
    pipeline = DenseFacePipeline.load(folder, progress=True)
    head, _ = load_bundled(load_head, folder, "tiny_annotation")
    guidance = _or(args.guidance, GUIDANCE)
    return evaluate(pipeline, head, args.seed, args.count, args.steps, guidance)


def _sfsr(args: argparse.Namespace) -> Report:
    from ..demo.bundled import WEIGHTS, load_bundled
    from ..demo.networks.evaluator import load_evaluator
    from ..evaluation.sfsr import Plan, evaluate, load_estimates
    from ..pipelines.tiny.sfsr import GUIDANCE, SFSRPipeline
    from ..sfsr.adapter import load_adapter

    folder = args.weights or WEIGHTS
    others = {path.stem: load_adapter(path) for path in args.other}
    pipeline = SFSRPipeline.load(folder, progress=True)
    evaluator = load_bundled(load_evaluator, folder, "tiny_evaluator")
    plan = Plan.full(args.seed, args.count, args.steps, _or(args.guidance, GUIDANCE))
    return evaluate(pipeline, evaluator, plan, others, load_estimates(folder))


def _or(given: float | None, usual: float) -> float:
    return usual if given is None else given
