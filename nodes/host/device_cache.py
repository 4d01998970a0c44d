"""Copies of small tensors on the device, made once for each sampling."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import torch
from torch import Tensor


class DeviceCache:
    """Holds copies until :meth:`clear`, which is called after each sampling."""

    def __init__(self) -> None:
        self._copies: dict[tuple[Hashable, ...], Tensor] = {}

    def __len__(self) -> int:
        return len(self._copies)

    def get(
        self, key: Hashable, device: torch.device, dtype: torch.dtype, make: Callable[[], Tensor]
    ) -> Tensor:
        """What ``make`` returns, on this device in this dtype; made at the first request.

        Args:
            key: Tells the tensors of one cache apart.
        """
        full = (key, device, dtype)
        if full not in self._copies:
            self._copies[full] = make().to(device=device, dtype=dtype)
        return self._copies[full]

    def clear(self) -> None:
        """Drop all copies."""
        self._copies.clear()
