"""The pose branch as CONTROL_NET under the host's own control nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from in_host import Tiny, difference, little_memory
from torch import Tensor


@pytest.fixture(scope="module")
def hint(tiny: Tiny) -> Tensor:
    return tiny.run("PoseFromAngles", 30.0, 0.0, 0.0, 256)[1]


def posed(tiny: Tiny, image: Tensor, strength: float = 1.0, **changes: Any) -> tuple[Any, Any]:
    import nodes

    positive = changes.pop("positive", None) or tiny.prompt("a person")
    negative = changes.pop("negative", None) or tiny.prompt("")
    start, end = changes.pop("start", 0.0), changes.pop("end", 1.0)
    control = changes.pop("control", tiny.control)
    apply = nodes.ControlNetApplyAdvanced().apply_controlnet
    return apply(positive, negative, control, image, strength, start, end)


def counted(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[int]]:
    """Batch sizes of every call of the branch's two halves."""
    branch = tiny.control.control_model.branch
    seen: dict[str, list[int]] = {"encode_hint": [], "residuals": []}
    for name, sizes in seen.items():
        inner = getattr(branch, name)

        def watched(x: Tensor, *args: Any, inner: Any = inner, sizes: Any = sizes) -> Any:
            sizes.append(x.shape[0])
            return inner(x, *args)

        monkeypatch.setattr(branch, name, watched)
    return seen


def test_pose_changes_the_image(tiny: Tiny, hint: Tensor) -> None:
    other = tiny.run("PoseFromAngles", -30.0, 0.0, 0.0, 256)[1]
    left, right = (tiny.sample(tiny.model, *posed(tiny, h)) for h in (hint, other))
    assert difference(left, right) > 1e-3
    assert difference(left, tiny.sample(tiny.model, tiny.prompt("a person"))) > 1e-2


