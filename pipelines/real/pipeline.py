"""One image on a base of Stable Diffusion 1.5 or SDXL: from words, or a face in a scene."""

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
from ...dense_face.prompt import spaced_prompt
from ...errors import IncompatibleError, InputError
from ...faces.identity import Identity, average
from ...sfsr.background import (
    background_channels,
    emptied,
    latent_mask,
    noise_mask,
    start_latent,
)
from ...sfsr.ip_adapter.lora import AdapterLora
from ...sfsr.token_attention import EXPRESSION, SOURCES
from ..attention import InstalledAdapter
from ..base import Base
from ..guided import acting, guided_model, no_residuals, posed_residuals
from ..reference import InstalledReference, reference_bank
from ..sampling import seeded_noise
from ..sdxl.load import SDXLBase
from ..single_file import Tokenize
from ..source_attention import INPAINTING_CHANNELS, InstalledSources, SourceInputs
from ..tiny.inputs import pose_hints
from .controlnet import controlled
from .inputs import CELL, RealInputs, check_arc2face, check_control, check_reference
from .prompts import Read, read_person, read_words
from .samplers import run_sampler, scheduler_of
from .scene import SceneCrop

SIZE, STEPS, GUIDANCE, SAMPLER = 512, 30, 7.0, "ddim"
SMALLEST, LARGEST = 64, 2048


@dataclass(frozen=True, eq=False)
class RealPipeline:
    """A base with its tokenizer, perhaps with Dense-Face or a ControlNet on it; in float32.

    progress: Whether to show a bar on standard error.
    arc2face: Whether the base is that of ``arc2face.load_arc2face``, whose prompt is the person.
    reference_lora: Of Arc2Face's reference adapter.
    """

    base: Base
    tokenize: Tokenize
    dense_face: DenseFaceAdapter | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    progress: bool = False
    controlnet: ControlNetModel | None = None
    arc2face: bool = False
    reference_lora: AdapterLora | None = None

    def __post_init__(self) -> None:
        """Move the networks to the device."""
        base = self.base
        parts: list[Any] = [base.unet, base.vae, base.text_encoder, self.controlnet]
        if isinstance(base, SDXLBase):
            parts.append(base.text_encoder_2)
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
                its image, or the reverse; Arc2Face with words or without a person; a reference
                image that nothing reads.
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
            check_arc2face(inputs)
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
        check_control(inputs, self.controlnet, size)
        check_reference(inputs, self.arc2face and self.reference_lora is not None)

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
        redrawn = noise_mask(scene.mask, *empty.shape[-2:]).to(self.device)
        return channels, start_latent(self._encode(scene.crop), empty, redrawn), redrawn

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
        words = self._words(inputs, size)
        model = guided_model(base, words.contexts, guidance, residuals, control, words.added)
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
        reference = None
        if inputs.reference is not None and self.reference_lora is not None:
            # Before anything is installed: the bank is that of the unmodified network.
            bank = reference_bank(base.unet, self._encode(inputs.reference), words.contexts[1:])
            strength = inputs.reference_strength
            reference = bank, self.reference_lora, strength, int(both)
        with ExitStack() as installed:
            if reference is not None:
                installed.enter_context(InstalledReference(base.unet, *reference))
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

    def _words(self, inputs: RealInputs, size: int) -> Read:
        if self.arc2face:
            return read_person(self.base, inputs.person, self.device)
        token = None if self.dense_face is None else self.dense_face.token
        texts = inputs.negative, inputs.prompt
        return read_words(self.base, self.tokenize, texts, size, self.device, token, inputs.person)

    def _encode(self, image: Tensor) -> Tensor:
        vae: Any = self.base.vae
        mean = vae.encode(image.to(self.device) * 2 - 1).latent_dist.mean
        return vae.config.scaling_factor * mean

    def _decode(self, latent: Tensor) -> Tensor:
        vae: Any = self.base.vae
        image = vae.decode(latent / vae.config.scaling_factor).sample
        return (image / 2 + 0.5).clamp(0, 1).cpu()


def dense_person(dense_face: DenseFaceAdapter | None, photos: list[Identity]) -> Identity | None:
    """The mean of the identities that Dense-Face's encoder measured; None without any."""
    if dense_face is None:
        return None
    own = [one for one in photos if one.encoder == dense_face.encoder]
    return average(own) if own else None
