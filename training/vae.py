"""Stage ``vae``: the tiny autoencoder, 128 px to a 4 x 16 x 16 latent of Stable Diffusion's scale."""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional as F

from .demo_data import Pictures

SCALE = 0.18215  # Stable Diffusion 1.x
_FEATURE_WEIGHT = 3.5  # eyes, brows and mouth are small and matter most
_KL_WEIGHT = 3e-4


class VAETask(nn.Module):
    """Reconstruction (L1 + 3 L2 + 0.7 gradient, features weighted) plus a light KL term."""

    def __init__(self, vae: AutoencoderKL, pictures: Pictures, batch: int, crop: int) -> None:
        super().__init__()
        self.vae = vae
        self.pictures = pictures
        self.batch = batch
        self.crop = crop

    def forward(self, generator: torch.Generator) -> dict[str, Tensor]:
        pick = torch.randint(len(self.pictures), (self.batch,), generator=generator)
        rgb = self.pictures.rgb[pick].float() / 127.5 - 1
        weight = 1 + (_FEATURE_WEIGHT - 1) * (self.pictures.parts[pick] >= 3).float()[:, None]
        rgb, weight = self._cropped(rgb, weight, generator)
        posterior = self.vae.encode(rgb).latent_dist  # type: ignore[union-attr]
        noise = torch.randn(posterior.mean.shape, generator=generator)
        latent = posterior.mean + posterior.std * noise.to(posterior.mean)
        out = self.vae.decode(latent).sample.float()  # type: ignore[union-attr]
        difference = (out - rgb) * 0.5
        error = difference.abs() + 3 * difference.square()
        slope = _slopes(difference)
        kl = 0.5 * (posterior.mean.float().square() + posterior.var.float() - 1)
        kl = (kl - 0.5 * posterior.logvar.float()).mean()
        loss = (error * weight).mean() + 0.7 * slope + _KL_WEIGHT * kl
        psnr = -10 * difference.detach().square().mean().log10()
        return {"loss": loss, "psnr": psnr, "kl": kl.detach()}

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


def _slopes(difference: Tensor) -> Tensor:
    across = F.l1_loss(difference[..., 1:], difference[..., :-1])
    down = F.l1_loss(difference[..., 1:, :], difference[..., :-1, :])
    return across + down


@torch.no_grad()
def fold_latent_scale(vae: AutoencoderKL, latents: Tensor) -> None:
    """Fold mean and deviation of each latent channel into the quant convolutions, in place.

    Afterwards latents times 0.18215 have mean 0 and deviation 1 in every channel, as users of
    Stable Diffusion's constant expect.

    Args:
        vae: The trained autoencoder.
        latents: Posterior means [N, 4, h, w] of training pictures, before the fold.
    """
    mean = latents.mean((0, 2, 3))
    gain = 1 / (latents.std((0, 2, 3)) * SCALE)
    quant, post = vae.quant_conv, vae.post_quant_conv
    z = gain.numel()
    # Moments are [mean, log variance]: the mean moves and scales, the log variance shifts.
    quant.weight[:z] *= gain[:, None, None, None]  # type: ignore[union-attr]
    quant.bias[:z] = (quant.bias[:z] - mean) * gain  # type: ignore[union-attr]
    quant.bias[z:] += 2 * gain.log()  # type: ignore[union-attr]
    post.bias += (post.weight[:, :, 0, 0] @ mean)  # type: ignore[union-attr]
    post.weight /= gain[None, :, None, None]  # type: ignore[union-attr]


@torch.inference_mode()
def encode_all(vae: AutoencoderKL, rgb: Tensor, batch: int = 64) -> Tensor:
    """Posterior means [N, 4, h, w], unscaled, of byte pictures [N, 3, H, W]."""
    parts = []
    for start in range(0, len(rgb), batch):
        pictures = rgb[start : start + batch].float() / 127.5 - 1
        parts.append(vae.encode(pictures).latent_dist.mean.float())  # type: ignore[union-attr]
    return torch.cat(parts)
