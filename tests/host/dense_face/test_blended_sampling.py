"""The blended sampler's choices in the host (the release's own numbers: test_parity.py)."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from in_host import Tiny, difference
from torch import Tensor

FRESH, FIXED = "fresh in every step", "one for all steps"


def draw(
    tiny: Tiny,
    *,
    masked: bool | Tensor = True,
    sigmas: Tensor | None = None,
    seed: int = 3,
    global_seed: int = 3,
    callback: Any = None,
    **choice: Any,
) -> Tensor:
    import comfy.sample
    import comfy.samplers

    defaults = {
        "eta": 1.0, "background_noise": FRESH, "start": "noised scene", "end": "clean",
        "mask_edge": "soft",
    }  # fmt: skip
    sampler = tiny.run("BlendedSampler", **{**defaults, **choice})
    levels = tiny.model.get_model_object("model_sampling")
    if sigmas is None:
        sigmas = comfy.samplers.calculate_sigmas(levels, "ddim_uniform", 4)
    conds = tiny.prompt("a person"), tiny.prompt("")
    mask = masked if isinstance(masked, Tensor) else scene_mask() if masked else None
    with torch.inference_mode():
        # The host draws the first noise from the global generator and leaves it in that state.
        noise = comfy.sample.prepare_noise(scene(), 3)
        state = torch.manual_seed(global_seed).get_state()
        drawn = comfy.sample.sample_custom(
            tiny.model, noise, 3.0, sampler, sigmas, *conds, scene(), noise_mask=mask,
            disable_pbar=True, seed=seed, callback=callback,
        )  # fmt: skip
    assert torch.equal(torch.random.get_rng_state(), state), "the global generator was used"
    return drawn


def scene() -> Tensor:
    return torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(2))


def scene_mask() -> Tensor:
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 4:12, 4:12] = 1
    return mask


@pytest.mark.parametrize("noise", [FRESH, FIXED])
@pytest.mark.parametrize("start", ["noised scene", "noise"])
def test_scene_is_kept_and_face_is_generated(tiny: Tiny, noise: str, start: str) -> None:
    drawn = draw(tiny, background_noise=noise, start=start)
    outside = scene_mask().expand(1, 4, 16, 16) == 0
    # The host scales latents by 0.18215 and back: not the last bit.
    assert (drawn - scene())[outside].abs().max() < 1e-5
    assert (drawn - scene())[~outside].abs().mean() > 0.1


def test_released_end_is_generated_by_the_network_alone(tiny: Tiny) -> None:
    drawn = draw(tiny, end="as released")
    outside = scene_mask().expand(1, 4, 16, 16) == 0
    assert (drawn - scene())[outside].abs().mean() > 1e-3


def test_the_seed_alone_decides(tiny: Tiny) -> None:
    """Whatever other nodes have drawn from the global generator."""
    first = draw(tiny)
    assert torch.equal(draw(tiny, global_seed=4), first)
    assert difference(draw(tiny, seed=4), first) > 1e-3


@pytest.mark.parametrize("seed", [0, 2**63, 2**64 - 1])
def test_every_seed_of_the_host(tiny: Tiny, seed: int) -> None:
    assert difference(draw(tiny, seed=seed), draw(tiny, seed=5)) > 1e-3


def test_noise_of_the_first_step_is_not_repeated(tiny: Tiny) -> None:
    """The host's noise of the same seed starts the run; the steps draw others."""
    import comfy.sample

    sampling = tiny.module("nodes.host.dense_face.sampling")
    like = scene()
    noises = [sampling._seeded(tuple(like.shape), 3, like)() for _ in range(2)]
    assert torch.equal(*noises)
    assert difference(noises[0], comfy.sample.prepare_noise(like, 3)) > 0.1


def test_eta_0_and_one_noise_do_not_depend_on_the_seed(tiny: Tiny) -> None:
    still: dict[str, Any] = {"eta": 0.0, "background_noise": FIXED}
    assert torch.equal(draw(tiny, seed=3, **still), draw(tiny, seed=4, **still))


@pytest.mark.parametrize("steps", [4, 2], ids=["to the end", "stopped early"])
def test_without_a_mask_and_eta_0_it_is_the_hosts_euler(tiny: Tiny, steps: int) -> None:
    """DDIM without fresh noise is Euler in the host's terms; so are its previews."""
    import comfy.sample
    import comfy.samplers

    levels = tiny.model.get_model_object("model_sampling")
    sigmas = comfy.samplers.calculate_sigmas(levels, "ddim_uniform", 4)[: steps + 1]
    previews: dict[str, list[tuple[int, Tensor, int]]] = {"ours": [], "euler": []}

    def seen_by(name: str) -> Any:
        return lambda i, x0, x, total: previews[name].append((i, x0, total))

    ours = draw(tiny, masked=False, eta=0.0, start="noise", sigmas=sigmas, callback=seen_by("ours"))
    conds = tiny.prompt("a person"), tiny.prompt("")
    with torch.inference_mode():
        noise = comfy.sample.prepare_noise(scene(), 3)
        euler = comfy.sample.sample_custom(
            tiny.model, noise, 3.0, comfy.samplers.sampler_object("euler"), sigmas, *conds,
            scene(), disable_pbar=True, seed=3, callback=seen_by("euler"),
        )  # fmt: skip
    assert difference(ours, euler) < 1e-4
    for mine, theirs in zip(previews["ours"], previews["euler"], strict=True):
        assert (mine[0], mine[2]) == (theirs[0], theirs[2])
        assert difference(mine[1], theirs[1]) < 1e-4


def test_a_hard_edge_redraws_a_cell_above_a_quarter_wholly(tiny: Tiny) -> None:
    """As the release, which keeps a cell whose inverted mask reaches three quarters."""
    soft = scene_mask()
    soft[..., 6:10, :] *= torch.tensor([0.2, 0.25, 0.3, 0.9])[:, None]
    hard = scene_mask()
    hard[..., 6:8, :] = 0
    assert torch.equal(
        draw(tiny, masked=soft, mask_edge="hard"), draw(tiny, masked=hard, mask_edge="soft")
    )
    assert not torch.equal(draw(tiny, masked=soft), draw(tiny, masked=hard))


def test_an_interruption_leaves_the_sampler_as_it_was(tiny: Tiny) -> None:
    import comfy.model_management as mm

    first, seen = draw(tiny), []

    def stop(step: int, *_: Any) -> None:
        seen.append(step)
        if step == 1:
            raise mm.InterruptProcessingException

    with pytest.raises(mm.InterruptProcessingException):
        draw(tiny, callback=stop)
    assert seen == [0, 1]
    assert torch.equal(draw(tiny), first)


def test_nothing_to_do_gives_the_input_back(tiny: Tiny) -> None:
    assert torch.equal(draw(tiny, sigmas=torch.FloatTensor([])), scene())


def test_flow_models_are_refused(tiny: Tiny) -> None:
    import comfy.model_sampling

    class Flow(comfy.model_sampling.ModelSamplingDiscreteFlow, comfy.model_sampling.CONST):
        pass

    flow = tiny.model.clone()
    flow.add_object_patch("model_sampling", Flow())
    other = copy.copy(tiny)
    other.model = flow
    with pytest.raises(ValueError, match="flow model"):
        draw(other)
