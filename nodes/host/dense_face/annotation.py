"""The annotation head in the host: captures the UNet's features while it samples.

The capture is a DIFFUSION_MODEL wrapper on a clone of the MODEL. The host calls it with any mix of
prompts in one batch (``cond_or_uncond``); only rows of the positive prompt are read. The UNet's
output is not changed.

Host objects used: ``WrappersMP.DIFFUSION_MODEL``, ``set_additional_models``, and of the
UNet ``output_blocks`` (its blocks are run layer by layer, so the hooks are on the last layer of a
block).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import comfy.sample
import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import Upsample
from comfy.patcher_extension import WrappersMP
from torch import Tensor, nn

from ....dense_face.annotation.annotations import Annotations, decode, mean_annotations
from ....dense_face.annotation.head import TIMESTEPS
from ....dense_face.annotation.head_file import load_head as read_head
from ....dense_face.feature_hooks import capture_features
from ....errors import IncompatibleError, InputError
from ..compilation import uncompiled
from ..memory import managed
from ..single_call import call_once, positive_guider

KEY = "dense_face_annotations"
PROMPT = 0
"""The host's number of the positive prompt in ``cond_or_uncond``."""
_OPTIONS = 5
"""Position of ``transformer_options`` in the arguments of the host's UNet."""
_SAME = 1e-4
"""Relative difference up to which two noise levels count as equal."""


def load_head(path: Path) -> Any:
    """The patcher of a head from a file; raises ModelFileError."""
    return managed(read_head(path)[0])


def stage_modules(model: Any, where: str) -> tuple[list[nn.Module], tuple[int, ...]]:
    """The modules of a MODEL whose outputs are the features, coarse to fine, and their channels.

    Raises:
        IncompatibleError: The MODEL is not a Stable Diffusion UNet.
    """
    net = getattr(model.model, "diffusion_model", None)
    blocks = getattr(net, "output_blocks", None)
    if not isinstance(blocks, nn.ModuleList) or not len(blocks):
        raise IncompatibleError(
            f"the model is a {type(net).__name__} without the decoder blocks of a UNet",
            where=where,
            fix="Connect a Stable Diffusion 1.x model, or the bundled tiny world",
        )
    ends: list[Any] = [block for block in blocks if isinstance(block[-1], Upsample)]  # type: ignore[index]
    ends.append(blocks[-1])
    return [block[-1] for block in ends], tuple(block[0].out_channels for block in ends)


@dataclass(frozen=True)
class Window:
    """The noise levels to read: sigma in low..high; ``mean`` of all, or only the last one."""

    low: float
    high: float
    mean: bool

    def holds(self, sigma: float) -> bool:
        """Whether this level is read."""
        return self.low * (1 - _SAME) <= sigma <= self.high * (1 + _SAME)


def window(model: Any, sigmas: Tensor, start: float, end: float, mean: bool) -> Window:
    """The levels of a sampling between two fractions of the denoising.

    Raises:
        InputError: There is no step between them.
    """
    sampling = model.get_model_object("model_sampling")
    high, low = sampling.percent_to_sigma(start), sampling.percent_to_sigma(end)
    inside = [sigma for sigma in sigmas[:-1].tolist() if low <= sigma <= high]
    if not inside:
        raise InputError(
            f"no step lies between {start:g} and {end:g} of the denoising",
            fix="Widen the range, or take more steps",
        )
    return Window(low, high, mean) if mean else Window(min(inside), min(inside), mean)


