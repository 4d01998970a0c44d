"""The independent evaluator: a separately trained network used for evaluation only.

The network that conditions an image must not also grade it, so nothing is ever conditioned on this
one. Its architecture, seeds and training people differ from the analyzer's.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional as F

from ...state_dict import as_float32
from ...storage import read_weights
from ..bundled import EVALUATOR_FILE, WEIGHTS
from ..people import BACKGROUND_COLORS, BACKGROUND_PATTERNS, CLASSES
from .convnet import Trunk

#: The attributes that the evaluator predicts, with their classes.
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    **{name: words for name, (words, _) in CLASSES.items()},
    "background_color": BACKGROUND_COLORS,
    "background_pattern": BACKGROUND_PATTERNS,
}
EMBEDDING = 128


class TinyEvaluator(nn.Module):
    """[B, 3, 128, 128] in 0..1 -> (identity [B, 128] of unit norm, attribute name -> logits)."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = Trunk((16, 32, 56, 80), (1, 1, 2, 1))
        wide = 80 * 4
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.1))
        self.identity = nn.Linear(wide, EMBEDDING)
        self.attributes = nn.ModuleDict(
            {name: nn.Linear(wide, len(words)) for name, words in ATTRIBUTES.items()}
        )

    def forward(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        pooled = self.pool(self.trunk(images)[-1])
        named = {name: head(pooled) for name, head in self.attributes.items()}
        return F.normalize(self.identity(pooled), dim=1), named


def load_evaluator(path: str | Path = WEIGHTS / EVALUATOR_FILE) -> TinyEvaluator:
    """Load the bundled evaluator, frozen; ModelFileError if the file is missing or altered."""
    net = TinyEvaluator().eval().requires_grad_(False)
    net.load_state_dict(as_float32(read_weights(path)[0]))
    return net
