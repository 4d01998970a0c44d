"""Every reader of files, with small valid files to begin from."""

from __future__ import annotations

import functools
import io
import json
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from comfyui_dense_face.dense_face.annotation.head_file import load_head
from comfyui_dense_face.dense_face.checkpoints.adapter_file import load_adapter
from comfyui_dense_face.dense_face.checkpoints.release import open_release
from comfyui_dense_face.dense_face.checkpoints.safetensors_stream import read_stream
from comfyui_dense_face.errors import InputError
from comfyui_dense_face.evaluation.photos.lists import entries
from comfyui_dense_face.evaluation.photos.problems import Problems
from comfyui_dense_face.faces.encoders.feature_file import read_feature
from comfyui_dense_face.faces.encoders.weight_file import read_network
from comfyui_dense_face.faces.identity import Identity
from comfyui_dense_face.faces.identity_file import load_identities, save_identities
from comfyui_dense_face.faces.mediapipe.task_file import read_task_file
from comfyui_dense_face.pipelines.face_report import FaceReport
from comfyui_dense_face.pipelines.images import open_rgb, read_about, write_image
from comfyui_dense_face.pipelines.installed_files import extra_model_paths
from comfyui_dense_face.readers.torch_file import open_checkpoint, read_checkpoint
from comfyui_dense_face.readers.unpickle import read_tree
from comfyui_dense_face.sfsr.adapter import load_adapter as load_sfsr
from comfyui_dense_face.sfsr.arc2face.flame import flame_expression, parse_flame
from comfyui_dense_face.sfsr.ip_adapter.load import load_published
from comfyui_dense_face.state_dict import check_values
from comfyui_dense_face.storage import CHECKSUM_KEY, read_weights
from comfyui_dense_face.training.data import codec as codec
from comfyui_dense_face.training.data.folder import Defects, read_records
from comfyui_dense_face.training.data.record import Record, Row, table_line, table_text
from comfyui_dense_face.training.data.shards import FaceShardWriter, read_shards, shard_files
from locate_host import PARITY
from PIL import Image
from safetensors.torch import save_file
from small_files import (
    save_small_adapter,
    save_small_head,
    save_small_sfsr,
    save_task,
    small_geometry,
)


@dataclass(frozen=True)
class Reader:
    """A reader and how to make its files.

    suffix: Of the file's name.
    seeds: Makes the valid files in a folder.
    read: Reads a file, all of it; may raise a FacePackError.
    """

    suffix: str
    seeds: Callable[[Path], list[bytes]]
    read: Callable[[Path], object]


def _unchecked(save: Callable[[Path], object]) -> Callable[[Path], list[bytes]]:
    """A file of weights without its checksum, which would refuse every mutation."""

    def make(folder: Path) -> list[bytes]:
        path = folder / "seed.safetensors"
        save(path)
        tensors, about = read_weights(path)
        about.pop(CHECKSUM_KEY, None)
        save_file(tensors, path, about)
        return [path.read_bytes()]

    return make


def _release(folder: Path) -> list[bytes]:
    """Parts of a release under its names; our own format would be refused by its name."""
    save_small_adapter(folder / "seed.safetensors")
    tensors, _ = read_weights(folder / "seed.safetensors")
    save_file(tensors, folder / "seed.safetensors")
    return [(folder / "seed.safetensors").read_bytes(), _saved({"state_dict": tensors})]


def _adapters(folder: Path) -> list[bytes]:
    """A published layout at a small width, and a part of one."""
    published = PARITY.parent / "published_parity" / "arc2face" / "exp_adapter"
    return [(published / "exp_adapter_linear.bin").read_bytes(), *_torch(_ADAPTER)(folder)]


def _torch(content: object) -> Callable[[Path], list[bytes]]:
    def make(_: Path) -> list[bytes]:
        return [_saved(content, legacy) for legacy in (False, True)]

    return make


def _saved(content: object, legacy: bool = False) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=not legacy)
    return stream.getvalue()


