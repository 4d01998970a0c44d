"""Data sets, images and texts of others: every fault costs its record and nothing else."""

from __future__ import annotations

import io
import json
import os
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cheap import cheaply
from comfyui_dense_face import limits
from comfyui_dense_face.errors import InputError
from comfyui_dense_face.pipelines.images import open_rgb, read_about, write_image
from comfyui_dense_face.pipelines.installed_files import extra_model_paths
from comfyui_dense_face.readers.files import inside, read_bytes, read_text, stays_inside
from comfyui_dense_face.readers.json_text import parse_json
from comfyui_dense_face.training.data import codec as codec
from comfyui_dense_face.training.data.folder import Defects, read_records
from comfyui_dense_face.training.data.people import people_of
from comfyui_dense_face.training.data.record import KINDS, Record, Row, index_of, table_line
from comfyui_dense_face.training.data.shards import FaceShardWriter, read_shards, shard_files
from PIL import Image

DEEP = "[" * 200_000


def _npy(shape: str, dtype: str = "<f4") -> bytes:
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + b"\n"


def png(width: int, height: int, chunks: bytes = b"") -> bytes:
    """A PNG of one colour, whatever its size, in a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head)
    return start + chunks + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def _postscript() -> bytes:
    return b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\nshowpage\n"


def _xyz(data: bytes) -> object:
    return codec.decode_xyz(data, None)


DECODERS: dict[str, tuple[Callable[[bytes], object], bytes]] = {
    "an xyz map of 12 TiB": (_xyz, _npy("(1048576, 1048576, 3)")),
    "an xyz map of 2**62": (_xyz, _npy("(4611686018427387904, 1, 3)")),
    "an xyz map without pixels": (_xyz, _npy("(0, 0, 3)")),
    "an xyz map of broken text": (_xyz, _npy("(1, 'a")),
    "an xyz map of odd tokens": (_xyz, _npy("(1L, 2L, 3$)")),
    "an xyz map of deep text": (_xyz, _npy("(" * 9000)),
    "an xyz map of objects": (_xyz, _npy("(1, 1, 3)", "|O")),
    "an xyz map of nothing": (_xyz, b""),
    "a row of 10 MB": (codec.decode_landmarks, b"0.5,0.5\n" * 10**6),
    "a landmark of 1e999": (codec.decode_landmarks, b"1e999,1\n"),
    "landmarks of NUL": (codec.decode_landmarks, b"\0,\0\n"),
    "landmarks in another encoding": (codec.decode_landmarks, b"\xff\xfe\x00"),
    "no landmarks": (codec.decode_landmarks, b""),
    "deep attributes": (codec.decode_blendshapes, f'{{"blendshapes": {DEEP}'.encode()),
    "a list of attributes": (codec.decode_blendshapes, b"[]"),
    "blendshapes of lists": (codec.decode_blendshapes, b'{"blendshapes": {"jawOpen": []}}'),
    "a blendshape of 400 digits": (
        codec.decode_blendshapes,
        b'{"blendshapes": {"jawOpen": 1' + b"0" * 400 + b"}}",
    ),
    "attributes in another encoding": (codec.decode_blendshapes, b"\xff\xff"),
    "an image of 4 gigapixels": (codec.decode_image, png(65_535, 65_535)),
    "an image of 2**31": (codec.decode_image, png(2**31 - 1, 2**31 - 1)),
    "an image without pixels": (codec.decode_image, png(0, 5)),
    "an image in PostScript": (codec.decode_image, _postscript()),
    "a mask of half the colours": (codec.decode_part_mask, png(8, 8)),
    "features of a megabyte": (codec.decode_feature, bytes(2 * 2**20)),
}


@pytest.mark.parametrize(("decode", "data"), DECODERS.values(), ids=DECODERS)
def test_claims_of_records(decode: Callable[[bytes], object], data: bytes) -> None:
    with cheaply(), pytest.raises(InputError):
        decode(data)


@pytest.mark.parametrize("side", [8193, 65_535, 2**31 - 1])
def test_small_images_of_huge_size(tmp_path: Path, side: int) -> None:
    (tmp_path / "a.png").write_bytes(png(side, side))
    with cheaply(), pytest.raises(InputError, match=r"the scene is .*\. Use an image"):
        open_rgb(tmp_path / "a.png", "scene")


def test_postscript_is_not_run(tmp_path: Path) -> None:
    """Pillow would hand it to Ghostscript."""
    (tmp_path / "a.png").write_bytes(_postscript())
    with pytest.raises(InputError, match="not an image"):
        open_rgb(tmp_path / "a.png")


@pytest.mark.parametrize("text", [DEEP, "{" * 10, "[1]", "1" * 5000, "\0", '{"a": NaN, "a"}'])
def test_notes_in_images(tmp_path: Path, text: str) -> None:
    from PIL.PngImagePlugin import PngInfo

    path = tmp_path / "a.png"
    note = PngInfo()
    note.add_text("denseface", text)
    Image.new("RGB", (40, 40)).save(path, pnginfo=note)
    assert read_about(path) is None
    write_image(path, torch.zeros(1, 3, 40, 40), {"a": 1})
    assert read_about(path) == {"a": 1}


def test_packed_notes_do_not_unpack(tmp_path: Path) -> None:
    packed = b"denseface\0\0" + zlib.compress(b" " * 2**27, 9)
    chunk = struct.pack(">I", len(packed)) + b"zTXt" + packed
    chunk += struct.pack(">I", zlib.crc32(b"zTXt" + packed))
    (tmp_path / "a.png").write_bytes(png(64, 64, chunk))
    with cheaply(), pytest.raises(InputError):
        read_about(tmp_path / "a.png")


NAMES = [
    "C:evil", "C:\\evil", "\\evil", "/evil", "//server/evil", "\\\\server\\evil", "../evil",
    "a/../../evil", "a\\..\\evil", "evil\0.png", "e" * 320, "NUL", "con.png", "a/COM1.txt", "aux ",
    "a.png:stream", "a.", "b./a.png", "a /b", "CONIN$", "com\u00b2", "a\nb", "", ".", "\x1b[31m",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=[repr(name)[:20] for name in NAMES])
def test_names_that_lead_elsewhere(tmp_path: Path, name: str) -> None:
    assert not stays_inside(name) and inside(tmp_path, name) is None
    folder = tmp_path / "data"
    _folder(folder, name)
    defects = Defects()
    assert [r.key for r in read_records(folder / "faces.csv", defects)] == ["0000007/001"]
    assert sum(defects.counts[what] for what in ("face_file missing", "no identity features")) >= 1


@pytest.mark.parametrize("name", ["a.png", "0000045/images/003.jpg", "Zoë & Åsa (2).png", "..a"])
def test_plain_names(tmp_path: Path, name: str) -> None:
    assert stays_inside(name) and inside(tmp_path, name) == tmp_path / name


def _folder(folder: Path, name: str) -> None:
    """A data set of two images, one of them under this name."""
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "001.jpg").write_bytes(codec.jpeg(torch.rand(3, 32, 32)))
    lines = ["face_file,subject_id", f'"{name}",8', "a/001.jpg,7"]
    (folder / "faces.csv").write_text("\n".join(lines), encoding="utf-8")


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_links_out_of_a_data_set(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key.jpg").write_bytes(codec.jpeg(torch.rand(3, 32, 32)))
    folder = tmp_path / "inner" / "data"
    _folder(folder, "a/link.jpg")
    (folder / "a" / "link.jpg").symlink_to(secret / "key.jpg")
    defects = Defects()
    assert len(list(read_records(folder / "faces.csv", defects))) == 1
    assert defects.counts["face_file missing"] == 1
    (folder / "a" / "link.jpg").unlink()
    (folder / "a" / "link.jpg").symlink_to(folder / "a" / "001.jpg")  # inside: as any file
    assert len(list(read_records(folder / "faces.csv", Defects()))) == 2


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
def test_pipes_and_large_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="no regular file"):
        read_bytes(tmp_path / "pipe", 100)
    with pytest.raises(ValueError, match="no regular file"):
        read_text(Path(os.devnull))
    (tmp_path / "large").write_bytes(bytes(101))
    with pytest.raises(ValueError, match="larger"):
        read_bytes(tmp_path / "large", 100)
    assert len(read_bytes(tmp_path / "large", 101)) == 101
    with pytest.raises(OSError, match="such file"):
        read_bytes(tmp_path / "none", 100)


@pytest.mark.parametrize("digits", ["²", "①", "-1", "1" * 5000, "1e3", ""])
def test_digits(digits: str) -> None:
    assert index_of(digits) == 0 and index_of("007") == 7


def test_superscripts_are_names(tmp_path: Path) -> None:
    for name in ("²", "1"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (40, 40)).save(tmp_path / name / "a.png")
    assert [(p.subject_id, p.name) for p in people_of(tmp_path)] == [(1, "1"), (2, "²")]


def _shard(folder: Path) -> Path:
    files = {"images": codec.jpeg(torch.rand(3, 32, 32))}
    records = [Record(i, Row(45, 32), files) for i in range(2)]
    FaceShardWriter(folder).write(0, [45], records)
    return shard_files(folder)[0]


def _member(name: str, data: bytes, **more: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in more.items():
        setattr(info, key, value)
    return info, data


def _row(**changes: Any) -> bytes:
    line = table_line(Record(0, Row(45, 32), {"images": b""}))
    return json.dumps({**line, **changes}).encode()


_IMAGE = codec.jpeg(torch.rand(3, 32, 32))
ROWS: dict[str, bytes] = {
    "deep": DEEP.encode(),
    "a list": b"[]",
    "a number as text": _row(subject_id={}),
    "a subject of 300 digits": _row(subject_id="1" + "0" * 300),
    "a negative subject": _row(subject_id="-5"),
    "no size": _row(aligned_size=""),
    "a size of 1e300": _row(annot_size="1e300"),
    "a pose of texts": _row(head_pose=["a", "b", "c"]),
    "not UTF-8": b"\xff",
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_rows_of_shards(tmp_path: Path, row: bytes) -> None:
    _tar(
        tmp_path / "faces-000000.tar",
        _member("0000045-000.images.jpg", _IMAGE),
        _member("0000045-000.row.json", row),
        _member("0000045-001.images.jpg", _IMAGE),
        _member("0000045-001.row.json", _row()),
    )
    defects = Defects()
    with cheaply():
        found = list(read_shards(shard_files(tmp_path), defects))
    assert [record.index for record in found] == [1] and sum(defects.counts.values()) == 1


def _tar(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> None:
    with tarfile.open(path, "w") as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))


@pytest.mark.parametrize("key", ["²", "1" * 5000, "x"])
def test_keys_of_shards(tmp_path: Path, key: str) -> None:
    path = tmp_path / "faces-000000.tar"
    _tar(
        path,
        _member(f"0000045-{key}.images.jpg", _IMAGE),
        _member(f"0000045-{key}.row.json", _row()),
    )
    assert [record.index for record in read_shards([path], Defects())] == [0]


def test_shards_that_unpack_or_never_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compressed, sparse, cut off, too large, or one sample without end."""
    whole = _shard(tmp_path)
    content = whole.read_bytes()
    with tarfile.open(tmp_path / "faces-000001.tar", "w:gz") as archive:
        archive.addfile(*_stream(_member("a.row.json", bytes(2**24))))
    sparse = tarfile.TarInfo("0-0.images.jpg").tobuf(tarfile.GNU_FORMAT)
    head = bytearray(sparse)
    head[156:157] = tarfile.GNUTYPE_SPARSE
    head[483:495] = b"77777777777\0"  # its real size: 8 GB of zeros
    head[148:156] = b"%06o\0 " % (sum(head[:148]) + 8 * 32 + sum(head[156:512]))
    (tmp_path / "faces-000002.tar").write_bytes(bytes(head) + bytes(1024))
    (tmp_path / "faces-000003.tar").write_bytes(content[:700])
    many = [_member(f"0-0.f{i}.bin", b"") for i in range(limits.RECORD_FILES + 1)]
    _tar(tmp_path / "faces-000004.tar", *many)
    monkeypatch.setattr(limits, "RECORD_BYTES", 2**20)
    _tar(tmp_path / "faces-000005.tar", *(_member(f"0-0.f{i}", bytes(2**19)) for i in range(3)))
    defects = Defects()
    with cheaply():
        found = list(read_shards(shard_files(tmp_path), defects))
    assert len(found) == 2
    assert defects.counts["shard damaged, its rest left out"] == 5


