"""The templates for files of one's own run in a real server, each node of them.

All files have the names, layouts and sizes of the published ones and random values: that all fits,
that every control changes the image and that the rest of a photograph stays needs no real weights.
Fewer steps and smaller images than the templates' are drawn.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from comfy_server import ComfyServer, Graph
from landmarker_file import landmarker_file
from own_files import Changes, difference, drawn, template
from peak_memory import clear_peak, peak_memory
from PIL import Image

pytestmark = [pytest.mark.slow, pytest.mark.full_size, pytest.mark.timeout(1800)]
FACEID = "ip-adapter-faceid_sd15.bin"
PLUS_V2, PLUS = "ip-adapter-faceid-plusv2_sd15.bin", "ip-adapter-faceid-plus_sd15"
CLIP_VISION = "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors"
FINEFACE = "sd15_attn_processors.ckpt", "sd15_au_encoder.ckpt"
BUFFALO = "insightface/models/buffalo_l"
CONTROLNET = "control_v2p_sd15_mediapipe_face.safetensors"
ARC2FACE_FILES = (
    "diffusion_models/arc2face/diffusion_pytorch_model.safetensors",
    "text_encoders/arc2face/pytorch_model.bin",
    "ipadapter/exp_adapter.bin",
    "insightface/models/arc2face/arcface.onnx",
    "dense_face/SMIRK_em1.pt",
)
ASTRONAUT, SELFIE = "astronaut.png", "selfie.png"
MIRRORED, ROTATED = "mirrored.png", "rotated.png"
NEEDED, LIMIT = 12e9, 24e9
"""Memory in bytes that has to be free for the largest graph, and that it may take."""
HEAD = slice(10, 230), slice(130, 330)
"""Rows and columns of the astronaut's head."""


@pytest.fixture
def arc2face_files(server: ComfyServer, own_files: None) -> Iterator[None]:
    """The files of Arc2Face and SMIRK beside the others."""
    pytest.importorskip("timm")
    from full_size_files import write_arc2face
    from random_smirk import write_smirk
    from tiny_onnx import write_recogniser

    models = server.base / "models"
    own = [models / name for name in ARC2FACE_FILES]
    for path in own:
        path.parent.mkdir(parents=True, exist_ok=True)
    unet, encoder, adapter, recogniser, smirk = own
    write_arc2face(unet, encoder, adapter)
    write_recogniser(recogniser)
    write_smirk(smirk)
    yield
    server.free()
    for path in own:
        path.unlink()


@pytest.fixture(scope="module")
def own_files(server: ComfyServer) -> Iterator[None]:
    """Every file that the templates name, where they look for it."""
    pytest.importorskip("insightface")
    pytest.importorskip("onnx")
    from full_size_files import (
        write_controlnet,
        write_converted_release,
        write_published,
        write_sd15,
    )
    from random_ir_se50 import write_random_ir_se50
    from real_files import VIT_H, write_clip_vision
    from tiny_onnx import write_detector, write_recogniser

    astronaut = pytest.importorskip("skimage.data").astronaut()
    models = server.base / "models"
    places = "dense_face", "ipadapter", "checkpoints", "controlnet", "clip_vision", BUFFALO
    folders = [models / name for name in places]
    faces, adapters, checkpoints, controlnets, clips, pack = folders
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    write_sd15(checkpoints / "v1-5-pruned-emaonly.safetensors")
    write_sd15(checkpoints / "sd-v1-5-inpainting.ckpt", inpainting=True)
    write_controlnet(controlnets / CONTROLNET)
    write_converted_release(faces / "dense_face.safetensors")
    write_published(adapters / FACEID, "faceid", Path(FACEID).stem, legacy=True)
    write_published(adapters / PLUS_V2, "faceid", PLUS, legacy=True)
    write_clip_vision(clips / CLIP_VISION, **VIT_H)
    for name in FINEFACE:
        write_published(adapters / name, "fineface", Path(name).stem)
    write_detector(pack / "det_10g.onnx")
    write_recogniser(pack / "w600k_r50.onnx")
    write_random_ir_se50(faces / "ir_se50.safetensors")
    shutil.copy(landmarker_file(), faces / "face_landmarker.task")
    Image.fromarray(astronaut).save(server.base / "input" / ASTRONAUT)
    Image.fromarray(astronaut[:, ::-1]).save(server.base / "input" / MIRRORED)
    # The pack's detector takes a red square for a face.
    selfie = np.full((320, 320, 3), 90, np.uint8)
    selfie[160:176, 160:176] = 255, 0, 0
    Image.fromarray(selfie).save(server.base / "input" / SELFIE)
    yield
    server.free()
    for folder in folders:
        for file in folder.iterdir():
            file.unlink()