def test_kernels_stored_in_eight_bits_turn_the_head_as_far(
    tiny: Tiny, hint: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the host, which may keep whole nets in eight bits, chooses as for vectors in sixteen."""
    checkpoint = tiny.module("dense_face.checkpoints.adapter_file")
    path, half = tmp_path / "eight.safetensors", tmp_path / "half.safetensors"
    whole = checkpoint.load_adapter(tiny.folder / "tiny_dense_face.safetensors")
    checkpoint.save_adapter(half, whole)
    checkpoint.save_adapter(path, whole, pose_dtype=torch.float8_e4m3fn)
    control = tiny.module("nodes.host.dense_face.control")
    stored_dtypes = []
    choose = control.compute_dtypes

    def asking(parameters: int, stored: torch.dtype) -> Any:
        stored_dtypes.append(stored)
        return choose(parameters, stored)

    monkeypatch.setattr(control, "compute_dtypes", asking)
    load = tiny.module("nodes.host.dense_face.adapter_file").load_parts
    with torch.inference_mode():
        small, usual = (load(file)[2] for file in (path, half))
    assert stored_dtypes == [torch.float16, torch.float16]
    drawn, expected = (
        tiny.sample(tiny.model, *posed(tiny, hint, control=c)) for c in (small, usual)
    )
    straight = tiny.sample(tiny.model, tiny.prompt("a person"))
    assert 0 < difference(drawn, expected) < 0.1 * difference(expected, straight)


def test_strength_0_and_empty_range_are_exactly_the_base(tiny: Tiny, hint: Tensor) -> None:
    base = tiny.sample(tiny.model, tiny.prompt("a person"))
    assert torch.equal(tiny.sample(tiny.model, *posed(tiny, hint, 0.0)), base)
    assert torch.equal(tiny.sample(tiny.model, *posed(tiny, hint, 1.0, start=1.0)), base)


@pytest.mark.parametrize("batch", [1, 3])
def test_runs_once_for_both_halves_and_encodes_the_hint_once(
    tiny: Tiny, hint: Tensor, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = counted(tiny, monkeypatch)
    tiny.sample(tiny.model, *posed(tiny, hint), steps=3, batch=batch)
    assert seen["residuals"] == [batch] * 3
    assert seen["encode_hint"] == [1]


def test_once_for_all_equals_once_for_each(
    tiny: Tiny, hint: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = tiny.sample(tiny.model, *posed(tiny, hint), batch=2)
    little_memory(tiny, monkeypatch)
    assert difference(tiny.sample(tiny.model, *posed(tiny, hint), batch=2), once) < 1e-5


def test_one_pose_for_each_image_of_a_batch(tiny: Tiny) -> None:
    poses, sweep = tiny.run("PoseSweep", 3, 256, **ENDS)
    assert len(poses) == 3 and sweep.shape[0] == 3
    noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(4)).repeat(3, 1, 1, 1)
    together = _from(tiny, noise, *posed(tiny, sweep))
    for i in range(3):
        alone = _from(tiny, noise[:1], *posed(tiny, sweep[i : i + 1]))
        assert difference(together[i : i + 1], alone) < 1e-4


ENDS = {
    "from_yaw": -40.0, "from_pitch": 0.0, "from_roll": 0.0,
    "to_yaw": 40.0, "to_pitch": 10.0, "to_roll": 0.0,
}  # fmt: skip


def _from(tiny: Tiny, noise: Tensor, positive: Any, negative: Any) -> Tensor:
    import comfy.sample

    with torch.inference_mode():
        return comfy.sample.sample(
            tiny.model, noise, 2, 3.0, "euler", "normal", positive, negative,
            torch.zeros_like(noise), disable_pbar=True,
        )  # fmt: skip


def test_control_on_one_side_only(tiny: Tiny, hint: Tensor) -> None:
    positive, negative = posed(tiny, hint)
    both = tiny.sample(tiny.model, positive, negative)
    one = tiny.sample(tiny.model, positive, tiny.prompt(""))
    assert difference(one, both) > 1e-3


def test_area_prompts_with_different_crops_are_not_confused(
    tiny: Tiny, hint: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two areas of one size come in one batch with different latents: the branch runs for each."""
    positive, negative = posed(tiny, hint)
    left, right = (
        [[c, {**d, "area": a}] for c, d in positive] for a in ((16, 8, 0, 0), (16, 8, 0, 8))
    )
    together = tiny.sample(tiny.model, left + right, negative)
    little_memory(tiny, monkeypatch)
    assert difference(tiny.sample(tiny.model, left + right, negative), together) < 1e-5


def test_two_controls_chain(tiny: Tiny, hint: Tensor) -> None:
    once = posed(tiny, hint, 0.5)
    twice = posed(tiny, hint, 0.5, positive=once[0], negative=once[1])
    assert (
        difference(tiny.sample(tiny.model, *twice), tiny.sample(tiny.model, *posed(tiny, hint)))
        < 1e-4
    )


def test_with_adapter_and_noise_mask(tiny: Tiny, hint: Tensor) -> None:
    """All together: adapter, pose, and a scene kept around the mask."""
    scene = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(9))
    mask = torch.zeros(1, 1, 128, 128)
    mask[..., 32:96, 32:96] = 1
    drawn = tiny.sample(tiny.apply(), *posed(tiny, hint), latent=scene, noise_mask=mask)
    assert difference(drawn[..., 4:12, 4:12], scene[..., 4:12, 4:12]) > 0.1
    assert (drawn[..., :3] - scene[..., :3]).abs().max() < 1e-5


def test_nothing_stays_behind(tiny: Tiny, hint: Tensor) -> None:
    tiny.sample(tiny.model, *posed(tiny, hint))
    assert tiny.control.control_model._encoded is None


def test_sweep_ends_are_exact(tiny: Tiny) -> None:
    poses, _ = tiny.run("PoseSweep", 5, 128, **ENDS)
    assert poses.angles[0] == (-40.0, 0.0, 0.0) and poses.angles[-1] == (40.0, 10.0, 0.0)
    single, _ = tiny.run("PoseSweep", 1, 128, **ENDS)
    assert single.angles == ((-40.0, 0.0, 0.0),)
