"""The last part of stage ``vae``: perceptual and adversarial terms.

Plain reconstruction errors blur what the latents do not determine: lids, lips, hair. As in latent
diffusion (arXiv 2112.10752, appendix G) a perceptual term compares features of a network (here the
analyzer's trunk) and an adversarial term asks that patches look real. The latter counts on heads
only: faces are what the tiny world is about, and around them a wrong texture would be worse than a
blurred one.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from ...demo.networks.convnet import Trunk
from .data import Images
from .vae import SCALE, feature_weight, reconstruction

_PERCEPTUAL, _ADVERSARIAL = 0.1, 0.008
_DISCRIMINATOR = 0.05
_RESIDUAL_NOISE = 0.03
"""Of the latents, as a diffusion model leaves it after its last step."""


class PerceptualTask(nn.Module):
    """Reconstruction, perceptual and adversarial losses of whole images.

    One optimizer trains autoencoder and discriminator: each loss has gradients in one of them.

    Args:
        trunk: The analyzer's, frozen.
    """

    def __init__(self, vae: AutoencoderKL, images: Images, trunk: Trunk, batch: int) -> None:
        super().__init__()
        self.vae, self.images, self.batch = vae, images, batch
        self.trunk = trunk.requires_grad_(False)
        self.discriminator = patch_discriminator()

    def train(self, mode: bool = True) -> PerceptualTask:
        """All but the trunk, whose batch norms keep their statistics."""
        super().train(mode)
        self.trunk.eval()
        return self

    def forward(self, generator: torch.Generator) -> dict[str, Tensor]:
        pick = torch.randint(len(self.images), (self.batch,), generator=generator)
        rgb = self.images.rgb[pick].float() / 127.5 - 1
        parts, head = self.images.parts[pick], self.images.head[pick]
        if bool(torch.rand((), generator=generator) < 0.5):
            rgb, parts, head = rgb.flip(-1), parts.flip(-1), head.flip(-1)
        mean = self.vae.encode(rgb).latent_dist.mean  # type: ignore[union-attr]
        # Half of the latents are exact: images are encoded as well as generated.
        noisy = torch.randint(2, (self.batch, 1, 1, 1), generator=generator)
        noise = _RESIDUAL_NOISE / SCALE * noisy * torch.randn(mean.shape, generator=generator)
        out = self.vae.decode(mean + noise.to(mean)).sample.float()  # type: ignore[union-attr]
        error, psnr = reconstruction(out, rgb, feature_weight(parts))
        perceptual = self._perceptual(out, rgb)
        apart, fooled = self._adversarial(out, rgb, head)
        loss = error + _PERCEPTUAL * perceptual + _ADVERSARIAL * fooled + _DISCRIMINATOR * apart
        terms = {"perceptual": perceptual, "fooled": fooled, "apart": apart}
        return {"loss": loss, "psnr": psnr, **{name: term.detach() for name, term in terms.items()}}

    def _perceptual(self, out: Tensor, rgb: Tensor) -> Tensor:
        """Distance of the trunk's features, each of unit norm over its channels (LPIPS)."""
        with torch.no_grad():
            true = self.trunk(rgb / 2 + 0.5)
        total = out.new_zeros(())
        for seen, wanted in zip(self.trunk(out / 2 + 0.5), true, strict=True):
            seen, wanted = (F.normalize(x.float(), dim=1) for x in (seen, wanted))
            total = total + (seen - wanted).square().sum(1).mean()
        return total

    def _adversarial(self, out: Tensor, rgb: Tensor, head: Tensor) -> tuple[Tensor, Tensor]:
        """The discriminator's hinge loss, and that of the decoder."""
        real, fake = (self.discriminator(x).float() for x in (rgb, out.detach()))
        frozen = {name: p.detach() for name, p in self.discriminator.named_parameters()}
        passed = functional_call(self.discriminator, frozen, (out,)).float()
        where = F.adaptive_avg_pool2d(head[:, None].float(), real.shape[-2:])
        count = where.sum().clamp(min=1)
        apart = ((F.relu(1 - real) + F.relu(1 + fake)) * where).sum() / count
        return apart, -(passed * where).sum() / count


def patch_discriminator() -> nn.Sequential:
    """[B, 3, H, W] in -1..1 -> logits [B, 1, H / 8, W / 8] of patches; high means real."""

    def down(channels: int, out: int) -> list[nn.Module]:
        return [nn.Conv2d(channels, out, 4, 2, 1), nn.GroupNorm(8, out), nn.SiLU()]

    first = [nn.Conv2d(3, 32, 4, 2, 1), nn.SiLU()]
    return nn.Sequential(*first, *down(32, 64), *down(64, 96), nn.Conv2d(96, 1, 3, 1, 1))