def _image(*kinds: str) -> Callable[[Path], list[bytes]]:
    def make(folder: Path) -> list[bytes]:
        image = Image.fromarray(np.random.default_rng(1).integers(0, 255, (40, 48, 3), np.uint8))
        return [codec.encoded(image, kind) for kind in kinds]

    return make


def _noted(folder: Path) -> list[bytes]:
    write_image(folder / "a.png", torch.rand(1, 3, 40, 40), {"seed": 1, "files": {"a": [1, 2]}})
    return [(folder / "a.png").read_bytes()]


def _record() -> Record:
    files = {"images": codec.jpeg(torch.rand(3, 32, 32)), "attributes": b'{"blendshapes": {}}'}
    row = Row(45, 32, (-0.5, 0.5), 0.1, bbox=(0, 0, 1, 1), caption="a", head_pose=(1.0, 2.0, 3.0))
    return Record(3, row, files)


def _shards(folder: Path) -> list[bytes]:
    FaceShardWriter(folder).write(0, [45], [_record(), _record()])
    whole = shard_files(folder)[0].read_bytes()
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("ä" * 120 + ".images.jpg", "b.row.json"):
            info = tarfile.TarInfo(name)
            info.size = 3
            archive.addfile(info, io.BytesIO(b"abc"))
    return [whole, stream.getvalue()]


def _read_shard(path: Path) -> None:
    for record in read_shards([path], Defects()):
        for data in record.files.values():
            bytes(data)


def _read_table(path: Path) -> None:
    list(read_records(path, Defects()))


def _table(folder: Path) -> list[bytes]:
    (folder / "0000045" / "images").mkdir(parents=True, exist_ok=True)
    (folder / "0000045" / "images" / "003.jpg").write_bytes(codec.jpeg(torch.rand(3, 32, 32)))
    return [table_text([table_line(_record())]).encode()]


def _read_kept(path: Path) -> None:
    def nobody() -> None:
        raise InputError("no analyzer here")

    list(FaceReport(nobody, path, "s").look([]))


def _kept(_: Path) -> list[bytes]:
    face = {"box": [1, 2, 3, 4], "score": 0.5, "pose": {"yaw": 1.0}}
    line = json.dumps({"path": "a.png", "size": [4, 5], "faces": [face]})
    return [f'["s", "a.png", 1, 2]\t{line}\n'.encode() * 2]


def _decoder(decode: Callable[[bytes], object], seed: Callable[[], bytes], suffix: str) -> Reader:
    return Reader(suffix, lambda _: [seed()], lambda path: decode(path.read_bytes()))


def _read_all(path: Path) -> None:
    with open_checkpoint(path) as stream:
        for tensor in read_checkpoint(stream, str(path)).values():
            tensor.read()


def _read_stream(path: Path) -> None:
    with open_checkpoint(path) as stream:
        for tensor in read_stream(stream, str(path))[0].values():
            tensor.read()


def _read_release(path: Path) -> None:
    with open_release(path):
        pass


def _read_entries(path: Path) -> None:
    problems = Problems()
    entries([], path, problems)
    problems.check()


def _read_weights(path: Path) -> None:
    check_values(read_weights(path)[0], str(path))


def _read_yaml(path: Path) -> None:
    extra_model_paths(path)


def _read_flame(path: Path) -> None:
    flame_expression(parse_flame(path.read_bytes().decode("utf-8", "replace")))


def _read_pickle(path: Path) -> None:
    read_tree(io.BytesIO(path.read_bytes()), "x")


def _pickles(_: Path) -> list[bytes]:
    content = {"a": [1, 2.5, b"x", None, True, (1, 2), {3, 4}, bytearray(b"abc"), "ä" * 300, 2**70]}
    stored = [_index(_saved(c)) for c in ({"a": torch.zeros(3)}, np.zeros((1, 4), np.float32))]
    return [*(pickle.dumps(content, protocol=p) for p in range(6)), *stored]