def _stream(member: tuple[tarfile.TarInfo, bytes]) -> tuple[tarfile.TarInfo, io.BytesIO]:
    return member[0], io.BytesIO(member[1])


def test_ten_times_the_largest_record_is_read(tmp_path: Path) -> None:
    """An xyz map, landmarks and attributes of ten times the size of the data set's."""
    side = 816
    xyz = codec.xyz_map(torch.rand(side, side, 2), torch.rand(side, side))
    assert len(xyz) > 10 * 256 * 256 * 12 and codec.decode_xyz(xyz, None)[0].shape[0] == side
    assert len(codec.decode_landmarks(codec.landmark_table(torch.rand(4780, 2)))) == 4780
    attributes = {"more": ["x" * 1000] * 300, "blendshapes": {"jawOpen": 0.5}}
    assert float(codec.decode_blendshapes(codec.json_bytes(attributes)).nansum()) == 0.5
    assert len(codec.decode_feature(codec.feature(torch.rand(5120)))) == 5120
    files = {kind: bytes(2**20) for kind in KINDS}
    FaceShardWriter(tmp_path).write(0, [45], [Record(3, Row(45, 32), files)])
    (record,) = read_shards(shard_files(tmp_path), Defects())
    assert record.files == files


@pytest.mark.parametrize("text", [DEEP, "[" * 990 + "]" * 980, "1" * 5000, "", "\ud800"])
def test_texts_that_are_no_json(text: str) -> None:
    with pytest.raises(ValueError):
        parse_json(text)
    with pytest.raises(ValueError, match="letters"):
        parse_json("[1, 2]", longest=5)


