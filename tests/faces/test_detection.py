"""Batches: which faces are meant, and that one bad picture costs no other its result."""

from __future__ import annotations

import pytest
import torch
from comfyui_dense_face.errors import InputError
from comfyui_dense_face.faces.analyzers import find_faces
from comfyui_dense_face.faces.detection import (
    ERROR,
    ON_MISSING,
    PASS_THROUGH,
    SKIP,
    Wanted,
    look_at,
    remaining,
    report,
)
from comfyui_dense_face.faces.face import Face
from comfyui_dense_face.faces.large_images import reduced
from torch import Tensor


class BrightSquares:
    """One face for every bright run of columns; the brighter, the surer."""

    name = "bright squares"

    def find(self, picture: Tensor) -> list[Face]:
        height, width = picture.shape[-2:]
        line = picture.amax((0, 1)).tolist()
        edges = [i for i in range(width) if (line[i] > 0.3) != (i > 0 and line[i - 1] > 0.3)]
        faces = []
        for left, right in zip(edges[::2], [*edges[1::2], width], strict=False):
            box = (float(left), 0.0, float(right), float(height))
            score = line[left]
            faces.append(Face((width, height), box, score, torch.zeros(0, 2), "none", self.name))
        return faces[::-1]


def picture(*columns: tuple[int, int, float]) -> Tensor:
    result = torch.zeros(3, 8, 64)
    for left, right, value in columns:
        result[..., left:right] = value
    return result


THREE = picture((2, 8, 0.9), (20, 40, 0.8), (50, 60, 0.5))
NAN = torch.full((3, 8, 64), float("nan"))


def test_index_is_counted_before_the_limits() -> None:
    (look,) = look_at(BrightSquares(), [THREE], Wanted(min_score=0.7, min_size=9))
    assert len(look.faces) == 3 and look.chosen == (1,) and look.trouble == ""
    (look,) = look_at(BrightSquares(), [THREE], Wanted(index=1, min_size=9))
    assert look.chosen == (1,)
    (look,) = look_at(BrightSquares(), [THREE], Wanted(index=2, min_score=0.7))
    assert look.chosen == () and look.trouble == "1 face found, but too unsure or too small"
    (look,) = look_at(BrightSquares(), [THREE], Wanted(order="largest first", index=0))
    assert look.faces[0].box[:1] == (20,)
    (look,) = look_at(BrightSquares(), [THREE], Wanted(index=3))
    assert look.trouble == "face index 3 does not exist: 3 faces found" and len(look.faces) == 3


def test_bad_pictures_cost_the_others_nothing() -> None:
    batch = [THREE, picture(), NAN, THREE * 255, torch.zeros(3, 0, 4), THREE]
    asked: list[int] = []
    looks = look_at(BrightSquares(), batch, Wanted(), lambda: asked.append(1))
    assert len(asked) == len(looks) == 6
    assert [len(look.chosen) for look in looks] == [3, 0, 0, 0, 0, 3]
    assert report(looks).startswith("2 of 6 pictures with a face, 6 faces; picture 2: no face was")
    assert "picture 3: the picture holds values that are not numbers" in report(looks)
    assert "picture 4: the picture holds values from 0 to 229.5 instead of 0 to 1" in report(looks)
    assert remaining(looks, SKIP, "here") == [0, 5]
    assert remaining(looks, PASS_THROUGH, "here") == list(range(6))
    with pytest.raises(InputError, match=r"picture 2: no face was found; picture 3.*\(here\)"):
        remaining(looks, ERROR, "here")


def test_good_batches_pass_in_every_mode() -> None:
    looks = look_at(BrightSquares(), [THREE, THREE], Wanted(index=0))
    for mode in ON_MISSING:
        assert remaining(looks, mode, "here") == [0, 1]
    assert report(looks) == "2 of 2 pictures with a face, 2 faces"


def test_a_single_picture_is_not_counted() -> None:
    looks = look_at(BrightSquares(), [picture()], Wanted())
    with pytest.raises(InputError, match=r"^no face was found \(here\)\. Use other pictures"):
        remaining(looks, ERROR, "here")
    assert remaining(looks, SKIP, "here") == []


def test_long_reports_end() -> None:
    text = report(look_at(BrightSquares(), [picture()] * 200, Wanted()))
    assert text.endswith("picture 6: no face was found; and 194 more") and len(text) < 300


def test_unknown_words() -> None:
    with pytest.raises(InputError, match="order of faces"):
        look_at(BrightSquares(), [], Wanted(order="by beauty"))
    with pytest.raises(InputError, match="unknown"):
        remaining([], "ignore", "here")


def test_huge_pictures_are_looked_at_smaller() -> None:
    huge = torch.zeros(1, 16384, 16384)  # memory that nothing is written to is not really taken
    huge[..., 4000:4100] = 1
    (face,) = find_faces(BrightSquares(), huge)
    assert face.picture_size == (16384, 16384)
    assert face.box == (4000, 0, 4100, 16384)


@pytest.mark.parametrize("size", [(64, 64), (65, 130), (3, 1000)])
def test_reduced_pictures(size: tuple[int, int]) -> None:
    picture = torch.rand(3, *size)
    same, one = reduced(picture, 1000)
    assert same is picture and one == 1
    small, factor = reduced(picture, 50)
    assert max(small.shape) <= 50 and factor == -(-max(size) // 50)
    assert float(small.mean()) == pytest.approx(float(picture.mean()), abs=0.05)
    assert torch.allclose(small[:, 0, 0], picture[:, :factor, :factor].mean((1, 2)), atol=1e-6)
