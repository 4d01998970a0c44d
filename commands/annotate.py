"""``denseface annotate``: a folder of photos -> a dense-annotation data set."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from . import faces
from .checks import MOST_PROCESSES, require_folder, require_present, require_within
from .render import parse_shard

if TYPE_CHECKING:
    from ..faces.analyzers import Recogniser
    from ..training.data.annotate_folder import Annotator
    from ..training.data.annotate_groups import Run
    from ..training.data.people import Person
    from ..training.data.writer import Writer

    Work = Callable[[Sequence[Person], Writer], None]

FORMATS = ("folder", "webdataset")
PEOPLE = ("folder", "cluster")


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
        "--people",
        choices=PEOPLE,
        default="folder",
        help="folder: a subfolder for each person; cluster: photos in any order, sorted by "
        "their identities",
    )
    parser.add_argument(
        "--same-person",
        type=float,
        metavar="COSINE",
        help="for --people cluster: from which cosine two photos show the same person; by default "
        "as the recogniser's authors decide, where that is known",
    )
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes that annotate; 1 by default"
    )
    parser.add_argument(
        "--ray",
        action="store_true",
        help="run the workers on Ray: on the cluster that RAY_ADDRESS names, else on this machine",
    )
    parser.add_argument(
        "--shard",
        default="1/1",
        metavar="I/N",
        help="shard I of N, for batch systems without Ray; finished people are skipped",
    )
    faces.add_analyzer(parser)
    parser.add_argument(
        "--recogniser",
        type=Path,
        metavar="FILE",
        help="adds identities: InsightFace's recogniser, an .onnx file or a folder of them, or "
        "IR-SE50's weights",
    )
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
    from ..training.data.people import people_line
    from ..training.data.writer import open_writer

    shard, workers, annotator = _checked(args), _workers(args), _annotator(args)
    writer = open_writer(args.format, args.out)
    work = partial(_annotate, annotator=annotator, shard=shard, workers=workers)
    by = {"folder": _by_folder, "cluster": _by_identity}
    if by[args.people](args, annotator.encoder, writer, work):
        print(people_line(writer.images()), file=sys.stderr)
    print(args.out)


def _by_folder(args: argparse.Namespace, encoder: str, writer: Writer, work: Work) -> bool:
    """Annotate the people of subfolders; whether the data set is complete."""
    from ..training.data.annotate_plan import check_plan
    from ..training.data.people import people_of
    from ..training.data.writer import complete

    people = people_of(args.folder)
    check_plan(args.out, people, _settings(args), encoder)
    work(people, writer)
    return complete(people, writer)


def _by_identity(args: argparse.Namespace, encoder: str, writer: Writer, work: Work) -> bool:
    """Annotate all photos and sort them by identity; whether the data set is complete."""
    from ..training.data.annotate_plan import check_plan
    from ..training.data.by_person import UNSORTED, sort_by_person, sorted_already
    from ..training.data.clusters import same_person
    from ..training.data.people import photos_of
    from ..training.data.writer import complete, open_writer

    if not encoder:
        raise InputError(
            "photos can only be sorted by identities, and this analyzer gives none",
            where="--people cluster",
            fix="Give --recogniser",
        )
    cosine = same_person(encoder, args.same_person)
    photos = photos_of(args.folder)
    check_plan(args.out, photos, f"{_settings(args)} cluster {cosine:g}", encoder)
    if sorted_already(args.out):
        return True
    unsorted = open_writer("webdataset", args.out / UNSORTED)
    work(photos, unsorted)
    # Two shards that end together must not both sort.
    if parse_shard(args.shard) != (1, 1) or not complete(photos, unsorted):
        says = "once all shards are done, start this command without --shard to sort the photos"
        print(says, file=sys.stderr)
        return False
    sort_by_person(args.out, photos, writer, cosine)
    return True


def _annotate(
    people: Sequence[Person],
    writer: Writer,
    *,
    annotator: Annotator,
    shard: tuple[int, int],
    workers: Run | None,
) -> None:
    """Annotate with a progress bar; what was left out goes to standard error."""
    from tqdm import tqdm

    from ..training.data.annotate_groups import annotate

    images = sum(len(person.images) for person in people)
    with tqdm(total=-(-images // shard[1]), desc="annotate", unit="image") as bar:
        defects = annotate(people, writer, annotator, shard=shard, run=workers, progress=bar.update)
    for line in defects.lines():
        print(f"skipped: {line}", file=sys.stderr)
    if sum(defects.counts.values()) == images:
        raise InputError(f"none of {images} images could be annotated", fix="See the lines above")


def _checked(args: argparse.Namespace) -> tuple[int, int]:
    """Check the options; the shard."""
    if args.analyzer == "yunet":
        raise InputError(
            "YuNet finds five points, and annotations need 68 or 478 landmarks",
            where="--analyzer",
            fix="Choose landmarker or insightface",
        )
    require_within("--workers", args.workers, 1, MOST_PROCESSES)
    require_within("--same-person", args.same_person, -1, 1)
    shard = parse_shard(args.shard)
    if args.ray and shard != (1, 1):
        raise InputError(
            "--shard and --ray both divide the photos", fix="Give one of them, --workers with --ray"
        )
    require_folder("OUT", args.out)
    require_present(args)
    return shard


def _settings(args: argparse.Namespace) -> str:
    """What else shapes a data set, for ``check_plan``."""
    options = f"{' fast' if args.fast else ''}{'' if args.depth else ' no-depth'}"
    return f"{args.analyzer}{options} {args.format}"


def _workers(args: argparse.Namespace) -> Run | None:
    """Where the work is done; None for this process."""
    if args.ray:
        from ..training.data.ray_workers import ray_workers

        return ray_workers(args.workers)
    if args.workers == 1:
        return None
    from ..training.data.annotate_groups import local_processes

    return local_processes(args.workers)


def _annotator(args: argparse.Namespace) -> Annotator:
    from ..training.data.annotate_folder import Annotator

    recogniser = None if args.recogniser is None else partial(_recogniser, args.recogniser)
    analyzer = partial(faces.analyzer_of, args, fast=args.fast)
    return Annotator(analyzer, recogniser, depth=args.depth)


def _recogniser(path: Path) -> Recogniser:
    from ..faces.encoders.load import load_recogniser
    from ..faces.encoders.names import SFACE

    found = load_recogniser(path)
    if found.encoder == SFACE:
        raise InputError(
            "SFace's identities have 128 numbers, with which no adapter can be trained",
            where=str(path),
            fix="Give a recogniser of InsightFace, or IR-SE50",
        )
    return found
