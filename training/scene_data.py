"""Scenes of the stage ``sfsr``: the training pictures with their heads emptied, as latents."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from tqdm import tqdm

from ..demo.analyzer import TinyAnalyzer
from ..faces.head_mask import head_mask
from ..pipelines.scenes import GROW
from ..sfsr.background import emptied, latent_mask
from .augment import PART_GRID
from .demo_data import MIRROR_SHAPES, Pictures
from .vae import encode_all

_AT_ONCE = 64
_LATENT = 16


@dataclass(frozen=True, eq=False)
class SceneData:
    """What is known of N training pictures; 2N rows hold mirror images in the second half.

    emptied: Latents of the pictures with grey heads [2N, 4, 16, 16], unscaled.
    masks: [2N, 1, 16, 16], 1 = emptied.
    identities: [N, 512]; read: expressions as the analyzer sees them [2N, 51].
    """

    emptied: Tensor
    masks: Tensor
    identities: Tensor
    read: Tensor

    def tensors(self) -> dict[str, Tensor]:
        """For a file; the constructor's keywords."""
        return dict(vars(self))


@torch.inference_mode()
def scene_data(pictures: Pictures, vae: AutoencoderKL, analyzer: TinyAnalyzer) -> SceneData:
    """Empty, encode and read all pictures: some minutes for 20,000."""
    found: dict[str, list[Tensor]] = {"identities": []}
    both: dict[str, tuple[list[Tensor], list[Tensor]]] = {
        name: ([], []) for name in ("emptied", "masks", "read")
    }
    parts = range(0, len(pictures), _AT_ONCE)
    for start in tqdm(parts, desc=f"scenes of {_AT_ONCE} pictures"):
        rgb = pictures.rgb[start : start + _AT_ONCE]
        mask = _masks(pictures.head[start : start + _AT_ONCE])
        grey = (emptied(rgb.float() / 255, mask) * 255).round().to(torch.uint8)
        small = latent_mask(mask, _LATENT, _LATENT)
        with torch.autocast(rgb.device.type, torch.bfloat16):
            seen = analyzer(rgb.float() / 255)
        read = seen.blendshapes.float().clamp(0, 1)
        found["identities"].append(seen.identity.float())
        for side, turn in enumerate((lambda x: x, lambda x: x.flip(-1))):
            both["emptied"][side].append(encode_all(vae, turn(grey)))
            both["masks"][side].append(turn(small))
        both["read"][0].append(read)
        both["read"][1].append(read[:, MIRROR_SHAPES])
    joined = {name: torch.cat([*first, *second]) for name, (first, second) in both.items()}
    return SceneData(identities=torch.cat(found["identities"]), **joined)


def _masks(head: Tensor) -> Tensor:
    """Of byte heads [B, 128, 128] as of the analyzer's: [B, 1, 128, 128]."""
    step = head.shape[-1] // PART_GRID
    cells = head[:, step // 2 :: step, step // 2 :: step].float() * 2 - 1
    return head_mask(cells, *head.shape[-2:], grow=GROW)[:, None]
