"""What an evaluation leaves behind: metrics per image, a summary, a contact sheet."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageOps
from torch import Tensor

from ...demo.contact_sheet import labelled_sheet
from ...pipelines.images import open_rgb, tensor_of
from ...storage import atomic_path
from .cases import Case
from .image_folder import ImageFolder
from .people import Person
from .summary import Row, Summary

METRICS, SUMMARY, SHEET = "metrics.csv", "summary.json", "sheet.png"
THUMBNAIL = 160
MOST_ROWS = 48
"""Of the sheet; more would be unreadable."""


def write_metrics(path: Path, images: ImageFolder, rows: Mapping[Case, Row]) -> None:
    """A CSV file with a line per image; what could not be measured is empty.

    Raises:
        InputError: It cannot be written.
    """
    lines = [
        {
            "image": case.file,
            **case.named(),
            "noise_seed": case.noise_seed(images.seed),
            **{name: None if value is None else round(value, 6) for name, value in row.items()},
        }
        for case, row in rows.items()
    ]
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(lines[0]))
        table.writeheader()
        table.writerows(lines)


def write_summary(path: Path, summary: Mapping[str, Any]) -> None:
    """A JSON file.

    Raises:
        InputError: It cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")


def text_lines(summary: Summary, ceiling: Summary) -> list[str]:
    """The summary for people to read: name, mean and standard error, and the ceiling."""
    width = max(map(len, summary))
    lines = [f"{'':{width}}  mean over people   between photos of one person"]
    for name, mean in summary.items():
        best = ceiling.get(name)
        shown = "-" if mean is None else str(mean)
        lines.append(f"{name:<{width}}  {shown:<17}  {best or ''}".rstrip())
    if not ceiling:
        lines.append("no ceiling: nobody has two photos")
    return lines


def contact_sheet(
    images: ImageFolder, cases: Sequence[Case], people: Sequence[Person], title: str
) -> Image.Image:
    """A row per person, scene and prompt: the first photo, then a column per word."""
    photos = {person.name: person.photos[0] for person in people}
    words = list(dict.fromkeys(case.word for case in cases))
    rows: dict[tuple[str, str | None, str], list[Case]] = {}
    for case in cases:
        rows.setdefault((case.person, case.scene, case.prompt), []).append(case)
    shown = list(rows.items())[:MOST_ROWS]
    tables: list[Tensor] = []
    names: list[str] = []
    for (person, scene, prompt), row in shown:
        paths = [photos[person], *(images.path(case) for case in row)]
        tables.append(torch.cat([_thumbnail(path) for path in paths]))
        names.append(", ".join(part for part in (person, scene, prompt) if part))
    notes = [f"The first {len(shown)} of {len(rows)} rows"] if len(shown) < len(rows) else []
    columns = ["photo", *(word or "no word" for word in words)]
    return labelled_sheet(tables, columns, title, notes, names)


def _thumbnail(path: Path) -> Tensor:
    """[1, 3, S, S]: the whole image on white."""
    return tensor_of(ImageOps.pad(open_rgb(path), (THUMBNAIL, THUMBNAIL), color="white"))
