"""The tiny world's analyzer behind the interface of face analyzers."""

from __future__ import annotations

import torch
from comfyui_dense_face.demo.expression_heads import portrait
from comfyui_dense_face.demo.networks.analyzer import ENCODER, TinyAnalyzer
from comfyui_dense_face.demo.networks.face_finder import TinyWorldFaces
from comfyui_dense_face.faces.analyzers import find_faces
from comfyui_dense_face.faces.blendshapes import ARKIT_NAMES
from comfyui_dense_face.faces.head_pose import zyx_to_xyz


@torch.no_grad()
def test_results_are_those_of_the_network() -> None:
    torch.manual_seed(0)
    net = TinyAnalyzer().eval()
    net.face.bias.fill_(20)
    image = torch.rand(3, 128, 128)
    (face,) = TinyWorldFaces(net).find(image)
    seen = net(image[None])
    assert torch.allclose(face.landmarks, seen.landmarks[0] * 128)
    assert face.pose is not None and face.identity is not None and face.blendshapes is not None
    assert torch.allclose(torch.tensor(zyx_to_xyz(face.pose)), seen.pose[0], atol=1e-3)
    assert torch.allclose(face.identity.vector, seen.identity[0]) and face.source == ENCODER
    assert list(face.blendshapes) == list(ARKIT_NAMES)
    net.face.bias.fill_(-20)
    assert TinyWorldFaces(net).find(image) == []


def test_three_heads_in_one_image() -> None:
    """Each is found in its place, with the same identity as in an image of its own."""
    finder = TinyWorldFaces()
    alone = [portrait(p, 3, (yaw, 0.0, 0.0))[0][0] for p, yaw in ((2, 0.0), (5, 20.0), (9, -15.0))]
    faces = find_faces(finder, torch.cat(alone, 2))
    assert len(faces) == 3
    for i, (face, image) in enumerate(zip(faces, alone, strict=True)):
        (own,) = finder.find(image)
        moved = face.landmarks - own.landmarks - torch.tensor([128.0 * i, 0])
        assert float(moved.norm(dim=1).mean()) < 4
        assert face.identity is not None and own.identity is not None
        assert float(face.identity.vector @ own.identity.vector) > 0.8
        assert face.pose is not None and own.pose is not None
        assert abs(face.pose.yaw - own.pose.yaw) < 5


def test_long_images_without_a_head() -> None:
    finder = TinyWorldFaces()
    assert finder.find(torch.full((3, 64, 200), 0.5)) == []
    assert finder.find(torch.full((3, 1, 1), 0.5)) == []
    assert finder.find(torch.full((3, 2000, 20), 0.5)) == []
