"""Data sets in the layout: exact round trips, planted defects reported, kills leave no trace."""

from __future__ import annotations

import multiprocessing
import shutil
import tarfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from comfyui_dense_face import cli
from comfyui_dense_face.demo.networks.face_finder import TinyWorldFaces
from comfyui_dense_face.demo.people import sample_heads
from comfyui_dense_face.demo.renderer.renderer import render
from comfyui_dense_face.errors import InputError
from comfyui_dense_face.faces.face import Face
from comfyui_dense_face.training.data import codec as codec
from comfyui_dense_face.training.data.annotate_folder import Annotator
from comfyui_dense_face.training.data.annotate_groups import annotate
from comfyui_dense_face.training.data.annotate_plan import check_plan
from comfyui_dense_face.training.data.dataset import FaceDataset
from comfyui_dense_face.training.data.folder import (
    Defects,
    FaceFolderWriter,
    find_table,
    read_records,
)
from comfyui_dense_face.training.data.held_out import split
from comfyui_dense_face.training.data.people import Person, people_of
from comfyui_dense_face.training.data.record import COLUMNS, Record, Row, table_line, table_row
from comfyui_dense_face.training.data.shards import (
    FaceShardWriter,
    read_shards,
    shard_files,
    write_shard,
)
from PIL import Image
from torch import Tensor, nn

SMALL = ["--size", "64", "--seed", "3"]


def _record(subject: int = 45, index: int = 3, seed: int = 0) -> Record:
    """A record with every kind of file and every column."""
    chance = torch.Generator().manual_seed(seed)

    def rand(*shape: int) -> Tensor:
        return torch.rand(shape, generator=chance)

    depth = torch.where(rand(256, 256) < 0.7, torch.tensor(1.0), rand(256, 256) - 0.6)
    files = {
        "images": codec.jpeg(rand(3, 80, 80)),
        "images_v2": codec.png(rand(3, 512, 512)),
        "masks": codec.part_mask(torch.randint(10, (256, 256), generator=chance).byte()),
        "msmasks": codec.png(rand(3, 256, 256)),
        "landmarks": codec.landmark_table(rand(478, 2)),
        "xyzmaps": codec.xyz_map(66 * rand(256, 256, 2), depth),
        "attributes": codec.json_bytes({"age": {"30": 0.5}}),
        "captions": codec.json_bytes({"a photo of a woman": {"model": "x", "CLIP_score": 0.3}}),
        "feat_file_v2": codec.feature(torch.nn.functional.normalize(rand(512), dim=0)),
    }
    row = Row(
        subject, 80, (-0.6, 0.39999), 0.125, 256, (40.5, 44.25), (0.1, 0.2, 0.8, 0.9), 0.75,
        "0000045/images/000.jpg", (0.0, 0.1, 0.9, 1.0), 'a "photo", of\na woman',
        (-3.5, 12.25, 0.5),
    )  # fmt: skip
    return Record(index, row, files)


def _read(folder: Path) -> tuple[list[Record], Defects]:
    defects = Defects()
    shards = shard_files(folder)
    if shards:
        return list(read_shards(shards, defects)), defects
    return list(read_records(find_table(folder), defects)), defects


@pytest.mark.parametrize("kind", [FaceFolderWriter, FaceShardWriter])
def test_round_trip_is_exact(kind: type, tmp_path: Path) -> None:
    """What was written is read, bit for bit; written again it gives the same files."""
    records = [_record(45, 0, 1), _record(45, 1, 2), _record(7, 0, 3)]
    for folder in ("first", "second"):
        writer = kind(tmp_path / folder)
        if writer.people_at_once == 1:
            writer.write(0, [45], records[:2])
            writer.write(1, [7], records[2:])
        else:
            writer.write(0, [45, 7], records)
        writer.finish()
        read, defects = _read(tmp_path / folder)
        assert not defects.counts
        assert sorted(read, key=lambda r: r.key) == sorted(records, key=lambda r: r.key)
        records = read if writer.people_at_once > 1 else [*read[1:], read[0]]
    assert _bytes(tmp_path / "first") == _bytes(tmp_path / "second")


