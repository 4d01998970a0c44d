"""Masks from landmarks: areas, edges, sides of the face, and few landmarks."""

from __future__ import annotations

import math

import pytest
import torch
from comfyui_dense_face.errors import InputError
from comfyui_dense_face.faces.crops.alignment import TEMPLATE
from comfyui_dense_face.faces.crops.crop import crop_place
from comfyui_dense_face.faces.face import Face
from comfyui_dense_face.faces.masks.landmark_regions import REGIONS, outline
from comfyui_dense_face.faces.masks.polygon import convex_hull, signed_distance
from comfyui_dense_face.faces.masks.region_mask import part_labels, region_mask
from comfyui_dense_face.faces.mediapipe.mesh_mirror import mirror_order
from comfyui_dense_face.faces.mediapipe.task_file import read_geometry
from comfyui_dense_face.faces.parts import PART_INDEX
from hypothesis import given, settings
from hypothesis import strategies as st
from landmarker_file import landmarker_file
from torch import Tensor

BOX = (20.0, 10.0, 100.0, 120.0)


def face(scheme: str = "five", landmarks: Tensor | None = None) -> Face:
    points = TEMPLATE + 8 if landmarks is None else landmarks
    return Face((128, 128), BOX, 1.0, points, scheme, "test")


def average_face() -> Face:
    """68 landmarks of the tiny world's average head, frontal."""
    from comfyui_dense_face.demo.people import sample_heads
    from comfyui_dense_face.demo.renderer.renderer import render

    heads = sample_heads([5], [7]).replace(angles=torch.zeros(1, 3))
    return face("ibug", 128 * render(heads, 128).landmarks[0])


def area(mask: Tensor) -> float:
    return float(mask.sum())


@settings(max_examples=40, deadline=None)
@given(
    x=st.floats(20, 80), y=st.floats(20, 80), radius=st.floats(4, 60), corners=st.integers(3, 40)
)
def test_distance_of_a_regular_polygon(x: float, y: float, radius: float, corners: int) -> None:
    angles = torch.arange(corners) * (2 * math.pi / corners)
    polygon = torch.stack([x + radius * angles.cos(), y + radius * angles.sin()], 1)
    for one in (polygon, polygon.flip(0)):
        depth = signed_distance(one, 100, 100, 100.0)
        inner = radius * math.cos(math.pi / corners)
        assert float(depth[int(y), int(x)]) == pytest.approx(inner, abs=1.0)
        rows, columns = torch.meshgrid(
            torch.arange(100) + 0.5, torch.arange(100) + 0.5, indexing="ij"
        )
        away = ((columns - x) ** 2 + (rows - y) ** 2).sqrt()
        assert bool((depth[away < inner - 0.3] > 0).all())
        assert bool((depth[away > radius + 0.3] < 0).all())


def test_large_polygons_keep_their_area() -> None:
    square = torch.tensor([[100.2, 50.0], [1900.7, 50], [1900.7, 1700.4], [100.2, 1700.4]])
    mask = (signed_distance(square, 1800, 2000, 1.0) + 0.5).clamp(0, 1)
    assert area(mask) == pytest.approx(1800.5 * 1650.4, rel=2e-3)
    assert area((signed_distance(square + 5000, 1800, 2000, 1.0) + 0.5).clamp(0, 1)) == 0


@given(points=st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=3, max_size=12))
def test_hull_contains_all_points(points: list[tuple[int, int]]) -> None:
    cloud = torch.tensor(points).float()
    hull = convex_hull(cloud)
    with_depth = torch.cat([cloud, torch.ones(len(cloud), 1)], 1)
    assert torch.equal(convex_hull(with_depth[:, :2]), hull)
    if len(hull) < 3:
        return
    after = hull.roll(-1, 0) - hull
    for point in cloud:
        gap = point - hull
        assert bool((after[:, 0] * gap[:, 1] - after[:, 1] * gap[:, 0] >= 0).all())
    assert {tuple(row) for row in hull.tolist()} <= {tuple(row) for row in cloud.tolist()}


def test_parts_lie_in_the_face_on_the_right_sides() -> None:
    one = average_face()
    whole = region_mask(one, ["face"])
    for region in REGIONS:
        mask = region_mask(one, [region])
        assert area(mask) > (0 if region == "mouth_interior" else 20), region
        if not region.startswith("brow"):
            assert area(mask * whole) > 0.95 * area(mask), region
    columns = torch.arange(128.0)

    def middle(region: str) -> float:
        mask = region_mask(one, [region])
        return float((mask.sum(0) * columns).sum() / mask.sum())

    # The person's left is at the image's right.
    assert middle("eye_left") > middle("nose") > middle("eye_right")
    assert middle("brow_left") > middle("nose") > middle("brow_right")
    labels = part_labels(one)
    assert set(labels.unique().tolist()) >= set(range(8)) - {PART_INDEX["mouth_interior"]}


IBUG_MIRROR = (
    *range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1),
    *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40), *range(54, 47, -1), *range(59, 54, -1),
    *range(64, 59, -1), *(67, 66, 65),
)  # fmt: skip
"""For each of the 68 points the one on the other side of the face."""


def mirror_of(scheme: str) -> list[int]:
    """The same for a scheme of landmarks."""
    if scheme == "ibug":
        return list(IBUG_MIRROR)
    return mirror_order(read_geometry(landmarker_file())).tolist()


