"""``denseface evaluate``: evaluate a method on held-out people, or on photographs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from . import evaluate_photos
from .checks import require_sampling

if TYPE_CHECKING:
    from ..evaluation.metrics import Report

_HELP = {
    "dense-face": "Dense-Face in the tiny world",
    "annotations": "the annotation head in the tiny world",
    "sfsr": "SFSR in the tiny world",
    "photos": "people on photographs, on a Stable Diffusion 1.5 checkpoint of yours",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of each method."""
    methods = parser.add_subparsers(dest="method", metavar="method", required=True)
    for name, summary in _HELP.items():
        method = methods.add_parser(
            name, help=summary, description=summary[:1].upper() + summary[1:] + "."
        )
        if name == "photos":
            evaluate_photos.add_arguments(method)
        else:
            _add_tiny_arguments(method, name)


def _add_tiny_arguments(parser: argparse.ArgumentParser, method: str) -> None:
    guidance = 2 if method == "sfsr" else 3
    parser.add_argument("--seed", type=int, default=0, help="selects the people, 0 by default")
    parser.add_argument("--count", type=int, default=256, help="images, 256 by default")
    parser.add_argument("--steps", type=int, default=20, help="denoising steps, 20 by default")
    parser.add_argument("--guidance", type=float, help=f"guidance scale, {guidance} by default")
    parser.add_argument("--weights", type=Path, help="folder with weights other than the bundled")
    if method == "sfsr":
        parser.add_argument(
            "--other",
            type=Path,
            action="append",
            default=[],
            metavar="FILE",
            help="another adapter file to evaluate on the same cases; may be repeated",
        )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> None:
    """Print each metric; progress goes to standard error."""
    if args.method == "photos":
        evaluate_photos.run(args)
        return
    from ..demo.seeds import held_out_seed
    from ..evaluation.held_out import check_count
    from ..evaluation.metrics import json_of

    check_count(args.count)
    held_out_seed(args.seed, 0)  # raises, if it is out of range
    require_sampling(args)
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
