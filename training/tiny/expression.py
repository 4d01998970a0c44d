"""Stage ``expression``: the analyzer's expression reader, on renders and VAE reconstructions.

Generated images have passed through the autoencoder, which blurs eyelids and lips. A reader
trained on renders alone recognises a third less in them, so half of each batch are reconstructions.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from tqdm import tqdm

from ...demo.networks.expression_reader import ExpressionReader
from ...faces.pixels import to_uint8
from .augment import augmented_parts
from .data import Images

#: Standard deviation, in fractions of the image. The analyzer's errors of 0.01 shift most points of
#: a face together; larger independent errors shift the crop, which uses means, about as far.
_JITTER = 0.03
_BATCH = 32


class ExpressionTask(nn.Module):
    """Squared error of the blendshapes; faces are cropped around jittered true landmarks.

    Args:
        reconstructed: VAE reconstructions of the same images, bytes [N, 3, 128, 128].
        batch: Samples per step, an even number.
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
    """Decode unscaled latents [N, 4, h, w] into byte images [N, 3, H, W]."""
    found = []
    for part in tqdm(latents.split(_BATCH), desc=f"decode {_BATCH} images"):
        with torch.autocast(vae.device.type, torch.bfloat16):
            decoded = vae.decode(part).sample  # type: ignore[union-attr]
        found.append(to_uint8(decoded.float() / 2 + 0.5))
    return torch.cat(found)
