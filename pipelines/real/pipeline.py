"""One image on a base of Stable Diffusion 1.5: from words, or a face in a scene."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from diffusers import ControlNetModel
from torch import Tensor
from tqdm import tqdm

from ...dense_face.blending import Model
from ...dense_face.checkpoints.adapter_file import DenseFaceAdapter
from ...dense_face.prompt import PLACEHOLDER, spaced_prompt
from ...errors import IncompatibleError, InputError
from ...faces.angles import Angles
from ...faces.identity import Identity, average
from ...sfsr.arc2face.prompt import identity_embedding
from ...sfsr.background import background_channels, emptied, latent_mask, start_latent
from ...sfsr.token_attention import EXPRESSION, SOURCES
from ..arc2face import encode_prompt, prompt_ids
from ..attention import InstalledAdapter
from ..base import LATENT_SCALE, Base
from ..guided import acting, guided_model, no_residuals, posed_residuals
from ..sampling import seeded_noise
from ..single_file import Tokenize
from ..source_attention import INPAINTING_CHANNELS, InstalledSources, SourceInputs
from ..text import encode_text
from ..tiny.inputs import pose_hints
from .adapters import Sources
from .controlnet import STRENGTHS, controlled
from .samplers import run_sampler, scheduler_of
from .scene import SceneCrop

SIZE, STEPS, GUIDANCE, SAMPLER = 512, 30, 7.0, "ddim"
CELL = 8
SMALLEST, LARGEST = 64, 2048


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


@dataclass(frozen=True, eq=False)
class RealPipeline:
    """A base with its tokenizer, perhaps with Dense-Face or a ControlNet on it; in float32.

    progress: Whether to show a bar on standard error.
    arc2face: Whether the base is that of ``arc2face.load_arc2face``, whose prompt is the person.
    """

    base: Base
    tokenize: Tokenize
    dense_face: DenseFaceAdapter | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    progress: bool = False
    controlnet: ControlNetModel | None = None
    arc2face: bool = False

    def __post_init__(self) -> None:
        """Move the networks to the device."""
        base = self.base
        parts: list[Any] = [base.unet, base.vae, base.text_encoder, self.controlnet]
        if self.dense_face is not None:
            parts += [self.dense_face.adapter, self.dense_face.pose_branch, self.dense_face.token]
        for part in parts:
            if part is not None:
                part.to(self.device)

    @property
    def inpainting(self) -> bool:
        """Whether the UNet reads the scene in channels of its own."""
        return self.base.unet.config["in_channels"] == INPAINTING_CHANNELS

    def check(self, inputs: RealInputs, size: int) -> None:
        """Refuse before sampling what cannot be drawn.

        Raises:
            InputError: The size is out of range or not divisible by 8; an inpainting base without
                a scene; Dense-Face without its ``*`` or without a person; a ControlNet without
                its image, or the reverse; Arc2Face with words or without a person.
            IncompatibleError: The person was measured by another encoder than Dense-Face's or
                Arc2Face's.
        """
        if not SMALLEST <= size <= LARGEST or size % CELL:
            raise InputError(
                f"images of {size} px", fix=f"Use a multiple of {CELL} from {SMALLEST} to {LARGEST}"
            )
        if self.inpainting and inputs.scene is None:
            raise InputError(
                "this is an inpainting base, and no scene is given",
                where="--base",
                fix="Give a --scene, or use an ordinary Stable Diffusion 1.5 checkpoint",
            )
        if self.arc2face:
            _check_arc2face(inputs)
        dense = self.dense_face
        if dense is not None and inputs.person is not None:
            inputs.person.require(dense.encoder)
            if dense.token is not None:
                spaced_prompt(inputs.prompt)
        if inputs.angles is not None and (dense is None or dense.pose_branch is None):
            raise IncompatibleError(
                "nothing turns the head",
                fix="Give a --dense-face file, or --face-mesh with its ControlNet, or leave the "
                "angles out",
            )
        self._check_control(inputs, size)

    def _check_control(self, inputs: RealInputs, size: int) -> None:
        image, strength = inputs.control_image, inputs.control_strength
        if self.controlnet is None and (image is not None or strength != 1):
            raise InputError(
                "nothing reads the control image or its strength",
                where="--control-image, --control-strength",
                fix="Give a ControlNet for Stable Diffusion 1.5 as --controlnet",
            )
        if self.controlnet is not None and image is None:
            raise InputError(
                "this is an ordinary ControlNet, and no image for it is given",
                where="--controlnet",
                fix="Give a --control-image",
            )
        if not STRENGTHS[0] <= strength <= STRENGTHS[1]:
            raise InputError(
                f"the control strength is {strength:g}", fix="Choose a value from 0 to 10"
            )
        if self.controlnet is None or image is None:
            return
        channels = self.controlnet.config["conditioning_channels"]
        if image.shape != (1, channels, size, size):
            raise InputError(
                f"the ControlNet reads images [1, {channels}, {size}, {size}], this one is "
                f"{list(image.shape)}",
                where="--control-image",
                fix="Use a ControlNet that reads colour images",
            )

    @torch.no_grad()
    def draw(
        self,
        inputs: RealInputs,
        seed: int,
        *,
        size: int = SIZE,
        steps: int = STEPS,
        guidance: float = GUIDANCE,
        sampler: str = SAMPLER,
    ) -> Tensor:
        """An image [1, 3, H, W] in 0..1: ``size`` px, or as large as the scene.

        Raises:
            InputError, IncompatibleError: As :meth:`check`; steps, guidance or sampler unknown or
                out of range.
        """
        self.check(inputs, size)
        scheduler = scheduler_of(sampler, steps)
        background = latent = mask = None
        if inputs.scene is not None:
            background, latent, mask = self._scene(inputs.scene)
        noise = seeded_noise([seed], (4, size // CELL, size // CELL)).to(self.device)
        with (
            self._model(inputs, background, guidance, size) as model,
            tqdm(total=len(scheduler.timesteps), desc="draw", disable=not self.progress) as bar,
        ):
            made = run_sampler(model, scheduler, noise, seed, latent, mask, bar.update)
        image = self._decode(made)
        return image if inputs.scene is None else inputs.scene.paste(image)

    def _scene(self, scene: SceneCrop) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Channels for an inpainting UNet or a hint; latent and mask for blending, or None."""
        empty = self._encode(emptied(scene.crop, scene.mask))
        small = latent_mask(scene.mask, *empty.shape[-2:]).to(self.device)
        channels = background_channels(small, empty)
        if self.inpainting:
            return channels, None, None
        latent = start_latent(self._encode(scene.crop), empty, scene.mask.to(self.device))
        blended = torch.nn.functional.interpolate(scene.mask, empty.shape[-2:], mode="bilinear")
        return channels, latent, blended.to(self.device)

    @contextmanager
    def _model(
        self, inputs: RealInputs, background: Tensor | None, guidance: float, size: int
    ) -> Iterator[Model]:
        base, dense, sources = self.base, self.dense_face, inputs.sources
        both = guidance != 1
        residuals = no_residuals
        if dense is not None and dense.pose_branch is not None and inputs.angles is not None:
            hints = pose_hints([inputs.angles], size).to(self.device)
            residuals = posed_residuals(dense.pose_branch, hints)
        control = None
        if self.controlnet is not None and inputs.control_image is not None:
            image = inputs.control_image.to(self.device)
            control = controlled(self.controlnet, image, inputs.control_strength)
        model = guided_model(base, self._contexts(inputs), guidance, residuals, control)
        weights: dict[str, float] = dict(zip(SOURCES, inputs.weights, strict=True))
        masks: dict[str, Tensor | None] = {}
        if inputs.scene is not None and sources.units is not None:
            # One constant for all places: kept to the face.
            masks[EXPRESSION] = inputs.scene.mask[:, 0]
        source_inputs = SourceInputs(
            sources.tokens,
            {name: weights[name] for name in sources.tokens},
            background=background,
            absent=sources.absent,
            unprompted=int(both),
            masks=masks,
        )
        with ExitStack() as installed:
            if dense is not None and inputs.person is not None:
                who = inputs.person.vector[None].to(self.device)
                installed.enter_context(InstalledAdapter(base.unet, dense.adapter, who))
            at_work = installed.enter_context(
                InstalledSources(
                    base.unet,
                    sources.adapters,
                    source_inputs,
                    # It belongs to the identity.
                    lora_strength=inputs.lora_strength * bool(inputs.weights[0]),
                )
            )

            def in_time(x: Tensor, t: Tensor) -> Tensor:
                now = acting(source_inputs.weights, sources.starts, int(t))
                at_work.source_inputs = replace(source_inputs, weights=now)
                return model(x, t.to(self.device))

            yield in_time

    def _contexts(self, inputs: RealInputs) -> Tensor:
        """[2, L, D]: the negative prompt, then the prompt with the person at its ``*``.

        With Arc2Face the empty prompt, then the person's.
        """
        if self.arc2face:
            text = self.base.text_encoder
            sentences = [prompt_ids(text, which).to(self.device) for which in (False, True)]
            people = (None, inputs.person)
            both = zip(sentences, people, strict=True)
            return torch.cat([encode_prompt(text, ids, person) for ids, person in both])
        prompt, token = inputs.prompt, None
        person = inputs.person
        if self.dense_face is not None and person is not None:
            token = self.dense_face.token
        encoder = self.base.text_encoder
        ids = [self.tokenize([text]).to(self.device) for text in (inputs.negative, prompt)]
        negative = encode_text(encoder, ids[0])
        if token is None or person is None:
            return torch.cat([negative, encode_text(encoder, ids[1])])
        star = int(self.tokenize([PLACEHOLDER])[0, 1])
        who = person.vector[None].to(self.device)
        return torch.cat([negative, encode_text(encoder, ids[1], token, who, placeholder=star)])

    def _encode(self, image: Tensor) -> Tensor:
        vae: Any = self.base.vae
        return LATENT_SCALE * vae.encode(image.to(self.device) * 2 - 1).latent_dist.mean

    def _decode(self, latent: Tensor) -> Tensor:
        vae: Any = self.base.vae
        return (vae.decode(latent / LATENT_SCALE).sample / 2 + 0.5).clamp(0, 1).cpu()


def _check_arc2face(inputs: RealInputs) -> None:
    if inputs.prompt or inputs.negative:
        raise InputError(
            "Arc2Face reads no prompts: its prompt is the person",
            where="--prompt, --negative",
            fix="Leave the words out, or draw without --arc2face",
        )
    if inputs.person is None:
        raise InputError("Arc2Face needs a person, and none is given", fix="Give a photo")
    identity_embedding(inputs.person)


def dense_person(dense_face: DenseFaceAdapter | None, photos: list[Identity]) -> Identity | None:
    """The mean of the identities that Dense-Face's encoder measured; None without any."""
    if dense_face is None:
        return None
    own = [one for one in photos if one.encoder == dense_face.encoder]
    return average(own) if own else None
