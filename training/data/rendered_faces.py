"""``denseface render OUT``: heads of the tiny world in the layout of the Dense-Face data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ...demo.captions import caption
from ...demo.networks.analyzer import analyse, load_analyzer
from ...demo.people import sample_people
from ...demo.renderer.renderer import Renders, render
from ...faces.blendshapes import ARKIT_NAMES
from . import codec as codec
from .annotate_folder import PLACES
from .record import ANNOTATION_SIZE, Record, Row
from .writer import Writer

_FACE_POINTS = slice(17, 68)
"""Of the 68 landmarks: all except the contour."""
_NOSE = 30


@dataclass(frozen=True)
class RenderPlan:
    """``count`` images from ``seed`` on, ``per_person`` of each person, ``size`` px a side."""

    count: int
    seed: int = 0
    per_person: int = 4
    size: int = ANNOTATION_SIZE

    @property
    def people(self) -> int:
        """Number of people; the last one may have fewer images."""
        return -(-self.count // self.per_person)

    def seeds(self, person: int) -> range:
        """Seeds of the images of one person, counted from 0."""
        first = self.seed + person * self.per_person
        return range(first, min(first + self.per_person, self.seed + self.count))


def render_faces(
    plan: RenderPlan,
    writer: Writer,
    *,
    shard: tuple[int, int] = (1, 1),
    progress: Callable[[int], object] = lambda done: None,
) -> None:
    """Render people who are not finished yet, and join the results.

    Args:
        shard: Number of this machine, from 1, and number of machines.
        progress: Called with the number of images done since its last call.

    Raises:
        InputError: The data set cannot be written to.
    """
    renderer = _Renderer(plan)
    at_once = writer.people_at_once
    for number, first in enumerate(range(0, plan.people, at_once)):
        if number % shard[1] != shard[0] - 1:
            continue
        group = range(first, min(first + at_once, plan.people))
        ids = [person + 1 for person in group]
        if writer.finished(number, ids):
            progress(sum(len(plan.seeds(person)) for person in group))
            continue
        records: list[Record] = []
        for person in group:
            records += renderer.records(person, progress)
        writer.write(number, ids, records)
    writer.finish()


class _Renderer:
    def __init__(self, plan: RenderPlan) -> None:
        self.plan, self._analyzer = plan, load_analyzer()

    def records(self, person: int, progress: Callable[[int], object]) -> list[Record]:
        """The records of a person; the reference of each image is the next one."""
        found = []
        seeds = self.plan.seeds(person)
        for index, seed in enumerate(seeds):
            other = f"{person + 1:07d}/images/{(index + 1) % len(seeds):03d}.jpg"
            found.append(self._record(person, index, seed, other))
            progress(1)
        return found

    def _record(self, person: int, index: int, seed: int, other: str) -> Record:
        head = sample_people(range(seed, seed + 1), self.plan.seed, self.plan.per_person)
        rendered = render(head, self.plan.size)
        xyz, depth_range = _xyz(rendered)
        points = rendered.landmarks[0]
        text = caption(head)[0]
        low, high = (values.tolist() for values in points[_FACE_POINTS].aminmax(dim=0))
        yaw, pitch, roll = (round(angle, 3) for angle in head.angles[0].tolist())
        shapes = head.expression[0].tolist()
        nose = (points[_NOSE] * self.plan.size).tolist()
        files = {
            "images": codec.jpeg(rendered.rgb[0]),
            "masks": codec.part_mask(_resized(rendered.parts.float())[0].to(torch.uint8)),
            "landmarks": codec.landmark_table(points),
            "xyzmaps": codec.array(xyz.numpy()),
            "captions": codec.json_bytes({text: {"model": "tiny-world", "CLIP_score": None}}),
            "attributes": codec.blendshapes(dict(zip(ARKIT_NAMES, shapes, strict=True))),
            "feat_file_v2": codec.feature(
                analyse(self._analyzer, rendered.rgb).identity[0].clone()
            ),
        }
        row = Row(
            subject_id=person + 1,
            aligned_size=self.plan.size,
            depth_range=depth_range,
            src_nose_xy=(round(nose[0], 2), round(nose[1], 2)),
            bbox=(round(low[0], 5), round(low[1], 5), round(high[0], 5), round(high[1], 5)),
            reference=other,
            caption=text,
            head_pose=(pitch, yaw, roll),
        )
        return Record(index, row, files)


def _xyz(rendered: Renders) -> tuple[Tensor, tuple[float, float]]:
    """Position and depth [256, 256, 3], and the range of depths apart from the background."""
    depth = _resized(rendered.depth)[0]
    inside = depth < codec.BACKGROUND
    pixels = (torch.arange(ANNOTATION_SIZE) + 0.5) * (PLACES / ANNOTATION_SIZE)
    places = torch.stack(torch.meshgrid(pixels, pixels, indexing="xy"), -1)
    places = torch.where(inside[..., None], places, torch.tensor(codec.NO_PLACE))
    low, high = depth[inside].aminmax()
    return torch.cat([places, depth[..., None]], -1), (float(low), float(high))


def _resized(maps: Tensor) -> Tensor:
    """Maps [B, S, S] resized to the size of annotations; edges stay sharp."""
    size = (ANNOTATION_SIZE, ANNOTATION_SIZE)
    return F.interpolate(maps[:, None], size, mode="nearest-exact")[:, 0]
