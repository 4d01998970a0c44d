"""``denseface train-sfsr``: an SFSR adapter for a model, from a data set of faces."""

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
        help="output of denseface annotate (with the landmarker) or render",
    )
    add_options(parser, "adapter", "out/sfsr-adapter", batch=8, rate=1e-3, size=512)
    parser.add_argument("--tokens", type=int, default=4, help="tokens per source")
    parser.add_argument(
        "--ir-se50",
        type=Path,
        metavar="FILE",
        help="IR-SE50's weights, for identities and for the identity loss",
    )
    parser.add_argument(
        "--encoder",
        help="without --ir-se50: name of the encoder of the data set's identities, such as "
        "insightface/w600k_r50",
    )


def run(args: argparse.Namespace) -> None:
    """Train; unusable parts of the data set are reported on standard error."""
    import logging

    from ..errors import InputError
    from ..faces.encoders.ir_se50 import load_ir_se50
    from ..pipelines.single_file import load_checkpoint, tokenizer_for
    from ..training.processes import process_state
    from ..training.sfsr_photos import SFSRPlan, train_sfsr

    logging.basicConfig(format="%(message)s")
    schedule = schedule_of(args)
    if (args.ir_se50 is None) == (not args.encoder):
        raise InputError(
            "exactly one identity encoder is needed",
            where="--ir-se50, --encoder",
            fix="Give IR-SE50's file or the name of the data set's encoder",
        )
    plan = SFSRPlan(
        args.dataset, args.folder, args.encoder or "", args.size, args.scheme, args.tokens,
        args.batch, args.workers, args.seed,
    )  # fmt: skip
    net = None if args.ir_se50 is None else load_ir_se50(args.ir_se50)
    base = load_checkpoint(args.base)
    tokenize = tokenizer_for(base, args.tokenizer)
    adapter = train_sfsr(base, plan, tokenize, schedule, net, fresh=args.fresh)
    if process_state().is_main_process:
        adapter.save(args.out, about(args, "train-sfsr", base.metadata))
        print(args.out)
