"""What SDXL's UNet reads: the text of two encoders, the pooled text, and the image's size.

Both encoders give the states before their last layer, without its norm. The second one pads with
token 0, and its pooled text is projected.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from .load import SDXLBase


class Conditions(NamedTuple):
    """contexts: [B, L, D]. pooled: [B, P]. time_ids: [B, 6], in pixels: height and width of the
    original, top and left of its crop, height and width of the target.
    """

    contexts: Tensor
    pooled: Tensor
    time_ids: Tensor

    def added(self) -> dict[str, Tensor]:
        """The UNet's ``added_cond_kwargs``."""
        return {"text_embeds": self.pooled, "time_ids": self.time_ids}


@torch.no_grad()
def sdxl_conditions(base: SDXLBase, ids: Tensor, size: int) -> Conditions:
    """The conditions of token ids [B, L], padded with the end token, for an image of ``size`` px.

    The original is as large as the target and not cropped, as ComfyUI has it by default.
    """
    first = base.text_encoder(ids, output_hidden_states=True)
    padded = _padded_with_zero(ids, base.text_encoder_2.config.eos_token_id)
    second = base.text_encoder_2(padded, output_hidden_states=True)
    contexts = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], -1)
    sizes = torch.tensor([[size, size, 0, 0, size, size]], dtype=contexts.dtype)
    time_ids = sizes.repeat(len(ids), 1).to(contexts.device)
    return Conditions(contexts, second.text_embeds, time_ids)


def _padded_with_zero(ids: Tensor, end: Any) -> Tensor:
    behind = (ids == end).cumsum(1) > 1
    return ids.masked_fill(behind, 0)