def _index(archive: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        return file.read(next(n for n in file.namelist() if n.endswith("data.pkl")))


def _read_geometry(path: Path) -> None:
    task = path.with_suffix(".zip")
    save_task(task, path.read_bytes())
    read_task_file(task)


def _task(folder: Path) -> list[bytes]:
    found = []
    for packed in (False, True):
        save_task(folder / "seed.task", small_geometry(), packed)
        found.append((folder / "seed.task").read_bytes())
    return found


def _identities(path: Path) -> None:
    save_identities(path, [Identity(torch.eye(8)[0], "a"), Identity(torch.eye(8)[1], "a")])


def _npy(*shapes: tuple[int, ...]) -> Callable[[Path], list[bytes]]:
    return lambda _: [codec.array(np.random.rand(*shape).astype(np.float32)) for shape in shapes]


_ADAPTER = {
    "image_proj": {"proj.0.weight": torch.rand(8, 512)},
    "ip_adapter": {"1.to_k_ip.weight": torch.rand(8, 768)},
}
_VECTOR = np.random.default_rng(1).random((1, 16), np.float32)

READERS: dict[str, Reader] = {
    "safetensors": Reader(".safetensors", _unchecked(save_small_sfsr), _read_weights),
    "safetensors, streamed": Reader(".safetensors", _unchecked(save_small_head), _read_stream),
    "adapter": Reader(".safetensors", _unchecked(save_small_adapter), load_adapter),
    "release": Reader(".ckpt", _release, _read_release),
    "annotation head": Reader(".safetensors", _unchecked(save_small_head), load_head),
    "SFSR adapter": Reader(".safetensors", _unchecked(save_small_sfsr), load_sfsr),
    "identities": Reader(".safetensors", _unchecked(_identities), load_identities),
    "checkpoint": Reader(".ckpt", _torch({"state_dict": {"a": torch.rand(3, 4)}}), _read_all),
    "pickled index": Reader(".pkl", _pickles, _read_pickle),
    "network": Reader(".pth", _torch({"model": {"module.a": torch.rand(3, 4)}}),
                      functools.partial(read_network, what="a network")),
    "IP-Adapter": Reader(".bin", _adapters, load_published),
    "face vector": Reader(".pth", _torch(_VECTOR), read_feature),
    "face vector, npy": Reader(".npy", _npy((1, 16), (16,)), read_feature),
    "landmarker": Reader(".task", _task, read_task_file),
    "landmarker's geometry": Reader(".pb", lambda _: [small_geometry()], _read_geometry),
    "image": Reader(".img", _image("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"), open_rgb),
    "note in an image": Reader(".png", _noted, read_about),
    "record's image": Reader(".jpg", _image("JPEG", "PNG"), lambda p: codec.decode_image(p.read_bytes())),  # noqa: E501
    "record's parts": _decoder(codec.decode_part_mask, lambda: codec.part_mask(torch.zeros(8, 8).byte()), ".png"),  # noqa: E501
    "record's landmarks": _decoder(codec.decode_landmarks, lambda: codec.landmark_table(torch.rand(9, 2)), ".csv"),  # noqa: E501
    "record's xyz map": Reader(".npy", _npy((4, 4, 3)), lambda p: codec.decode_xyz(p.read_bytes(), None)),  # noqa: E501
    "record's face vector": _decoder(codec.decode_feature, lambda: codec.feature(torch.rand(16)), ".pth"),  # noqa: E501
    "record's attributes": _decoder(codec.decode_blendshapes, lambda: codec.blendshapes({"jawOpen": 0.5}), ".json"),  # noqa: E501
    "table": Reader(".csv", _table, _read_table),
    "shard": Reader(".tar", _shards, _read_shard),
    "results": Reader(".jsonl", _kept, _read_kept),
    "list of prompts": Reader(".txt", lambda _: [b"a photo\nanother\n"], _read_entries),
    "FLAME numbers": Reader(".txt", lambda _: [b"0.5, " * 50, b"[0.1 0.2]"], _read_flame),
    "extra model paths": Reader(
        ".yaml", lambda _: [b"comfyui:\n  base_path: /a\n  sfsr: |\n    b\n    c\n"], _read_yaml
    ),
}  # fmt: skip
