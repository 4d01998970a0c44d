"""The released checkpoint, scaled down: what converts, what is refused, same predictions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from comfyui_dense_face.cli import main
from comfyui_dense_face.dense_face.adapter import PCAdapter
from comfyui_dense_face.dense_face.checkpoints.adapter_file import (
    ADAPTER_PREFIX,
    POSE_PREFIX,
    TOKEN_PREFIX,
    DenseFaceAdapter,
    load_adapter,
    read_parts,
    save_adapter,
)
from comfyui_dense_face.dense_face.checkpoints.convert import Plan, convert
from comfyui_dense_face.dense_face.checkpoints.release import check, open_release, split
from comfyui_dense_face.dense_face.identity_token import IdentityToken
from comfyui_dense_face.dense_face.pose_branch import PoseBranch
from comfyui_dense_face.errors import IncompatibleError, InputError, ModelFileError
from comfyui_dense_face.pipelines.attention import InstalledAdapter
from comfyui_dense_face.pipelines.layout import UNetLayout
from comfyui_dense_face.pipelines.ldm import UNET_PREFIX, unet_from_ldm
from comfyui_dense_face.readers.lazy_tensor import LazyTensor
from comfyui_dense_face.storage import read_weights, write_weights
from diffusers import UNet2DConditionModel
from released_file import (
    SMALL_CHANNELS,
    SMALL_CONTEXT,
    random_tensors,
    small_shapes,
    write_lightning,
)
from safetensors.torch import save_file
from torch import Tensor

Tensors = dict[str, Tensor]
MAPS = ("per_q", "per_k", "per_v", "feat_to_q")
LAYOUT = UNetLayout(model_channels=SMALL_CHANNELS, context_dim=SMALL_CONTEXT)


@pytest.fixture(scope="module")
def released() -> Tensors:
    return random_tensors(small_shapes())


@pytest.fixture(scope="module")
def checkpoint(released: Tensors, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_lightning(tmp_path_factory.mktemp("released") / "epoch=1.ckpt", released)


def part(tensors: Tensors, prefix: str) -> Tensors:
    return {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}


def map_of(name: str) -> str:
    return name.split(".")[-2] if "." in name else ""


def lazy(tensors: Tensors) -> dict[str, LazyTensor]:
    return {
        name: LazyTensor(tuple(tensor.shape), tensor.dtype, lambda tensor=tensor: tensor)
        for name, tensor in tensors.items()
    }


def adapter_of(released: Tensors) -> Tensors:
    unet = part(released, ADAPTER_PREFIX)
    return {k: t for k, t in unet.items() if map_of(k) in MAPS}


def test_all_parts(released: Tensors, checkpoint: Path, tmp_path: Path) -> None:
    assert len(released) == 1834
    plan = Plan(tmp_path / "a.safetensors", tmp_path / "base.safetensors", dtype=torch.float32)
    seen: list[tuple[int, int]] = []
    adapter, base = convert(checkpoint, plan, lambda *numbers: seen.append(numbers))
    assert seen[-1][0] == seen[-1][1] == adapter.numbers + base.numbers
    assert adapter.nbytes == plan.adapter.stat().st_size

    parts = read_parts(plan.adapter)
    assert len(parts.adapter) + len(parts.pose_branch) + len(parts.token) == adapter.tensors
    about = parts.metadata
    assert (about["form"], about["encoder"], about["delta"]) == ("folded", "ir-se50", "0.01")
    assert (about["source"], about["reference_delta"]) == ("epoch=1.ckpt", "0.01")
    assert about["id_dim"] == "512" and "input_blocks.1=32," in about["widths"]
    assert "base_model" not in about  # it is a small one
    for found, prefix in ((parts.pose_branch, POSE_PREFIX), (parts.token, TOKEN_PREFIX)):
        expected = part(released, prefix)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in found)
    ours = parts.fused()
    theirs = PCAdapter.from_state_dict(adapter_of(released)).fuse()
    for one, other in (
        (ours.weights, theirs.weights),
        (ours.bias_matrices, theirs.bias_matrices),
    ):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)

    stock, metadata = read_weights(tmp_path / "base.safetensors")
    assert len(stock) == 1131 and metadata["source"] == "epoch=1.ckpt"
    assert all(torch.equal(tensor, released[name]) for name, tensor in stock.items())


def test_forms_and_precisions(checkpoint: Path, tmp_path: Path) -> None:
    fused, unfused = tmp_path / "folded.safetensors", tmp_path / "unfolded.safetensors"
    convert(checkpoint, Plan(fused))
    convert(checkpoint, Plan(unfused, fused=False))
    small, large = read_parts(fused), read_parts(unfused)
    assert {t.dtype for t in small.adapter.values()} == {torch.float16}
    assert {t.dtype for t in small.token.values()} == {torch.float32, torch.int64}
    assert len(small.adapter) == 96 and len(large.adapter) == 96 + 15
    assert large.metadata["form"] == "unfolded"
    assert load_adapter(fused).adapter.fused and not load_adapter(unfused).adapter.fused
    a, b = small.fused(), large.fused()
    assert all(torch.equal(a.weights[k], b.weights[k]) for k in b.weights)
    for block, matrix in b.bias_matrices.items():
        error = (a.bias_matrices[block] - matrix).abs().max() / matrix.abs().max()
        assert error < 2e-3


@pytest.mark.parametrize("kind", ["bare", "safetensors", "half"])
def test_every_kind_of_file(released: Tensors, checkpoint: Path, tmp_path: Path, kind: str) -> None:
    source = tmp_path / "source"
    if kind == "bare":
        torch.save(released, source)
    elif kind == "safetensors":
        save_file(released, source)
    else:
        torch.save(
            {k: t.half() if t.is_floating_point() else t for k, t in released.items()}, source
        )
    convert(checkpoint, Plan(tmp_path / "a.safetensors"))
    convert(source, Plan(tmp_path / "b.safetensors"))
    a, b = (read_parts(tmp_path / f"{name}.safetensors") for name in "ab")
    exact = [(a.pose_branch, b.pose_branch)]
    if kind != "half":
        exact += [(a.adapter, b.adapter), (a.token, b.token)]
    for one, other in exact:
        assert one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def eps(released: Tensors, dense_face: DenseFaceAdapter) -> Tensor:
    """Face-generation mode of the release's UNet with an adapter, strong enough to matter."""
    unet = UNet2DConditionModel(**LAYOUT.diffusers_kwargs()).eval()
    unet.load_state_dict(unet_from_ldm(released, unet))
    torch.manual_seed(0)
    x, t, hint = torch.randn(2, 4, 16, 16), torch.tensor([981, 321]), torch.rand(2, 3, 128, 128)
    identity = torch.nn.functional.normalize(torch.randn(2, 512))
    context = torch.randn(2, 7, SMALL_CONTEXT)
    assert dense_face.pose_branch is not None and dense_face.token is not None
    context[:, 3] = dense_face.token(identity)
    with torch.no_grad(), InstalledAdapter(unet, dense_face.adapter, 20 * identity, delta=1.0):
        *down, middle = dense_face.pose_branch(x, hint, t)
        return unet(
            x,
            t,
            context,
            down_block_additional_residuals=tuple(down),
            mid_block_additional_residual=middle,
        ).sample


