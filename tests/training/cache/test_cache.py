"""Training from a cache: the same losses as without it, whatever happens to its files."""

from __future__ import annotations

import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from comfyui_dense_face import cli
from comfyui_dense_face.errors import InputError, ModelFileError
from comfyui_dense_face.faces.encoders.ir_se50 import IRSE50
from comfyui_dense_face.pipelines.base import Base, load_base
from comfyui_dense_face.pipelines.text import token_ids
from comfyui_dense_face.storage import read_weights
from comfyui_dense_face.training.cache import build, records
from comfyui_dense_face.training.data.batches import Batch, Batches
from comfyui_dense_face.training.data.dataset import FaceDataset
from comfyui_dense_face.training.data.folder import Defects, TableEntry, find_table, read_records
from comfyui_dense_face.training.data.shards import FaceShardWriter
from comfyui_dense_face.training.photos import annotations, dense_face, sfsr
from comfyui_dense_face.training.photos.annotations import (
    HeadTask,
    head_batches,
    labelled_photos,
)
from comfyui_dense_face.training.photos.cached import HELD_OUT, TRAINED, encoder_for
from comfyui_dense_face.training.photos.dense_face import (
    dense_face_task,
    people_batches,
)
from comfyui_dense_face.training.photos.encoding import PhotoEncoder
from comfyui_dense_face.training.photos.sfsr import face_batches, sfsr_task
from comfyui_dense_face.training.runs.loop import step_generator
from comfyui_dense_face.training.runs.memory import autocast, save_memory
from comfyui_dense_face.training.runs.work_folder import locked
from comfyui_dense_face.training.settings.config import (
    AnnotationsConfig,
    DenseFaceConfig,
    SFSRConfig,
    TrainerConfig,
)
from ranks import run_ranks
from torch import nn

SIDE = 64


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven images of four people; one mask is missing."""
    out = tmp_path_factory.mktemp("data") / "faces"
    words = ["render", str(out), "--count", "7", "--per-person", "2", "--size", "64", "--seed", "3"]
    assert cli.main(words) == 0
    next((out / "faces" / "0000002" / "masks").iterdir()).unlink()
    return out


@pytest.fixture(autouse=True)
def _small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three files for seven records."""
    monkeypatch.setattr(records, "PER_SHARD", 3)


def _config(kind: type[TrainerConfig], faces: Path, **more: Any) -> Any:
    given: dict[str, Any] = {"size": SIDE, "scheme": "ibug", "batch": 3, "workers": 0}
    given |= {"precision": "no", "dataset": faces, "base": faces, "out": faces, "variants": 3}
    if kind is AnnotationsConfig:
        given |= {"width": 32, "scale": 4}
    elif "ir_se50" not in more:
        given["encoder"] = "tiny-world"
    return kind(**{**given, **more})


def _run(
    base: Base, config: Any, net: IRSE50 | None = None, *, held_out: bool = False
) -> tuple[nn.Module, Batches]:
    """Task and batches of a trainer, with a cache or without."""
    kinds = {"recogniser": net is not None, "held_out": held_out}
    if isinstance(config, AnnotationsConfig):
        encoder = PhotoEncoder(base, token_ids, annotations.CONTENT)
        batches = head_batches(config, held_out=held_out, encoder=encoder)
        return HeadTask(base, config, encoder_for(batches, encoder)), batches
    if isinstance(config, DenseFaceConfig):
        encoder = PhotoEncoder(base, token_ids, dense_face.CONTENT, net)
        batches = people_batches(config, **kinds, encoder=encoder)
        chosen = encoder_for(batches, encoder)
        return dense_face_task(base, config, token_ids, net, chosen), batches
    encoder = PhotoEncoder(base, token_ids, sfsr.CONTENT, net)
    batches = face_batches(config, **kinds, encoder=encoder)
    return sfsr_task(base, config, token_ids, net, encoder_for(batches, encoder)), batches


def _losses(task: nn.Module, batches: Batches, steps: int = 3) -> list[float]:
    task.train()
    loaded: list[Batch] = [batches.checked(b) for b in batches.loader(0, steps)]
    return [task(step_generator(1, i), b)["loss"].item() for i, b in enumerate(loaded)]


