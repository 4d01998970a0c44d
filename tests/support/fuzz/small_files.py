"""Small valid files of this pack and of the landmarker."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

from comfyui_dense_face.dense_face.adapter import PCAdapter
from comfyui_dense_face.dense_face.annotation.head import AnnotationHead, HeadConfig
from comfyui_dense_face.dense_face.annotation.head_file import save_head
from comfyui_dense_face.dense_face.attention_layers import layers_of_block
from comfyui_dense_face.dense_face.checkpoints.adapter_file import DenseFaceAdapter, save_adapter
from comfyui_dense_face.dense_face.identity_token import IdentityToken
from comfyui_dense_face.dense_face.pose_branch import PoseBranch, PoseBranchConfig
from comfyui_dense_face.faces.mediapipe.task_file import BLENDSHAPES, DETECTOR, GEOMETRY, MESH
from comfyui_dense_face.sfsr.adapter import SFSRAdapter
from comfyui_dense_face.sfsr.compound_inputs import CompoundLayout


def save_small_adapter(path: Path) -> None:
    config = PoseBranchConfig(32, (1, 1), 1, hint_widths=(8,) * 7)
    layers = [*layers_of_block("input_blocks.1", 32, 16), *layers_of_block("middle_block", 32, 16)]
    save_adapter(
        path,
        DenseFaceAdapter(
            PCAdapter(layers, id_dim=8), PoseBranch(config), IdentityToken(16, id_dim=8), {}
        ),
    )


def save_small_head(path: Path) -> None:
    save_head(path, AnnotationHead(HeadConfig((32, 32), 32, 2, "ibug")), {})


def save_small_sfsr(path: Path) -> None:
    layout = CompoundLayout({"a": 8}, tokens=2, width=16, hidden=8)
    SFSRAdapter(layout, {"input_blocks.1": 32}, 8).save(path, {})


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def field(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def small_geometry(vertices: int = 468, value: float = 1.0, index: int = 3) -> bytes:
    numbers = b"".join(varint(3 << 3 | 5) + struct.pack("<f", value) for _ in range(vertices * 5))
    weight = varint(1 << 3) + varint(index) + varint(2 << 3 | 5) + struct.pack("<f", 0.5)
    return field(1, numbers) + field(2, weight)


def save_task(path: Path, geometry: bytes, packed: bool = False) -> None:
    method = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", method) as archive:
        for name in (DETECTOR, MESH, BLENDSHAPES):
            archive.writestr(name, b"TFL3")
        archive.writestr(GEOMETRY, geometry)
