"""The template for SDXL runs in a real server, each node of it.

SDXL and FaceID have the names, layouts and sizes of the published files and random values. The
server keeps the UNet in 8 bits, so that it fits beside everything else.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from comfy_server import ComfyServer
from locate_host import ROOT
from own_files import Changes, difference, drawn, template
from PIL import Image

pytestmark = [pytest.mark.slow, pytest.mark.full_size, pytest.mark.timeout(1800)]
FLAGS = ("--fp8_e4m3fn-unet", "--cache-none")
"""Without a cache every node runs each time, and no result of an earlier run stays in memory."""


@pytest.fixture(scope="module")
def sdxl_server(host_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    """A server with every file that the template names."""
    pytest.importorskip("insightface")
    pytest.importorskip("onnx")
    from full_size_files import write_faceid_sdxl, write_sdxl
    from tiny_onnx import write_detector, write_recogniser

    base = tmp_path_factory.mktemp("sdxl_server")
    places = "checkpoints", "ipadapter", "insightface/models/buffalo_l"
    folders = [base / "models" / name for name in places]
    checkpoints, adapters, pack = folders
    for folder in (*folders, base / "input"):
        folder.mkdir(parents=True, exist_ok=True)
    checkpoint = write_sdxl(checkpoints / "sd_xl_base_1.0.safetensors")
    faceid = write_faceid_sdxl(adapters / "ip-adapter-faceid_sdxl.bin")
    write_detector(pack / "det_10g.onnx")
    write_recogniser(pack / "w600k_r50.onnx")
    for name, (row, column) in {"one.png": (160, 160), "other.png": (96, 192)}.items():
        # The pack's detector takes a red square for a face.
        photo = np.full((320, 320, 3), 90, np.uint8)
        photo[row : row + 16, column : column + 16] = 255, 0, 0
        Image.fromarray(photo).save(base / "input" / name)
    try:
        with ComfyServer(host_path, base, {"comfyui-dense-face": ROOT}, FLAGS) as running:
            yield running
    finally:
        checkpoint.unlink()
        faceid.unlink()


def test_portrait_on_sdxl(sdxl_server: ComfyServer) -> None:
    """The person and the strength of the identity change the image."""
    changes: Changes = {
        "LoadImage": {"image": "one.png"},
        "KSampler": {"steps": 2},
        "EmptyLatentImage": {"width": 128, "height": 192},
    }
    graph = template(sdxl_server, "12 Portrait from a photo on SDXL", changes)
    (image,), report = drawn(sdxl_server, graph)
    assert image.shape == (192, 128, 3)
    assert "IP-Adapter-FaceID" in report and "licence" in report
    weaker: Changes = {"SFSR_Apply": {"identity_weight": 0.3}}
    graph = template(sdxl_server, "12 Portrait from a photo on SDXL", changes | weaker)
    (other,), _ = drawn(sdxl_server, graph)
    assert difference(image, other) > 0.2
