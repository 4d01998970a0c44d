"""Stages ``vae`` and ``decoder``: from 128 px to 4 x 16 x 16 latents, scaled as in SD 1.x."""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional as F

from .data import Images, Latents

SCALE = 0.18215  # Stable Diffusion 1.x
FIRST_FEATURE = 3
"""Part classes from here on are eyes, brows and mouth."""
_FEATURE_WEIGHT = 3.5  # eyes, brows and mouth are small but matter most
_KL_WEIGHT = 3e-4
_RESIDUAL_NOISE = 0.03


class VAETask(nn.Module):
    """Reconstruction (L1 + 3 L2 + 0.7 gradient, features weighted) plus a small KL term."""

    def __init__(self, vae: AutoencoderKL, images: Images, batch: int, crop: int) -> None:
        super().__init__()
        self.vae, self.images = vae, images
        self.batch, self.crop = batch, crop

    def forward(self, generator: torch.Generator) -> dict[str, Tensor]:
        pick = torch.randint(len(self.images), (self.batch,), generator=generator)
        rgb = self.images.rgb[pick].float() / 127.5 - 1
        weight = feature_weight(self.images.parts[pick])
        rgb, weight = self._cropped(rgb, weight, generator)
        posterior = self.vae.encode(rgb).latent_dist  # type: ignore[union-attr]
        noise = torch.randn(posterior.mean.shape, generator=generator)
        latent = posterior.mean + posterior.std * noise.to(posterior.mean)
        out = self.vae.decode(latent).sample.float()  # type: ignore[union-attr]
        error, psnr = reconstruction(out, rgb, weight)
        kl = 0.5 * (posterior.mean.float().square() + posterior.var.float() - 1)
        kl = (kl - 0.5 * posterior.logvar.float()).mean()
        return {"loss": error + _KL_WEIGHT * kl, "psnr": psnr, "kl": kl.detach()}

    def _cropped(
        self, rgb: Tensor, weight: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        if bool(torch.rand((), generator=generator) < 0.5):
            rgb, weight = rgb.flip(-1), weight.flip(-1)
        room = rgb.shape[-1] - self.crop
        if room:
            y, x = (int(v) for v in torch.randint(room + 1, (2,), generator=generator))
            box = (..., slice(y, y + self.crop), slice(x, x + self.crop))
            rgb, weight = rgb[box], weight[box]
        return rgb, weight


class DecoderTask(nn.Module):
    """Reconstruction of whole images from fixed, slightly noisy latents; trains the decoder only.

    The noise imitates what a diffusion model leaves after its last step.
    """

    def __init__(self, vae: AutoencoderKL, images: Images, latents: Latents, batch: int) -> None:
        super().__init__()
        self.vae = vae
        vae.decoder.requires_grad_(True)
        vae.post_quant_conv.requires_grad_(True)  # type: ignore[union-attr]
        self.images, self.latents = images, latents
        self.batch = batch

    def forward(self, generator: torch.Generator) -> dict[str, Tensor]:
        count = len(self.images)
        pick = torch.randint(2 * count, (self.batch,), generator=generator)
        rgb = self.images.rgb[pick % count].float() / 127.5 - 1
        weight = feature_weight(self.images.parts[pick % count])
        mirrored = (pick >= count)[:, None, None, None]
        rgb = torch.where(mirrored, rgb.flip(-1), rgb)
        weight = torch.where(mirrored, weight.flip(-1), weight)
        latents = self.latents.latents[pick]
        noise = torch.randn(latents.shape, generator=generator)
        out = self.vae.decode((latents + _RESIDUAL_NOISE * noise) / SCALE).sample.float()  # type: ignore[union-attr]
        error, psnr = reconstruction(out, rgb, weight)
        return {"loss": error, "psnr": psnr}


def reconstruction(out: Tensor, rgb: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted error and PSNR in dB of images [B, 3, H, W] in -1..1; weight [B, 1, H, W]."""
    difference = (out - rgb) * 0.5
    error = difference.abs() + 3 * difference.square()
    across = F.l1_loss(difference[..., 1:], difference[..., :-1])
    down = F.l1_loss(difference[..., 1:, :], difference[..., :-1, :])
    loss = (error * weight).mean() + 0.7 * (across + down)
    return loss, -10 * difference.detach().square().mean().log10()


def feature_weight(parts: Tensor) -> Tensor:
    """Weights [B, 1, H, W] of part classes [B, H, W]."""
    return 1 + (_FEATURE_WEIGHT - 1) * (parts[:, None] >= FIRST_FEATURE).float()


@torch.no_grad()
def fuse_latent_scale(vae: AutoencoderKL, latents: Tensor) -> None:
    """Fuse mean and deviation of each latent channel into the quant convolutions, in place.

    Afterwards latents times 0.18215 have mean 0 and deviation 1 in every channel, as code for
    Stable Diffusion expects.

    Args:
        latents: Posterior means [N, 4, h, w] of training images, before fusing.
    """
    mean = latents.mean((0, 2, 3))
    gain = 1 / (latents.std((0, 2, 3)) * SCALE)
    quant, post = vae.quant_conv, vae.post_quant_conv
    z = gain.numel()
    # Moments are [mean, log variance]: the mean is shifted and scaled, the log variance shifted.
    quant.weight[:z] *= gain[:, None, None, None]  # type: ignore[union-attr]
    quant.bias[:z] = (quant.bias[:z] - mean) * gain  # type: ignore[union-attr]
    quant.bias[z:] += 2 * gain.log()  # type: ignore[union-attr]
    post.bias += post.weight[:, :, 0, 0] @ mean  # type: ignore[union-attr]
    post.weight /= gain[None, :, None, None]  # type: ignore[union-attr]


@torch.inference_mode()
def encode_all(vae: AutoencoderKL, rgb: Tensor, batch: int = 16) -> Tensor:
    """Posterior means [N, 4, h, w], unscaled, of byte images [N, 3, H, W]."""
    parts = []
    for some in rgb.split(batch):
        with torch.autocast(vae.device.type, torch.bfloat16):
            posterior = vae.encode(some.float() / 127.5 - 1).latent_dist  # type: ignore[union-attr]
        parts.append(posterior.mean.float())
    return torch.cat(parts)
