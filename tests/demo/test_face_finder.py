"""The tiny world's analyzer in the form of all analyzers of faces."""

from __future__ import annotations

import torch
from comfyui_dense_face.demo.analyzer import ENCODER, TinyAnalyzer
from comfyui_dense_face.demo.face_finder import TinyWorldFaces
from comfyui_dense_face.faces.blendshapes import ARKIT_NAMES
from comfyui_dense_face.faces.head_pose import as_drawn


@torch.no_grad()
def test_answers_are_those_of_the_network() -> None:
    torch.manual_seed(0)
    net = TinyAnalyzer().eval()
    net.face.bias.fill_(20)
    picture = torch.rand(3, 128, 128)
    (face,) = TinyWorldFaces(net).find(picture)
    seen = net(picture[None])
    assert torch.allclose(face.landmarks, seen.landmarks[0] * 128)
    assert face.pose is not None and face.identity is not None and face.blendshapes is not None
    assert torch.allclose(torch.tensor(as_drawn(face.pose)), seen.pose[0], atol=1e-3)
    assert torch.allclose(face.identity.vector, seen.identity[0]) and face.source == ENCODER
    assert list(face.blendshapes) == list(ARKIT_NAMES)
    net.face.bias.fill_(-20)
    assert TinyWorldFaces(net).find(picture) == []