@dataclass(eq=False)
class FeatureCapture:
    """DIFFUSION_MODEL wrapper: reads annotations at the levels of a window, of whole images only.

    ``size`` is the latent's height and width, None for any. If there are several calls at one level
    (prompts of different length, both modes of a joint guider), the last one is kept.
    """

    modules: list[nn.Module]
    patcher: Any
    window: Window
    size: tuple[int, int] | None
    read: dict[float, Annotations] = field(default_factory=dict)

    def __call__(self, executor: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """Run the UNet, and read annotations if this call is in the window."""
        options = args[_OPTIONS] if len(args) > _OPTIONS else kwargs.get("transformer_options", {})
        x: Tensor = args[0]
        rows = _prompt_rows(options, len(x))
        sigma = float(options["sigmas"].flatten()[0]) if "sigmas" in options else -1.0
        whole = self.size in (None, tuple(x.shape[-2:]))
        if rows is None or not whole or not self.window.holds(sigma):
            return executor(*args, **kwargs)
        with uncompiled(), capture_features(self.modules, rows) as features:
            out = executor(*args, **kwargs)
        if features:
            timesteps = args[1][rows].clamp(0, TIMESTEPS - 1)
            head = self.patcher.model
            device = next(head.parameters()).device
            maps = head([f.to(device) for f in features], timesteps.to(device))
            self.read[sigma] = decode(maps, head.config.scheme)
        return out

    def result(self) -> Annotations:
        """The mean of all readings, or the last one.

        Raises:
            InputError: There is none: the prompt never covered the whole image.
        """
        if not self.read:
            raise InputError(
                "the sampler never ran the prompt over the whole image",
                where="annotations",
                fix="Use a prompt without areas, or widen the range of steps",
            )
        if self.window.mean:
            return mean_annotations(list(self.read.values()))
        return self.read[min(self.read)]


def sample_annotated(
    guider: Any,
    head: Any,
    run: Callable[[Any], Any],
    sigmas: Tensor,
    size: tuple[int, int],
    levels: tuple[float, float, bool],
    where: str,
) -> tuple[Any, Annotations]:
    """Run a sampling with the capture on a clone of the guider's MODEL.

    Args:
        guider: GUIDER; it is copied, not changed.
        head: The head's patcher.
        run: Samples with the guider that it is given.
        sigmas: Of the sampling.
        size: Height and width of the latent.
        levels: Start and end as fractions of the denoising, and whether to take the mean.

    Raises:
        IncompatibleError: The head was trained for another UNet, or the MODEL is not a UNet.
        InputError: No step is read.
    """
    modules, widths = stage_modules(guider.model_patcher, where)
    head.model.require(widths, where)
    model = guider.model_patcher.clone()
    capture = FeatureCapture(modules, head, window(model, sigmas, *levels), size)
    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, KEY, capture)
    model.set_additional_models(KEY, [head])
    listening = copy.copy(guider)
    listening.model_patcher, listening.model_options = model, model.model_options
    return run(listening), capture.result()


def annotate_latent(
    model: Any, positive: Any, latent: Tensor, head: Any, timestep: int, seed: int, where: str
) -> Annotations:
    """Annotations of existing images, from latents [B, 4, h, w] of the VAE, lightly noised.

    Raises:
        IncompatibleError: The head was trained for another UNet, or the MODEL is none.
        InputError: The timestep is outside 0..999.
    """
    if not 0 <= timestep < TIMESTEPS:
        raise InputError(
            f"the timestep {timestep} is outside 0..{TIMESTEPS - 1}",
            where=where,
            fix="Choose one inside; small ones are light noise",
        )
    level = model.get_model_object("model_sampling").sigma(torch.tensor(float(timestep)))
    sigmas = torch.stack([level.float().cpu(), torch.zeros(())])
    guider = positive_guider(model, positive)
    noise = comfy.sample.prepare_noise(latent, seed)

    def run(listening: Any) -> Tensor:
        return call_once(listening, noise, latent, sigmas, seed)

    height, width = latent.shape[-2:]
    return sample_annotated(guider, head, run, sigmas, (height, width), (0.0, 1.0, False), where)[1]


def _prompt_rows(options: dict[str, Any], batch: int) -> slice | None:
    """Rows of the first part of the batch with the positive prompt; None if there is none."""
    order = list(options.get("cond_or_uncond", [PROMPT]))
    if PROMPT not in order:
        return None
    each = batch // len(order)
    place = order.index(PROMPT)
    return slice(place * each, (place + 1) * each)
