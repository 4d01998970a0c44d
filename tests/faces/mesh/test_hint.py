"""The drawing: colours, lines and pupils of docs/reference/published_weights.md D3."""

from __future__ import annotations

import pytest
import torch
from comfyui_dense_face.errors import InputError
from comfyui_dense_face.faces.face import Face
from comfyui_dense_face.faces.mesh.edges import FEATURES, OVAL, PUPILS
from comfyui_dense_face.faces.mesh.hint import draw_faces, draw_meshes, over
from torch import Tensor

pytest.importorskip("cv2")
SIZE = (120, 100)
#: RGB: oval, left eye, left brow, right eye, right brow, lips, right and left pupil.
COLOURS = {
    (10, 200, 10), (10, 200, 180), (10, 220, 180), (180, 200, 10), (180, 220, 10), (10, 180, 10),
    (250, 200, 10), (10, 200, 250),
}  # fmt: skip


def mesh(seed: int = 0, scale: float = 1.0) -> Tensor:
    """Random points inside the canvas."""
    points = torch.rand(478, 3, generator=torch.Generator().manual_seed(seed))
    return points * torch.tensor([SIZE[0] - 1.0, SIZE[1] - 1.0, 1.0]) * scale


def everywhere_else() -> Tensor:
    """All points outside the canvas."""
    return torch.full((478, 3), -50.0)


def colours(image: object) -> set[tuple[int, ...]]:
    return {tuple(row) for row in torch.as_tensor(image).reshape(-1, 3).unique(dim=0).tolist()}


def test_colours_are_the_annotator_s() -> None:
    spread = torch.stack(
        [torch.arange(478) * 0.24 + 1, torch.arange(478) * 7 % 95 + 1.0, torch.zeros(478)], 1
    )
    assert colours(draw_meshes([spread], SIZE)) <= COLOURS | {(0, 0, 0)}
    assert {f.colour for f in FEATURES} | set(PUPILS.values()) == COLOURS
    assert [len(f.edges) for f in FEATURES] == [36, 16, 8, 16, 8, 40]


def test_a_line_has_two_pixels_and_a_pupil_sixteen() -> None:
    points = everywhere_else()
    points[OVAL[0]], points[OVAL[1]] = torch.tensor([[10.5, 20.5, 0.0], [60.5, 20.5, 0.0]])
    points[468] = torch.tensor([80.9, 50.2, 0.0])
    image = torch.from_numpy(draw_meshes([points], SIZE))
    line = (image == torch.tensor([10, 200, 10])).all(-1)
    assert line[:, 30].sum() in (2, 3) and line.any(0).nonzero()[:, 0].tolist()[0] in (9, 10)
    pupil = (image == torch.tensor([250, 200, 10])).all(-1).nonzero()
    assert pupil.amin(0).tolist() == [48, 78] and pupil.amax(0).tolist() == [51, 81]
    assert len(pupil) == 16 and int(image.any(-1).sum()) == int(line.sum()) + 16


def test_a_line_with_an_end_outside_is_left_out() -> None:
    points = everywhere_else()
    points[OVAL[0]], points[OVAL[1]] = torch.tensor([[10.0, 20.0, 0.0], [SIZE[0] + 1, 20, 0]])
    assert not draw_meshes([points], SIZE).any()
    points[OVAL[1], 0] = SIZE[0]  # the far edge belongs to the canvas
    assert draw_meshes([points], SIZE).any()


def test_later_faces_cover_earlier_ones() -> None:
    one, two = (torch.from_numpy(draw_meshes([mesh(seed)], SIZE)) for seed in (0, 1))
    both = torch.from_numpy(draw_meshes([mesh(0), mesh(1)], SIZE))
    assert torch.equal(both, torch.where((two > 0).any(-1, keepdim=True), two, one))


def test_small_faces_are_left_out() -> None:
    big, small = (
        Face(SIZE, (0, 0, 50, 50), 1.0, mesh(scale=scale), "mesh", "test") for scale in (1, 0.5)
    )
    image, left_out = draw_faces([big, small], SIZE)
    assert left_out == 1 and (image == draw_meshes([big.landmarks], SIZE)).all()
    with pytest.raises(InputError, match="120x100 px, this one has 100x100"):
        draw_faces([big], (100, 100))


def test_the_scene_is_seen_between_the_lines() -> None:
    drawing, scenes = torch.zeros(2, 3, 4, 4), torch.ones(1, 3, 4, 4)
    drawing[0, 1, 2, 2] = 0.5
    shown = over(drawing, scenes)
    assert shown[0, :, 2, 2].tolist() == [0, 0.5, 0] and shown[1].unique().tolist() == (
        pytest.approx([0.6])
    )


@pytest.mark.parametrize("size", [(8, 100), (100, 9000)])
def test_an_impossible_canvas_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="canvas"):
        draw_meshes([mesh()], size)


def test_wrong_points_are_refused() -> None:
    with pytest.raises(InputError, match="has 68 landmarks"):
        draw_meshes([torch.zeros(68, 2)], SIZE)
    with pytest.raises(InputError, match="not numbers"):
        draw_meshes([torch.full((478, 2), float("nan"))], SIZE)
