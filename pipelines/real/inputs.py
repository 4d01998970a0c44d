"""What an image on a base of one's own shows, and what of it cannot be drawn."""

from __future__ import annotations

from dataclasses import dataclass, field

from diffusers import ControlNetModel
from torch import Tensor

from ...errors import InputError
from ...faces.angles import Angles
from ...faces.identity import Identity
from ...sfsr.arc2face.prompt import identity_embedding
from ...sfsr.arc2face.reference_lora import MOST_STRENGTH, STRENGTH
from .adapters import Sources
from .controlnet import STRENGTHS
from .scene import SceneCrop

CELL = 8
"""Pixels of a side of one latent cell."""


@dataclass(frozen=True, eq=False)
class RealInputs:
    """What an image shows.

    prompt, negative: Words of both halves of the guidance.
    sources: Identity and expression (``adapters.prepare_sources``).
    weights: Of identity and expression, 1 as trained.
    lora_strength: Of the LoRA in a FaceID file.
    person: For Dense-Face or Arc2Face, by its own encoder.
    angles: For Dense-Face's pose branch; None leaves it open.
    scene: The face to draw anew; None draws the whole image.
    control_image: For the ControlNet, [1, 3, S, S] in 0..1 at the size that is drawn.
    control_strength: Of the ControlNet, 0 to 10, 1 as trained.
    reference: Whose appearance Arc2Face's reference adapter keeps, [1, 3, H, W] in 0..1 with sides
        of multiples of 8; None keeps nothing.
    reference_strength: Of that adapter's LoRA, 0 to 2.
    """

    prompt: str = ""
    negative: str = ""
    sources: Sources = field(default_factory=Sources)
    weights: tuple[float, float] = (1.0, 1.0)
    lora_strength: float = 1.0
    person: Identity | None = None
    angles: Angles | None = None
    scene: SceneCrop | None = None
    control_image: Tensor | None = None
    control_strength: float = 1.0
    reference: Tensor | None = None
    reference_strength: float = STRENGTH


def check_control(inputs: RealInputs, controlnet: ControlNetModel | None, size: int) -> None:
    """Refuse a ControlNet without its image, and the reverse.

    Raises:
        InputError: One is missing, the image has another shape, or the strength is out of range.
    """
    image, strength = inputs.control_image, inputs.control_strength
    if controlnet is None and (image is not None or strength != 1):
        raise InputError(
            "nothing reads the control image or its strength",
            where="--control-image, --control-strength",
            fix="Give a ControlNet for Stable Diffusion 1.5 as --controlnet",
        )
    if controlnet is not None and image is None:
        raise InputError(
            "this is an ordinary ControlNet, and no image for it is given",
            where="--controlnet",
            fix="Give a --control-image",
        )
    if not STRENGTHS[0] <= strength <= STRENGTHS[1]:
        raise InputError(f"the control strength is {strength:g}", fix="Choose a value from 0 to 10")
    if controlnet is None or image is None:
        return
    channels = controlnet.config["conditioning_channels"]
    if image.shape != (1, channels, size, size):
        raise InputError(
            f"the ControlNet reads images [1, {channels}, {size}, {size}], this one is "
            f"{list(image.shape)}",
            where="--control-image",
            fix="Use a ControlNet that reads colour images",
        )


def check_reference(inputs: RealInputs, readable: bool) -> None:
    """Refuse a reference image that nothing reads.

    Args:
        readable: Whether there is Arc2Face with its reference adapter.

    Raises:
        InputError: There is not, or the image has another shape, or the strength is out of range.
    """
    image, strength = inputs.reference, inputs.reference_strength
    if image is None:
        return
    if not readable:
        raise InputError(
            "nothing reads the reference image",
            where="--reference-image",
            fix="Give Arc2Face's folder, with ref_adapter in it, as --arc2face",
        )
    if image.ndim != 4 or image.shape[:2] != (1, 3) or any(n % CELL for n in image.shape[2:]):
        raise InputError(
            f"a reference image of shape {list(image.shape)}",
            where="--reference-image",
            fix=f"Give one image [1, 3, H, W] with sides of multiples of {CELL}",
        )
    if not 0 <= strength <= MOST_STRENGTH:
        raise InputError(
            f"the reference strength is {strength:g}",
            where="--reference-strength",
            fix=f"Choose a value from 0 to {MOST_STRENGTH:g}",
        )


def check_arc2face(inputs: RealInputs) -> None:
    """Refuse what Arc2Face cannot draw.

    Raises:
        InputError: Words, or no person.
        IncompatibleError: The person was measured by another recogniser.
    """
    if inputs.prompt or inputs.negative:
        raise InputError(
            "Arc2Face reads no prompts: its prompt is the person",
            where="--prompt, --negative",
            fix="Leave the words out, or draw without --arc2face",
        )
    if inputs.person is None:
        raise InputError("Arc2Face needs a person, and none is given", fix="Give a photo")
    identity_embedding(inputs.person)