def test_layout(tmp_path: Path) -> None:
    """Names, columns and units of the release's own data set."""
    writer = FaceFolderWriter(tmp_path)
    writer.write(0, [45], [_record()])
    assert writer.finish() == 1
    home = tmp_path / "faces" / "0000045"
    for name in ("images/003.jpg", "masks/003.png", "landmarks/003.csv", "xyzmaps/003.npy",
                 "feat_file_v2/003.pth", "captions/003.json", "attributes/003.json"):  # fmt: skip
        assert (home / name).is_file()
    header, _ = (tmp_path / "faces_headpose.csv").read_text().split("\n", 1)
    assert len(COLUMNS) == 20 and header.split(",") == list(COLUMNS)
    assert (tmp_path / "faces_subjects.txt").read_text() == "0000045\n"
    line = table_line(_record())
    assert line["subject_id"] == "45"
    assert line["head_pose"] == "['-3.5', '12.25', '0.5']"
    assert line["depth_range"] == "[-0.6, 0.39999]"
    assert table_row(line) == _record().row
    points = np.loadtxt(home / "landmarks" / "003.csv", delimiter=",")
    assert points.shape == (478, 2) and points.min() >= 0 and points.max() <= 1
    assert np.load(home / "xyzmaps" / "003.npy").shape == (256, 256, 3)
    colours = np.array(Image.open(home / "masks" / "003.png")).reshape(-1, 3)
    assert len(np.unique(colours, axis=0)) == 10
    feature = torch.load(home / "feat_file_v2" / "003.pth", weights_only=False)
    assert isinstance(feature, np.ndarray) and feature.shape == (1, 512)


def test_codecs_refuse_what_is_something_else() -> None:
    for decode in (codec.decode_image, codec.decode_part_mask, codec.decode_landmarks,
                   codec.decode_feature):  # fmt: skip
        with pytest.raises(InputError):
            decode(b"nothing of the kind")
    with pytest.raises(InputError, match="colours that stand for no part"):
        codec.decode_part_mask(codec.png(torch.zeros(3, 8, 8)))
    with pytest.raises(InputError, match="shape"):
        codec.decode_xyz(codec.array(np.zeros((4, 4), np.float32)), None)


def test_absurd_depths_are_clipped() -> None:
    depth = torch.tensor([[4e7, -1e7], [float("nan"), 1.0]])
    data = codec.xyz_map(torch.zeros(2, 2, 2), depth)
    xyz, absurd = codec.decode_xyz(data, (-0.5, 0.4))
    assert absurd == 3
    assert xyz[..., 2].tolist() == [[pytest.approx(0.4), -0.5], [1.0, 1.0]]


def test_planted_defects_are_reported(tmp_path: Path) -> None:
    """Each defect costs its own record or label and is reported; the rest is read."""
    writer = FaceFolderWriter(tmp_path)
    broken = {
        1: {},
        2: {"images": b"no image"},
        3: {"masks": codec.png(torch.zeros(3, 256, 256))},
        4: {"feat_file_v2": None},
        5: {"xyzmaps": codec.xyz_map(torch.zeros(256, 256, 2), torch.full((256, 256), 4e7))},
        6: {"landmarks": b"1,2,3\n"},
        7: {"landmarks": b"0,0\n" * 478},
    }
    for subject, changes in broken.items():
        files = {k: v for k, v in {**_record().files, **changes}.items() if v is not None}
        record = _record(subject, 0)
        writer.write(0, [subject], [replace(record, files=files)])
    writer.finish()
    table = tmp_path / "faces_headpose.csv"
    header, *lines = table.read_text().splitlines()
    text = [_drop(header)]
    joined = "\n".join(lines).replace("of\na woman", "of a woman").splitlines()
    text += [_drop(line) for line in [*joined, joined[0]]]
    text.append(_drop(joined[0].replace("000.jpg", "009.jpg")))
    text.append(_drop(joined[1].replace(",2,", ",two,").replace("000.jpg", "000.jpg ")))
    table.write_text("\n".join(text) + "\n")

    data = FaceDataset(tmp_path, size=64)
    samples = {sample["subject"]: sample for sample in data}
    assert sorted(samples) == [1, 3, 4, 5, 6, 7]
    counts = data.defects.counts
    assert counts["column missing"] == 1
    assert data.defects.places["column missing"] == ["msmask_score"]
    assert counts["duplicate row, left out"] >= 1
    assert counts["face_file missing"] == 1
    assert counts["the image is unreadable"] == 1
    assert counts["the mask holds colours that stand for no part"] == 1
    assert counts["no identity features"] >= 1
    assert counts["absurd depths, clipped"] == 256 * 256
    assert counts["the landmarks are not a table of x and y"] == 1
    assert bool((samples[3]["parts"] == -1).all())
    assert bool(samples[4]["feature"].isnan().all())
    assert float(samples[5]["depth"].max()) <= 0.4
    assert counts["the landmarks are all in one place"] == 1
    assert all(bool(samples[subject]["landmarks"].isnan().all()) for subject in (6, 7))
    good = samples[1]
    assert good["image"].shape == (3, 64, 64) and good["depth"].shape == (64, 64)
    assert good["pose"].tolist() == [12.25, -3.5, 0.5]
    assert any("duplicate row" in line for line in data.defects.lines())


