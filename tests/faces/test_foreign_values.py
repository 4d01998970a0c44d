"""Faces that other nodes found: the host's landmarks and boxes, and detection inside boxes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from comfyui_dense_face.errors import FacePackError, InputError
from comfyui_dense_face.faces.analyzers import manual_face
from comfyui_dense_face.faces.crops.box_faces import detect_in_boxes
from comfyui_dense_face.faces.face import Face, HeadPose
from comfyui_dense_face.faces.foreign_values import faces_from_boxes, faces_from_landmarks
from comfyui_dense_face.faces.head_pose import flip_axes, matrix_from_zyx
from comfyui_dense_face.faces.insightface.foreign_analyzer import ForeignInsightFace
from torch import Tensor


def landmarks_face(pose: HeadPose = HeadPose(20, -10, 5)) -> dict[str, Any]:  # noqa: B008
    """A face as the host's landmark node gives it."""
    matrix = np.eye(4, dtype=np.float32)
    matrix[:3, :3] = 1.7 * flip_axes(matrix_from_zyx(pose)).numpy()
    matrix[:3, 3] = (1, 2, -40)
    rng = np.random.default_rng(0)
    return {
        "bbox_xyxy": np.array([10, 20, 110, 140], np.float32),
        "landmarks_xy": rng.uniform(10, 110, (478, 2)).astype(np.float32),
        "landmarks_3d": np.zeros((478, 3), np.float32),
        "blendshapes": {"_neutral": 0.1, "jawOpen": 0.7, "someday": 1.0},
        "presence": 3.0,
        "score": 0.93,
        "transformation_matrix": matrix,
    }


def value(*frames: list[Any]) -> dict[str, Any]:
    return {"frames": list(frames), "image_size": (480, 640), "connection_sets": {}}


def test_landmarks_of_the_host() -> None:
    first, second = faces_from_landmarks(value([landmarks_face()], []))
    assert second == []
    (face,) = first
    assert face.image_size == (640, 480) and face.box == (10, 20, 110, 140)
    assert face.scheme == "mesh" and face.require_five().shape == (5, 2)
    assert face.score == pytest.approx(0.93)
    assert face.blendshapes == {"_neutral": 0.1, "jawOpen": 0.7}
    assert face.pose is not None and tuple(face.pose) == pytest.approx((20, -10, 5), abs=1e-3)


def test_landmarks_without_the_optional_parts() -> None:
    bare = {"landmarks_xy": landmarks_face()["landmarks_xy"].tolist()}
    ((face,),) = faces_from_landmarks(value([bare]))
    assert face.pose is None and face.blendshapes is None and face.score == 1
    assert face.box[0] == pytest.approx(float(face.landmarks[:, 0].min()))
    broken = {**landmarks_face(), "transformation_matrix": np.zeros((4, 4))}
    ((face,),) = faces_from_landmarks(value([broken]))
    assert face.pose is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (None, "no frames"),
        ({"frames": []}, "no image size"),
        (value([{}]), "no landmarks"),
        (value(["face"]), "no landmarks"),
        (value([{"landmarks_xy": [[1, 2]] * 68}]), "68 landmarks instead of 478"),
        (value([{**landmarks_face(), "bbox_xyxy": [1, 2]}]), "no box"),
        (value([{**landmarks_face(), "landmarks_xy": np.full((478, 2), np.nan)}]), "not numbers"),
    ],
)
def test_invalid_landmarks_are_refused(wrong: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        faces_from_landmarks(wrong)


BOX = {"x": 5, "y": 6, "width": 20, "height": 30}
CORNERS = (5, 6, 25, 36)


@pytest.mark.parametrize(
    ("boxes", "counts"),
    [
        (BOX, [1, 1]),
        ([BOX, BOX], [2, 2]),
        ([[BOX], []], [1, 0]),
        ([[BOX, BOX]], [2, 2]),
        ([], [0, 0]),
    ],
)
def test_all_forms_of_boxes(boxes: Any, counts: list[int]) -> None:
    found = faces_from_boxes(boxes, (100, 90), 2)
    assert [len(faces) for faces in found] == counts
    assert all(face.box == CORNERS and face.five is None for faces in found for face in faces)
    scored = faces_from_boxes({**BOX, "score": 0.4, "label": "face"}, (100, 90), 1)
    assert scored[0][0].score == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("box", "not a bounding box"),
        (3, "not a bounding box"),
        ({"x": 1, "y": 2, "width": 3}, "no height"),
        ({**BOX, "width": 0}, "is empty"),
        ([[BOX]] * 3, "boxes for 3 images and 2 images"),
    ],
)
def test_invalid_boxes_are_refused(wrong: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        faces_from_boxes(wrong, (100, 90), 2)


class BrightSquare:
    """Finds the one bright square of an image."""

    name = "bright square"

    def find(self, image: Tensor) -> list[Face]:
        y, x = (image[0] > 0.9).nonzero().T.float()
        if not len(x):
            return []
        left, right, top, bottom = (float(v) for v in (x.min(), x.max() + 1, y.min(), y.max() + 1))
        points = torch.tensor(
            [[left, top], [right, top], [left, bottom], [right, bottom], [left, top]]
        )
        height, width = image.shape[-2:]
        return [Face((width, height), (left, top, right, bottom), 0.8, points, "five", self.name)]


def test_detecting_in_boxes() -> None:
    image = torch.zeros(3, 100, 120)
    image[:, 40:50, 60:80] = 1
    seen = manual_face((120, 100), box=(58, 38, 82, 52))
    beside = manual_face((120, 100), box=(0, 0, 10, 10))
    outside = manual_face((120, 100), box=(300, 0, 310, 10))
    found = detect_in_boxes(BrightSquare(), image, [seen, beside, outside])
    assert found[0].box == (60, 40, 80, 50) and found[0].image_size == (120, 100)
    assert found[0].require_five()[3].tolist() == [80, 50]
    assert found[1] is beside and found[2] is outside
    with pytest.raises(InputError, match="image of 100x120"):
        detect_in_boxes(BrightSquare(), image, [manual_face((100, 120), box=(0, 0, 5, 5))])


class LikeInsightFace:
    """The parts of an InsightFace object that the pack uses."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def get(self, image: Any) -> Any:
        assert image.dtype == np.uint8 and image.shape == (40, 50, 3)
        self.blue = image[0, 0].tolist()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_insightface_of_another_pack() -> None:
    record = {"bbox": np.array([1, 2, 30, 35]), "det_score": 0.7, "embedding": np.ones(512)}
    model = LikeInsightFace([record])
    analyzer = ForeignInsightFace(model)
    image = torch.zeros(3, 40, 50)
    image[0] = 1
    (face,) = analyzer.find(image)
    assert model.blue == [0, 0, 255]
    assert face.box == (1, 2, 30, 35) and face.scheme == "none" and face.pose is None
    assert face.identity is not None and face.identity.encoder == "insightface/unknown"
    with pytest.raises(FacePackError, match="of another pack fails: AssertionError"):
        ForeignInsightFace(LikeInsightFace(AssertionError())).find(image)
    for wrong in (None, {"get": 1}, "model"):
        with pytest.raises(InputError, match="finds no faces"):
            ForeignInsightFace(wrong)
