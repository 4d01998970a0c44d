"""``denseface annotate``: from the photos of a person to the records of a data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ...errors import FacePackError, InputError
from ...faces.analyzers import FaceAnalyzer, Recogniser, find_faces
from ...faces.crops.crop import CropPlace, crop_place, cropped
from ...faces.face import Face, HeadPose
from ...faces.head_pose import as_paper_estimator, zyx_to_xyz
from ...faces.masks.region_mask import part_labels
from ...pipelines.images import open_rgb, tensor_of
from ...readers.files import read_text
from . import codec as codec
from .folder import Defects
from .people import Person
from .record import ANNOTATION_SIZE, Box, Record, Row

PADDING = 0.25
SMALLEST, LARGEST = 128, 512
"""Limits of the side of a crop in pixels; faces that would give a smaller one are left out."""
TEMPLATE = "a photo of a person"
PLACES = 64
"""Cells along a side of the position map."""
_COARSE = 64


class Annotator:
    """Turns images of a person into records.

    Args:
        analyzer: Makes a face analyzer with 68 or 478 landmarks; called at the first image.
        recogniser: Makes what reads identities; None takes those of the analyzer, if it has any.
        depth: Whether records get a depth map, most of their bytes; only annotation heads are
            trained on it.

    It can be sent to another process, which then loads the networks for itself.
    """

    def __init__(
        self,
        analyzer: Callable[[], FaceAnalyzer],
        recogniser: Callable[[], Recogniser] | None = None,
        *,
        depth: bool = True,
    ) -> None:
        self._make, self._make_recogniser, self._depth = analyzer, recogniser, depth
        self._analyzer: FaceAnalyzer | None = None
        self._recogniser: Recogniser | None = None
        self.defects = Defects()

    def __reduce__(self) -> tuple[Any, ...]:
        """Without the networks."""
        make = partial(type(self), depth=self._depth)
        return make, (self._make, self._make_recogniser)

    @property
    def encoder(self) -> str:
        """Name of the network that reads the identities; empty without one.

        Raises:
            FacePackError: A network cannot be loaded.
        """
        self._load()
        source = self._analyzer if self._recogniser is None else self._recogniser
        return getattr(source, "encoder", "")

    def _load(self) -> FaceAnalyzer:
        if self._analyzer is None:
            self._analyzer = self._make()
        if self._recogniser is None and self._make_recogniser is not None:
            self._recogniser = self._make_recogniser()
        return self._analyzer

    def records(self, person: Person, progress: Callable[[int], object]) -> list[Record]:
        """The records of the images that show a face, in the order of their file names."""
        found: list[Record] = []
        for path in person.images:
            try:
                found.append(self._record(path, person, len(found)))
            except FacePackError as error:
                self.defects.note(error.what, str(path))
            progress(1)
        return with_references(found)

    def _record(self, path: Path, person: Person, index: int) -> Record:
        image = tensor_of(open_rgb(path))[0]
        faces = find_faces(self._load(), image, order="largest first")
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
        identity = face.identity
        if self._recogniser is not None:
            identity = self._recogniser.identify(image, face)
        if identity is not None:
            files["feat_file_v2"] = codec.feature(identity.vector)
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


def with_references(records: Sequence[Record]) -> list[Record]:
    """All records of a person, each with the next one as its reference."""
    return [
        replace(
            record,
            row=replace(record.row, reference=other.path("images"), reference_bbox=other.row.bbox),
        )
        for record, other in zip(records, [*records[1:], *records[:1]], strict=True)
    ]


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
