"""People by folder and by identity, and the encoder of a data set's identities."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from comfyui_dense_face import cli
from comfyui_dense_face.errors import IncompatibleError, InputError
from comfyui_dense_face.faces.encoders.names import GLINTR100, W600K_R50
from comfyui_dense_face.training.data import by_person
from comfyui_dense_face.training.data import clusters as clustering
from comfyui_dense_face.training.data.annotate_plan import (
    PEOPLE,
    PLAN,
    require_encoder,
)
from comfyui_dense_face.training.data.clusters import clusters, same_person
from comfyui_dense_face.training.data.dataset import FaceDataset
from comfyui_dense_face.training.data.people import people_line
from comfyui_dense_face.training.data.shards import FaceShardWriter
from comfyui_dense_face.training.photos.dense_face import people_batches
from comfyui_dense_face.training.photos.sfsr import face_batches
from comfyui_dense_face.training.settings.config import DenseFaceConfig, SFSRConfig
from hypothesis import given, settings
from hypothesis import strategies as st
from rendered_photos import contents, write_photos
from torch import Tensor
from torch.nn import functional as F


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photos of four people and a photo of nobody, in one folder."""
    folder = tmp_path_factory.mktemp("photos")
    write_photos(folder, 4, 3, flat=True)
    (folder / "0-3.png").rename(folder / "z.png")
    (folder / "1-3.png").unlink()
    (folder / "2-3.png").unlink()
    (folder / "broken.png").write_bytes(b"nothing")
    return folder


def _annotate(photos: Path, out: Path, *more: str) -> int:
    return cli.main(["annotate", str(photos), str(out), "--analyzer", "tiny-world", *more])


@pytest.fixture(scope="module")
def sorted_photos(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sorted") / "faces"
    assert _annotate(photos, out, "--people", "cluster", "--format", "webdataset") == 0
    return out


def _groups(folder: Path) -> list[int]:
    """The number of images of each person, in order."""
    found: dict[str, int] = defaultdict(int)
    for entry in FaceDataset(folder, scheme="ibug").entries:
        found[entry.subject.zfill(7)] += 1
    return list(found.values())


def test_photos_are_sorted_by_identity(sorted_photos: Path, photos: Path) -> None:
    """Each person's photos together, numbered by the first one; the person with one is alone."""
    listed = json.loads((sorted_photos / PEOPLE).read_text())
    assert list(listed.values()) == [
        ["0-0.png", "1-0.png", "2-0.png"],
        ["0-1.png", "1-1.png", "2-1.png"],
        ["0-2.png", "1-2.png", "2-2.png"],
        ["z.png"],
    ]
    assert _groups(sorted_photos) == [3, 3, 3, 1]
    assert sorted(p.name for p in sorted_photos.iterdir()) == [
        PLAN, "faces-000000.tar", PEOPLE,
    ]  # fmt: skip
    data = FaceDataset(sorted_photos, 64, scheme="ibug")
    records = [entry.read(data.defects) for entry in data.entries]
    rows = [record.row for record in records if record is not None]
    assert [row.subject_id for row in rows] == [1, 1, 1, 2, 2, 2, 3, 3, 3, 4]
    assert rows[2].reference == "0000001/images/000.jpg"
    assert rows[9].reference == "0000004/images/000.jpg"


def test_the_report_counts_people(
    sorted_photos: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also when all is done already: nothing is annotated or written then."""
    before = contents(sorted_photos)
    assert _annotate(photos, sorted_photos, "--people", "cluster", "--format", "webdataset") == 0
    said = capsys.readouterr().err
    assert "10 images of 4 people: 1 to 3 of each, median 3; 1 with a single image" in said
    assert contents(sorted_photos) == before
    assert people_line({}) == "no people"


def test_killed_while_sorting_it_goes_on(
    photos: Path, sorted_photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In shards, the layout of folders, and stopped between two people."""
    words = ["--people", "cluster", "--same-person", "0.75"]
    monkeypatch.setattr(FaceShardWriter, "people_at_once", 4)
    for shard in ("2/2", "1/2"):
        assert _annotate(photos, tmp_path / "a", *words, "--shard", shard) == 0
    assert not (tmp_path / "a" / PEOPLE).exists()
    write = by_person.with_references
    calls: list[int] = []

    def dying(records: list[object]) -> object:
        calls.append(len(records))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return write(records)

    assert len(list((tmp_path / "a" / by_person.UNSORTED).iterdir())) == 3
    monkeypatch.setattr(by_person, "with_references", dying)
    assert _annotate(photos, tmp_path / "a", *words) == cli.EXIT_INTERRUPTED
    assert _annotate(photos, tmp_path / "a", *words) == 0
    assert calls == [3, 3, 3, 3, 1]
    assert _annotate(photos, tmp_path / "b", *words) == 0
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert _groups(tmp_path / "a") == [3, 3, 3, 1]
    listed = (tmp_path / "a" / PEOPLE).read_text()
    assert listed == (sorted_photos / PEOPLE).read_text()


def test_what_sorting_cannot_do(
    photos: Path, sorted_photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--people", "cluster", "--format", "webdataset"]
    assert _annotate(photos, sorted_photos, *words, "--same-person", "0.5") == 2
    assert "other settings" in capsys.readouterr().err
    assert _annotate(photos, sorted_photos, "--format", "webdataset") == 2
    assert "other people" in capsys.readouterr().err
    assert _annotate(photos, tmp_path / "new", *words, "--same-person", "7") == 2
    assert "--same-person is out of range" in capsys.readouterr().err
    assert _annotate(photos, tmp_path / "new", "--ray", "--shard", "1/2") == 2
    assert "--shard and --ray both divide the photos" in capsys.readouterr().err
    with pytest.raises(InputError, match="from which cosine x shows the same person is not known"):
        same_person("x", None)
    assert same_person("x", 0.4) == 0.4 and same_person("insightface/buffalo_l", None) == 0.28


def _people(count: int, each: int, spread: float, seed: int) -> Tensor:
    chance = torch.Generator().manual_seed(seed)
    centres = torch.randn(count, 1, 64, generator=chance)
    return F.normalize(
        (centres + spread * torch.randn(count, each, 64, generator=chance)).flatten(0, 1), dim=1
    )


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), cosine=st.floats(-0.2, 0.9), block=st.sampled_from([1, 7, 2048]))
def test_clusters_are_those_of_the_whole_tree(seed: int, cosine: float, block: int) -> None:
    """Connected parts clustered one by one: the groups of one tree over all images."""
    from scipy.cluster.hierarchy import fcluster, linkage

    identities = _people(5, 4, 0.9, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clustering, "_BLOCK", block)
        found = clusters(identities, cosine)
    labels = fcluster(
        linkage(identities.double().numpy(), "average", "cosine"), 1 - cosine, "distance"
    )
    whole = sorted(np.flatnonzero(labels == label).tolist() for label in set(labels))
    assert found == whole
    assert sorted(i for group in found for i in group) == list(range(20))


def test_one_doubtful_pair_does_not_join_people() -> None:
    """A photo half way between two people goes to one of them, and chains nobody."""
    one, two = F.normalize(torch.eye(3)[0] + 0.0, dim=0), torch.eye(3)[1]
    between = F.normalize(one + two, dim=0)
    found = clusters(torch.stack([one, one, one, two, two, two, between]), 0.6)
    assert len(found) == 2
    assert clusters(torch.eye(3), 0.5) == [[0], [1], [2]]
    assert clusters(torch.eye(3)[:1], 0.5) == [[0]]


def test_too_many_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clustering, "MOST_ALIKE", 3)
    with pytest.raises(InputError, match=r"4 images look alike .* Give a higher --same-person"):
        clusters(torch.ones(4, 1), 0.5)


