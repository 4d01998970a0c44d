"""``denseface render``: heads of the tiny world as a contact sheet or as a data set."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import InputError

MOST_PICTURES = 10_000_000
SHEET_LIMIT = 4096


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the two forms of the command."""
    forms = parser.add_subparsers(dest="form", metavar="sheet|dataset", required=True)
    sheet = forms.add_parser("sheet", help="one picture with many heads")
    sheet.add_argument("--out", type=Path, default=Path("out/heads.png"), help="picture to write")
    sheet.add_argument("--columns", type=int, default=8, help="heads in a row")
    sheet.add_argument(
        "--annotations", action="store_true", help="beside each head its landmarks, depth and parts"
    )
    dataset = forms.add_parser("dataset", help="WebDataset shards with all that is true in them")
    dataset.add_argument("--out", type=Path, required=True, help="folder to write to")
    dataset.add_argument("--per-shard", type=int, default=1000, help="pictures in a tar file")
    dataset.add_argument(
        "--shard",
        default="1/1",
        metavar="I/N",
        help="the share of this process or machine, 1/4 to 4/4; files that exist are kept",
    )
    for form in (sheet, dataset):
        form.add_argument("--count", type=int, default=32, help="number of pictures")
        form.add_argument("--seed", type=int, default=0, help="seed of the first picture")
        form.add_argument("--per-person", type=int, default=1, help="pictures of each person")
        form.add_argument("--size", type=int, default=128, help="pixels along a side, 16 to 1024")


def run(args: argparse.Namespace) -> None:
    """Draw what was asked for; nothing half-written is left behind."""
    _within("--count", args.count, 1, SHEET_LIMIT if args.form == "sheet" else MOST_PICTURES)
    _within("--seed", args.seed, 0, 2**53)
    _within("--per-person", args.per_person, 1, args.count)
    _within("--size", args.size, 16, 1024)
    if args.form == "sheet":
        _sheet(args)
    else:
        _dataset(args)


def _within(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise InputError(
            f"{name} is out of range", where=str(value), fix=f"Give a number from {low} to {high}"
        )


def _sheet(args: argparse.Namespace) -> None:
    import torch
    from PIL import Image
    from tqdm import tqdm

    from ..demo.annotation_pictures import annotation_rows
    from ..demo.contact_sheet import contact_sheet
    from ..demo.dataset_shards import heads_of
    from ..demo.renderer import render
    from ..storage import atomic_path

    _within("--columns", args.columns, 1, SHEET_LIMIT)
    if args.out.suffix.lower() not in Image.registered_extensions():
        raise InputError(
            "the picture's format is unknown", where=str(args.out), fix="End its name in .png"
        )
    heads = heads_of(range(args.seed, args.seed + args.count), args.seed, args.per_person)
    with atomic_path(args.out) as temporary:  # first, so that a wrong place is told at once
        pictures = []
        for i in tqdm(range(args.count), desc="render", unit="head"):
            drawn = render(heads[i], args.size)
            pictures.append(annotation_rows(drawn) if args.annotations else drawn.rgb)
        columns = args.columns * (4 if args.annotations else 1)
        contact_sheet(torch.cat(pictures), columns, gap=2).save(temporary)
    print(args.out)


def _dataset(args: argparse.Namespace) -> None:
    from tqdm import tqdm

    from ..demo.dataset_shards import ShardPlan, write_shard

    _within("--per-shard", args.per_shard, 1, MOST_PICTURES)
    share, shares = _share(args.shard)
    plan = ShardPlan(args.out, args.count, args.seed, args.per_person, args.per_shard, args.size)
    mine = range(share - 1, len(plan.paths()), shares)
    with tqdm(total=sum(len(plan.seeds(i)) for i in mine), desc="render", unit="head") as bar:
        for i in mine:
            print(write_shard(plan, i, bar.update))


def _share(text: str) -> tuple[int, int]:
    share, _, shares = text.partition("/")
    if not (share.isdigit() and shares.isdigit() and 1 <= int(share) <= int(shares)):
        raise InputError(
            "--shard is not of the form I/N",
            where=text,
            fix="Give the share and the number of shares, such as 2/4",
        )
    return int(share), int(shares)
