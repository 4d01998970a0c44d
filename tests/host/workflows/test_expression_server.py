"""Expressions and the midpoint sampler in graphs of a real server."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from comfy_server import ComfyServer, Graph, ServerError
from PIL import Image


def word(name: str) -> dict[str, Any]:
    inputs = {"word": name, "intensity": 1.0, "seed": 0, "variation": 0.15}
    return {"class_type": "SFSR_ExpressionFromWord", "inputs": inputs}


def preview(source: str) -> dict[str, Any]:
    inputs = {"expression": [source, 0], "person": 7, "size": 64}
    return {"class_type": "SFSR_PreviewExpression", "inputs": inputs}


def pixels(server: ComfyServer, image: dict[str, str]) -> Any:
    return np.asarray(Image.open(BytesIO(server.view(image)))).astype(float)


def test_words_travel_and_are_drawn(server: ComfyServer) -> None:
    """The bare word works as well as the list entry, and a batch of expressions passes through."""
    graph: Graph = {
        "start": word("sadness / grief"),
        "end": word("bliss"),
        "way": {
            "class_type": "SFSR_ExpressionTravel",
            "inputs": {"start": ["start", 0], "end": ["end", 0], "count": 3},
        },
        "drawn": preview("way"),
    }
    images = server.run(graph)["drawn"]["images"]
    first, middle, last = (pixels(server, image) for image in images)
    assert first.shape == (64, 64, 3)
    assert not np.array_equal(first, middle) and not np.array_equal(middle, last)


def test_unknown_word_is_refused_before_anything_runs(server: ComfyServer) -> None:
    with pytest.raises(ServerError, match=r"not one of the 135 words\. The closest are happiness"):
        server.queue({"word": word("hapyness"), "drawn": preview("word")})


def test_midpoint_sampler_in_a_graph(server: ComfyServer) -> None:
    graph: Graph = {
        "world": {"class_type": "DenseFace_LoadTinyWorld", "inputs": {}},
        "words": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["world", 1], "text": "a"}},
        "empty": {
            "class_type": "EmptyLatentImage",
            "inputs": {"width": 128, "height": 128, "batch_size": 1},
        },
        "sigmas": {
            "class_type": "BasicScheduler",
            "inputs": {
                "model": ["world", 0],
                "scheduler": "ddim_uniform",
                "steps": 3,
                "denoise": 1.0,
            },
        },
        "sampler": {
            "class_type": "SFSR_MidpointSampler",
            "inputs": {
                "rule": "half_t",
                "switch_percent": 0.4,
                "finish": "2 nodes",
                "model": ["world", 0],
                "sigmas": ["sigmas", 0],
            },
        },
        "count": {
            "class_type": "PreviewAny",
            "inputs": {"source": ["sampler", 1]},
        },
        "sampled": {
            "class_type": "SamplerCustom",
            "inputs": {
                "model": ["world", 0],
                "add_noise": True,
                "noise_seed": 3,
                "cfg": 2.0,
                "positive": ["words", 0],
                "negative": ["words", 0],
                "sampler": ["sampler", 0],
                "sigmas": ["sigmas", 0],
                "latent_image": ["empty", 0],
            },
        },
        "decoded": {
            "class_type": "VAEDecode",
            "inputs": {"samples": ["sampled", 0], "vae": ["world", 2]},
        },
        "shown": {"class_type": "PreviewImage", "inputs": {"images": ["decoded", 0]}},
    }
    outputs = server.run(graph)
    # Three steps: one by euler, one with a midpoint, and an end of two nodes.
    assert outputs["count"]["text"] == ["5"]
    assert pixels(server, outputs["shown"]["images"][0]).std() > 5