def test_same_eps_as_unconverted(released: Tensors, checkpoint: Path, tmp_path: Path) -> None:
    unconverted = DenseFaceAdapter(
        PCAdapter.from_state_dict(adapter_of(released)),
        PoseBranch.from_state_dict(part(released, POSE_PREFIX)).eval(),
        IdentityToken.from_state_dict(part(released, TOKEN_PREFIX)),
    )
    expected = eps(released, unconverted)
    for name, dtype, tolerance in (("f", torch.float32, 1e-5), ("h", torch.float16, 5e-4)):
        path = tmp_path / f"{name}.safetensors"
        convert(checkpoint, Plan(path, dtype=dtype))
        error = (eps(released, load_adapter(path)) - expected).abs().max() / expected.abs().max()
        assert error < tolerance, name


ATTN1 = "input_blocks.4.1.transformer_blocks.0.attn1"
ATTN2 = "output_blocks.11.1.transformer_blocks.0.attn2"
MIDDLE = "middle_block.1.transformer_blocks.0.attn2"


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        (f"{UNET_PREFIX}{ATTN1}.per_v.", rf"lacks {UNET_PREFIX}{ATTN1}\.per_v\.weight of the PC-"),
        (f"{UNET_PREFIX}{ATTN2}.feat_to_q", r"lacks .*output_blocks\.11.*attn2\.feat_to_q\.weight"),
        (f"{UNET_PREFIX}{MIDDLE}.per_", r"lacks .*middle_block.*attn2\.per_q\.weight and 2 more"),
        ("per_q", r"lacks .*per_q\.weight and 31 more"),
        (
            "control_model.zero_convs.7.0.bias",
            r"\(control_model\.\) lacks .*zero_convs\.7\.0\.bias",
        ),
        ("control_model.input_hint_block.6.", r"pose branch lacks .*input_hint_block\.6\.weight"),
        ("control_model.time_embed", r"lacks 4 weights, the first is time_embed\.0\.weight"),
        ("control_model.", r"lacks control_model\.\* of the pose branch"),
        ("embedding_manager.string", r"identity token lacks .*string_to_param_dict\.\*"),
        ("embedding_manager.projector.", r"identity token lacks .*projector\.weight"),
    ],
)
def test_missing_weights_are_named(released: Tensors, gone: str, message: str) -> None:
    with pytest.raises(ModelFileError, match=message):
        check(split(lazy({k: t for k, t in released.items() if gone not in k})))


