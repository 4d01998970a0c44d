"""``denseface annotate``: from photos of people to the records of a data set."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ...errors import FacePackError, InputError
from ...faces.analyzers import FaceAnalyzer, find_faces
from ...faces.crops.crop import CropPlace, crop_place, cropped
from ...faces.face import Face, HeadPose
from ...faces.head_pose import as_paper_estimator, zyx_to_xyz
from ...faces.masks.region_mask import part_labels
from ...pipelines.face_report import SUFFIXES
from ...pipelines.images import open_rgb, tensor_of
from ...readers.files import read_text
from ...storage import atomic_path
from . import codec as codec
from .folder import Defects
from .record import ANNOTATION_SIZE, Box, Record, Row, index_of
from .writer import Writer

PADDING = 0.25
SMALLEST, LARGEST = 128, 512
"""Limits of the side of a crop in pixels; faces that would give a smaller one are left out."""
TEMPLATE = "a photo of a person"
PLACES = 64
"""Cells along a side of the position map."""
PLAN = "annotate.json"
_COARSE = 64


@dataclass(frozen=True)
class Person:
    """A person: number from 1, name of the folder or file, and the images."""

    subject_id: int
    name: str
    images: tuple[Path, ...]


def people_of(folder: Path) -> list[Person]:
    """The people of a folder: one per subfolder, and one per image directly in it.

    If all names are numbers of up to seven digits, these become the people's numbers; otherwise
    people are numbered in the order of their names.

    Raises:
        InputError: The folder is missing or holds no image.
    """
    if not folder.is_dir():
        raise InputError("the folder is missing", where=str(folder), fix="Correct the path")
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES and path.is_file():
            inside = path.relative_to(folder).parts
            found.setdefault(inside[0], []).append(path)
    if not found:
        raise InputError(
            "the folder holds no images",
            where=str(folder),
            fix="Give PNG, JPEG or WebP files, a subfolder for each person",
        )
    names = sorted(found)
    numbered = all(len(name) <= 7 and index_of(name) > 0 for name in names)
    ids = [int(name) for name in names] if numbered else list(range(1, len(names) + 1))
    if len(set(ids)) != len(ids):
        ids = list(range(1, len(names) + 1))
    return [Person(i, name, tuple(found[name])) for i, name in zip(ids, names, strict=True)]


def annotate(
    people: Sequence[Person],
    writer: Writer,
    annotator: Annotator,
    *,
    shard: tuple[int, int] = (1, 1),
    progress: Callable[[int], object] = lambda done: None,
) -> None:
    """Annotate people who are not finished yet, and join the results.

    Args:
        annotator: Its ``defects`` list what was left out.
        shard: Number of this machine, from 1, and number of machines.
        progress: Called with the number of images done since its last call.

    Raises:
        InputError: The data set cannot be written to.
    """
    at_once = writer.people_at_once
    groups = [people[i : i + at_once] for i in range(0, len(people), at_once)]
    for number, group in enumerate(groups):
        if number % shard[1] != shard[0] - 1:
            continue
        ids = [person.subject_id for person in group]
        if writer.finished(number, ids):
            progress(sum(len(person.images) for person in group))
            continue
        records: list[Record] = []
        for person in group:
            records += annotator.records(person, progress)
        writer.write(number, ids, records)
    writer.finish()


class Annotator:
    """Turns images of a person into records.

    Args:
        analyzer: Makes a face analyzer with 68 or 478 landmarks; called at the first image.
        depth: Whether records get a depth map, most of their bytes; only annotation heads are
            trained on it.
    """

    def __init__(self, analyzer: Callable[[], FaceAnalyzer], *, depth: bool = True) -> None:
        self._make, self._analyzer, self._depth = analyzer, None, depth
        self.defects = Defects()

    def records(self, person: Person, progress: Callable[[int], object]) -> list[Record]:
        """The records of the images that show a face, in the order of their file names."""
        found: list[Record] = []
        for path in person.images:
            try:
                found.append(self._record(path, person, len(found)))
            except FacePackError as error:
                self.defects.note(error.what, str(path))
            progress(1)
        # The reference of each image is the next one of the same person.
        rows = [record.row for record in found]
        return [
            replace(
                record,
                row=replace(
                    record.row,
                    reference=other.path("images"),
                    reference_bbox=rows[(i + 1) % len(rows)].bbox,
                ),
            )
            for i, (record, other) in enumerate(zip(found, found[1:] + found[:1], strict=True))
        ]

    def _record(self, path: Path, person: Person, index: int) -> Record:
        image = tensor_of(open_rgb(path))[0]
        if self._analyzer is None:
            self._analyzer = self._make()
        faces = find_faces(self._analyzer, image, order="largest first")
        if not faces:
            raise InputError("no face was found")
        face = faces[0]
        place = _place(face)
        crop = cropped(image, place).clamp(0, 1)
        small = _in_crop(face, place)
        labels = part_labels(small)
        points = small.landmarks[:, :2] / ANNOTATION_SIZE
        caption, model = _caption(path)
        files = {
            "images": codec.jpeg(crop),
            "masks": codec.part_mask(labels),
            "landmarks": codec.landmark_table(points),
            "captions": codec.json_bytes({caption: {"model": model, "CLIP_score": None}}),
        }
        depth_range = None
        if self._depth and small.landmarks.shape[1] == 3:
            places, depth, depth_range = _xyz(small, labels)
            files["xyzmaps"] = codec.xyz_map(places, depth)
        if face.identity is not None:
            files["feat_file_v2"] = codec.feature(face.identity.vector)
        if face.blendshapes is not None:
            files["attributes"] = codec.blendshapes(face.blendshapes)
        nose = face.require_five()[2]
        row = Row(
            subject_id=person.subject_id,
            aligned_size=place.size,
            depth_range=depth_range,
            src_nose_xy=(round(float(nose[0]), 2), round(float(nose[1]), 2)),
            bbox=_box(points),
            caption=caption,
            head_pose=_pose(face),
        )
        return Record(index, row, files)


def _place(face: Face) -> CropPlace:
    five = face.require_five()
    whole = crop_place(five, face.image_size, SMALLEST, PADDING)
    side = round(SMALLEST * whole.to_image.scale)
    if side < SMALLEST:
        raise InputError(f"the face is smaller than {SMALLEST} px")
    return crop_place(five, face.image_size, min(side, LARGEST), PADDING)


def _in_crop(face: Face, place: CropPlace) -> Face:
    """The face in its crop of 256 px; z, if there is one, in the same unit."""
    factor = ANNOTATION_SIZE / place.size
    points = place.points_in_crop(face.landmarks[:, :2]) * factor
    if face.landmarks.shape[1] == 3:
        z = face.landmarks[:, 2:] * (factor / place.to_image.scale)
        points = torch.cat([points, z.to(points)], 1)
    low, high = points[:, :2].min(0).values.tolist(), points[:, :2].max(0).values.tolist()
    size = (ANNOTATION_SIZE, ANNOTATION_SIZE)
    return replace(
        face,
        image_size=size,
        landmarks=points.float(),
        box=(low[0], low[1], high[0], high[1]),
        five=None,
    )


def _xyz(face: Face, labels: Tensor) -> tuple[Tensor, Tensor, tuple[float, float]]:
    """Position map, depth map and depth range of a face with 3D landmarks in a 256 px image.

    Depth is interpolated between the landmarks (inverse distance, power 4). Its unit is half the
    side of the image; nearer is smaller.
    """
    side = labels.shape[-1]
    cells = (torch.arange(_COARSE) + 0.5) * (side / _COARSE)
    grid = torch.stack(torch.meshgrid(cells, cells, indexing="xy"), -1).reshape(-1, 2)
    weight = 1 / (torch.cdist(grid, face.landmarks[:, :2]).pow(4) + 1e-3)
    z = (weight @ face.landmarks[:, 2]) / weight.sum(1) * (2 / side)
    fine = F.interpolate(z.view(1, 1, _COARSE, _COARSE), (side, side), mode="bilinear")[0, 0]
    inside = labels > 0
    known = fine[inside] if bool(inside.any()) else fine.flatten()
    depth = torch.where(inside, fine, torch.tensor(codec.BACKGROUND))
    pixels = (torch.arange(side) + 0.5) * (PLACES / side)
    places = torch.stack(torch.meshgrid(pixels, pixels, indexing="xy"), -1)
    places = torch.where(inside[..., None], places, torch.tensor(codec.NO_PLACE))
    return places, depth, (float(known.min()), float(known.max()))


def _box(points: Tensor) -> Box:
    low, high = points.min(0).values.tolist(), points.max(0).values.tolist()
    return (round(low[0], 5), round(low[1], 5), round(high[0], 5), round(high[1], 5))


def _pose(face: Face) -> tuple[float, float, float] | None:
    """Pitch, yaw, roll in degrees, in the convention of the data set's own estimator."""
    if face.pose is None:
        return None
    zyx = face.source == "tiny-world"
    pose: HeadPose = zyx_to_xyz(face.pose) if zyx else as_paper_estimator(face.pose)
    return (round(pose.pitch, 3), round(pose.yaw, 3), round(pose.roll, 3))


def _caption(path: Path) -> tuple[str, str]:
    """Caption and its source: the text file beside the image, or the template."""
    beside = path.with_suffix(".txt")
    try:
        text = " ".join(read_text(beside).split())
    except (OSError, ValueError):
        text = ""
    return (text, "sidecar") if text else (TEMPLATE, "template")


def check_plan(out: Path, people: Sequence[Person], settings: str) -> None:
    """Save what a data set is made from, or compare with what an earlier run saved.

    Raises:
        InputError: The folder holds a data set of other people or with other settings, or cannot be
            written to.
    """
    names = {person.subject_id: person.name for person in people}
    note = json.dumps({"settings": settings, "people": names}, indent=1)
    path = out / PLAN
    try:
        before = path.read_text(encoding="utf-8") if path.is_file() else None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("the folder's plan cannot be read", where=str(path)) from error
    if before is None:
        with atomic_path(path) as temporary:
            temporary.write_text(note, encoding="utf-8")
    elif before != note:
        raise InputError(
            "the folder holds a data set of other people or with other settings",
            where=str(path),
            fix="Name another folder, or give the same images and options as before",
        )
