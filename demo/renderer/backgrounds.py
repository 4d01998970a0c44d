"""Backgrounds: a colour and a pattern, or a small scene."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..people import BACKGROUND_PATTERNS
from .face_geometry import smoothstep
from .palette import COLOURS


def backdrop(background: Tensor, size: int) -> Tensor:
    """Render one head's background vector [4]: [size, size, 3] in 0..1."""
    color, pattern, phase, tone = background.tolist()
    base = COLOURS["background"][int(color)] * (1 + 0.10 * tone)
    line = (torch.arange(size, dtype=torch.float32) + 0.5) / size
    y, x = line[:, None].expand(size, size), line[None].expand(size, size)
    name = BACKGROUND_PATTERNS[int(pattern)]
    light = base + (1 - base) * 0.42
    soft = 1.5 / size
    if name in ("window", "sunset", "forest"):
        return {"window": _window, "sunset": _sunset, "forest": _forest}[name](x, y, phase)
    if name == "plain":
        amount = 0.12 * (1 - y)
    elif name == "striped":
        wave = torch.sin((x + y) * 2 * math.pi / 0.16 + phase * 2 * math.pi)
        amount = smoothstep(-0.12, 0.12, wave)
    elif name == "dotted":
        u = torch.remainder(x + phase * 0.16, 0.16) - 0.08
        v = torch.remainder(y + phase * 0.16, 0.16) - 0.08
        amount = ((0.048 - (u * u + v * v).sqrt()) / soft + 0.5).clamp(0, 1)
    elif name == "checked":
        wave = torch.sin((x + phase * 0.3) * 2 * math.pi / 0.3) * torch.sin(y * 2 * math.pi / 0.3)
        amount = smoothstep(-0.04, 0.04, wave)
    else:
        amount = smoothstep(0.9, 0.1, y) * 1.5
        base = base * 0.7
    return (base + amount[..., None] * (light - base)).clamp(0, 1)


def _blend(colour: Tensor, amount: Tensor, paint: tuple[int, int, int]) -> Tensor:
    return colour + amount[..., None] * (torch.tensor(paint) / 255 - colour)


def _window(x: Tensor, y: Tensor, phase: float) -> Tensor:
    colour = (torch.tensor([206.0, 196.0, 180.0]) / 255).expand(*x.shape, 3)
    shift = 0.06 * (phase - 0.5)
    pane = (x - 0.5 - shift).abs()
    inside = (pane < 0.40) & (y > 0.06) & (y < 0.78)
    frame = inside & (
        (pane < 0.025) | (pane > 0.37) | (y < 0.09) | (y > 0.75) | ((y - 0.42).abs() < 0.02)
    )
    sky = _blend(colour, torch.ones_like(x), (150, 202, 240))
    sky = _blend(sky, smoothstep(0.3, 0.78, y), (226, 242, 250))
    colour = torch.where(inside[..., None], sky, colour)
    return _blend(colour, frame.float(), (250, 250, 248))


def _sunset(x: Tensor, y: Tensor, phase: float) -> Tensor:
    colour = (torch.tensor([92.0, 60.0, 128.0]) / 255).expand(*x.shape, 3)
    colour = _blend(colour, smoothstep(0.0, 0.40, y), (226, 92, 96))
    colour = _blend(colour, smoothstep(0.30, 0.66, y), (252, 186, 84))
    sun = (x - 0.12 - 0.76 * phase) ** 2 + (y - 0.52) ** 2
    colour = _blend(colour, smoothstep(0.0125, 0.0110, sun), (255, 244, 190))
    return _blend(colour, smoothstep(0.675, 0.685, y), (44, 50, 98))


def _forest(x: Tensor, y: Tensor, phase: float) -> Tensor:
    colour = (torch.tensor([186.0, 216.0, 168.0]) / 255).expand(*x.shape, 3)
    for layer, (tree, width) in enumerate((((104, 152, 96), 0.17), ((46, 98, 62), 0.23))):
        u = torch.remainder(x + phase * width + 0.07 * layer, width) / width - 0.5
        top = 0.02 + 0.13 * layer
        tier = torch.remainder(y - top, 0.22) / 0.22
        half = (y > top) * (0.12 + 0.34 * tier)
        colour = _blend(colour, ((half - u.abs()) * 30).clamp(0, 1), tree)
    return _blend(colour, smoothstep(0.90, 0.92, y), (84, 120, 60))
