"""Typical patterns of blendshapes, and sampling expressions."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..faces.blendshapes import ARKIT_INDEX, ARKIT_NAMES, mirrored_name

# A trailing "*" stands for both sides.
PATTERNS: dict[str, dict[str, float]] = {
    "smiling": {"mouthSmile*": 0.85, "cheekSquint*": 0.5, "eyeSquint*": 0.25},
    "laughing": {
        "mouthSmile*": 0.95, "jawOpen": 0.6, "cheekSquint*": 0.8, "eyeSquint*": 0.5,
        "mouthUpperUp*": 0.4,
    },
    "angry": {
        "browDown*": 1.0, "noseSneer*": 0.5, "mouthPress*": 0.6, "mouthFrown*": 0.5,
        "eyeSquint*": 0.3,
    },
    "surprised": {
        "browInnerUp": 0.9, "browOuterUp*": 0.9, "eyeWide*": 0.9, "jawOpen": 0.7,
        "mouthFunnel": 0.3,
    },
    "sad": {"browInnerUp": 1.0, "mouthFrown*": 0.9, "mouthShrugLower": 0.4, "eyeLookDown*": 0.3},
    "disgusted": {
        "noseSneer*": 1.0, "mouthUpperUp*": 0.8, "browDown*": 0.6, "eyeSquint*": 0.5,
        "mouthFrown*": 0.3,
    },
    "afraid": {
        "browInnerUp": 1.0, "eyeWide*": 0.9, "mouthStretch*": 0.9, "jawOpen": 0.3,
        "mouthLowerDown*": 0.4,
    },
    "pouting": {"mouthPucker": 0.5, "mouthShrugLower": 0.9, "mouthRollUpper": 0.3,
                "browDown*": 0.4},
    "kissing": {"mouthPucker": 1.0, "eyeSquint*": 0.3},
    "winking": {"eyeBlinkLeft": 1.0, "mouthSmileLeft": 0.7, "mouthSmileRight": 0.3,
                "cheekSquintLeft": 0.6},
    "sleeping": {"eyeBlink*": 1.0},
    "smirking": {"mouthSmileLeft": 0.9, "mouthDimpleLeft": 0.5, "browOuterUpLeft": 0.6},
    "shouting": {"jawOpen": 1.0, "mouthLowerDown*": 0.5, "browDown*": 0.8, "mouthUpperUp*": 0.3},
}  # fmt: skip

_ONE_SIDED = frozenset({"jawLeft", "jawRight", "mouthLeft", "mouthRight"})


def pattern_expression(name: str, strength: float = 1.0, mirrored: bool = False) -> Tensor:
    """A pattern, a key of :data:`PATTERNS`, times ``strength`` as a vector [51] in ARKit order.

    ``mirrored`` exchanges the person's left and right.
    """
    vector = torch.zeros(len(ARKIT_NAMES))
    for key, value in PATTERNS[name].items():
        names = [key[:-1] + side for side in ("Left", "Right")] if key[-1] == "*" else [key]
        for single in names:
            single = mirrored_name(single) if mirrored else single
            vector[ARKIT_INDEX[single]] = value * strength
    return vector


def sample_expression(generator: torch.Generator) -> Tensor:
    """Sample an expression [51] in 0..1: 15 % neutral, else patterns, blendshapes and gaze."""

    def uniform() -> float:
        return float(torch.rand(1, generator=generator))

    vector = torch.zeros(len(ARKIT_NAMES))
    kind = uniform()
    if kind >= 0.15:
        if kind < 0.8:
            names = list(PATTERNS)
            pick = names[min(int(uniform() * len(names)), len(names) - 1)]
            vector = pattern_expression(pick, 0.55 + 0.45 * uniform(), uniform() < 0.5)
        extra = int(uniform() * 4) if kind < 0.8 else 2 + int(uniform() * 6)
        for _ in range(extra):
            index = min(int(uniform() * len(ARKIT_NAMES)), len(ARKIT_NAMES) - 1)
            amount = 0.3 + 0.7 * uniform()
            name = ARKIT_NAMES[index]
            vector[index] = torch.maximum(vector[index], torch.tensor(amount))
            # Most faces move both sides together; a third of the time one side moves alone.
            if name not in _ONE_SIDED and "Look" not in name and uniform() < 0.67:
                slot = ARKIT_INDEX[mirrored_name(name)]
                vector[slot] = torch.maximum(vector[slot], torch.tensor(amount))
        vector = vector * (0.8 + 0.2 * torch.rand(vector.shape, generator=generator))
    _gaze(vector, uniform)
    for one, two in (("jawLeft", "jawRight"), ("mouthLeft", "mouthRight")):
        a, b = ARKIT_INDEX[one], ARKIT_INDEX[two]
        vector[a] = max(0.0, float(vector[a] - vector[b]))
        if vector[a] > 0:
            vector[b] = 0.0
    return vector.clamp(0, 1)


def _gaze(vector: Tensor, uniform: Callable[[], float]) -> None:
    """Turn both eyes together, in place; with probability one half they look straight ahead."""
    for name in ARKIT_NAMES:
        if "Look" in name:
            vector[ARKIT_INDEX[name]] = 0.0
    if uniform() < 0.5:
        return
    side, height = uniform() * 2 - 1, uniform() * 2 - 1
    # side > 0: towards the person's left.
    pairs = (
        ("eyeLookOutLeft", "eyeLookInRight") if side > 0 else ("eyeLookInLeft", "eyeLookOutRight")
    )
    word = "Up" if height > 0 else "Down"
    for name in pairs:
        vector[ARKIT_INDEX[name]] = abs(side)
    for name in (f"eyeLook{word}Left", f"eyeLook{word}Right"):
        vector[ARKIT_INDEX[name]] = abs(height)
