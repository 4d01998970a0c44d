"""The scene as an explicit input of the UNet, with the face region blanked out.

The paper calls this "explicit background conditioning" and does not publish the channels. Here the
face in the scene image is replaced by grey **before** VAE encoding: a latent masked afterwards
leaks the original face into neighbouring cells. The UNet gets that latent and the mask, in its own
nine channels if it is an inpainting UNet, through :class:`BackgroundHint` if it has four.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError
from ..faces.masks.face_mask import dilate

GREY = 0.5
GROW = 0.04
"""How far the mask goes beyond the face, as a share of the face's diameter."""
HOST, LATENT_FIRST = "mask first", "latent first"
ORDERS = (HOST, LATENT_FIRST)
"""Of the five channels: the host's and Stable Diffusion's, or REFace's (mask last)."""
STEERING = (*range(0, 17), *range(27, 48))
"""The 68 iBUG points that may say how the scene's head is turned: jaw, nose, eyes. Brows and mouth
would tell the old expression too."""


def checked_face_mask(mask: Tensor, image: Tensor) -> Tensor:
    """A mask [B, 1, H, W] that fits its image [B, 3, H, W]; 1 = the new face.

    Raises:
        InputError: Sizes differ, values are no shares, or the mask covers nothing or everything.
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
        raise InputError("the mask covers nothing", fix="Paint white where the new face comes")
    if not bool((covered[1] < 1).all()):
        raise InputError("the mask covers everything", fix="Leave the scene around the face black")
    return mask


def dilated(mask: Tensor, share: float = GROW) -> Tensor:
    """[B, 1, H, W] with a margin: a share of the diameter of a disc as large as its white."""
    each = []
    for one in mask.split(1):
        diameter = float((4 / torch.pi * one.sum()).sqrt())
        each.append(dilate(one, round(share * diameter)))
    return torch.cat(each)


def emptied(image: Tensor, mask: Tensor) -> Tensor:
    """The scene [B, 3, H, W] in 0..1 with plain grey in every pixel that the mask touches at all.

    Raises:
        InputError: As :func:`checked_face_mask`.
    """
    return torch.where(checked_face_mask(mask, image) > 0, GREY, image)


def latent_mask(mask: Tensor, height: int, width: int) -> Tensor:
    """[B, 1, H, W] -> [B, 1, height, width] of latents: 1 wherever a pixel is touched."""
    return F.adaptive_max_pool2d((mask > 0).to(torch.float32), (height, width))


def start_latent(scene: Tensor, empty: Tensor, mask: Tensor) -> Tensor:
    """What a sampling with a noise mask starts from and puts back [B, 4, h, w].

    The scene's own latent wherever any of it is kept: that of the emptied one is another there too,
    for the VAE looks around (in the tiny world 24 dB instead of 29 beside the mask). Within the
    mask the emptied one: even under the most noise a latent tells of the old face.

    Args:
        scene, empty: Latents of the scene as it is and emptied.
        mask: [B, 1, H, W] in 0..1, 1 = the new face.
    """
    keep = F.interpolate(1 - mask.to(scene), scene.shape[-2:], mode="bilinear")
    return torch.where(keep > 0, scene, empty)


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
    """Five background channels -> what is added behind the first convolution of a 4-channel UNet.

    Like the five extra channels of an inpainting UNet's first convolution, with one layer more;
    the last one is zero at first, so that an untrained hint changes nothing.
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


def growing_mask(mask: Tensor, done: float, full_at: float = 0.6) -> Tensor:
    """How much of the scene is put back [B, 1, h, w] when latents are blended for want of a hint.

    Little at first and all from ``full_at`` on, so that face and scene find to each other, after
    DiffFace (arXiv 2212.13344).

    Args:
        mask: 1 = the new face.
        done: Share of the sampling that is done, 0..1.
        full_at: Share from which the whole scene is kept; 0 keeps it from the start.
    """
    return (1 - mask) * (min(1.0, done / full_at) if full_at > 0 else 1.0)


def steering_points(landmarks: Tensor) -> Tensor:
    """The iBUG points [B, 68, 2] that may steer the pose [B, 38, 2]: see :data:`STEERING`.

    Raises:
        InputError: There are not 68 points.
    """
    if landmarks.ndim != 3 or landmarks.shape[1] != 68:
        raise InputError(
            f"68 points of a face are needed, got shape {list(landmarks.shape)}",
            fix="Use an analyzer with 68 landmarks",
        )
    return landmarks[:, list(STEERING)]
