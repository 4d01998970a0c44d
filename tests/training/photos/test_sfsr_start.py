"""Training of SFSR adapters that starts from a file: of this pack, FaceID or FineFace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from comfyui_dense_face.errors import FacePackError
from comfyui_dense_face.faces.blendshapes import ARKIT_NAMES
from comfyui_dense_face.faces.encoders.names import GLINTR100, W600K_R50
from comfyui_dense_face.pipelines.base import Base
from comfyui_dense_face.pipelines.source_attention import layers_of
from comfyui_dense_face.pipelines.text import token_ids
from comfyui_dense_face.sfsr.adapter import SFSRAdapter
from comfyui_dense_face.sfsr.compound_inputs import (
    CompoundLayout,
    ExpressionBatch,
    IdentityBatch,
)
from comfyui_dense_face.sfsr.disfa_sources import intensities_of_blendshapes
from comfyui_dense_face.sfsr.token_attention import EXPRESSION, IDENTITY, source_attention
from comfyui_dense_face.training.photos import sfsr_start
from comfyui_dense_face.training.photos.sfsr import sfsr_task
from comfyui_dense_face.training.photos.sfsr_start import start_from
from comfyui_dense_face.training.settings.config import SFSRConfig
from random_published import published, published_tensors
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sfsr_start, "FIT_STEPS", 200)
    monkeypatch.setattr(sfsr_start, "FIT_ROWS", 128)


def _file(kind: str, folder: Path, **sizes: Any) -> Path:
    path = folder / f"{kind}.safetensors"
    save_file(published_tensors(kind, **sizes), path)
    return path


def _adapter(base: Base, encoder: str = W600K_R50, tokens: int = 4) -> SFSRAdapter:
    layout = CompoundLayout({encoder: 512}, tokens=tokens, width=128)
    torch.manual_seed(0)
    return SFSRAdapter(layout, layers_of(base.unet), 64)


def _alike(one: Tensor, other: Tensor) -> float:
    return float(F.cosine_similarity(one.flatten(), other.flatten(), dim=0))


def test_faceid_gives_what_its_tokens_give(base: Base, tmp_path: Path) -> None:
    """What the identity adds in a layer, for people that the fit has not seen."""
    adapter, theirs = _adapter(base), published("FACEID")
    before = {n: t.clone() for n, t in adapter.state_dict().items()}
    start_from(adapter, _file("FACEID", tmp_path), 1)
    people = F.normalize(torch.randn(6, 512, generator=torch.Generator().manual_seed(5)), dim=1)
    batch = IdentityBatch({W600K_R50: people}, {W600K_R50: torch.ones(6, dtype=torch.bool)})
    ours = adapter.attention.source_keys_values(IDENTITY, adapter.embedding.identity(batch))
    wanted = theirs.keys_values(theirs.embedding(people))
    for layer, keys_values in wanted.items():
        query = torch.randn(6, 16, keys_values[0].shape[2])
        added, true = (source_attention(query, each[layer], 4) for each in (ours, wanted))
        assert _alike(added, true) > 0.9
    changed = {n for n, t in adapter.state_dict().items() if not torch.equal(t, before[n])}
    assert not any(EXPRESSION in n or "blendshapes" in n or "hint" in n for n in changed)


def test_fineface_gives_what_its_units_give(base: Base, tmp_path: Path) -> None:
    adapter, theirs = _adapter(base), published("FINEFACE")
    start_from(adapter, _file("FINEFACE", tmp_path), 1)
    faces = torch.rand(6, len(ARKIT_NAMES), generator=torch.Generator().manual_seed(5)) ** 3
    units = torch.stack([intensities_of_blendshapes(face).values for face in faces])
    known = torch.ones(6, len(ARKIT_NAMES), dtype=torch.bool)
    shown = ExpressionBatch(faces, known, faces[:, :0], torch.zeros(6, dtype=torch.bool))
    ours = adapter.attention.source_keys_values(EXPRESSION, adapter.embedding.expression(shown))
    for layer, vector in theirs.vectors(units).items():
        query = torch.randn(6, 3, vector.shape[1])
        added = source_attention(query, ours[layer], 4)
        assert _alike(added, vector[:, None].expand_as(added)) > 0.9
    identity = adapter.attention.projection(adapter.attention.layers[0], IDENTITY)
    assert not bool(identity.get_parameter("to_v.weight").any())


def test_an_own_adapter_goes_on(base: Base, tmp_path: Path) -> None:
    """And is trained: nothing of it is frozen."""
    before = _adapter(base, "tiny-world")
    with torch.no_grad():
        for parameter in before.parameters():
            parameter.normal_()
    before.save(tmp_path / "own", {}, torch.float32)
    config = SFSRConfig(
        dataset=tmp_path, base=tmp_path, out=tmp_path, encoder="tiny-world", scheme="ibug",
        start=tmp_path / "own", size=64, batch=2,
    )  # fmt: skip
    task = sfsr_task(base, config, token_ids)
    for name, tensor in before.state_dict().items():
        assert torch.equal(task.adapter.state_dict()[name], tensor)
    assert all(parameter.requires_grad for parameter in task.adapter.parameters())


@pytest.mark.parametrize(
    ("kind", "sizes", "message"),
    [
        ("PLUS_V2", {}, "training cannot start from IP-Adapter-FaceID-Plus"),
        ("ARC2FACE_EXPRESSION", {}, "training cannot start from Arc2Face's expression adapter"),
        ("PORTRAIT", {"tokens": 16}, "has 16 tokens for a source, not 4"),
    ],
)
def test_files_of_other_kinds(
    kind: str, sizes: dict[str, int], message: str, base: Base, tmp_path: Path
) -> None:
    with pytest.raises(FacePackError, match=message) as refused:
        start_from(_adapter(base), _file(kind, tmp_path, **sizes), 1)
    assert str(tmp_path) in str(refused.value) and "\n" not in str(refused.value)


def test_files_that_do_not_fit(base: Base, tmp_path: Path) -> None:
    """Another encoder, another base, no adapter at all."""
    faceid = _file("FACEID", tmp_path)
    with pytest.raises(FacePackError, match=f"identities of {W600K_R50}, not of {GLINTR100}"):
        start_from(_adapter(base, GLINTR100), faceid, 1)
    own = tmp_path / "own"
    _adapter(base, GLINTR100).save(own, {})
    with pytest.raises(FacePackError, match=f"identities of {GLINTR100}, not of {W600K_R50}"):
        start_from(_adapter(base), own, 1)
    _adapter(base, tokens=2).save(own, {})
    with pytest.raises(FacePackError, match=r"has 2 tokens for a source, not 4 .*Give --tokens 2"):
        start_from(_adapter(base), own, 1)
    layers = {name: 2 * width for name, width in layers_of(base.unet).items()}
    SFSRAdapter(CompoundLayout({W600K_R50: 512}, width=128), layers, 64).save(own, {})
    with pytest.raises(FacePackError, match="does not fit the base"):
        start_from(_adapter(base), own, 1)
    own.write_bytes(b"nothing")
    with pytest.raises(FacePackError, match=r"no adapter|truncated"):
        start_from(_adapter(base), own, 1)
