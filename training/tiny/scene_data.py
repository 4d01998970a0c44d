"""Scenes of the stage ``sfsr``: the training images with their heads emptied, as latents."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from ...demo.networks.analyzer import TinyAnalyzer
from ...faces.masks.head_mask import head_mask
from ...pipelines.tiny.scenes import GROW
from ...sfsr.background import emptied, latent_mask
from .augment import PART_GRID
from .data import MIRROR_SHAPES, PER_PERSON, Images
from .vae import FIRST_FEATURE, encode_all

_AT_ONCE = 64
_LATENT = 16


@dataclass(frozen=True, eq=False)
class SceneData:
    """What is known of N training images; 2N rows hold mirror images in the second half.

    A scene is emptied where the head itself is and where another one would be, too. The outline of
    a person's own head tells of the hair, and who learns from it gives everybody the hair of
    whoever was in the scene.

    emptied: Latents of the images with grey heads [2N, 4, 16, 16], unscaled.
    masks: [2N, 1, 16, 16], 1 = emptied. heads: The same of the own head alone.
    features: How much of each cell is eye, brow or mouth [2N, 1, 16, 16].
    identities: [N, 512]; read: expressions as the analyzer sees them [2N, 51].
    """

    emptied: Tensor
    masks: Tensor
    heads: Tensor
    features: Tensor
    identities: Tensor
    read: Tensor

    def tensors(self) -> dict[str, Tensor]:
        """For a file; the constructor's keywords."""
        return dict(vars(self))


@torch.inference_mode()
def scene_data(images: Images, vae: AutoencoderKL, analyzer: TinyAnalyzer) -> SceneData:
    """Empty, encode and read all images: some minutes for 20,000."""
    identities = []
    sides: list[list[dict[str, Tensor]]] = [[], []]
    starts = range(0, len(images), _AT_ONCE)
    for start in tqdm(starts, desc=f"scenes of {_AT_ONCE} images"):
        rgb = images.rgb[start : start + _AT_ONCE]
        own = _masks(images.head[start : start + _AT_ONCE])
        # Neighbours in the list are the same person.
        wide = torch.maximum(own, own.roll(PER_PERSON, 0))
        grey = (emptied(rgb.float() / 255, wide) * 255).round().to(torch.uint8)
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
    return SceneData(
        features=_features(images.parts),
        identities=torch.cat(identities),
        **{name: torch.cat([part[name] for part in parts]) for name in parts[0]},
    )


def _features(parts: Tensor) -> Tensor:
    """Of byte parts [N, 128, 128]; mirror images behind."""
    pooled = [
        F.adaptive_avg_pool2d((some[:, None] >= FIRST_FEATURE).float(), _LATENT)
        for some in parts.split(_AT_ONCE)
    ]
    own = torch.cat(pooled)
    return torch.cat([own, own.flip(-1)])


def _masks(head: Tensor) -> Tensor:
    """Of byte heads [B, 128, 128] as of the analyzer's: [B, 1, 128, 128]."""
    step = head.shape[-1] // PART_GRID
    cells = head[:, step // 2 :: step, step // 2 :: step].float() * 2 - 1
    return head_mask(cells, *head.shape[-2:], grow=GROW)[:, None]
