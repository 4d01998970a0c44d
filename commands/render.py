"""``denseface render``: heads of the tiny world as contact sheets and data sets.

``denseface render OUT`` is short for ``denseface render faces OUT``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from .checks import require_file, require_folder, require_within

MOST_IMAGES = 10_000_000
SHEET_LIMIT = 4096
SHEET_PIXELS = 2**28
"""Four maps of :data:`SHEET_LIMIT` heads of 128 px."""
FORMATS = ("folder", "webdataset")
_LONGEST_SHARD = 21


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command and its forms."""
    forms = parser.add_subparsers(
        dest="form", metavar="sheet|words|dataset|faces|OUT", required=True
    )
    _understand_bare_folder(parser, forms.choices)
    sheet = forms.add_parser("sheet", help="one image with many heads")
    sheet.add_argument("--out", type=Path, default=Path("out/heads.png"), help="image to write")
    sheet.add_argument("--columns", type=int, default=8, help="heads in a row")
    sheet.add_argument(
        "--annotations", action="store_true", help="add landmarks, depth and parts to each head"
    )
    words = forms.add_parser("words", help="the 135 emotion words, one head each")
    words.add_argument("--out", type=Path, default=Path("out/words.png"), help="image to write")
    words.add_argument("--size", type=int, default=96, help="side of a head in px")
    words.add_argument("--intensity", type=float, default=1.0, help="of every word, 0 to 1.5")
    words.add_argument("--seed", type=int, default=0, help="chooses the stronger side of the face")
    words.add_argument(
        "--generated",
        action="store_true",
        help="generate the heads with the bundled SFSR adapter instead of the renderer",
    )
    dataset = forms.add_parser("dataset", help="WebDataset shards with ground truth")
    dataset.add_argument("--out", type=Path, required=True, help="folder to write to")
    dataset.add_argument("--per-shard", type=int, default=1000, help="images per tar file")
    faces = forms.add_parser("faces", help="the layout of the Dense-Face data set")
    faces.add_argument("out", type=Path, metavar="OUT", help="folder to write to")
    faces.add_argument(
        "--format",
        choices=FORMATS,
        default="folder",
        help="folder: tables and files; webdataset: tar files to stream",
    )
    for form in (dataset, faces):
        form.add_argument(
            "--shard",
            default="1/1",
            metavar="I/N",
            help="shard I of N, for several processes or machines; finished ones are skipped",
        )
    for form, per_person, size in ((sheet, 1, 128), (dataset, 1, 128), (faces, 4, 256)):
        form.add_argument("--count", type=int, default=32, help="number of images")
        form.add_argument("--seed", type=int, default=0, help="seed of the first image")
        form.add_argument("--per-person", type=int, default=per_person, help="images per person")
        form.add_argument("--size", type=int, default=size, help="image side in px, 16 to 1024")


def run(args: argparse.Namespace) -> None:
    """Render sheets or data sets; files are written atomically."""
    (require_file if args.form in ("sheet", "words") else require_folder)("OUT", args.out)
    if args.form != "words":
        _check_plan(args)
    forms = {"sheet": _sheet, "words": _words, "dataset": _dataset, "faces": _faces}
    forms[args.form](args)


def parse_shard(text: str) -> tuple[int, int]:
    """Parse ``I/N``: the number of a shard, from 1, and the number of shards.

    Raises:
        InputError: The text is not of this form.
    """
    shard, _, shards = text.partition("/")
    # Not isdigit alone: "²" is a digit and no number.
    whole = text.isascii() and shard.isdigit() and shards.isdigit() and len(text) <= _LONGEST_SHARD
    if not (whole and 1 <= int(shard) <= int(shards)):
        raise InputError(
            "--shard is not of the form I/N",
            where=text,
            fix="Give the shard's number and the number of shards, such as 2/4",
        )
    return int(shard), int(shards)


