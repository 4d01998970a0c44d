"""Metrics of faces on pairs whose answer is known."""

from __future__ import annotations

import math

import pytest
import torch
from comfyui_dense_face.errors import IncompatibleError, InputError
from comfyui_dense_face.faces.face import HeadPose
from comfyui_dense_face.faces.head_pose import xyz_to_zyx
from comfyui_dense_face.faces.identity import Identity
from comfyui_dense_face.faces.metrics import (
    change_outside,
    expression_agreement,
    likeness,
    pose_error,
)
from hypothesis import given
from hypothesis import strategies as st


def test_likeness_is_the_cosine_of_one_encoder() -> None:
    x, y = Identity(torch.tensor([1.0, 0]), "a"), Identity(torch.tensor([0.6, 0.8]), "a")
    assert likeness(x, y) == pytest.approx(0.6)
    assert likeness(x, x) == 1
    with pytest.raises(IncompatibleError, match=r"'a' cannot be compared with one by 'b'"):
        likeness(x, Identity(torch.tensor([1.0, 0]), "b"))


angle = st.floats(-60, 60)


@given(yaw=angle, pitch=angle, roll=angle)
def test_target_pose_has_no_error(yaw: float, pitch: float, roll: float) -> None:
    target = HeadPose(yaw, pitch, roll)
    found = pose_error(xyz_to_zyx(target), target)
    assert found.mean == pytest.approx(0, abs=1e-6)
    assert found.turn == pytest.approx(0, abs=1e-4)


def test_pose_error_in_degrees() -> None:
    found = pose_error(HeadPose(20, 0, 0), HeadPose(26, 0, 0))
    assert found.yaw == pytest.approx(-6) and found.mean == pytest.approx(2)
    assert found.turn == pytest.approx(6)
    over = pose_error(HeadPose(0, 0, 179), HeadPose(0, 0, -179))
    assert over.roll == pytest.approx(-2) and over.turn == pytest.approx(2)


def test_expression_agreement() -> None:
    smile = {"mouthSmileLeft": 0.8, "mouthSmileRight": 0.8}
    half = {name: value / 2 for name, value in smile.items()}
    same = expression_agreement(smile, {**smile, "_neutral": 0.5})
    assert same.agreement == pytest.approx(1) and same.difference == pytest.approx(0)
    found = expression_agreement(half, smile)
    assert found.agreement == pytest.approx((0.8 + 0.5) / (1.6 + 0.5))
    assert found.difference == pytest.approx(0.8 / 51)
    assert {name for name, _ in found.most[:2]} == set(smile)
    assert found.most[0][1] == pytest.approx(-0.4)
    other = expression_agreement(smile, {"jawOpen": 0.9, "browInnerUp": -0.1})
    assert other.agreement < 0.25 < found.agreement
    with pytest.raises(InputError, match="no expression"):
        expression_agreement(smile, {})


def test_change_outside_of_a_mask() -> None:
    before = torch.full((1, 3, 10, 10), 0.5)
    after, mask = before.clone(), torch.zeros(1, 10, 10)
    mask[:, :5] = 0.01
    after[..., :5, :] = 1
    none = change_outside(before, after, mask)
    assert (none.mean, none.largest, none.changed, none.psnr) == (0, 0, 0, math.inf)
    assert none.outside == 0.5
    after[0, 0, 7, 7] += 30 / 255
    some = change_outside(before, after, mask)
    assert some.largest == pytest.approx(30, abs=1e-3)
    assert some.mean == pytest.approx(30 / 150, abs=1e-3) and some.changed == pytest.approx(1 / 150)
    assert some.psnr == pytest.approx(-10 * math.log10((30 / 255) ** 2 / 150), abs=1e-2)
    assert change_outside(before, after).largest == pytest.approx(127.5)
    with pytest.raises(InputError, match="covers the whole image"):
        change_outside(before, after, mask + 1)
    with pytest.raises(InputError, match="different shapes"):
        change_outside(before, after[..., :9], mask)
