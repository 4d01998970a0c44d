"""Searching rotated images and tiles. The detector is a stand-in that knows where
a bright square is, but only under its own conditions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from comfyui_dense_face.faces.mediapipe.face_search import rotate_back, search


class Detector:
    """Finds bright squares whose corner mark is at the upper left, of a fifth of the frame or more.

    The first point is the mark; a turned square is found with a low score, as it lies.
    """

    def __init__(self, unsure: float = 0.0) -> None:
        self.unsure, self.calls = unsure, 0

    def __call__(self, pixels: Any) -> Any:
        self.calls += 1
        rows = []
        for y, x in np.argwhere(pixels[..., 0] == 255):
            block = pixels[y : y + 20, x : x + 20, 0]
            if block.shape != (20, 20) or not (block[1:19, 1:19] >= 200).all():
                continue
            if max(pixels.shape) > 100:
                continue
            rows.append([0.9, x, y, x + 20, y + 20, x, y, *[x + 10, y + 10] * 5])
        if not rows and self.unsure and (pixels >= 200).any():
            rows.append([self.unsure, *[5] * 16])
        return np.array(rows, np.float32).reshape(-1, 17)


def searched(detect: Any, pixels: Any, doubtful: Any = ()) -> Any:
    """``search`` with one detector for everything, which also returns these doubtful rows."""
    rows = np.array(doubtful, np.float32).reshape(-1, 17)
    return search(lambda some: (detect(some), rows), pixels, detect)


def image(width: int, height: int, *places: tuple[int, int]) -> Any:
    pixels = np.zeros((height, width, 3), np.uint8)
    for x, y in places:
        pixels[y : y + 20, x : x + 20] = 200
        pixels[y, x] = 255
    return pixels


def test_high_scores_need_a_single_detection() -> None:
    detector = Detector()
    rows = searched(detector, image(90, 60, (30, 20)))
    assert detector.calls == 1 and rows[0, 1:5].tolist() == [30, 20, 50, 40]


@pytest.mark.parametrize("quarters", [1, 2, 3])
@pytest.mark.parametrize("unsure", [0.0, 0.6])
def test_rotated_faces_are_found(quarters: int, unsure: float) -> None:
    upright = image(90, 60, (30, 20))
    turned = np.rot90(upright, -quarters)
    rows = searched(Detector(unsure), turned)
    assert len(rows) == 1 and rows[0, 0] == pytest.approx(0.9)
    left, top, right, bottom = rows[0, 1:5].astype(int)
    assert (turned[top:bottom, left:right] >= 200).all() and right - left == bottom - top == 20
    # The mark is now at another corner: the points say how the face lies.
    x, y = rows[0, 5:7]
    corner = turned[min(int(y), bottom - 1), min(int(x), right - 1), 0]
    assert corner == 255


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_rotate_back_inverts_the_rotation(quarters: int) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 70), rng.integers(0, 40)
    pixels = np.zeros((50, 80), np.uint8)
    pixels[y, x] = 1
    ((row, column),) = np.argwhere(np.rot90(pixels, quarters))
    place = np.tile(np.array([column + 0.5, row + 0.5], np.float32), 8)
    rows = np.concatenate([[0.7], place]).astype(np.float32)[None]
    assert rotate_back(rows, quarters, (80, 50))[0, 1:] == pytest.approx(
        np.tile([x + 0.5, y + 0.5], 8)
    )


def test_upright_faces_with_low_scores_stay() -> None:
    """A rotation needs a clearly higher score."""
    rows = searched(lambda pixels: np.array([[0.6, *range(16)]], np.float32), image(90, 60))
    assert rows[0, 0] == pytest.approx(0.6) and rows[0, 1:].tolist() == list(range(16))


def test_small_faces_are_found_exactly_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("comfyui_dense_face.faces.mediapipe.face_search._SMALLEST", 50)
    places = [(0, 0), (88, 40), (100, 95), (180, 130), (60, 61)]
    rows = searched(Detector(), image(200, 150, *places))
    assert sorted((int(r[1]), int(r[2])) for r in rows.round()) == sorted(places)
    assert (rows[:, 3] - rows[:, 1] == pytest.approx(20)) and len(
        searched(Detector(), image(9, 9))
    ) == 0


def test_small_faces_beside_a_large_one() -> None:
    """In an image large enough; the part of the large face in a tile is no second face."""

    tiles = []
    seen = {50: (0.9, 300), 100: (0.8, 40), 150: (0.7, 60)}

    def detect(pixels: Any) -> Any:
        """The large face at any size, the small one only in tiles, the large one's nose too."""
        tile = pixels.shape[1] < 900
        tiles.append(tile)
        rows = []
        for value, (score, side) in seen.items():
            for y, x in np.argwhere(pixels[..., 0] == value):
                if value == 50 or tile:
                    rows.append([score, x, y, x + side, y + side, *[x] * 12])
        return np.array(sorted(rows, reverse=True), np.float32).reshape(-1, 17)

    pixels = np.zeros((320, 960, 3), np.uint8)
    for value, x, y in ((50, 5, 5), (100, 800, 200), (150, 120, 120)):
        pixels[y, x] = value
    rows = searched(detect, pixels)
    assert [round(float(v), 1) for v in rows[:, 0]] == [0.9, 0.8]
    assert rows[1, 1:5].tolist() == [800, 200, 840, 240]
    # A clearly higher score in a tile replaces the detection in the whole image.
    seen[50], seen[150] = (0.86, 300), (0.97, 60)
    assert searched(detect, pixels)[:, 1:3].tolist() == [[120, 120], [800, 200]]
    tiles.clear()
    searched(detect, np.ascontiguousarray(pixels[:, :700]))
    assert len(tiles) == 1


