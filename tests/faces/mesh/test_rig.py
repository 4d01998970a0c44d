"""Blendshapes on the mesh: symmetric, read back by the landmarker, no lids or lips cross."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from comfyui_dense_face.faces.blendshapes import ARKIT_NAMES, mirrored_name
from comfyui_dense_face.faces.mediapipe.landmarker import Landmarker
from comfyui_dense_face.faces.mediapipe.mesh_mirror import mirror_order
from comfyui_dense_face.faces.mesh.edges import (
    FEATURES,
    LEFT_LOWER_LID,
    LEFT_UPPER_LID,
    LOWER_LIP_INSIDE,
    LOWER_LIP_OUTSIDE,
    OVAL,
    RIGHT_LOWER_LID,
    RIGHT_UPPER_LID,
    UPPER_LIP_INSIDE,
    UPPER_LIP_OUTSIDE,
)
from comfyui_dense_face.faces.mesh.rig import NOT_SHOWN, FaceRig, not_shown
from hypothesis import given, settings
from hypothesis import strategies as st
from landmarker_file import landmarker_file
from torch import Tensor

quick = settings(max_examples=40, deadline=None)
expressions = st.dictionaries(st.sampled_from(ARKIT_NAMES), st.floats(0, 1), max_size=8)
MIRROR = torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
#: From the upper one to the lower one, without the ends that they share.
LIPS = (UPPER_LIP_OUTSIDE, UPPER_LIP_INSIDE, LOWER_LIP_INSIDE, LOWER_LIP_OUTSIDE)
LIDS = ((LEFT_UPPER_LID, LEFT_LOWER_LID), (RIGHT_UPPER_LID, RIGHT_LOWER_LID))


@pytest.fixture(scope="module")
def landmarker() -> Landmarker:
    return Landmarker(landmarker_file(), steady=True)


def height(points: Tensor, path: tuple[int, ...]) -> Tensor:
    return points[list(path[1:-1]), 1]


def test_at_rest_it_is_the_canonical_face_with_open_eyes_and_a_closed_mouth(rig: FaceRig) -> None:
    apart = (rig.rest[:468] - rig.geometry.vertices).abs().amax(1)
    changed = {i for path in (*LIPS, *LIDS[0], *LIDS[1]) for i in path[1:-1]}
    assert apart[[i for i in range(468) if i not in changed]].max() == 0
    assert 0 < apart.max() < 0.4  # centimetres
    assert (height(rig.rest, UPPER_LIP_INSIDE) - height(rig.rest, LOWER_LIP_INSIDE)).abs().max() < (
        1e-9
    )
    assert torch.equal(rig.move(rig.rest, {}), rig.rest)


@given(expressions)
@quick
def test_the_mirrored_expression_is_the_mirrored_face(
    rig: FaceRig, values: dict[str, float]
) -> None:
    other = {mirrored_name(name): value for name, value in values.items()}
    mirrored = rig.move(rig.rest, values)[mirror_order(rig.geometry)] * MIRROR
    assert torch.allclose(rig.move(rig.rest, other), mirrored, atol=2e-3)


@given(expressions)
@quick
def test_neither_lips_nor_lids_cross(rig: FaceRig, values: dict[str, float]) -> None:
    moved = rig.move(rig.rest, values)
    for upper, lower in (*itertools.pairwise(LIPS), *LIDS):
        assert (height(moved, upper) - height(moved, lower)).min() > -1e-9
    for pupil, (upper, lower) in zip((473, 468), LIDS, strict=True):
        assert moved[lower[4], 1] < moved[pupil, 1] < moved[upper[4], 1]


def test_a_closed_eye_leaves_the_same_slit_however_it_is_closed(rig: FaceRig) -> None:
    """A twenty-fifth of the open one, and never less."""

    def gap(**values: float) -> Tensor:
        moved = rig.move(rig.rest, {f"{name}Left": value for name, value in values.items()})
        upper, lower = LIDS[0]
        return moved[list(upper[1:-1])] - moved[list(lower[1:-1])]

    for much in ({"eyeSquint": 0.5}, {"eyeLookDown": 1.0}, {"eyeSquint": 1.0, "eyeLookDown": 1.0}):
        assert torch.allclose(gap(eyeBlink=1.0, **much), 0.04 * gap(), atol=1e-6)


LOOKS = [name for name in ARKIT_NAMES if name.startswith("eyeLook")]


@given(st.dictionaries(st.sampled_from(LOOKS), st.floats(0, 1)))
@quick
def test_eyes_turn_without_a_change_of_shape(rig: FaceRig, values: dict[str, float]) -> None:
    moved = rig.move(rig.rest, values)
    for iris in (slice(468, 473), slice(473, 478)):
        here, there = (torch.cdist(each[iris], each[iris]) for each in (rig.rest, moved))
        assert torch.allclose(here, there, atol=1e-6)


def test_lids_closed_in_several_ways_still_do_not_cross(rig: FaceRig) -> None:
    everything = {f"{name}Left": 1.0 for name in ("eyeBlink", "eyeSquint", "eyeLookDown")}
    moved = rig.move(rig.rest, everything)
    assert (height(moved, LEFT_UPPER_LID) - height(moved, LEFT_LOWER_LID)).min() > 0


@given(st.dictionaries(st.sampled_from(ARKIT_NAMES), st.floats(0, 0.6), max_size=4))
@quick
def test_what_was_moved_comes_to_rest(rig: FaceRig, values: dict[str, float]) -> None:
    """All but the mouth's inside, which is closed, whatever was measured of it."""
    values = {n: v for n, v in values.items() if n.startswith(("eye", "brow", "jaw"))}
    back = rig.neutralise(rig.move(rig.rest, values), values)
    seen = {i for feature in FEATURES for path in feature.paths for i in path}
    mouth = {i for path in LIPS for i in path}
    assert (back - rig.rest)[sorted(seen - mouth)].abs().max() < 1e-6
    assert (back - rig.rest)[sorted(mouth)].abs().max() < 0.2


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("browDownLeft", 0.5), ("browInnerUp", 0.7), ("browOuterUpLeft", 0.4),
        ("eyeBlinkLeft", 0.7), ("eyeLookInLeft", 0.8), ("eyeLookOutRight", 0.7),
        ("eyeLookUpLeft", 0.2), ("eyeLookDownRight", 0.8), ("jawLeft", 0.7), ("jawOpen", 0.6),
        ("mouthLeft", 0.4), ("mouthPucker", 0.8), ("mouthRollLower", 0.6), ("mouthSmileLeft", 0.7),
    ],
)  # fmt: skip
def test_the_landmarker_reads_it_back(
    rig: FaceRig, landmarker: Landmarker, name: str, least: float
) -> None:
    """From the geometry alone; the drawing is no photograph."""

    def read(values: dict[str, float]) -> float:
        points = (rig.move(rig.rest, values) * torch.tensor([1.0, -1.0, 1.0])).numpy()
        return landmarker.expression(np.float32(points))[name]

    at_rest, half, full = (read({name: value}) for value in (0.0, 0.5, 1.0))
    assert at_rest < half < full and full > least


def test_an_open_jaw_lowers_the_chin_and_lets_the_brows_be(rig: FaceRig) -> None:
    shift = rig.move(rig.rest, {"jawOpen": 1.0}) - rig.rest
    assert shift[152, 1] < -1 and shift[14, 1] < -1.5 and abs(float(shift[13, 1])) < 0.1
    assert shift[[105, 10, 159]].abs().max() == 0


def test_what_is_not_drawn_is_named_and_moves_nothing(rig: FaceRig) -> None:
    values = dict.fromkeys(NOT_SHOWN, 1.0)
    assert torch.equal(rig.move(rig.rest, values), rig.rest)
    assert not_shown(values) == list(NOT_SHOWN)
    assert not_shown({"cheekPuff": 0.05, "jawOpen": 1.0}) == []
    moving = set(ARKIT_NAMES) - set(NOT_SHOWN)
    for name in moving:
        moved = rig.move(rig.rest, {name: 1.0, "jawOpen": 0.5}) - rig.move(
            rig.rest, {"jawOpen": 0.5}
        )
        assert name == "jawOpen" or moved.abs().max() > 0.05, name
    assert len(OVAL) == 37
