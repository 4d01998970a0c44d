"""One image of a dense-annotation data set and the layout it is stored in.

Source: docs/reference/dense_face.md A12.

A record is a row of the table and up to one file of each kind; only the image is mandatory. Files
are kept as bytes, so that a record is written exactly as it was read; :mod:`.codec` decodes them.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ...errors import InputError

#: Suffix of each kind of file, by the name of its folder.
KINDS: dict[str, str] = {
    "images": ".jpg", "images_v2": ".png", "masks": ".png", "msmasks": ".png",
    "landmarks": ".csv", "xyzmaps": ".npy", "attributes": ".json", "captions": ".json",
    "feat_file_v2": ".pth",
}  # fmt: skip
#: Columns of the table, in order.
COLUMNS: tuple[str, ...] = (
    "face_file", "depth_range", "label_uncertainty", "landmark_file", "mask_file", "xyz_file",
    "annot_size", "aligned_size", "src_nose_xy", "bbox", "subject_id", "caption_file",
    "msmask_file", "msmask_score", "attr_file", "feat_file", "reference image",
    "reference image bbox", "caption", "head_pose",
)  # fmt: skip
#: Columns that hold the paths of files, by kind.
FILE_COLUMNS: dict[str, str] = {
    "images": "face_file", "landmarks": "landmark_file", "masks": "mask_file",
    "xyzmaps": "xyz_file", "captions": "caption_file", "msmasks": "msmask_file",
    "attributes": "attr_file", "feat_file_v2": "feat_file",
}  # fmt: skip
ANNOTATION_SIZE = 256
_LARGEST_SIDE, _MOST_DIGITS = 65_536, 9
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Row:
    """A row of the table; None where it is empty.

    depth_range: Lowest and highest depth of the face in its xyz map.
    label_uncertainty, msmask_score: From the authors of the data set, kept as they are.
    annot_size: Side of masks and xyz maps in pixels.
    aligned_size: Side of the image in pixels.
    src_nose_xy: Tip of the nose in pixels of the image from which this one was cropped.
    bbox: Left, top, right, bottom of the face as fractions of the image.
    subject_id: Number of the person, from 1; without leading zeros in the table.
    reference, reference_bbox: Another image of the same person.
    caption: A sentence.
    head_pose: Pitch, yaw, roll in degrees, in this order.
    """

    subject_id: int
    aligned_size: int
    depth_range: tuple[float, float] | None = None
    label_uncertainty: float | None = None
    annot_size: int = ANNOTATION_SIZE
    src_nose_xy: tuple[float, float] | None = None
    bbox: Box | None = None
    msmask_score: float | None = None
    reference: str = ""
    reference_bbox: Box | None = None
    caption: str = ""
    head_pose: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Record:
    """An image of a person: number ``index`` of that person, its row and its files by kind.

    Raises:
        InputError: There is no image, or a kind is unknown.
    """

    index: int
    row: Row
    files: Mapping[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the kinds."""
        unknown = [kind for kind in self.files if kind not in KINDS]
        if unknown or "images" not in self.files:
            wrong = f"the kind {unknown[0]!r} is unknown" if unknown else "the image is missing"
            raise InputError(f"a record cannot be made: {wrong}", where=self.key)

    @property
    def subject(self) -> str:
        """Seven digits."""
        return f"{self.row.subject_id:07d}"

    @property
    def key(self) -> str:
        """Unique name of the record in its data set."""
        return f"{self.subject}/{self.index:03d}"

    def path(self, kind: str) -> str:
        """Path of a file, relative to the folder ``faces``."""
        return f"{self.subject}/{kind}/{self.index:03d}{KINDS[kind]}"


def table_line(record: Record) -> dict[str, str]:
    """A record's line of the table; the paths of missing files are empty."""
    row = record.row
    line = {
        "depth_range": _listed(row.depth_range),
        "label_uncertainty": _plain(row.label_uncertainty),
        "annot_size": str(row.annot_size),
        "aligned_size": str(row.aligned_size),
        "src_nose_xy": _listed(row.src_nose_xy),
        "bbox": _listed(row.bbox),
        "subject_id": str(row.subject_id),
        "msmask_score": _plain(row.msmask_score),
        "reference image": row.reference,
        "reference image bbox": _listed(row.reference_bbox),
        "caption": row.caption,
        "head_pose": "" if row.head_pose is None else str([str(v) for v in row.head_pose]),
    }
    for kind, column in FILE_COLUMNS.items():
        line[column] = record.path(kind) if kind in record.files else ""
    return {column: line[column] for column in COLUMNS}


def index_of(name: str) -> int:
    """Number of an image by the end of its name; 0 where that is none."""
    digits = name.isascii() and name.isdigit() and len(name) <= _MOST_DIGITS
    return int(name) if digits else 0


def table_row(line: Mapping[str, str | None]) -> Row:
    """The row of a line of the table; missing and empty columns become None.

    Raises:
        InputError: Subject or size are missing, or a column does not hold the right numbers.
    """
    return Row(
        subject_id=_whole(line, "subject_id", 10**_MOST_DIGITS - 1),
        aligned_size=_whole(line, "aligned_size", _LARGEST_SIDE),
        depth_range=_numbers(line, "depth_range", 2),
        label_uncertainty=_number(line, "label_uncertainty"),
        annot_size=_whole(line, "annot_size", _LARGEST_SIDE, ANNOTATION_SIZE) or ANNOTATION_SIZE,
        src_nose_xy=_numbers(line, "src_nose_xy", 2),
        bbox=_numbers(line, "bbox", 4),
        msmask_score=_number(line, "msmask_score"),
        reference=str(line.get("reference image") or ""),
        reference_bbox=_numbers(line, "reference image bbox", 4),
        caption=str(line.get("caption") or ""),
        head_pose=_numbers(line, "head_pose", 3),
    )


def table_text(lines: list[dict[str, str]]) -> str:
    """Lines as CSV, below the header."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue()


def _listed(values: tuple[float, ...] | None) -> str:
    return "" if values is None else str(list(values))


def _plain(value: float | None) -> str:
    return "" if value is None else repr(value)


def _whole(line: Mapping[str, str | None], column: str, most: int, usual: int | None = None) -> int:
    value = _number(line, column)
    value = usual if value is None else value
    if value is None:
        raise InputError(f"the column {column} is empty")
    if not 0 <= value <= most:
        raise InputError(f"the column {column} is out of range")
    return int(value)


def _number(line: Mapping[str, str | None], column: str) -> float | None:
    found = _numbers(line, column, 1)
    return None if found is None else found[0]


def _numbers(line: Mapping[str, str | None], column: str, count: int) -> tuple | None:  # type: ignore[type-arg]
    found = line.get(column)
    text = "" if found is None else str(found).strip()
    if not text or text.lower() in ("nan", "none"):
        return None
    values = tuple(float(word) for word in _NUMBER.findall(text))
    if len(values) != count or not all(map(math.isfinite, values)):
        raise InputError(f"the column {column} holds {text[:40]!r} instead of {count} numbers")
    return values
