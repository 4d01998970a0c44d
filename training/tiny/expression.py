"""Stage ``expression``: the analyzer's expression reader, for renders and for what the VAE leaves.

Generated images have passed through the autoencoder, which softens lids and lips. A reader that
knows renders only reads a third less in them, so half of each batch are reconstructions.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from tqdm import tqdm

from ...demo.networks.expression_reader import ExpressionReader
from .augment import augmented_parts
from .data import Images

#: Of the image. The analyzer is off by 0.01 in most points of a face alike; single points that
#: are shaken more move the crop, which looks at their means, about as far.
_JITTER = 0.03
_AT_ONCE = 32


class ExpressionTask(nn.Module):
    """Squared error of the blendshapes; every face is cropped around its true landmarks, shaken.

    Args:
        reader: What learns.
        images: Renders.
        reconstructed: The same images as the autoencoder gives them back, bytes [N, 3, 128, 128].
        batch: Samples a step, an even number.
    """

    def __init__(
        self, reader: ExpressionReader, images: Images, reconstructed: Tensor, batch: int
    ) -> None:
        super().__init__()
        self.reader = reader
        self.kinds = (images, replace(images, rgb=reconstructed))
        self.batch = batch

    def forward(self, generator: torch.Generator) -> dict[str, Tensor]:
        parts = augmented_parts(self.kinds, self.batch, generator)
        rgb = torch.cat([part.rgb for part in parts])
        truth = torch.cat([part.heads.expression for part in parts])
        landmarks = torch.cat([part.landmarks for part in parts])
        jitter = torch.randn(landmarks.shape, generator=generator)
        read = self.reader(rgb, landmarks + _JITTER * jitter).float()
        error = (read - truth).square().mean(1)
        renders, reconstructions = error.detach().chunk(2)
        return {
            "loss": error.mean(),
            "renders": renders.mean(),
            "reconstructions": reconstructions.mean(),
        }


@torch.inference_mode()
def reconstructions(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """Byte images [N, 3, H, W] of unscaled latents [N, 4, h, w]."""
    found = []
    for some in tqdm(latents.split(_AT_ONCE), desc=f"decode {_AT_ONCE} images"):
        with torch.autocast(vae.device.type, torch.bfloat16):
            decoded = vae.decode(some).sample  # type: ignore[union-attr]
        found.append(((decoded.float() / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8))
    return torch.cat(found)
