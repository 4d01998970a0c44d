"""``denseface annotate``: a folder of photos -> a dense-annotation data set."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import faces
from .checks import require_folder, require_present
from .render import parse_shard

FORMATS = ("folder", "webdataset")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "folder", type=Path, metavar="FOLDER", help="photos, one subfolder per person"
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write to")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="folder",
        help="folder: the layout of the Dense-Face data set; webdataset: tar files to stream",
    )
    parser.add_argument(
        "--shard",
        default="1/1",
        metavar="I/N",
        help="shard I of N, for several processes or machines; finished people are skipped",
    )
    faces.add_analyzer(parser)
    parser.add_argument(
        "--fast",
        action="store_true",
        help="single pass; by default the landmarker runs twice and on the mirrored image too",
    )
    parser.add_argument(
        "--no-depth",
        dest="depth",
        action="store_false",
        help="no depth maps: most of a record, and read by annotation heads alone",
    )


def run(args: argparse.Namespace) -> None:
    """Annotate unfinished people; skipped images are reported on standard error."""
    from tqdm import tqdm

    from ..errors import InputError
    from ..training.data.annotate_folder import Annotator, annotate, check_plan, people_of
    from ..training.data.writer import open_writer

    if args.analyzer == "yunet":
        raise InputError(
            "YuNet finds five points, and annotations need 68 or 478 landmarks",
            where="--analyzer",
            fix="Choose landmarker or insightface",
        )
    shard = parse_shard(args.shard)
    require_folder("OUT", args.out)
    require_present(args)
    people = people_of(args.folder)
    check_plan(args.out, people, _settings(args))
    annotator = Annotator(lambda: faces.analyzer_of(args, fast=args.fast), depth=args.depth)
    writer = open_writer(args.format, args.out)
    images = sum(len(person.images) for person in people)
    with tqdm(total=-(-images // shard[1]), desc="annotate", unit="image") as bar:
        annotate(people, writer, annotator, shard=shard, progress=bar.update)
    for line in annotator.defects.lines():
        print(f"skipped: {line}", file=sys.stderr)
    if sum(annotator.defects.counts.values()) == images:
        raise InputError(f"none of {images} images could be annotated", fix="See the lines above")
    print(args.out)


def _settings(args: argparse.Namespace) -> str:
    """What else shapes a data set, for ``check_plan``."""
    options = f"{' fast' if args.fast else ''}{'' if args.depth else ' no-depth'}"
    return f"{args.analyzer}{options} {args.format}"
