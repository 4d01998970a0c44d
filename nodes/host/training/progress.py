"""What a user sees of a training while it runs: the loss curve, and an image by the adapter.

Host objects used: ``ProgressBar.update_absolute``, ``PromptServer.send_progress_text``,
``get_executing_context``.
"""

from __future__ import annotations

from collections.abc import Sequence

import comfy.utils
import numpy as np
import torch
from comfy_execution.utils import get_executing_context
from PIL import Image, ImageDraw
from torch import Tensor

_SIDE = 256
_MARGIN = 14
_LARGEST = 1024
_MEAN_OF = 20
"""Steps that the smooth curve averages at most; the noise levels make single losses jump."""


class TrainingProgress:
    """The node's progress bar, with a preview."""

    def __init__(self, total: int) -> None:
        self._bar = comfy.utils.ProgressBar(total)

    def step(self, done: int, preview: Image.Image | None = None) -> None:
        """Steps done so far; the host may raise here when the user stops the run."""
        shown = None if preview is None else ("JPEG", preview, _LARGEST)
        self._bar.update_absolute(done, preview=shown)


def say(text: str) -> None:
    """Show a line on the node that runs, where there is a server."""
    context = get_executing_context()
    if context is None:
        return
    from server import PromptServer

    PromptServer.instance.send_progress_text(text, context.node_id)


def loss_and_sample(losses: Sequence[float], sample: Tensor | None) -> Image.Image:
    """The loss curve, and beside it a sample [H, W, 3] in 0..1."""
    curve = _curve(losses)
    if sample is None:
        return curve
    pixels = (255 * sample.detach().float().cpu().clamp(0, 1)).round().to(torch.uint8)
    image = Image.fromarray(pixels.numpy()).resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    both = Image.new("RGB", (2 * _SIDE, _SIDE), "white")
    both.paste(curve, (0, 0))
    both.paste(image, (_SIDE, 0))
    return both


def as_image(image: Image.Image) -> Tensor:
    """IMAGE [1, H, W, 3]."""
    return torch.from_numpy(np.asarray(image.convert("RGB"), dtype=np.float32) / 255)[None]


def _curve(losses: Sequence[float]) -> Image.Image:
    """Single losses in grey, their running mean in blue."""
    image = Image.new("RGB", (_SIDE, _SIDE), "white")
    draw = ImageDraw.Draw(image)
    means = [
        sum(losses[max(0, i + 1 - _MEAN_OF) : i + 1]) / min(_MEAN_OF, i + 1)
        for i in range(len(losses))
    ]
    low, high = min(losses), max(losses)
    for values, colour, width in ((losses, "#c8c8c8", 1), (means, "#2060c0", 2)):
        points = [
            (
                _MARGIN + (_SIDE - 2 * _MARGIN) * i / max(1, len(values) - 1),
                _SIDE - _MARGIN - (_SIDE - 3 * _MARGIN) * (value - low) / max(high - low, 1e-12),
            )
            for i, value in enumerate(values)
        ]
        draw.line(points * 2 if len(points) == 1 else points, fill=colour, width=width)
    draw.text((_MARGIN, 2), f"step {len(losses)}   loss {means[-1]:.4f}", fill="black")
    return image
