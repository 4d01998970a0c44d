"""Face Mask and Paste Mask with analyzers of photographs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from in_host import Tiny
from landmarker_file import landmarker_file
from torch import Tensor

pytest.importorskip("cv2")

HEIGHT, WIDTH = 160, 200
BOX = (60.0, 40.0, 120.0, 120.0)
HEAD, FACE = "head with hair", "face"


class OneFace:
    """Finds a face of the given landmarks in every image that is not black."""

    name = "fake"

    def __init__(self, tiny: Tiny, **face: Any) -> None:
        self.found = tiny.module("faces.analyzers").manual_face((WIDTH, HEIGHT), box=BOX)
        self.found = replace(self.found, **face)

    def find(self, image: Tensor) -> list[Any]:
        """See ``faces.analyzers.FaceAnalyzer``."""
        if not image.any():
            return []
        height, width = image.shape[-2:]
        # Retries search the image inside a border: there the fake has nothing to find either.
        return [self.found] if (width, height) == (WIDTH, HEIGHT) else []


def analyzer(tiny: Tiny, **face: Any) -> Any:
    return tiny.module("nodes.sockets").LoadedAnalyzer(None, "", OneFace(tiny, **face))


def white(count: int = 1) -> Tensor:
    return torch.ones(count, HEIGHT, WIDTH, 3)


def middle(mask: Tensor) -> tuple[float, float]:
    rows, columns = mask.nonzero(as_tuple=True)
    return float(columns.float().mean()) + 0.5, float(rows.float().mean()) + 0.5


def test_a_box_alone_gives_ellipses(tiny: Tiny) -> None:
    head, face = (
        tiny.run("FaceMask", analyzer(tiny), white(2), region, 0.0, 0.0) for region in (HEAD, FACE)
    )
    assert head.shape == face.shape == (2, HEIGHT, WIDTH)
    assert torch.equal(head[0], head[1])
    assert float(face[0].sum()) == pytest.approx(torch.pi * 30 * 40, rel=0.01)
    assert middle(face[0]) == pytest.approx((90, 80), abs=0.5)
    assert bool((head >= face).all()) and float(head[0].sum()) > 2 * float(face[0].sum())


@pytest.mark.parametrize("region", [HEAD, FACE])
def test_grow_is_a_fraction_of_the_diameter(tiny: Tiny, region: str) -> None:
    areas = [
        float(tiny.run("FaceMask", analyzer(tiny), white(), region, grow, 0.0).sum())
        for grow in (0.0, 0.1, -0.1)
    ]
    if region == FACE:  # a head in this image reaches its borders
        assert areas[1] / areas[0] == pytest.approx(1.2**2, rel=0.05)
    assert areas[2] / areas[0] == pytest.approx(0.8**2, rel=0.08)


def test_a_turned_head_is_behind_its_face(tiny: Tiny) -> None:
    pose = tiny.module("faces.face").HeadPose
    places = []
    for yaw in (-60.0, 0.0, 60.0):
        one = analyzer(tiny, pose=pose(yaw, 0.0, 0.0))
        places.append(middle(tiny.run("FaceMask", one, white(), HEAD, -0.2, 0.0)[0])[0])
    # Yaw above 0: the nose points to the image's left, the back of the head is at the right.
    assert places[0] < places[1] - 10 and places[1] + 10 < places[2]


def test_missing_faces_are_named(tiny: Tiny) -> None:
    images = torch.cat([white(), 0 * white()])
    with pytest.raises(ValueError, match=r"no face was found in image 2 of 2 \(Face Mask\)"):
        tiny.run("FaceMask", analyzer(tiny), images, HEAD, 0.1, 0.0)


def test_paste_mask_marks_the_new_head_and_removes_the_old_one(tiny: Tiny) -> None:
    scene, made = white(), white() / 2
    mask = torch.ones(1, HEIGHT, WIDTH)
    heads, without = tiny.run("PasteMask", analyzer(tiny), scene, made, mask, 0.03)
    expected = tiny.run("FaceMask", analyzer(tiny), made, HEAD, 0.03, 0.0)
    assert torch.equal(heads, expected)
    assert torch.equal(without, scene)  # a plain scene is inpainted as it was
    heads, _ = tiny.run("PasteMask", analyzer(tiny), 0 * scene, made, mask, 0.03)
    assert torch.equal(heads, mask)  # no old head was found


@pytest.mark.parametrize("node", ["Face Mask", "Paste Mask"])
def test_an_analyzer_without_masks_is_one_sentence(tiny: Tiny, node: str) -> None:
    one = replace(analyzer(tiny), locates=False)
    arguments = (white(), HEAD, 0.1, 0.0)
    if node == "Paste Mask":
        arguments = (white(), white(), torch.ones(1, HEIGHT, WIDTH), 0.1)
    with pytest.raises(ValueError, match=rf"fake only estimates head poses.*\({node}\)"):
        tiny.run(node.replace(" ", ""), one, *arguments)


def test_a_photograph(tiny: Tiny) -> None:
    data = pytest.importorskip("skimage.data")
    image = torch.from_numpy(data.astronaut().copy())[None].float() / 255
    finder = tiny.module("faces.mediapipe.landmarker").Landmarker(landmarker_file())
    landmarker = tiny.module("nodes.sockets").LoadedAnalyzer(None, "", finder)
    head, face = (
        tiny.run("FaceMask", landmarker, image, region, 0.0, 0.0)[0] for region in (HEAD, FACE)
    )
    # Hair at the top and at both sides, the chin, the collar, and the flag beside the head.
    for mask, inside in ((head, (1, 1, 1, 1, 0, 0)), (face, (0, 0, 0, 1, 0, 0))):
        seen = [
            mask[y, x]
            for x, y in ((222, 20), (170, 70), (282, 60), (224, 165), (224, 210), (110, 80))
        ]
        assert seen == pytest.approx(list(inside), abs=0.01)
    mask = tiny.run("FaceMask", landmarker, image, HEAD, 0.12, 0.0)
    heads, without = tiny.run("PasteMask", landmarker, image, image, mask, 0.03)
    assert bool((heads <= mask).all()) and float(heads.sum()) > float(head.sum())
    kept = mask[0] == 0
    assert torch.equal(without[0][kept], image[0][kept])
    assert float((without - image)[0][face == 1].abs().mean()) > 0.1
