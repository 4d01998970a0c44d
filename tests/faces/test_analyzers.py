"""Finding faces: accepted images, retries with a border, faces given by coordinates."""

from __future__ import annotations

import pytest
import torch
from comfyui_dense_face.errors import InputError
from comfyui_dense_face.faces.analyzers import find_faces, manual_face, to_rgb
from comfyui_dense_face.faces.face import Face, HeadPose
from torch import Tensor


class NeedsRoom:
    """Finds a white square, but only with a border of half its side around it."""

    name = "needs room"

    def __init__(self) -> None:
        self.calls = 0

    def find(self, image: Tensor) -> list[Face]:
        self.calls += 1
        height, width = image.shape[-2:]
        y, x = (image[0] > 0.9).nonzero().T.float()
        if not len(x):
            return []
        left, right, top, bottom = x.min(), x.max() + 1, y.min(), y.max() + 1
        if min(left, top) < (right - left) / 8:
            return []
        box = tuple(float(v) for v in (left, top, right, bottom))
        points = torch.tensor([[box[0], box[1]]]).repeat(5, 1) + torch.arange(10.0).reshape(5, 2)
        return [Face((width, height), box, 1.0, points, "five", self.name)]


def test_a_face_that_fills_the_frame_is_found_with_a_border() -> None:
    image = torch.zeros(3, 60, 80)
    image[:, 2:58, 2:78] = 1
    analyzer = NeedsRoom()
    (face,) = find_faces(analyzer, image)
    assert analyzer.calls == 2
    assert face.image_size == (80, 60) and face.box == (2, 2, 78, 58)
    assert face.require_five()[0].tolist() == [2, 3]
    assert torch.equal(face.landmarks, face.require_five())
    assert find_faces(analyzer, image, retry=False) == []
    assert find_faces(analyzer, torch.zeros(3, 60, 80)) == []


def test_grey_and_alpha() -> None:
    grey = torch.rand(1, 4, 5)
    assert torch.equal(to_rgb(grey), grey.repeat(3, 1, 1))
    rgba = torch.rand(4, 4, 5)
    assert torch.equal(to_rgb(rgba), rgba[:3])
    assert to_rgb(torch.rand(3, 4, 5, dtype=torch.float16)).dtype == torch.float32
    assert float(to_rgb(torch.full((3, 2, 2), 1.1)).max()) == 1


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.zeros(3, 0, 5), "shape"),
        (torch.zeros(1, 3, 4, 5), "shape"),
        (torch.zeros(2, 4, 5), "shape"),
        (torch.zeros(3, 4, 5, dtype=torch.uint8), "uint8 values"),
        (torch.full((3, 4, 5), float("nan")), "not numbers"),
        (torch.full((3, 4, 5), float("inf")), "not numbers"),
        (torch.full((3, 4, 5), 255.0), "from 255 to 255 instead of 0 to 1"),
        (torch.full((3, 4, 5), -1.0), "from -1 to -1"),
    ],
)
def test_invalid_images_are_refused(image: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        find_faces(NeedsRoom(), image)


def test_faces_given_by_coordinates() -> None:
    five = torch.tensor([[40.0, 40], [60, 40], [50, 50], [42, 60], [58, 60]])
    face = manual_face((100, 90), five=five, pose=HeadPose(10, 0, 0))
    assert face.box == (30, 30, 70, 70) and face.pose == (10, 0, 0)
    assert torch.equal(face.require_five(), five)
    assert manual_face((100, 90), box=(1, 2, 30, 40)).five is None
    for wrong in ({}, {"five": torch.zeros(4, 2)}, {"box": (5.0, 5.0, 5.0, 9.0)}):
        with pytest.raises(InputError):
            manual_face((100, 90), **wrong)