def _understand_bare_folder(parser: argparse.ArgumentParser, forms: dict[str, Any]) -> None:
    """Make ``denseface render OUT`` an abbreviation of ``denseface render faces OUT``."""
    parse = parser.parse_known_args

    def parse_words(args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        words = list(args or ())
        if words and words[0] not in forms and not words[0].startswith("-"):
            words.insert(0, "faces")
        return parse(words, namespace)

    parser.parse_known_args = parse_words  # type: ignore[method-assign]


def _check_plan(args: argparse.Namespace) -> None:
    require_within("--count", args.count, 1, SHEET_LIMIT if args.form == "sheet" else MOST_IMAGES)
    require_within("--seed", args.seed, 0, 2**53)
    require_within(
        "--per-person", args.per_person, 1, MOST_IMAGES if args.form == "faces" else args.count
    )
    require_within("--size", args.size, 16, 1024)


def _sheet(args: argparse.Namespace) -> None:
    import torch
    from tqdm import tqdm

    from ..demo.annotation_images import annotation_rows
    from ..demo.contact_sheet import contact_sheet
    from ..demo.people import sample_people
    from ..demo.renderer.renderer import render
    from ..storage import atomic_path

    require_within("--columns", args.columns, 1, SHEET_LIMIT)
    _check_format(args.out)
    if args.count * args.size**2 * (4 if args.annotations else 1) > SHEET_PIXELS:
        raise InputError(
            f"a sheet of {args.count} heads of {args.size} px is too large",
            where="--count, --size",
            fix=f"Draw {SHEET_PIXELS // 10**6} million pixels at most",
        )
    heads = sample_people(range(args.seed, args.seed + args.count), args.seed, args.per_person)
    with atomic_path(args.out) as temporary:  # first, so that a wrong path fails at once
        images = []
        for i in tqdm(range(args.count), desc="render", unit="head"):
            rendered = render(heads[i], args.size)
            images.append(annotation_rows(rendered) if args.annotations else rendered.rgb)
        columns = args.columns * (4 if args.annotations else 1)
        contact_sheet(torch.cat(images), columns, gap=2).save(temporary)
    print(args.out)


def _words(args: argparse.Namespace) -> None:
    from tqdm import tqdm

    from ..demo.word_sheet import Draw, word_sheet
    from ..sfsr.emotion_table import emotion_words
    from ..storage import atomic_path

    require_within("--size", args.size, 32, 256)
    require_within("--seed", args.seed, 0, 2**53)
    _check_format(args.out)
    with atomic_path(args.out) as temporary:
        draw: Draw | None = None
        if args.generated:
            from ..evaluation.generated_words import word_drawer

            draw = word_drawer(args.seed)
        with tqdm(total=len(emotion_words()), desc="render", unit="head") as bar:
            sheet = word_sheet(args.size, args.intensity, args.seed, bar.update, draw)
        if args.out.suffix.lower() == ".png":  # one person on grey: 256 colours are enough
            sheet = sheet.quantize(256)
        sheet.save(temporary, optimize=True)
    print(args.out)


def _check_format(out: Path) -> None:
    from PIL import Image

    if out.suffix.lower() not in Image.registered_extensions():
        raise InputError(
            "the image's format is unknown", where=str(out), fix="Use a name ending in .png"
        )


def _dataset(args: argparse.Namespace) -> None:
    from tqdm import tqdm

    from ..training.data.rendered_shards import ShardPlan, render_shard

    require_within("--per-shard", args.per_shard, 1, MOST_IMAGES)
    shard, shards = parse_shard(args.shard)
    plan = ShardPlan(args.out, args.count, args.seed, args.per_person, args.per_shard, args.size)
    mine = range(shard - 1, len(plan.paths()), shards)
    with tqdm(total=sum(len(plan.seeds(i)) for i in mine), desc="render", unit="head") as bar:
        for i in mine:
            print(render_shard(plan, i, bar.update))


def _faces(args: argparse.Namespace) -> None:
    from tqdm import tqdm

    from ..training.data.rendered_faces import RenderPlan, render_faces
    from ..training.data.writer import open_writer

    shard = parse_shard(args.shard)
    plan = RenderPlan(args.count, args.seed, args.per_person, args.size)
    writer = open_writer(args.format, args.out)
    with tqdm(total=-(-plan.count // shard[1]), desc="render", unit="head") as bar:
        render_faces(plan, writer, shard=shard, progress=bar.update)
    print(args.out)