@pytest.fixture(scope="module")
def recogniser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("insightface")
    pytest.importorskip("onnx")
    from tiny_onnx import write_recogniser, write_sface

    folder = tmp_path_factory.mktemp("files")
    write_recogniser(folder / "w600k_r50.onnx")
    write_sface(folder / "sface.onnx")
    return folder / "w600k_r50.onnx"


@pytest.fixture(scope="module")
def joined(photos: Path, recogniser: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Landmarks of one analyzer and identities of another recogniser."""
    out = tmp_path_factory.mktemp("joined") / "faces"
    assert _annotate(photos, out, "--recogniser", str(recogniser)) == 0
    return out


def test_landmarker_and_recogniser_in_one_pass(joined: Path) -> None:
    """The data set has the recogniser's identities, and says whose they are."""
    data = FaceDataset(joined, 64, scheme="ibug")
    features = torch.stack([data.feature(number) for number in range(len(data))])
    assert features.shape == (10, 512)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(10))
    assert json.loads((joined / PLAN).read_text())["encoder"] == W600K_R50
    assert bool(data[0]["landmarks"].isfinite().all())


def test_a_trainer_with_another_encoder_is_refused(joined: Path, tmp_path: Path) -> None:
    """In one sentence, also under a former name; without identities, and with an own recogniser."""
    given = {"dataset": joined, "base": Path("b"), "out": Path("o"), "batch": 2, "scheme": "ibug"}
    message = f"the data set's identities are of {W600K_R50}, not of {GLINTR100} "
    for config, batches in ((DenseFaceConfig, people_batches), (SFSRConfig, face_batches)):
        settings = partial(config, **given)
        with pytest.raises(IncompatibleError, match=message) as refused:
            batches(settings(encoder=GLINTR100), recogniser=False)
        assert f"Give --encoder {W600K_R50}" in str(refused.value)
        batches(settings(encoder="insightface/buffalo_l"), recogniser=False)
        batches(settings(ir_se50=Path("x")), recogniser=True)
    shutil.copytree(joined, tmp_path / "faces")
    plan = tmp_path / "faces" / PLAN
    plan.write_text(plan.read_text().replace(W600K_R50, ""))
    with pytest.raises(InputError, match="the data set has no identities"):
        require_encoder(tmp_path / "faces", W600K_R50)
    plan.write_text("nothing")
    with pytest.raises(InputError, match="plan cannot be read"):
        require_encoder(tmp_path / "faces", W600K_R50)
    require_encoder(tmp_path, W600K_R50)  # it does not say


def test_another_recogniser_does_not_go_on(
    joined: Path, photos: Path, recogniser: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _annotate(photos, joined) == 2
    assert "with other settings" in capsys.readouterr().err
    assert _annotate(photos, joined, "--recogniser", str(recogniser)) == 0
    plan = json.loads((joined / PLAN).read_text())
    del plan["encoder"]  # as an earlier version wrote it
    (joined / PLAN).write_text(json.dumps(plan))
    assert _annotate(photos, joined, "--recogniser", str(recogniser)) == 0
    capsys.readouterr()
    sface = recogniser.with_name("sface.onnx")
    assert _annotate(photos, joined, "--recogniser", str(sface)) == 2
    assert "128 numbers, with which no adapter can be trained" in capsys.readouterr().err
