"""Pose images: goldens of OpenCV 4.10, signs of the angles, lines that leave the frame."""

from __future__ import annotations

import math

import numpy as np
import pytest
from comfyui_dense_face.dense_face.pose_image import axis_ends, pose_image
from comfyui_dense_face.dense_face.thick_line import Image, draw_thick_line
from comfyui_dense_face.errors import InputError
from hypothesis import given, settings
from hypothesis import strategies as st
from parity_fixture import parity

POSES = list(parity().poses())


@pytest.mark.parametrize("index", range(len(POSES)))
def test_goldens_pixel_for_pixel(index: int) -> None:
    angles, ends = POSES[index]
    assert [list(end) for end in axis_ends(*angles)] == ends.tolist()
    golden = parity().image(f"pose_{index}.png").numpy()
    assert np.array_equal(pose_image(*angles), golden)


def test_signs_of_the_angles() -> None:
    centre = 127
    assert axis_ends(30, 0, 0)[2][0] < centre  # yaw > 0: nose to the image's left
    assert axis_ends(0, 20, 0)[2][1] < centre  # pitch > 0: nose up
    assert axis_ends(0, 0, 15)[0][1] > centre  # roll > 0: clockwise, the right side sinks


def line(start: tuple[int, int], end: tuple[int, int], size: int = 64) -> Image:
    image = np.full((size, size, 3), 255, dtype=np.uint8)
    draw_thick_line(image, start, end, (0, 0, 255))
    return image


points = st.tuples(st.integers(-200, 260), st.integers(-200, 260))


@settings(max_examples=150, deadline=None)
@given(start=points, end=points)
def test_line_stays_near_its_segment(start: tuple[int, int], end: tuple[int, int]) -> None:
    """Every drawn pixel lies near the segment, every pixel well inside the band is drawn."""
    drawn = (line(start, end) != 255).any(-1)
    y, x = np.mgrid[:64, :64]
    (x0, y0), (x1, y1) = start, end
    square = (x1 - x0) ** 2 + (y1 - y0) ** 2
    along = ((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / max(square, 1)
    along = np.clip(along, 0, 1)
    distance = np.hypot(x - x0 - along * (x1 - x0), y - y0 - along * (y1 - y0))
    assert distance[drawn].max(initial=0) < 3
    assert drawn[distance < 1.2].all()


@settings(max_examples=60, deadline=None)
@given(end=points)
def test_frame_only_cuts_the_inside(end: tuple[int, int]) -> None:
    """A larger canvas shows the same line, up to one pixel along the cut edges."""
    small = (line((32, 32), end) != 255).any(-1)
    image = np.full((640, 640, 3), 255, dtype=np.uint8)
    draw_thick_line(image, (232, 232), (end[0] + 200, end[1] + 200), (0, 0, 255))
    large = (image != 255).any(-1)[200:264, 200:264]
    dilated = np.pad(large, 1)
    near = dilated[:-2, 1:-1] | dilated[2:, 1:-1] | dilated[1:-1, :-2] | dilated[1:-1, 2:] | large
    assert not (small & ~near).any()


@pytest.mark.parametrize("size", [128, 512])
def test_other_sizes_show_the_same_drawing(size: int) -> None:
    image = pose_image(25, -10, 5, size)
    assert image.shape == (size, size, 3) and image.dtype == np.uint8
    share = [(image == colour).all(-1).mean() for colour in np.eye(3, dtype=np.uint8) * 255]
    golden = pose_image(25, -10, 5)
    reference = [(golden == colour).all(-1).mean() for colour in np.eye(3, dtype=np.uint8) * 255]
    assert share == pytest.approx(reference, rel=0.5)


@pytest.mark.parametrize("angles", [(math.nan, 0, 0), (0, math.inf, 0)])
def test_angles_must_be_numbers(angles: tuple[float, float, float]) -> None:
    with pytest.raises(InputError, match="degrees"):
        pose_image(*angles)


def test_tiny_size_is_refused() -> None:
    with pytest.raises(InputError, match="at least 16"):
        pose_image(0, 0, 0, size=8)
