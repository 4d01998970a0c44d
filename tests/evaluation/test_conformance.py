"""Parity with the reference: all goldens agree, altered goldens and wrong code do not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from comfyui_dense_face.cli import main
from comfyui_dense_face.dense_face import blending
from comfyui_dense_face.dense_face.attention_layers import AttentionLayer
from comfyui_dense_face.dense_face.schedule import DDIMSchedule, ddim_schedule
from comfyui_dense_face.errors import FacePackError
from comfyui_dense_face.evaluation.parity import golden_outputs
from comfyui_dense_face.evaluation.parity.conformance import Row, check_conformance
from comfyui_dense_face.pipelines.attention import InstalledAdapter
from locate_host import PARITY
from own_fixture import write_own_fixture
from parity_fixture import alter, altered_copy
from torch import Tensor

GROUPS = {
    "attn.": 11,
    "eps.": 7,
    "pose.": 6,
    "tok.": 3,
    "ref.": 26,
    "d1.": 11,
    "eta0.": 11,
    "in.mask": 2,
    "ddim50_eta1.": 4,
    "pose_": 12,
    "sd15_layout/": 1228,
}


def failed(rows: list[Row]) -> set[str]:
    return {row.name for row in rows if not row.passed}


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return check_conformance(PARITY)


@pytest.mark.parametrize(("prefix", "count"), GROUPS.items())
def test_every_golden_agrees(rows: list[Row], prefix: str, count: int) -> None:
    found = [row for row in rows if row.name.startswith(prefix)]
    assert len(found) == count
    assert not failed(found)


def test_nothing_else_is_in_the_fixture(rows: list[Row]) -> None:
    assert len(rows) == sum(GROUPS.values())


def test_margin_to_the_tolerance(rows: list[Row]) -> None:
    assert max(row.difference for row in rows) < 1e-5


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        ("model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.per_q.weight", "eps."),
        ("control_model.zero_convs.2.0.bias", "pose.out.2"),
    ],
)
def test_scaled_weight_is_noticed(tmp_path: Path, weight: str, expected: str) -> None:
    def change(tensors: dict[str, Tensor]) -> None:
        tensors[weight] *= 1.01

    copy = altered_copy(tmp_path, "weights_fp16.safetensors", change)
    rows = check_conformance(copy, ["pose.", "eps."])
    assert any(name.startswith(expected) for name in failed(rows))


def test_moved_unknown_and_missing_goldens_are_noticed_and_named(tmp_path: Path) -> None:
    moved = {"attn.attn2.noid.d0.01", "tok.embeds_uncond"}
    moved_in_sampler = {"ref.step3.eps_uncond", "eta0.ddim_alphas_prev"}

    def move(tensors: dict[str, Tensor], names: set[str]) -> None:
        for name in names:
            span = float(tensors[name].max() - tensors[name].min())
            tensors[name].flatten()[-1] += 0.01 * span

    def change(tensors: dict[str, Tensor]) -> None:
        move(tensors, moved)
        tensors["pose.out.5"] = tensors.pop("pose.out.4")

    copy = altered_copy(tmp_path, "forward.safetensors", change)
    alter(copy / "sampler.safetensors", lambda tensors: move(tensors, moved_in_sampler))
    expected = moved | moved_in_sampler | {"pose.out.4", "pose.out.5"}
    assert failed(check_conformance(copy)) == expected


# The deliberate mistakes of the parity page, made in the code.


def identity_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AttentionLayer, "takes_identity", property(lambda layer: layer.cross))


def identity_in_self_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    outside = property(lambda layer: layer.block != "middle_block")
    monkeypatch.setattr(AttentionLayer, "takes_identity", outside)


def no_identity_in_the_unconditional_half(monkeypatch: pytest.MonkeyPatch) -> None:
    real = golden_outputs.InstalledAdapter

    def mistaken(unet: object, adapter: object, identity: Tensor, delta: float) -> InstalledAdapter:
        if identity.shape[0] == 1:
            identity = torch.cat([torch.zeros_like(identity), identity])
        return real(unet, adapter, identity, delta)

    monkeypatch.setattr(golden_outputs, "InstalledAdapter", mistaken)


def inverted_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    real = blending.blended_ddim
    monkeypatch.setattr(
        golden_outputs,
        "blended_ddim",
        lambda model, x0, mask, *rest, **more: real(model, x0, 1 - mask, *rest, **more),
    )


def last_step_ends_at_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def mistaken(steps: int, eta: float) -> DDIMSchedule:
        right = ddim_schedule(steps, eta)
        alphas_prev = torch.cat([torch.ones(1).double(), right.alphas_prev[1:]])
        return DDIMSchedule(right.timesteps, right.alphas, alphas_prev, right.sigmas)

    monkeypatch.setattr(golden_outputs, "ddim_schedule", mistaken)


@pytest.mark.parametrize(
    ("make", "noticed"),
    [
        (identity_in_the_middle, "eps.face.d1"),
        (identity_in_self_attention, "attn.attn1.d1"),
        (no_identity_in_the_unconditional_half, "ref.step0.eps_uncond"),
        (inverted_mask, "ref.out"),
        (last_step_ends_at_one, "eta0.out"),
    ],
)
def test_deliberate_mistake_is_noticed(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[pytest.MonkeyPatch], None], noticed: str
) -> None:
    make(monkeypatch)
    prefix = noticed.partition(".")[0] + "."
    assert noticed in failed(check_conformance(PARITY, [prefix]))


def test_command_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conformance", str(PARITY), "--json", "--only", "tok.", "--only", "pose."]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["passed"] is True
    assert len(report["differences"]) == GROUPS["tok."] + GROUPS["pose."]


def test_command_refuses_an_unknown_part(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conformance", str(PARITY), "--only", "depth."]) == 2
    assert "Choose from" in capsys.readouterr().err


def test_command_fails_on_an_altered_image(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = altered_copy(tmp_path, "forward.safetensors", lambda tensors: None)
    (copy / "pose_2.png").write_bytes((PARITY / "pose_3.png").read_bytes())
    assert main(["conformance", str(copy), "--only", "pose_"]) == 1
    assert "DIFFERS" in capsys.readouterr().out


@pytest.mark.parametrize(
    "file", ["config.json", "forward.safetensors", "pose_angles.json", "mask_512.png"]
)
def test_missing_file_is_one_sentence(
    tmp_path: Path, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = altered_copy(tmp_path, "forward.safetensors", lambda tensors: None)
    (copy / file).unlink()
    assert main(["conformance", str(copy)]) == 2
    message = capsys.readouterr().err
    assert file in message and message.count("\n") == 1


def test_the_layout_of_full_size_may_be_left_out(tmp_path: Path) -> None:
    copy = altered_copy(tmp_path, "forward.safetensors", lambda tensors: None)
    (copy / "sd15_layout.json").unlink()
    rows = check_conformance(copy)
    assert not failed(rows)
    assert len(rows) == sum(GROUPS.values()) - GROUPS["sd15_layout/"]


def test_missing_weight_is_named(tmp_path: Path) -> None:
    name = "model.diffusion_model.output_blocks.2.1.transformer_blocks.0.attn2.per_k.weight"

    def change(tensors: dict[str, Tensor]) -> None:
        del tensors[name]

    copy = altered_copy(tmp_path, "weights_fp16.safetensors", change)
    with pytest.raises(FacePackError, match=r"output_blocks\.2\.1.*attn2\.per_k"):
        check_conformance(copy)


def test_any_configuration_is_read(tmp_path: Path) -> None:
    """Three levels, two blocks each, attention in the middle one, other widths and sizes."""
    net = {
        "in_channels": 4,
        "model_channels": 32,
        "channel_mult": [1, 2, 2],
        "num_res_blocks": 2,
        "attention_resolutions": [2],
        "num_heads": 2,
        "context_dim": 40,
    }
    folder = tmp_path / "own"
    write_own_fixture(folder, net, width=64, size=16, steps=3, id_dim=20)
    rows = check_conformance(folder)
    assert not failed(rows)
    assert {"pose.out.8", "ref.step2.pred_x0", "eps.face.d0.9"} <= {row.name for row in rows}

    def change(tensors: dict[str, Tensor]) -> None:
        tensors["eps.face.d0.9"].flatten()[3] *= 1.5

    alter(folder / "forward.safetensors", change)
    assert failed(check_conformance(folder, ["eps."])) == {"eps.face.d0.9"}