def refer_to(graph: Graph, image: str) -> None:
    """Take the identity from another photograph than the scene's."""
    (encode,) = (n for n in graph.values() if n["class_type"] == "DenseFace_EncodeIdentity")
    graph[encode["inputs"]["image"][0]]["inputs"]["image"] = image


def test_portrait(server: ComfyServer, own_files: None) -> None:
    changes: Changes = {
        "LoadImage": {"image": SELFIE},
        "KSampler": {"steps": 2},
        "EmptyLatentImage": {"width": 128, "height": 192},
    }
    (joy,), report = drawn(server, template(server, "11 Portrait from a photo", changes))
    assert joy.shape == (192, 128, 3)
    assert "IP-Adapter-FaceID" in report and "FineFace" in report and "licence" in report
    rage = changes | {"SFSR_ExpressionFromWord": {"word": "rage"}}
    (other,), report = drawn(server, template(server, "11 Portrait from a photo", rage))
    assert difference(joy, other) > 0.2
    assert "AU7, AU10, AU23 and AU27 are lost" in report


def test_expression_travel(server: ComfyServer, own_files: None) -> None:
    changes: Changes = {
        "LoadImage": {"image": SELFIE},
        "KSampler": {"steps": 2},
        "EmptyLatentImage": {"width": 128, "height": 128},
    }
    frames, _ = drawn(server, template(server, "15 Expressions of a person", changes))
    assert len(frames) == 8 and {frame.shape for frame in frames} == {(128, 128, 3)}
    # One person from one noise: neighbours are closer than the ends, and none is repeated.
    steps = [difference(one, other) for one, other in pairwise(frames)]
    assert min(steps) > 0.02 and max(steps) < difference(frames[0], frames[-1])


def test_swap(server: ComfyServer, own_files: None) -> None:
    """The rest of a photograph stays as it was, bit by bit."""
    changes: Changes = {
        "LoadImage": {"image": ASTRONAUT},
        "KSampler": {"steps": 2},
        "DenseFace_CropFace": {"size": 256},
        # The landmarker finds the face: the pack's detector here knows red squares only.
        "DenseFace_LoadAnalyzer": {"finder": "landmarker"},
        "DenseFace_EncodeIdentity": {"analyzer": ["encoder", 0]},
    }
    graph = template(server, "14 Swap a face", changes)
    (finder,) = (n for n, node in graph.items() if node["class_type"] == "DenseFace_LoadAnalyzer")
    graph["encoder"] = {
        "class_type": "DenseFace_LoadEncoder",
        "inputs": {
            "analyzer": [finder, 0],
            "encoder": "insightface",
            "ir_se50_file": "first one found",
            "insightface_pack": "buffalo_l",
            "channel_order": "RGB",
            "alignment": "five points",
        },
    }
    refer_to(graph, MIRRORED)
    (after,), _ = drawn(server, graph)
    changed_in_the_head_alone(server, after)


def test_dense_face(server: ComfyServer, own_files: None) -> None:
    """Another pose is another head; the rest of the photograph stays."""
    changes: Changes = {"LoadImage": {"image": ASTRONAUT}, "BasicScheduler": {"steps": 3}}
    heads = []
    for yaw in (-15.0, 40.0):
        changes["DenseFace_PoseFromAngles"] = {"yaw": yaw}
        graph = template(server, "16 Face into a scene", changes)
        refer_to(graph, MIRRORED)
        (after,), _ = drawn(server, graph)
        changed_in_the_head_alone(server, after)
        heads.append(after[HEAD])
    assert difference(*heads) > 0.2