def test_incomplete_checkpoints_leave_no_file(released: Tensors, tmp_path: Path) -> None:
    save_file({k: t for k, t in released.items() if "1.per_v" not in k}, tmp_path / "x.safetensors")
    with pytest.raises(ModelFileError, match=r"lacks .*per_v\.weight and 15 more .*x\.safetensors"):
        convert(tmp_path / "x.safetensors", Plan(tmp_path / "a.safetensors"))
    assert not (tmp_path / "a.safetensors").exists()


def test_missing_last_blocks_are_noticed(released: Tensors) -> None:
    """A branch without its deepest blocks has the form of a smaller one."""
    ends = tuple(
        f"control_model.{kind}.{i}." for kind in ("input_blocks", "zero_convs") for i in (9, 10, 11)
    )
    kept = {k: t for k, t in released.items() if not k.startswith(ends)}
    own = {k: t for k, t in kept.items() if k.startswith(POSE_PREFIX) or map_of(k) in MAPS}
    for tensors in (kept, own):
        with pytest.raises(ModelFileError, match=r"lacks control_model\.input_blocks\.9\.\*"):
            check(split(lazy(tensors)))


def test_a_block_without_adapter_is_noticed_without_base(released: Tensors, tmp_path: Path) -> None:
    own = {f"{UNET_PREFIX}{k}": t for k, t in adapter_of(released).items()}
    own |= {k: t for k, t in released.items() if k.startswith(POSE_PREFIX)}
    path = tmp_path / "x.safetensors"
    save_file(own, path)
    with open_release(path) as release:
        assert not release.has_unet and not release.token and not release.ir_se50
    convert(path, Plan(tmp_path / "a.safetensors"))
    parts = read_parts(tmp_path / "a.safetensors")
    assert not parts.token and "reference_delta" not in parts.metadata
    with pytest.raises(ModelFileError, match="contains no base model"):
        convert(path, Plan(tmp_path / "b.safetensors", base=tmp_path / "base.safetensors"))
    save_file({k: t for k, t in own.items() if f"{UNET_PREFIX}output_blocks.5." not in k}, path)
    with pytest.raises(ModelFileError, match=r"lacks .*output_blocks\.5.*and 6 more"):
        convert(path, Plan(tmp_path / "b.safetensors"))
    assert not (tmp_path / "b.safetensors").exists()


def test_optional_parts_may_be_absent(released: Tensors, tmp_path: Path) -> None:
    optional = ("id_loss_func.", "embedding_manager.", "first_stage_model.", "cond_stage_model.")
    kept = {k: t for k, t in released.items() if not k.startswith(optional)}
    save_file(kept, tmp_path / "x.safetensors")
    plan = Plan(tmp_path / "a.safetensors", base=tmp_path / "base.safetensors")
    convert(tmp_path / "x.safetensors", plan)
    assert load_adapter(plan.adapter).token is None
    assert len(read_weights(tmp_path / "base.safetensors")[0]) == 686
    with pytest.raises(ModelFileError, match="contains no face encoder"):
        convert(
            tmp_path / "x.safetensors",
            Plan(tmp_path / "b.safetensors", ir_se50=tmp_path / "e.safetensors"),
        )


def test_other_shapes_are_named(released: Tensors, tmp_path: Path, checkpoint: Path) -> None:
    name = f"{UNET_PREFIX}{ATTN1}.per_k.weight"
    for tensor, shape, message in (
        (name, (60, 64), "of shape"),
        (name, (64,), "unknown weight"),
        ("embedding_manager.projector.weight", (48,), "identity token lacks .*projector"),
        ("control_model.input_blocks.0.0.weight", (0, 4, 3, 3), "without blocks or channels"),
        ("control_model.zero_convs.2.0.weight", (32, 32), "of shape"),
    ):
        with pytest.raises((IncompatibleError, ModelFileError), match=message):
            check(split(lazy(released | {tensor: torch.zeros(shape)})))
    plan = Plan(tmp_path / "a.safetensors", ir_se50=tmp_path / "e.safetensors")
    with pytest.raises(IncompatibleError, match=r"IR-SE50 \(id_loss_func\.facenet\.\)"):
        convert(checkpoint, plan)
    assert list(tmp_path.iterdir()) == []