@pytest.mark.parametrize("scheme", ["ibug", "mesh"])
def test_a_mirrored_face_has_mirrored_points(scheme: str) -> None:
    order, flip = mirror_of(scheme), torch.tensor([-1.0, 1.0])
    points = 128 * torch.rand(len(order), 2, generator=torch.Generator().manual_seed(3))
    here, there = (face(scheme, each).require_five() for each in (points, points[order] * flip))
    assert torch.allclose(here[[1, 0, 2, 4, 3]] * flip, there, atol=1e-4)


@pytest.mark.parametrize("scheme", ["ibug", "mesh"])
@pytest.mark.parametrize("region", REGIONS)
def test_a_mirrored_face_has_mirrored_regions(region: str, scheme: str) -> None:
    order = mirror_of(scheme)
    points = 128 * torch.rand(len(order), 2, generator=torch.Generator().manual_seed(3))
    flip = torch.tensor([-1.0, 1.0])
    other = {"left": "right", "right": "left"}.get(region.rpartition("_")[2])
    opposite = f"{region.rpartition('_')[0]}_{other}" if other else region
    here = outline(face(scheme, points), region) * flip
    there = outline(face(scheme, points[order] * flip), opposite)
    assert sorted(map(tuple, here.round(decimals=3).tolist())) == sorted(
        map(tuple, there.round(decimals=3).tolist())
    )


@pytest.mark.parametrize(("scheme", "count"), [("ibug", 68), ("mesh", 478)])
def test_the_points_of_eyes_and_lips(scheme: str, count: int) -> None:
    numbered = face(scheme, torch.arange(float(count))[:, None].expand(-1, 2))

    def points(region: str) -> set[float]:
        found = outline(numbered, region)[:, 0].tolist()
        assert len(set(found)) == len(found), region
        return set(found)

    assert len(points("eye_left")) == len(points("eye_right"))
    assert not points("eye_left") & points("eye_right")
    mouth, inside = points("mouth"), points("mouth_interior")
    upper, lower = points("upper_lip"), points("lower_lip")
    assert not mouth & inside
    # Both lips together, which meet in the four corners of the mouth.
    assert upper | lower == mouth | inside and len(upper & lower) == 4


def test_part_labels_overlap_the_ground_truth() -> None:
    """Intersection over union with the renderer's own part mask."""
    from comfyui_dense_face.demo.people import sample_heads
    from comfyui_dense_face.demo.renderer.renderer import render

    heads = sample_heads([5], [7]).replace(angles=torch.tensor([[15.0, 5.0, 8.0]]))
    drawn = render(heads, 128)
    labels = part_labels(face("ibug", 128 * drawn.landmarks[0]))
    for name in ("eye_left", "eye_right", "nose"):
        ours, true = labels == PART_INDEX[name], drawn.parts[0] == PART_INDEX[name]
        assert float((ours & true).sum() / (ours | true).sum()) > 0.3, name


def test_grow_and_feather() -> None:
    one = face()
    plain = region_mask(one, ["face"])
    wide, narrow = (region_mask(one, ["face"], grow=g) for g in (0.1, -0.1))
    assert area(narrow) < area(plain) < area(wide)
    side = area(plain) ** 0.5
    assert (area(wide) / math.pi) ** 0.5 - (area(plain) / math.pi) ** 0.5 == pytest.approx(
        0.1 * side, rel=0.1
    )
    soft = region_mask(one, ["face"], feather=10)
    assert not bool((soft > plain).any()) and area(soft) < area(plain)
    assert float(soft.max()) == 1
    assert torch.equal(
        region_mask(one, ["eye_left", "eye_right"]),
        torch.maximum(region_mask(one, ["eye_left"]), region_mask(one, ["eye_right"])),
    )


def test_mask_on_a_crop_is_the_crop_of_the_mask() -> None:
    from comfyui_dense_face.faces.crops.crop import cropped

    one = average_face()
    place = crop_place(one.require_five(), (128, 128), 96, padding=-0.2)
    there = region_mask(one, ["face"], place=place)
    here = cropped(region_mask(one, ["face"])[None], place)[0]
    assert there.shape == (96, 96)
    assert float((there - here).abs().mean()) < 0.01


def test_few_landmarks() -> None:
    assert area(region_mask(face(), ["mouth", "nose", "eye_left", "brow_right"])) > 100
    box = Face((128, 128), BOX, 1.0, torch.zeros(0, 2), "none", "a detector")
    assert area(region_mask(box, ["face"])) == pytest.approx(math.pi / 4 * 80 * 110, rel=0.02)
    for one, region in ((face(), "upper_lip"), (box, "nose")):
        with pytest.raises(InputError, match=f"region {region} cannot be derived from"):
            region_mask(one, [region])
    with pytest.raises(InputError, match="unknown"):
        outline(face(), "hat")


def test_face_larger_than_the_image() -> None:
    """The outline lies outside of the image: all of it is inside, and an outline near it fades."""
    box = Face((60, 40), (-500.0, -500.0, 560.0, 540.0), 1.0, torch.zeros(0, 2), "none", "test")
    assert bool((region_mask(box, ["face"]) == 1).all())
    assert bool((region_mask(box, ["face"], feather=20, grow=-0.1) == 1).all())
    near = Face((60, 40), (-2.0, -500.0, 900.0, 540.0), 1.0, torch.zeros(0, 2), "none", "test")
    row = region_mask(near, ["face"], feather=20)[20]
    assert float(row[0]) == pytest.approx(0.15, abs=0.05) and float(row[30]) == 1
