"""A GUIDER with a guidance scale for each of SFSR's sources.

Each step makes four predictions: unconditional, with the prompt, with the identity as well, and
with everything. ``sources.py`` reads which sources act in which of them.

Host objects used: ``samplers.CFGGuider``, ``samplers.calc_cond_batch``, ``samplers.cfg_function``,
and of a call ``cond_or_uncond``.
"""

from __future__ import annotations

from typing import Any

import comfy.samplers
from torch import Tensor

from ....sfsr.guidance import split_guidance
from .sources import IDENTITIES, SPLIT

ALL, NOTHING, TEXT, WITH_IDENTITY = range(4)
"""The predictions as the host numbers them: as usual the prompt is 0 and what is without it 1."""
_ACTING = {TEXT: (), WITH_IDENTITY: (IDENTITIES,)}


class SplitGuider(comfy.samplers.CFGGuider):
    """A guider whose guidance is split by source; with equal scales it is the host's own.

    Args:
        model: MODEL with SFSR's sources on it.
        scales: Of text, identity, expression.
    """

    def __init__(self, model: Any, scales: tuple[float, float, float]) -> None:
        super().__init__(model)
        self.scales = scales
        self.set_cfg(scales[0])

    def predict_noise(
        self,
        x: Tensor,
        timestep: Tensor,
        model_options: dict[str, Any] = {},  # noqa: B006 (host API)
        seed: int | None = None,
    ) -> Tensor:
        """The clean latent [B, 4, h, w]."""
        if len(set(self.scales)) == 1:
            return super().predict_noise(x, timestep, model_options, seed)
        prompt, without = self.conds.get("positive"), self.conds.get("negative")
        options = model_options.get("transformer_options", {})
        split = {**model_options, "transformer_options": {**options, SPLIT: _ACTING}}
        net: Any = self.inner_model
        found = comfy.samplers.calc_cond_batch(
            net, [prompt, without, prompt, prompt], x, timestep, split
        )
        guided = split_guidance(
            found[NOTHING], found[TEXT], found[WITH_IDENTITY], found[ALL], self.scales
        )
        # Other packs' functions after the guidance find a guidance of 1, which changes nothing.
        return comfy.samplers.cfg_function(
            net, guided, found[NOTHING], 1.0, x, timestep, model_options, prompt, without
        )
