"""The record of a face: checks, five points, order and index."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from comfyui_dense_face.errors import InputError
from comfyui_dense_face.faces.face import ORDERS, Box, Face, in_order, pick
from hypothesis import given
from hypothesis import strategies as st


def face(box: Box = (10, 10, 30, 40), **changes: Any) -> Face:
    fields: dict[str, Any] = {
        "image_size": (100, 80),
        "box": box,
        "score": 0.9,
        "landmarks": torch.zeros(0, 2),
        "scheme": "none",
        "source": "test",
    }
    return Face(**{**fields, **changes})


def test_five_points_come_from_the_landmarks() -> None:
    ibug = torch.arange(136.0).reshape(68, 2)
    expected = torch.stack([ibug[36:42].mean(0), ibug[42:48].mean(0), ibug[30], ibug[48], ibug[54]])
    assert torch.equal(face(landmarks=ibug, scheme="ibug").require_five(), expected)
    mesh = torch.rand(478, 3)
    assert torch.equal(face(landmarks=mesh, scheme="mesh").require_five()[2], mesh[4, :2])
    own = torch.rand(5, 2)
    assert torch.equal(face(five=own).require_five(), own)
    with pytest.raises(InputError, match="a box but no points"):
        face().require_five()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"landmarks": torch.zeros(70, 2), "scheme": "ibug"}, r"\[70, 2\].*'ibug'"),
        ({"scheme": "dlib"}, "'dlib'"),
        ({"five": torch.zeros(4, 2)}, "five points"),
        ({"five": torch.full((5, 2), float("inf"))}, "not numbers"),
        ({"box": (10, 10, 10, 40)}, "empty"),
        ({"box": (10, float("nan"), 30, 40)}, "not numbers"),
    ],
)
def test_invalid_faces_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        face(**changes)


def test_faces_of_another_image_are_refused() -> None:
    face().require_size(100, 80)
    with pytest.raises(InputError, match="image of 100x80 px, this one has 80x100"):
        face().require_size(80, 100)


corner, side = st.floats(-100, 100), st.floats(1, 100)


@given(
    boxes=st.lists(st.tuples(corner, corner, side, side), max_size=8), order=st.sampled_from(ORDERS)
)
def test_order_and_index(boxes: list[Box], order: str) -> None:
    faces = [face((x, y, x + w, y + h)) for x, y, w, h in boxes]
    ordered = in_order(faces, order)
    assert sorted(map(id, ordered)) == sorted(map(id, faces))
    keys = {
        "left to right": lambda one: one.box[0] + one.box[2],
        "top to bottom": lambda one: one.box[1] + one.box[3],
        "largest first": lambda one: -one.area,
    }
    values = [keys[order](one) for one in ordered]
    assert values == sorted(values)
    for i, one in enumerate(ordered):
        assert pick(ordered, i) is one
    for wrong in (-1, len(faces)):
        with pytest.raises(
            InputError, match=f"face index {wrong} does not exist: {len(faces)} face"
        ):
            pick(ordered, wrong)


def test_unknown_order() -> None:
    with pytest.raises(InputError, match="order of faces is unknown"):
        in_order([face()], "prettiest first")
