"""``denseface train-annotations``: the older name of ``denseface train annotations``."""

from __future__ import annotations

import argparse

from . import train


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    train.add_keys(parser, train.TRAINERS["annotations"], dataset=False)


def run(args: argparse.Namespace) -> None:
    """Train, and name the command of today."""
    hint = f"this command is now: denseface train annotations --dataset {args.dataset}"
    train.train("annotations", args, hint)