def _assert_same(one: Path, other: Path) -> None:
    """The same tensors and texts in every file; the order of metadata is the library's."""
    assert sorted(p.name for p in one.iterdir()) == sorted(p.name for p in other.iterdir())
    for path in one.glob("*.safetensors"):
        (tensors, about), (again, same) = (read_weights(f / path.name) for f in (one, other))
        assert about == same and tensors.keys() == again.keys()
        for name, tensor in tensors.items():
            torch.testing.assert_close(again[name], tensor, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("kind", [SFSRConfig, DenseFaceConfig, AnnotationsConfig])
def test_losses_are_the_same(
    kind: type[TrainerConfig], faces: Path, base: Base, tmp_path: Path
) -> None:
    """In float32 but for sums in another order; over two epochs, with crops and mirror images."""
    without = _losses(*_run(base, _config(kind, faces)), steps=5)
    task, batches = _run(base, _config(kind, faces, cache=tmp_path / "cache"))
    assert _losses(task, batches, steps=5) == pytest.approx(without, rel=1e-5)
    held = {name for name, _ in task.named_parameters()}
    assert not any("vae" in name for name in held)
    assert any("text_encoder" in name for name in held) == (kind is DenseFaceConfig)


@pytest.mark.parametrize("kind", [SFSRConfig, DenseFaceConfig, AnnotationsConfig])
def test_losses_are_the_same_in_half_precision(
    kind: type[TrainerConfig], faces: Path, base_file: Path, tmp_path: Path
) -> None:
    """Stored in the precision that they have in a step."""
    found: list[list[float]] = []
    for cache in (None, tmp_path / "cache"):
        base = load_base(base_file)
        config = _config(kind, faces, cache=cache, precision="bf16", variants=1)
        save_memory(base, "bf16", checkpointing=False)
        task, batches = _run(base, config)
        with autocast("bf16"):
            found.append(_losses(task, batches, steps=1))
    assert found[1] == pytest.approx(found[0], rel=1e-3)


@pytest.mark.parametrize("kind", [SFSRConfig, DenseFaceConfig])
def test_identities_of_a_recogniser(
    kind: type[TrainerConfig], faces: Path, base: Base, tmp_path: Path
) -> None:
    """And the loss that compares decoded images, for which the VAE's decoder stays."""
    torch.manual_seed(0)
    net = IRSE50().eval().requires_grad_(False)
    more = {"ir_se50": tmp_path, "variants": 1}
    without = _losses(*_run(base, _config(kind, faces, **more), net), steps=1)
    config = _config(kind, faces, **more, cache=tmp_path / "cache")
    task, batches = _run(base, config, net)
    assert _losses(task, batches, steps=1) == pytest.approx(without, rel=1e-4)
    held = {name.split(".")[1] for name, _ in task.named_parameters() if name.startswith("vae.")}
    assert held == ({"decoder", "post_quant_conv"} if kind is SFSRConfig else set())
    assert base.vae.encoder is not None


def test_people_held_out_have_their_own(faces: Path, base: Base, tmp_path: Path) -> None:
    """Their losses are those without a cache, too."""
    given = {"held_out": 1.0, "variants": 1, "batch": 1}
    without = _losses(*_run(base, _config(SFSRConfig, faces, **given), held_out=True), steps=1)
    config = _config(SFSRConfig, faces, **given, cache=tmp_path / "cache")
    for held_out in (False, True):
        task, batches = _run(base, config, held_out=held_out)
    assert _losses(task, batches, steps=1) == pytest.approx(without, rel=1e-5)
    assert {path.name for path in config.cache.iterdir()} == {TRAINED, HELD_OUT}


def test_what_is_stored_is_exact(faces: Path, base: Base, tmp_path: Path) -> None:
    """Latents in the precision that autocast gives them; a row for each usable variant."""
    config = _config(AnnotationsConfig, faces, cache=tmp_path / "cache", precision="bf16")
    _, batches = _run(base, config)
    sample = batches.data.sample(4, 1)
    assert sample is not None and sample["latents"].dtype == torch.bfloat16
    assert sample["context"].dtype == torch.bfloat16 and sample["key"] == "0000003/000"
    plain = labelled_photos(config).data.sample(4, 1)
    assert plain is not None and torch.equal(sample["depth"], plain["depth"])
    assert torch.equal(sample["landmarks"], plain["landmarks"])
    files = {path.name for path in (config.cache / TRAINED).iterdir()}
    shards = {f"shard-{number:06d}.safetensors" for number in range(3)}
    assert files == {"cache.json", "empty.safetensors", "run.lock", *shards}
    assert len(batches.data) == 7


def test_a_killed_build_goes_on(
    faces: Path, base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there is kept; a truncated file is computed again; the result is the same."""
    config = _config(SFSRConfig, faces, cache=tmp_path / "whole")
    _run(base, config)
    written = build.ShardContent.write
    calls: list[Path] = []

    def stopping(self: Any, path: Path, digest: str) -> None:
        calls.append(path)
        if len(calls) == 3:
            raise KeyboardInterrupt
        written(self, path, digest)

    monkeypatch.setattr(build.ShardContent, "write", stopping)
    killed = _config(SFSRConfig, faces, cache=tmp_path / "killed")
    with pytest.raises(KeyboardInterrupt):
        _run(base, killed)
    first = killed.cache / TRAINED / "shard-000000.safetensors"
    first.write_bytes(first.read_bytes()[:-10])
    _run(base, killed)
    assert [path.name[6:12] for path in calls] == ["000000", "000001", "000002", "000000", "000002"]
    _assert_same(config.cache / TRAINED, killed.cache / TRAINED)
    _run(base, killed)
    assert len(calls) == 5


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            lambda faces, base: (_config(SFSRConfig, faces, size=128), base),
            "size 128 instead",
        ),
        (lambda faces, base: (_config(SFSRConfig, faces, variants=2), base), "variants 2 instead"),
        (lambda faces, base: (_config(DenseFaceConfig, faces), base), "trainer dense-face instead"),
        (
            lambda faces, base: (_config(SFSRConfig, faces, encoder="another"), base),
            "encoder another instead of tiny-world",
        ),
        (lambda faces, base: (_config(SFSRConfig, faces), _other(base)), "contents of vae ("),
    ],
)
def test_a_cache_of_something_else_is_refused(
    other: Callable[[Path, Base], tuple[Any, Base]],
    message: str, faces: Path, base: Base, tmp_path: Path,
) -> None:  # fmt: skip
    _run(base, _config(SFSRConfig, faces, cache=tmp_path))
    config, its_base = other(faces, base)
    object.__setattr__(config, "cache", tmp_path)
    with pytest.raises(InputError, match="holds a cache of something else") as refused:
        _run(its_base, config)
    assert message in str(refused.value) and str(tmp_path) in str(refused.value)


def _other(base: Base) -> Base:
    with torch.no_grad():
        next(base.vae.parameters()).add_(1)
    return base


def test_another_data_set_is_refused(faces: Path, base: Base, tmp_path: Path) -> None:
    _run(base, _config(SFSRConfig, faces, cache=tmp_path / "cache"))
    fewer = tmp_path / "fewer"
    shutil.copytree(faces, fewer)
    table = fewer / "faces_headpose.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(InputError, match="other contents of data set"):
        _run(base, _config(SFSRConfig, fewer, cache=tmp_path / "cache"))


@pytest.mark.parametrize("kind", ["images", "masks", "landmarks", "xyzmaps", "feat_file_v2"])
@pytest.mark.parametrize("shards", [False, True])
def test_other_contents_are_another_data_set(
    faces: Path, tmp_path: Path, kind: str, shards: bool
) -> None:
    """Of any file, though its size, the table and the other files are the same."""
    again, packed = tmp_path / "again", tmp_path / "packed"
    shutil.copytree(faces, again)

    def checksum() -> str:
        if not shards:
            return FaceDataset(again).checksum
        packed.mkdir(exist_ok=True)
        FaceShardWriter(packed).write(0, [], list(read_records(find_table(again), Defects())))
        return FaceDataset(packed).checksum

    before = checksum()
    assert checksum() == before
    if not shards:
        assert before == FaceDataset(faces).checksum
    file = next((again / "faces" / "0000001" / kind).iterdir())
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert checksum() != before


def test_two_runs_do_not_fill_one_cache(faces: Path, base: Base, tmp_path: Path) -> None:
    """The second is refused while there is something to compute, and reads it once it is there."""
    config = _config(SFSRConfig, faces, cache=tmp_path / "cache")
    with locked(config.cache / TRAINED):
        with pytest.raises(InputError, match=r"another run is filling this cache .* --cache"):
            _run(base, config)
        assert [path.name for path in (config.cache / TRAINED).iterdir()] == ["run.lock"]
    _run(base, config)
    with locked(config.cache / TRAINED):
        _run(base, config)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_file_is_one_sentence(
    workers: int, faces: Path, base: Base, tmp_path: Path
) -> None:
    """Found when it is read, also by a worker."""
    config = _config(DenseFaceConfig, faces, cache=tmp_path / "cache", workers=workers)
    _run(base, config)
    for path in config.cache.glob("*/shard-*"):
        data = bytearray(path.read_bytes())
        data[-5] ^= 1
        path.write_bytes(data)
    task, batches = _run(base, config)
    with pytest.raises(ModelFileError, match="the cache's file is damaged") as refused:
        _losses(task, batches)
    message = str(refused.value)
    assert "shard-00000" in message and "Remove it and start again" in message
    assert "\n" not in message
    (config.cache / TRAINED / "cache.json").write_text("{")
    with pytest.raises(ModelFileError, match="manifest is damaged"):
        _run(base, config)


def test_a_file_under_the_name_of_another_is_computed_anew(
    faces: Path, base: Base, tmp_path: Path
) -> None:
    """It holds other records, whose people the identities would be taken for."""
    places = tmp_path / "cache"
    config = _config(SFSRConfig, faces, cache=places)
    _run(base, config)
    shutil.copytree(places, tmp_path / "kept")
    first, second = (places / TRAINED / f"shard-00000{number}.safetensors" for number in (0, 1))
    shutil.copy(second, first)
    _run(base, config)
    _assert_same(places / TRAINED, tmp_path / "kept" / TRAINED)


def test_a_damaged_empty_prompt_is_one_sentence(faces: Path, base: Base, tmp_path: Path) -> None:
    """Nothing is to be downloaded."""
    config = _config(AnnotationsConfig, faces, cache=tmp_path / "cache")
    _run(base, config)
    path = config.cache / TRAINED / "empty.safetensors"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelFileError, match=r"cache's file is damaged .*empty.* Remove it"):
        _run(base, config)


def test_processes_that_read_get_it_by_value(faces: Path, base: Base, tmp_path: Path) -> None:
    """Where they are not forked; open files stay behind."""
    for more in ({}, {"cache": tmp_path / "cache"}):
        _, batches = _run(base, _config(SFSRConfig, faces, **more))
        first = batches.checked(next(iter(batches.loader(0, 1))))
        again = pickle.loads(pickle.dumps(batches._draws))  # noqa: S301 (ours)
        assert again[0]["key"] == first["key"][0]


def test_two_processes_build_one_cache(faces: Path, base_file: Path, tmp_path: Path) -> None:
    """In one folder each computes its own files; where they share none, each has all."""

    def work(rank: int, folder: str) -> None:
        wanted = tmp_path / folder.format(rank=rank)
        _run(load_base(base_file), _config(SFSRConfig, faces, cache=wanted))

    assert run_ranks(lambda rank: work(rank, "both")) == [None, None]
    work(0, "alone")
    _assert_same(tmp_path / "alone" / TRAINED, tmp_path / "both" / TRAINED)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--optimizer", "adamw8bit"], "needs the library bitsandbytes"),
        (["--tensorboard"], "need the library tensorboard"),
        (["--precision", "fp16"], "fp16 needs a GPU"),
    ],
)
def test_it_is_not_filled_for_a_run_that_cannot_begin(
    options: list[str], message: str, faces: Path, base_file: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    for library in ("bitsandbytes.optim", "torch.utils.tensorboard"):
        monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    words = ["train", "annotations", "--dataset", str(faces), "--base", str(base_file)]
    words += ["--out", str(tmp_path / "out.safetensors"), "--folder", str(tmp_path / "work")]
    words += ["--size", "64", "--cache", str(tmp_path / "cache"), "--workers", "0", "--steps", "1"]
    assert cli.main([*words, *options]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "cache").exists()


def test_the_command_trains_from_it(
    faces: Path, base_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Killed and resumed as without; the images are no longer read."""
    words = ["train", "sfsr", "--dataset", str(faces), "--base", str(base_file), "--batch", "2"]
    words += ["--workers", "0", "--precision", "no", "--save-every", "1", "--size", str(SIDE)]
    words += ["--scheme", "ibug", "--encoder", "tiny-world", "--cache", str(tmp_path / "cache")]

    def train(name: str, steps: int) -> int:
        out, folder = tmp_path / f"{name}.safetensors", tmp_path / f"{name}-work"
        places = ["--out", str(out), "--folder", str(folder)]
        return cli.main([*words, *places, "--steps", str(steps)])

    assert train("whole", 2) == 0
    with monkeypatch.context() as patched:
        patched.delattr(TableEntry, "read")
        assert train("again", 2) == 0
    files = (tmp_path / f"{name}.safetensors" for name in ("whole", "again"))
    (one, _), (other, _) = (read_weights(file) for file in files)
    assert all(torch.equal(other[name], tensor) for name, tensor in one.items())
    assert train("whole", 2) == 0
    words[words.index("--cache") :] = []
    assert train("whole", 2) == 2
    assert "cache none instead of" in capsys.readouterr().err