def test_turn(server: ComfyServer, own_files: None) -> None:
    """Each of the five poses is another image; the gaze changes it, too."""
    changes: Changes = {
        "LoadImage": {"image": ASTRONAUT},
        "KSampler": {"steps": 2},
        "EmptyLatentImage": {"width": 128, "height": 128},
        "DenseFace_DrawFaceMesh": {"width": 128, "height": 128},
        "DenseFace_EncodeIdentity": {"image": ["selfie", 0]},
    }
    sheets = []
    for gaze in (0.0, 40.0):
        changes["DenseFace_DrawFaceMesh"]["gaze_yaw"] = gaze
        graph = template(server, "13 Turn the head", changes)
        # The pack's detector here knows red squares only.
        graph["selfie"] = {"class_type": "LoadImage", "inputs": {"image": SELFIE}}
        frames, report = drawn(server, graph)
        assert len(frames) == 5 and "yaw -40, pitch 0, roll 0" in report
        assert min(difference(one, other) for one, other in pairwise(frames)) > 0.02
        sheets.append(np.stack(frames))
    assert difference(*sheets) > 0.005


def all_controls(server: ComfyServer, size: int, steps: int, changes: Changes) -> Graph:
    usual: Changes = {
        "LoadImage": {"image": ASTRONAUT},
        "KSampler": {"steps": steps},
        "DenseFace_CropFace": {"size": size},
    }
    graph = template(server, "18 All controls with photos", usual | changes)
    refer_to(graph, MIRRORED)
    # The pack's detector here knows red squares only.
    graph["selfie"] = {"class_type": "LoadImage", "inputs": {"image": SELFIE}}
    (encode,) = (n for n in graph.values() if n["class_type"] == "DenseFace_EncodeIdentity")
    encode["inputs"]["image"] = ["selfie", 0]
    return graph


def test_all_controls(
    server: ComfyServer, own_files: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two steps at 256 px: in the memory of an ordinary computer; prints time and peak."""
    if psutil.virtual_memory().available < NEEDED:
        pytest.skip("less than 12 GB of memory are free")
    graph = all_controls(server, 256, 2, {})
    server.free()
    clear_peak(server.pid)
    began = time.perf_counter()
    (after,), report = drawn(server, graph)
    seconds, peak = time.perf_counter() - began, peak_memory(server.pid)
    with capsys.disabled():
        print(f"\nAll controls: {seconds:.0f} s, peak {peak / 1e9:.1f} GB")
    assert peak < LIMIT
    assert "IP-Adapter-FaceID-Plus v2" in report and "FineFace" in report
    assert "yaw -20, pitch 0, roll 0" in report
    changed_in_the_head_alone(server, after)


def test_word_and_numbers_change_the_face(server: ComfyServer, own_files: None) -> None:
    heads = []
    several: list[Changes] = [
        {},
        {"SFSR_ExpressionFromWord": {"word": "rage"}},
        {"DenseFace_DrawFaceMesh": {"yaw": 30.0, "gaze_yaw": -30.0}},
    ]
    for changes in several:
        graph = all_controls(server, 128, 1, changes)
        (after,), _ = drawn(server, graph, again=True)
        changed_in_the_head_alone(server, after)
        heads.append(after[HEAD])
    assert all(difference(heads[0], other) > 0.5 for other in heads[1:])


def test_arc2face_expression(server: ComfyServer, arc2face_files: None) -> None:
    """Another photo's expression is another image of the same person."""
    changes: Changes = {
        "LoadImage": {"image": ASTRONAUT},
        "KSampler": {"steps": 2},
        "EmptyLatentImage": {"width": 128, "height": 128},
    }
    with Image.open(server.base / "input" / ASTRONAUT) as photo:
        photo.rotate(20).save(server.base / "input" / ROTATED)
    drawn_images = []
    for expression in (ASTRONAUT, ROTATED):
        graph = template(server, "17 Expression of another photo", changes)
        refer_to(graph, MIRRORED)  # the host runs two nodes that load the same image as one
        (read,) = (n for n in graph.values() if n["class_type"] == "SFSR_ExpressionFromPicture")
        graph[read["inputs"]["image"][0]]["inputs"]["image"] = expression
        (image,), report = drawn(server, graph)
        assert "1 people of 1 photos, mean" in report and "pytorch_model.bin" in report
        assert "Arc2Face's expression adapter" in report and "licence" in report
        drawn_images.append(image)
    assert difference(*drawn_images) > 0.02


def changed_in_the_head_alone(server: ComfyServer, after: Any) -> None:
    before = np.asarray(Image.open(server.base / "input" / ASTRONAUT)).astype(int)
    changed = np.abs(after - before).max(2) > 0
    assert changed[HEAD].mean() > 0.1
    changed[HEAD] = False
    assert not changed.any()
