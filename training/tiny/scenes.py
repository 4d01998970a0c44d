"""Scenes of the stage ``sfsr``: latents of the training images with their heads emptied."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from ...demo.networks.analyzer import TinyAnalyzer
from ...faces.masks.face_mask import head_mask
from ...faces.mirror import MIRROR_SHAPES
from ...faces.pixels import to_uint8
from ...pipelines.tiny.scenes import GROW
from ...sfsr.background import emptied, latent_mask
from .augment import PART_GRID
from .data import PER_PERSON, Images
from .vae import FIRST_FEATURE, encode_all

_BATCH = 64
_LATENT = 16


@dataclass(frozen=True, eq=False)
class Scenes:
    """Scenes of N training images; tensors of 2N rows hold the mirror images in the second half.

    A scene is emptied not only where its own head is but also in the area of another head. The
    outline of the own head alone would reveal the hair, and an adapter trained on it would give
    everybody the hair of the person in the scene.

    emptied: Latents of the images with grey heads [2N, 4, 16, 16], unscaled.
    masks: [2N, 1, 16, 16], 1 = emptied. heads: The same for the own head alone.
    features: Fraction of each cell that is eye, brow or mouth [2N, 1, 16, 16].
    identities: [N, 512]. read: Blendshapes as read by the analyzer [2N, 51].
    """

    emptied: Tensor
    masks: Tensor
    heads: Tensor
    features: Tensor
    identities: Tensor
    read: Tensor

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by the names of the constructor's arguments, for a file."""
        return dict(vars(self))


@torch.inference_mode()
def encode_scenes(images: Images, vae: AutoencoderKL, analyzer: TinyAnalyzer) -> Scenes:
    """Empty, encode and read all images; this takes some minutes for 20,000."""
    identities = []
    sides: list[list[dict[str, Tensor]]] = [[], []]
    starts = range(0, len(images), _BATCH)
    for start in tqdm(starts, desc=f"scenes of {_BATCH} images"):
        rgb = images.rgb[start : start + _BATCH]
        own = _masks(images.head[start : start + _BATCH])
        # A shift by PER_PERSON, because neighbours in the list are the same person.
        wide = torch.maximum(own, own.roll(PER_PERSON, 0))
        grey = to_uint8(emptied(rgb.float() / 255, wide))
        small = {
            name: latent_mask(mask, _LATENT, _LATENT)
            for name, mask in (("masks", wide), ("heads", own))
        }
        with torch.autocast(rgb.device.type, torch.bfloat16):
            seen = analyzer(rgb.float() / 255)
        read = seen.blendshapes.float().clamp(0, 1)
        identities.append(seen.identity.float())
        for side, turned in zip(sides, (lambda x: x, lambda x: x.flip(-1)), strict=True):
            masks = {name: turned(mask) for name, mask in small.items()}
            side.append({"emptied": encode_all(vae, turned(grey)), **masks})
        sides[0][-1]["read"], sides[1][-1]["read"] = read, read[:, MIRROR_SHAPES]
    parts = [part for side in sides for part in side]
    return Scenes(
        features=_features(images.parts),
        identities=torch.cat(identities),
        **{name: torch.cat([part[name] for part in parts]) for name in parts[0]},
    )


def _features(parts: Tensor) -> Tensor:
    """Features of byte parts [N, 128, 128], followed by those of the mirror images."""
    pooled = [
        F.adaptive_avg_pool2d((part[:, None] >= FIRST_FEATURE).float(), _LATENT)
        for part in parts.split(_BATCH)
    ]
    own = torch.cat(pooled)
    return torch.cat([own, own.flip(-1)])


def _masks(head: Tensor) -> Tensor:
    """Head masks [B, 1, 128, 128] of byte heads [B, 128, 128], made as from the analyzer's."""
    step = head.shape[-1] // PART_GRID
    cells = head[:, step // 2 :: step, step // 2 :: step].float() * 2 - 1
    return head_mask(cells, *head.shape[-2:], grow=GROW)[:, None]
