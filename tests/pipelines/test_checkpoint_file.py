"""Files read tensor by tensor: the values of the whole file, without a second copy in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from comfyui_dense_face.benchmarks.sparse_base import write_sparse_base
from comfyui_dense_face.benchmarks.training_memory import measured_loading
from comfyui_dense_face.errors import ModelFileError
from comfyui_dense_face.pipelines.base import Base, build_base, load_base, stored_sizes
from comfyui_dense_face.pipelines.checkpoint_file import opened_checkpoint
from comfyui_dense_face.storage import read_weights
from comfyui_dense_face.training.runs.memory import save_memory
from tiny_random import write_base
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

STATUS = Path("/proc/self/status")
MOST = 1.3
"""Memory while loading, over what stays."""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base") / "base.safetensors")


def _states(base: Base) -> dict[str, Tensor]:
    networks = {"unet": base.unet, "vae": base.vae, "text": base.text_encoder}
    return {
        f"{part}.{name}": tensor
        for part, network in networks.items()
        for name, tensor in [*network.state_dict().items(), *network.named_buffers()]
    }


def _same(one: Base, other: Base) -> bool:
    ours, theirs = _states(one), _states(other)
    return ours.keys() == theirs.keys() and all(
        tensor.dtype == theirs[name].dtype and torch.equal(tensor, theirs[name])
        for name, tensor in ours.items()
    )


def test_values_are_those_of_the_whole_file(path: Path) -> None:
    tensors, metadata = read_weights(path)
    whole = build_base(tensors, *stored_sizes(metadata, ""), metadata)
    base = load_base(path)
    assert _same(base, whole) and {t.dtype for t in base.unet.state_dict().values()} == {
        torch.float32
    }
    networks = (base.unet, base.vae, base.text_encoder)
    assert not any(network.training for network in networks)
    assert not any(p.requires_grad for network in networks for p in network.parameters())


def test_half_precision_is_that_of_training(path: Path) -> None:
    """Matrices and kernels only."""
    cast = load_base(path)
    save_memory(cast, "bf16", checkpointing=False)
    found = load_base(path, torch.bfloat16)
    assert _same(found, cast)
    dtypes = {name: tensor.dtype for name, tensor in _states(found).items()}
    assert dtypes["unet.conv_in.weight"] == torch.bfloat16
    assert dtypes["unet.conv_norm_out.weight"] == torch.float32


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_views_are_read_from_their_tensors(tmp_path: Path, form: str) -> None:
    """As conversions make them on tensors without values."""
    stored = {"a": torch.rand(4, 3, 1, 1), "b": torch.rand(5)}
    torch.save(stored, tmp_path / "x.ckpt", _use_new_zipfile_serialization=form == "zip")
    with opened_checkpoint(tmp_path / "x.ckpt") as file:
        a, b = file.tensors["a"], file.tensors["b"]
        assert a.is_meta and b.is_meta and not file.metadata
        assert torch.equal(file.read(a[1:, :, 0, 0]), stored["a"][1:, :, 0, 0])
        assert torch.equal(file.read(b), stored["b"])


def test_altered_files_are_refused(path: Path, tmp_path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    (tmp_path / "altered.safetensors").write_bytes(content)
    with pytest.raises(ModelFileError, match="altered"):
        load_base(tmp_path / "altered.safetensors")
    with pytest.raises(ModelFileError, match="missing"):
        load_base(tmp_path / "missing.safetensors")


def test_there_is_no_second_copy(path: Path) -> None:
    """Of all that torch takes while a base is read."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        base = load_base(path, torch.bfloat16)
    results: Any = profiler.profiler.kineto_results  # type: ignore[union-attr]
    events = [event for event in results.events() if event.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    stays = sum(tensor.nbytes for tensor in _states(base).values())
    assert stays <= peak <= MOST * stays


@pytest.mark.slow
@pytest.mark.full_size
@pytest.mark.skipif(not STATUS.is_file(), reason="memory is read from /proc")
def test_a_whole_checkpoint_is_never_in_memory_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """4.3 GB in float32, of which 2.2 GB stay, with mapped pages of the file counted."""
    if psutil.virtual_memory().available < 4e9:
        pytest.skip("less than 4 GB of memory are free")
    peak, stays = measured_loading(write_sparse_base(tmp_path / "base.safetensors"))
    with capsys.disabled():
        print(f"\na base in float32 read for bf16: {stays:.0f} MB stay, peak {peak:.0f} MB")
    assert 2000 < stays <= peak <= MOST * stays