def no_adapter(released: Tensors, path: Path) -> None:
    own = {f"{UNET_PREFIX}{name}" for name in adapter_of(released)}
    kept = {k: t for k, t in released.items() if k not in own and not k.startswith("control_model")}
    save_file(kept, path)


def already_ours(released: Tensors, path: Path) -> None:
    save_adapter(path, DenseFaceAdapter(PCAdapter.from_state_dict(adapter_of(released))))


def legacy(released: Tensors, path: Path) -> None:
    torch.save({"state_dict": released}, path, _use_new_zipfile_serialization=False)


def test_a_release_in_the_legacy_format(released: Tensors, tmp_path: Path) -> None:
    made = []
    for name, write in (("legacy", legacy), ("safetensors", save_file)):
        write(released, tmp_path / f"{name}.ckpt")
        convert(tmp_path / f"{name}.ckpt", Plan(tmp_path / f"{name}.safetensors"))
        made.append(read_weights(tmp_path / f"{name}.safetensors")[0])
    assert made[0].keys() == made[1].keys()
    assert all(torch.equal(tensor, made[1][name]) for name, tensor in made[0].items())


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (
            no_adapter,
            "ordinary checkpoint, like the .* text-editing model .*Load Checkpoint",
        ),
        (already_ours, "already an adapter of this pack"),
        (lambda r, path: legacy({"x": torch.zeros(1)}, path), "neither a Dense-Face adapter nor"),
        (
            lambda r, path: save_file({"x": torch.zeros(1)}, path),
            "neither a Dense-Face adapter nor",
        ),
        (lambda r, path: path.write_bytes(b""), "truncated"),
        (lambda r, path: path.write_bytes(b"<html>not found</html>"), "truncated or is not a safe"),
        (lambda r, path: path.mkdir(), "cannot be read"),
        (lambda r, path: None, "cannot be read"),
    ],
)
def test_other_files_are_refused(
    released: Tensors, tmp_path: Path, write: Callable[[Tensors, Path], None], message: str
) -> None:
    write(released, tmp_path / "x.ckpt")
    with pytest.raises(ModelFileError, match=message):
        convert(tmp_path / "x.ckpt", Plan(tmp_path / "a.safetensors"))
    assert not (tmp_path / "a.safetensors").exists()


def test_weights_that_are_no_numbers_are_named(released: Tensors, tmp_path: Path) -> None:
    for value, name in ((float("nan"), f"{ATTN1}.per_k"), (1e6, f"{MIDDLE}.per_q")):
        key = f"{UNET_PREFIX}{name}.weight"
        save_file(released | {key: torch.full_like(released[key], value)}, tmp_path / "x.ckpt")
        with pytest.raises(ModelFileError, match=rf"{name}\.weight holds values .* torch\.float16"):
            convert(tmp_path / "x.ckpt", Plan(tmp_path / "a.safetensors"))
        assert [path.name for path in tmp_path.iterdir()] == ["x.ckpt"]


def test_no_file_is_lost(checkpoint: Path, tmp_path: Path) -> None:
    old = tmp_path / "old.safetensors"
    write_weights(old, {}, {})
    before = old.read_bytes()
    for plan, message in (
        (Plan(old), "exists already"),
        (Plan(tmp_path / "new.safetensors", base=old), "exists already"),
        (Plan(tmp_path / "new.ckpt"), "only .safetensors"),
        (Plan(tmp_path / "a.safetensors", tmp_path / "a.safetensors"), "are the same"),
    ):
        with pytest.raises(InputError, match=message):
            convert(checkpoint, plan)
    with pytest.raises(InputError, match="are the same"):
        convert(old, Plan(old, overwrite=True))
    assert old.read_bytes() == before and len(list(tmp_path.iterdir())) == 1
    convert(checkpoint, Plan(old, overwrite=True))
    assert old.read_bytes() != before


def test_command(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, base = tmp_path / "a.safetensors", tmp_path / "base.safetensors"
    arguments = ["convert", str(checkpoint), str(out), "--base", str(base), "--source-sha256"]
    assert main(arguments) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith(f"{out}  262 tensors, ") and "1131 tensors" in shown[1]
    assert "peak memory" in shown[2] and " s" in shown[2]
    assert len(read_parts(out).metadata["source_sha256"]) == 64
    assert main(arguments) == 2
    assert "exists already" in capsys.readouterr().err
    missing = [*arguments[:1], str(tmp_path / "none.ckpt"), *arguments[2:]]
    assert main(missing) == 2 and "cannot be read" in capsys.readouterr().err
