"""The scene as an explicit input of the UNet, with the face region blanked out.

The paper calls this "explicit background conditioning" and does not publish the channels. Here the
face in the scene image is replaced by grey **before** VAE encoding: a latent masked afterwards
leaks the original face into neighbouring cells. The UNet gets that latent and the mask, in its own
nine channels if it is an inpainting UNet, through :class:`BackgroundHint` if it has four.

Masks follow the host: 1 = redraw.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError

GREY = 0.5
GROW = 0.04
"""Margin of the mask around the face, as a fraction of the face's diameter."""
HOST, LATENT_FIRST = "mask first", "latent first"
ORDERS = (HOST, LATENT_FIRST)
"""Of the five channels: the host's and Stable Diffusion's, or REFace's (mask last)."""
_WHITE = 1 - 0.5 / 255
"""From here on a mask is white: that of a resized or rotated one may be 0.9999988."""


def checked_face_mask(mask: Tensor, image: Tensor) -> Tensor:
    """A mask [B, 1, H, W] that fits its image [B, 3, H, W]; 1 = the new face.

    Raises:
        InputError: Sizes differ, values outside 0..1, or the mask covers nothing or everything.
    """
    if mask.shape[-2:] != image.shape[-2:]:
        have, want = ("x".join(map(str, x.shape[:-3:-1])) for x in (mask, image))
        raise InputError(
            f"the mask has {have} px, the scene {want}", fix="Make the mask from this scene"
        )
    if not bool(((mask >= 0) & (mask <= 1)).all()):
        raise InputError("the mask has values outside 0..1", fix="Give a mask of 0 and 1")
    covered = mask.flatten(1).amax(1), mask.flatten(1).amin(1)
    if not bool((covered[0] > 0).all()):
        raise InputError("the mask covers nothing", fix="Paint white where the new face goes")
    if not bool((covered[1] < 1).all()):
        raise InputError("the mask covers everything", fix="Leave the scene around the face black")
    return mask


def emptied(image: Tensor, mask: Tensor) -> Tensor:
    """The scene [B, 3, H, W] in 0..1, plain grey wherever the mask is above 0.

    Raises:
        InputError: As :func:`checked_face_mask`.
    """
    return torch.where(checked_face_mask(mask, image) > 0, GREY, image)


def latent_mask(mask: Tensor, height: int, width: int) -> Tensor:
    """[B, 1, H, W] -> [B, 1, height, width] of latents: 1 where any pixel of the cell is masked."""
    return F.adaptive_max_pool2d((mask > 0).to(torch.float32), (height, width))


def noise_mask(mask: Tensor, height: int, width: int) -> Tensor:
    """[B, 1, H, W] in 0..1 -> [B, 1, height, width] of latents: how much sampling redraws of each.

    The least of a cell's pixels: a cell that shows anything of the scene stays the scene's. A mask
    that is resized, as the host does it, gives such cells away (docs/sfsr.md: 2 to 3 dB).

    Raises:
        InputError: In one of the masks no cell is covered.
    """
    small = -F.adaptive_max_pool2d(-mask, (height, width))
    if not bool((small.flatten(1).amax(1) > 0).all()):
        raise InputError(
            "the mask is too small: it covers no cell of the latent",
            fix="Make the mask larger, or crop the scene to the head",
        )
    return small.masked_fill(small >= _WHITE, 1)


def start_latent(scene: Tensor, empty: Tensor, mask: Tensor) -> Tensor:
    """The latent that a sampling with a noise mask starts from and keeps [B, 4, h, w].

    The scene's own latent wherever any of it is kept: the emptied scene's differs there too,
    because the VAE's receptive field is large (in the tiny world 24 dB instead of 29 beside the
    mask). Inside the mask the emptied scene's: even at the highest noise level a latent carries
    traces of the old face.

    Args:
        scene, empty: Latents of the scene as it is and emptied.
        mask: The sampling's :func:`noise_mask` [B, 1, h, w].
    """
    return torch.where(mask.to(scene) < 1, scene, empty)


def background_channels(mask: Tensor, latent: Tensor, order: str = HOST) -> Tensor:
    """Mask [B, 1, h, w] and the emptied scene's latent [B, 4, h, w] as five channels.

    The latent is scaled as the UNet's own input is.

    Raises:
        InputError: The order is unknown.
    """
    if order not in ORDERS:
        raise InputError(f"the order {order!r} is unknown", fix=f"Use {' or '.join(ORDERS)}")
    parts = [mask.to(latent), latent]
    return torch.cat(parts if order == HOST else parts[::-1], 1)


class BackgroundHint(nn.Module):
    """Five background channels -> features added after the first convolution of a 4-channel UNet.

    Like the five extra channels of an inpainting UNet's first convolution, one layer deeper. The
    last layer starts at zero, so an untrained hint changes nothing.
    """

    def __init__(self, channels: int, hidden: int = 64) -> None:
        super().__init__()
        self.first = nn.Conv2d(5, hidden, 3, padding=1)
        self.last = nn.Conv2d(hidden, channels, 3, padding=1)
        for weight in self.last.parameters():
            nn.init.zeros_(weight)

    def forward(self, background: Tensor) -> Tensor:
        """[B, 5, h, w], mask first -> [B, C, h, w]."""
        return self.last(F.silu(self.first(background)))


def scheduled_mask(mask: Tensor, done: float, full_at: float = 0.6) -> Tensor:
    """The mask [B, 1, h, w] of one step when latents are blended because there is no hint.

    Everything is redrawn at first, and the mask alone from ``full_at`` on, so that the face and the
    scene adapt to each other; after DiffFace (arXiv 2212.13344).

    Args:
        mask: 1 = the new face.
        done: Fraction of the sampling that is done, 0..1.
        full_at: Fraction from which the whole scene is kept; 0 keeps it from the start.
    """
    return 1 - (1 - mask) * (min(1.0, done / full_at) if full_at > 0 else 1.0)