def test_names_in_an_archive_that_are_not_utf_8(tmp_path: Path) -> None:
    """Of a tool that writes them as its system does: they are names as any other."""
    FaceShardWriter(tmp_path).write(0, [1, 2], [_record(1, 0), _record(2, 0)])
    shard, other = tmp_path / "faces-000000.tar", tmp_path / "other"
    with (
        tarfile.open(shard) as read,
        tarfile.open(other, "w", format=tarfile.GNU_FORMAT, encoding="cp1252") as written,
    ):
        for member in read.getmembers():
            content = read.extractfile(member)
            member.name = f"M\u00fcller{member.name}"
            written.addfile(member, content)
    other.replace(shard)
    data = FaceDataset(tmp_path, size=64)
    assert len(data.checksum) == 64 and len(list(data)) == 2
    assert [len(part) for part in split(data, 1)] == [1, 1]


def test_a_line_that_names_no_image(tmp_path: Path) -> None:
    """It costs its own record, and the data set still has a checksum."""
    writer = FaceFolderWriter(tmp_path)
    writer.write(0, [1], [_record(1, 0)])
    writer.finish()
    table = tmp_path / "faces_headpose.csv"
    before = FaceDataset(tmp_path, size=64).checksum
    table.write_text(table.read_text() + "," * 19 + "\n")
    data = FaceDataset(tmp_path, size=64)
    assert data.checksum != before
    assert [sample["subject"] for sample in data] == [1]
    assert data.defects.counts["face_file missing"] == 1


def test_a_table_that_a_spreadsheet_saved(tmp_path: Path) -> None:
    """With a byte order mark, which is no part of the first column's name."""
    writer = FaceFolderWriter(tmp_path)
    writer.write(0, [1], [_record(1, 0)])
    writer.finish()
    table = tmp_path / "faces_headpose.csv"
    table.write_text(table.read_text(), encoding="utf-8-sig")
    assert [sample["subject"] for sample in FaceDataset(tmp_path, size=64)] == [1]


def _drop(line: str) -> str:
    """A line of the table without the column msmask_score (the only 0.75 and its name)."""
    return line.replace("msmask_file,msmask_score,", "msmask_file,").replace(",0.75,", ",", 1)


def test_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no tables"):
        FaceDataset(tmp_path)
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    with pytest.raises(InputError, match="lacks the column face_file"):
        list(FaceDataset(tmp_path))


def test_workers_share_the_images(tmp_path: Path) -> None:
    for kind in ("folder", "webdataset"):
        out = tmp_path / kind
        words = ["render", str(out), "--count", "5", "--format", kind, *SMALL]
        assert cli.main(words) == 0
        data = FaceDataset(out, size=32, scheme="ibug")
        loader = torch.utils.data.DataLoader(data, batch_size=2, num_workers=2)
        keys = [key for batch in loader for key in batch["key"]]
        assert len(keys) == len(set(keys)) == 5


