"""Drawing faces: what is drawn where, and that the other pixels are unchanged."""

from __future__ import annotations

import pytest
import torch
from comfyui_dense_face.faces.crops.alignment import TEMPLATE
from comfyui_dense_face.faces.drawing import DrawOptions, draw_faces, preview
from comfyui_dense_face.faces.face import Face, HeadPose
from torch import Tensor

pytest.importorskip("PIL")
NOTHING = DrawOptions(boxes=False, numbers=False, landmarks=False, pose=False)


def face(x: float = 20, pose: HeadPose | None = None) -> Face:
    box = (x, 20.0, x + 100, 130.0)
    points = TEMPLATE * 0.8 + torch.tensor([x, 30.0])
    return Face((320, 160), box, 1.0, points, "five", "test", pose=pose)


def ink(image: Tensor, drawn: Tensor) -> Tensor:
    return (image != drawn).any(0)


def test_other_pixels_are_unchanged() -> None:
    image = torch.rand(3, 160, 320)
    assert torch.equal(draw_faces(image, [face()], [0], NOTHING), image)
    boxed = ink(image, draw_faces(image, [face()], [0], DrawOptions(True, False, False, False)))
    assert bool(boxed[75, 20]) and bool(boxed[20, 70]) and not bool(boxed[75, 70])
    assert not bool(boxed[:, 140:].any())
    dots = ink(image, draw_faces(image, [face()], [0], DrawOptions(False, False, True, False)))
    for x, y in face().require_five().tolist():
        assert bool(dots[int(y), int(x)])
    tag = ink(image, draw_faces(image, [face()], [0], DrawOptions(False, True, False, False)))
    assert bool(tag[22, 22]) and not bool(tag[60:, 60:].any())


def test_the_axis_of_the_nose_follows_the_yaw() -> None:
    image = torch.ones(3, 160, 320)
    only_pose = DrawOptions(False, False, False, True)
    left = draw_faces(image, [face(100, HeadPose(40, 0, 0))], [0], only_pose)
    x, y = (int(v) for v in face(100).require_five()[2])
    blue = (left[2] > 0.8) & (left[0] < 0.5)
    assert bool(blue[y, x - 20 : x - 5].any()) and not bool(blue[y, x + 8 :].any())
    none = draw_faces(image, [face(100)], [0], only_pose)
    assert torch.equal(none, image)


def test_unselected_faces_are_grey() -> None:
    image = torch.zeros(3, 160, 320)
    drawn = draw_faces(image, [face(20), face(200)], [0, 1], chosen=[1])
    assert float(drawn[0, 75, 200] - drawn[2, 75, 200]) > 0.5
    assert float((drawn[0, 75, 20] - drawn[2, 75, 20]).abs()) < 0.05


@pytest.mark.parametrize("size", [(1, 1), (128, 128), (40, 3000), (160, 320)])
def test_previews_have_a_viewable_size(size: tuple[int, int]) -> None:
    found = preview(torch.rand(3, *size), [face()], [0])
    assert 512 <= max(found.shape) <= 1024
    assert bool(((found >= 0) & (found <= 1)).all())
