"""Batches: selecting faces, and bad images that do not affect the others."""

from __future__ import annotations

import pytest
import torch
from comfyui_dense_face.errors import InputError
from comfyui_dense_face.faces.analyzers import find_faces
from comfyui_dense_face.faces.crops.warping import downscale
from comfyui_dense_face.faces.detection import (
    ERROR,
    ON_MISSING,
    PASS_THROUGH,
    SKIP,
    FaceSelection,
    detect_faces,
    remaining,
    report,
)
from comfyui_dense_face.faces.face import Face
from torch import Tensor


class BrightSquares:
    """One face for every bright run of columns; the brighter, the surer."""

    name = "bright squares"

    def find(self, image: Tensor) -> list[Face]:
        height, width = image.shape[-2:]
        line = image.amax((0, 1)).tolist()
        edges = [i for i in range(width) if (line[i] > 0.3) != (i > 0 and line[i - 1] > 0.3)]
        faces = []
        for left, right in zip(edges[::2], [*edges[1::2], width], strict=False):
            box = (float(left), 0.0, float(right), float(height))
            score = line[left]
            faces.append(Face((width, height), box, score, torch.zeros(0, 2), "none", self.name))
        return faces[::-1]


def image(*columns: tuple[int, int, float]) -> Tensor:
    result = torch.zeros(3, 8, 64)
    for left, right, value in columns:
        result[..., left:right] = value
    return result


THREE = image((2, 8, 0.9), (20, 40, 0.8), (50, 60, 0.5))
NAN = torch.full((3, 8, 64), float("nan"))


def test_index_is_applied_before_the_limits() -> None:
    (detection,) = detect_faces(BrightSquares(), [THREE], FaceSelection(min_score=0.7, min_size=9))
    assert len(detection.faces) == 3 and detection.chosen == (1,) and detection.problem == ""
    (detection,) = detect_faces(BrightSquares(), [THREE], FaceSelection(index=1, min_size=9))
    assert detection.chosen == (1,)
    (detection,) = detect_faces(BrightSquares(), [THREE], FaceSelection(index=2, min_score=0.7))
    assert (
        detection.chosen == () and detection.problem == "1 face found, but too unsure or too small"
    )
    (detection,) = detect_faces(
        BrightSquares(), [THREE], FaceSelection(order="largest first", index=0)
    )
    assert detection.faces[0].box[:1] == (20,)
    (detection,) = detect_faces(BrightSquares(), [THREE], FaceSelection(index=3))
    assert (
        detection.problem == "face index 3 does not exist: 3 faces found"
        and len(detection.faces) == 3
    )


def test_bad_images_do_not_affect_the_others() -> None:
    batch = [THREE, image(), NAN, THREE * 255, torch.zeros(3, 0, 4), THREE]
    calls: list[int] = []
    detections = detect_faces(BrightSquares(), batch, FaceSelection(), lambda: calls.append(1))
    assert len(calls) == len(detections) == 6
    assert [len(detection.chosen) for detection in detections] == [3, 0, 0, 0, 0, 3]
    assert report(detections).startswith("2 of 6 images with a face, 6 faces; image 2: no face was")
    assert "image 3: the image holds values that are not numbers" in report(detections)
    assert "image 4: the image holds values from 0 to 229.5 instead of 0 to 1" in report(detections)
    assert remaining(detections, SKIP, "here") == [0, 5]
    assert remaining(detections, PASS_THROUGH, "here") == list(range(6))
    with pytest.raises(InputError, match=r"image 2: no face was found; image 3.*\(here\)"):
        remaining(detections, ERROR, "here")


def test_good_batches_pass_in_every_mode() -> None:
    detections = detect_faces(BrightSquares(), [THREE, THREE], FaceSelection(index=0))
    for mode in ON_MISSING:
        assert remaining(detections, mode, "here") == [0, 1]
    assert report(detections) == "2 of 2 images with a face, 2 faces"


def test_single_images_are_not_numbered() -> None:
    detections = detect_faces(BrightSquares(), [image()], FaceSelection())
    with pytest.raises(InputError, match=r"^no face was found \(here\)\. Use other images"):
        remaining(detections, ERROR, "here")
    assert remaining(detections, SKIP, "here") == []


def test_long_reports_are_cut() -> None:
    text = report(detect_faces(BrightSquares(), [image()] * 200, FaceSelection()))
    assert text.endswith("image 6: no face was found; and 194 more") and len(text) < 300


def test_unknown_options() -> None:
    with pytest.raises(InputError, match="order of faces"):
        detect_faces(BrightSquares(), [], FaceSelection(order="by beauty"))
    with pytest.raises(InputError, match="unknown"):
        remaining([], "ignore", "here")


def test_huge_images_are_downscaled() -> None:
    huge = torch.zeros(1, 16384, 16384)  # memory that nothing is written to is not really taken
    huge[..., 4000:4100] = 1
    (face,) = find_faces(BrightSquares(), huge)
    assert face.image_size == (16384, 16384)
    assert face.box == (4000, 0, 4100, 16384)


@pytest.mark.parametrize("size", [(64, 64), (65, 130), (3, 1000)])
def test_downscaled_images(size: tuple[int, int]) -> None:
    image = torch.rand(3, *size)
    same, one = downscale(image, 1000)
    assert same is image and one == 1
    small, factor = downscale(image, 50)
    assert max(small.shape) <= 50 and factor == -(-max(size) // 50)
    assert float(small.mean()) == pytest.approx(float(image.mean()), abs=0.05)
    assert torch.allclose(small[:, 0, 0], image[:, :factor, :factor].mean((1, 2)), atol=1e-6)