def test_a_doubtful_face_at_the_border_is_detected_again() -> None:
    pixels = np.zeros((100, 300, 3), np.uint8)
    pixels[40, 200], pixels[60, :4] = 50, 100
    tiles = []

    def detect(some: Any) -> Any:
        """The first face anywhere; the second, cut by the left border, where that continues."""
        tiles.append(some.shape[:2])
        rows = []
        if (some == 50).any():
            rows.append([0.9, 200, 40, 240, 80, *[210] * 12])
        long = np.argwhere((some[..., 0] == 100).sum(1) > 20)
        rows += [[0.7, 4, y - 20, 44, y + 20, *[y] * 12] for (y,) in long]
        return np.array(rows, np.float32).reshape(-1, 17)

    assert len(searched(detect, pixels)) == 1
    cut = [0.2, -24, 40, 16, 80, *[0] * 12]
    rows = searched(detect, pixels, [cut])
    assert tiles[-1] == (60, 60) and rows[:, 0].tolist() == pytest.approx([0.9, 0.7])
    assert rows[1].tolist()[1:7] == [-30, 40, 10, 80, -4, 60]  # the tile begins at (-34, 30)
    # Nothing is searched for doubtful faces inside the image, nor where one was found.
    inside, known = [0.2, 100, 10, 140, 50, *[0] * 12], [0.2, 190, -40, 250, 160, *[0] * 12]
    tiles.clear()
    assert len(searched(detect, pixels, [inside, known])) == 1 and len(tiles) == 1
    outside = [0.2, -90, 0, -50, 40, *[0] * 12]
    assert len(searched(detect, pixels, [outside])) == 1


def test_doubtful_boxes_of_any_size_do_no_harm() -> None:
    pixels = np.zeros((8, 9, 3), np.uint8)
    for box in ([-1, -1, -1, -1], [-1e3, 0, 1e3, 2], [9, 8, 9, 8]):
        assert (
            len(searched(lambda _: np.zeros((0, 17), np.float32), pixels, [[0.2, *box, *[0] * 12]]))
            == 0
        )