def test_arrays_of_other_floats_are_read() -> None:
    out = io.BytesIO()
    np.save(out, np.full((2, 2, 3), 0.5))
    assert codec.decode_xyz(out.getvalue(), None)[0].dtype == torch.float32


_LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}, *{a}]\n" for a, b in zip("abcdefghij", "bcdefghijk", strict=True)
)
YAMLS = {
    "deep": "comfyui:\n " + "[" * 2000,
    "deep lines": "comfyui:\n " + "- " * 30_000,
    "large": "#" * 2**17,
    "an object": "comfyui: !!python/object/apply:os.system ['exit']",
    "a list": "[1, 2]",
    "not UTF-8": "\udcff",
}


@pytest.mark.parametrize("text", YAMLS.values(), ids=YAMLS)
def test_extra_model_paths_that_cannot_be_read(tmp_path: Path, text: str) -> None:
    path = tmp_path / "extra_model_paths.yaml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with cheaply(), pytest.raises(InputError, match="extra model paths cannot be read"):
        extra_model_paths(path)


def test_aliases_of_aliases(tmp_path: Path) -> None:
    path = tmp_path / "extra_model_paths.yaml"
    path.write_text(f"comfyui:\n  sfsr: b\n  {_LAUGHS.replace(chr(10), chr(10) + '  ')}")
    with cheaply():
        assert extra_model_paths(path) == {"sfsr": [tmp_path / "b"]}
