"""The scene that stays: emptied of its face, for the model to see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from ...errors import InputError
from ..images import channels_first, channels_last, checked_mask
from .sockets import CATEGORY, BackgroundSocket, SceneBackground

if TYPE_CHECKING:
    from torch import Tensor

NAME = "SFSR Background"
ORDERS = ("mask first", "latent first")
"""As in ``sfsr.background``, which is imported when the node runs."""
_CELL = 8
"""Pixels of a latent's cell."""


class Background(io.ComfyNode):
    """Scene + mask -> what the model is shown of it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SFSR_Background",
            display_name=NAME,
            category=CATEGORY,
            description="Removes the face from a scene and gives the model the rest, so that the "
            "new face fits in. The old face is painted grey before the VAE encodes the scene: "
            "nothing of it leaks.",
            search_aliases=[
                "inpaint",
                "keep background",
                "scene",
                "face swap",
                "conditioning",
                "swap",
                "inpaint face",
            ],
            inputs=[
                io.Image.Input(
                    "image", tooltip="The scene; width and height must be multiples of 8."
                ),
                io.Mask.Input(
                    "mask",
                    tooltip="White where the new face goes: from Face Mask or Mask from Faces. "
                    "For the tiny world use the head with its hair.",
                ),
                io.Vae.Input("vae", tooltip="Of the base model."),
                io.Float.Input(
                    "grow",
                    default=0.04,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Margin around the mask, as a fraction of the face's diameter.",
                ),
                io.Combo.Input(
                    "order",
                    options=list(ORDERS),
                    default=ORDERS[0],
                    tooltip="Only for inpainting models: order of their extra channels. mask first "
                    "is Stable Diffusion's order and right unless the model's author says "
                    "otherwise.",
                ),
            ],
            outputs=[
                BackgroundSocket.Output(
                    "background", display_name="background", tooltip="For Apply SFSR."
                ),
                io.Latent.Output(
                    "latent",
                    display_name="latent",
                    tooltip="The scene without its face for the sampler, with a noise mask: "
                    "outside the mask it stays as it is. Use denoise 1.",
                ),
                io.Image.Output(
                    "emptied",
                    display_name="emptied",
                    tooltip="The scene without its face, as an image.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls, image: Tensor, mask: Tensor, vae: Any, grow: float, order: str
    ) -> io.NodeOutput:
        from torch.nn.functional import interpolate

        from ...faces.masks.dilate import dilate_by_fraction
        from ...sfsr.background import checked_face_mask, emptied, noise_mask, start_latent
        from ..host.execution import steps

        scene = channels_first(image, NAME)
        face = _for_scenes(checked_mask(mask, NAME)[:, None], scene)
        face = checked_face_mask(dilate_by_fraction(checked_face_mask(face, scene), grow), scene)
        empty = channels_last(emptied(scene, face))
        step = steps(2)
        latent = vae.encode(empty)
        step()
        # In float32: the host's latents may be of half precision (--fp16-intermediates).
        background = SceneBackground(face.cpu(), latent.float().cpu(), order)
        redrawn = noise_mask(face, *latent.shape[-2:])
        start = start_latent(vae.encode(channels_last(scene)), latent, redrawn)
        step()
        # As large as the scene, for nodes that show it; the host's resizing gives the cells back.
        shown = interpolate(redrawn, face.shape[-2:], mode="nearest")
        return io.NodeOutput(background, {"samples": start, "noise_mask": shown}, empty)


def _for_scenes(mask: Tensor, scene: Tensor) -> Tensor:
    """One mask for each scene.

    Raises:
        InputError: There are other numbers of them, or a side that 8 does not divide.
    """
    width, height = scene.shape[-1], scene.shape[-2]
    if width % _CELL or height % _CELL:
        raise InputError(
            f"the scene has {width}x{height} px",
            where=NAME,
            fix=f"Crop or resize it to sides that {_CELL} divides",
        )
    if len(mask) not in (1, len(scene)):
        raise InputError(
            f"there are {len(mask)} masks for {len(scene)} scenes",
            where=NAME,
            fix="Give one for all or exactly one for each",
        )
    return mask.expand(len(scene), -1, -1, -1)
