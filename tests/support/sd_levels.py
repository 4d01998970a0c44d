"""The noise schedule of Stable Diffusion 1.x, in double precision."""

from __future__ import annotations

import torch
from comfyui_dense_face.sfsr.midpoint import NoiseLevels

_BETAS = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
LEVELS = NoiseLevels.from_alphas((1 - _BETAS).cumprod(0))