def test_rendered_faces_hold_the_truth(tmp_path: Path) -> None:
    """``denseface render OUT`` keeps what the renderer knows."""
    assert (
        cli.main(["render", str(tmp_path / "a"), "--count", "3", "--per-person", "2", *SMALL]) == 0
    )
    records, defects = _read(tmp_path / "a")
    assert not defects.counts
    assert [r.key for r in records] == ["0000001/000", "0000001/001", "0000002/000"]
    head = sample_heads([3])
    drawn = render(head, 64)
    yaw, pitch, roll = head.angles[0].tolist()
    assert records[0].row.head_pose == pytest.approx((pitch, yaw, roll), abs=1e-3)
    points = codec.decode_landmarks(records[0].files["landmarks"])
    assert torch.equal(points, drawn.landmarks[0])
    parts = codec.decode_part_mask(records[0].files["masks"])
    assert torch.equal(parts[2::4, 2::4], drawn.parts[0])
    xyz, absurd = codec.decode_xyz(records[0].files["xyzmaps"], records[0].row.depth_range)
    assert absurd == 0
    assert torch.equal(xyz[2::4, 2::4, 2], drawn.depth[0])
    assert records[0].row.reference == "0000001/images/001.jpg"
    shared = tmp_path / "b"
    for share in ("2/2", "1/2"):
        words = ["render", "faces", str(shared), "--count", "3", "--per-person", "2"]
        assert cli.main([*words, *SMALL, "--shard", share]) == 0
    assert _bytes(shared) == _bytes(tmp_path / "a")


def _photos(folder: Path, people: int = 3) -> None:
    for person in range(people):
        home = folder / f"person {person}"
        home.mkdir(parents=True)
        for i in range(2):
            drawn = render(sample_heads([10 * person + i], identity_seeds=[person]), 192)
            pixels = (drawn.rgb[0] * 255).byte().permute(1, 2, 0).numpy()
            Image.fromarray(pixels).save(home / f"{i}.png")
    (folder / "person 0" / "0.txt").write_text("a photo of a  woman\n")


def _annotate(photos: Path, out: Path, *extra: str) -> list[str]:
    return ["annotate", str(photos), str(out), "--analyzer", "tiny-world", *extra]


def test_annotate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    _photos(photos)
    (photos / "person 1" / "broken.png").write_bytes(b"\x89PNG nothing")
    Image.new("RGB", (200, 200), (90, 120, 200)).save(photos / "person 1" / "nobody.png")
    assert cli.main(_annotate(photos, out)) == 0
    message = capsys.readouterr().err
    assert "no face was found: 1" in message and "nobody.png" in message and "broken.png" in message
    records, defects = _read(out)
    assert not defects.counts
    assert [r.row.subject_id for r in records] == [1, 1, 2, 2, 3, 3]
    assert records[0].row.caption == "a photo of a woman"
    assert records[1].row.caption == "a photo of a person"
    assert {"images", "masks", "landmarks", "captions", "feat_file_v2"} <= set(records[0].files)
    parts = codec.decode_part_mask(records[0].files["masks"])
    assert len(parts.unique()) == 10
    points = codec.decode_landmarks(records[0].files["landmarks"])
    # The crop is upright and around the face: the nose is near its middle.
    assert (points[30] - 0.5).abs().max() < 0.15

    # Finished people are not analysed again, even if their images are gone.
    before = _bytes(out)
    (photos / "person 1" / "0.png").write_bytes(b"")
    assert cli.main(_annotate(photos, out)) == 0
    assert _bytes(out) == before
    # Another set of people in the same place is refused.
    shutil.rmtree(photos / "person 0")
    assert cli.main(_annotate(photos, out)) == 2
    assert "other people" in capsys.readouterr().err


def test_depth_may_be_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All else stays; a data set with depth is not continued without it."""
    photos = tmp_path / "photos"
    _photos(photos)

    class Deep:
        """The tiny world's analyzer, as if its points had a depth."""

        def __init__(self) -> None:
            self.inner = TinyWorldFaces()
            self.name = self.inner.name

        def find(self, image: Tensor) -> list[Face]:
            found = self.inner.find(image)
            return [replace(f, landmarks=nn.functional.pad(f.landmarks, (0, 1))) for f in found]

    person = people_of(photos)[0]
    deep, flat = (
        Annotator(Deep, depth=d).records(person, lambda done: None) for d in (True, False)
    )
    for one, other in zip(deep, flat, strict=True):
        assert one.row.depth_range is not None and other.row.depth_range is None
        assert dict(one.files) == {**other.files, "xyzmaps": one.files["xyzmaps"]}
    assert cli.main(_annotate(photos, tmp_path / "out")) == 0
    assert cli.main(_annotate(photos, tmp_path / "out", "--no-depth")) == 2
    assert "other settings" in capsys.readouterr().err


