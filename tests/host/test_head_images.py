"""The heads that the controls of ``web/js`` show."""

from __future__ import annotations

import io
from types import ModuleType
from urllib.parse import quote

import numpy as np
import pytest
from comfy_server import ComfyServer, ServerError
from comfyui_dense_face.demo.expression_heads import expression_images
from comfyui_dense_face.errors import FacePackError
from comfyui_dense_face.sfsr.words import expression_of_word
from PIL import Image


def _image(query: dict[str, str]) -> np.ndarray:
    from comfyui_dense_face.nodes.host.head_images import head_image

    return np.asarray(Image.open(io.BytesIO(head_image(query))))


def test_a_head_as_preview_expression_draws_it(comfy: ModuleType) -> None:
    shown = _image({"word": "joy / happiness", "intensity": "0.8", "seed": "3"})
    code = expression_of_word("happiness", 0.8, 3)
    drawn = (expression_images(code.face()[None])[0] * 255).round().byte().movedim(0, -1).numpy()
    assert np.array_equal(shown, drawn)


def test_each_number_counts(comfy: ModuleType) -> None:
    queries = [{}, *({name: "20"} for name in ("yaw", "pitch", "roll")), {"jawOpen": "0.8"}]
    images = [_image(query).tobytes() for query in queries]
    assert len(set(images)) == len(images)


@pytest.mark.parametrize(
    "query",
    [
        {"yaw": "x"}, {"yaw": "nan"}, {"pitch": "91"}, {"word": "zzz"}, {"jawOpen": "2"},
        {"no": "1"}, {"word": "joy", "intensity": "9"}, {"word": "joy", "variation": "-1"},
        {"word": "joy", "seed": "-1"}, {"word": "joy", "seed": str(2**80)}, {"intensity": "1e999"},
    ],
)  # fmt: skip
def test_other_values_are_one_sentence(comfy: ModuleType, query: dict[str, str]) -> None:
    from comfyui_dense_face.nodes.host.head_images import head_image

    with pytest.raises(FacePackError):
        head_image(query)


def test_the_server_answers(server: ComfyServer) -> None:
    png = server.read(f"/dense_face/head?yaw=20&word={quote('joy / bliss')}")
    assert Image.open(io.BytesIO(png)).size == (128, 128)
    with pytest.raises(ServerError, match=r"400 .*yaw is 'x'"):
        server.read("/dense_face/head?yaw=x")
    words = server.get("/dense_face/words")
    assert len(words) == 135
    assert sum(len(each["synonyms"]) for each in words) > 400
