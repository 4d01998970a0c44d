"""Values for networks that were made without any, on ``meta``.

Random values, to be replaced at once, would take time and memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

_AUTOCAST = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d)


def fill(
    network: nn.Module,
    state: Mapping[str, Tensor],
    dtype: torch.dtype = torch.float32,
    read: Callable[[Tensor], Tensor] = lambda tensor: tensor,
) -> None:
    """Give a network its weights, frozen and in evaluation mode.

    Args:
        network: On ``meta``. state: Its state dict.
        dtype: Of matrices and kernels (:func:`autocast_weights`); all else is in float32.
        read: Gives the values of a tensor of ``state``; it is called for one after the other, so
            that no second copy of the network is in memory.

    Raises:
        RuntimeError: Of ``load_state_dict``: a weight is missing, unknown or of another shape.
    """
    cast = autocast_weights(network)

    def kept(name: str, tensor: Tensor) -> Tensor:
        values = read(tensor)
        if not values.is_floating_point():
            return values
        return values.to(dtype if name in cast else torch.float32)

    values = {name: kept(name, tensor) for name, tensor in state.items()}
    network.load_state_dict(values, assign=True)
    for module in network.modules():
        places = getattr(module, "position_ids", None)  # a buffer of CLIP outside the state dict
        if isinstance(places, Tensor) and places.is_meta:
            module.position_ids = torch.arange(places.shape[-1])[None]
    network.eval().requires_grad_(False)


def autocast_weights(network: nn.Module) -> set[str]:
    """Names of the parameters that autocast would cast in every pass: matrices and kernels.

    Kept in autocast's dtype, frozen ones give the same results in half the memory. Norms and
    embeddings are not among them.
    """
    return {
        f"{prefix}.{name}" if prefix else name
        for prefix, module in network.named_modules()
        if isinstance(module, _AUTOCAST)
        for name, _ in module.named_parameters(recurse=False)
    }