def test_machines_share_the_photos(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    _photos(photos)
    assert cli.main(_annotate(photos, tmp_path / "alone")) == 0
    for share in ("2/2", "1/2"):
        assert cli.main(_annotate(photos, tmp_path / "both", "--shard", share)) == 0
    assert _bytes(tmp_path / "both") == _bytes(tmp_path / "alone")


def test_full_disk_leaves_no_half_person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = FaceFolderWriter(tmp_path)
    whole = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        if self.suffix == ".npy":
            raise OSError(28, "No space left on device")
        return whole(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match="No space left"):
        writer.write(0, [45], [_record()])
    assert not (tmp_path / "faces" / "0000045").exists()


class _Quick(Annotator):
    """Writes records without analysis: here only the writing matters."""

    def _record(self, path: Path, person: Person, index: int) -> Record:
        chance = np.random.default_rng(person.subject_id * 100 + index)
        files = {kind: chance.bytes(20_000) for kind in ("images", "masks", "xyzmaps")}
        return Record(index, Row(person.subject_id, 32), files)


def test_a_failed_shard_leaves_no_file(tmp_path: Path) -> None:
    """Killed or failed while writing: no half shard, and the next try gives the usual bytes."""
    path = tmp_path / "heads-0-000000.tar"

    def samples(fails: bool) -> Iterator[tuple[str, dict[str, bytes]]]:
        yield "000", {"json": b"{}", "rgb.png": bytes(20_000)}
        if fails:
            raise KeyboardInterrupt
        yield "001", {"rgb.png": bytes(20_000), "json": b"{}"}

    with pytest.raises(KeyboardInterrupt):
        write_shard(path, samples(True))
    assert list(tmp_path.iterdir()) == []
    write_shard(path, samples(False))
    assert list(tmp_path.iterdir()) == [path]
    with tarfile.open(path) as tar:
        names = [entry.name for entry in tar]
        assert {(entry.mtime, entry.uname, entry.gname) for entry in tar} == {(0, "", "")}
    assert names == ["000.json", "000.rgb.png", "001.json", "001.rgb.png"]


def test_damaged_shards_are_noted(tmp_path: Path) -> None:
    FaceShardWriter(tmp_path).write(0, [45], [_record(45, i, i) for i in range(2)])
    (path,) = shard_files(tmp_path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size - 600_000])
    records, defects = _read(tmp_path)
    assert [record.index for record in records] == [0]
    assert defects.counts["shard damaged, its rest left out"] == 1


def _run_quickly(photos: Path, out: Path) -> None:
    people = people_of(photos)
    check_plan(out, people, "test", "")
    annotate(people, FaceFolderWriter(out), _Quick(lambda: pytest.fail("not to be made")))


def test_ten_kills_leave_the_same_bytes(tmp_path: Path) -> None:
    """Killed at random moments and started again: the files of one clean run, and no other."""
    photos = tmp_path / "photos"
    for i in range(150):
        for j in range(3):
            path = photos / f"{i + 1:07d}" / f"{j}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    _run_quickly(photos, tmp_path / "clean")
    processes = multiprocessing.get_context("fork")
    chance = np.random.default_rng(4)
    unfinished = 0
    for _ in range(10):
        running = processes.Process(target=_run_quickly, args=(photos, tmp_path / "killed"))
        running.start()
        time.sleep(float(chance.uniform(0.005, 0.03)))
        running.kill()
        running.join()
        unfinished += not (tmp_path / "killed" / "faces_headpose.csv").exists()
    assert unfinished > 2
    _run_quickly(photos, tmp_path / "killed")
    assert _bytes(tmp_path / "killed") == _bytes(tmp_path / "clean")


def _bytes(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
