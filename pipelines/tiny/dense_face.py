"""Dense-Face in the tiny world: text-editing mode, face-generation mode, and both blended.

Text-editing mode is the base model alone. Face-generation mode adds the person (PC-adapter and
identity token) and the head pose (pose branch). :meth:`DenseFacePipeline.personalise` redraws the
head of a scene in face-generation mode and keeps the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from ...demo.bundled import DENSE_FACE_FILE, WEIGHTS, load_bundled
from ...demo.networks.analyzer import ENCODER, Analysis, TinyAnalyzer, analyse, load_analyzer
from ...demo.networks.photographs import require_renders
from ...dense_face.blending import Model
from ...dense_face.checkpoints.adapter_file import DenseFaceAdapter, load_adapter
from ...errors import ModelFileError
from ...faces.angles import ANGLE_LIMITS, Angles
from ...faces.identity import Identity, average
from ...faces.masks.compositing import composite, feather
from ...faces.masks.face_mask import head_mask
from ...faces.masks.head_swap import NEW_MARGIN, OLD_MARGIN, swap
from ..base import LATENT_SCALE, Base, load_base
from ..guided import face_model, text_model
from ..sampling import clean_schedule, sample, seeded_noise
from .inputs import ALL_PARTS, DenseFaceInputs, Parts, as_seeds, for_each
from .not_tiny import FOR_PHOTOGRAPHS, not_tiny_world
from .prompts import scene_prompt
from .scenes import FEATHER, GROW, Personalised, check_scenes

STEPS = 20
GUIDANCE = 3.0
_VAE_FACTOR = 8


@dataclass(frozen=True, eq=False)
class DenseFacePipeline:
    """The tiny world's base model with Dense-Face on top.

    Where a method makes several images at once, prompts, identities, angles and seeds are
    one value for all or one per image; the seeds give the count. An image depends on its own values
    only (up to rounding), not on the rest of the batch.

    Args:
        base, adapter, analyzer: The networks, frozen.
        progress: Whether to show progress bars on standard error.
        batch: Batch size.
    """

    base: Base
    adapter: DenseFaceAdapter
    analyzer: TinyAnalyzer
    progress: bool = False
    batch: int = 16

    @classmethod
    def load(cls, folder: str | Path = WEIGHTS, *, progress: bool = False) -> DenseFacePipeline:
        """The networks of a folder, the bundled ones by default.

        Raises:
            ModelFileError: A file is missing, truncated, altered, or lacks a part.
            IncompatibleError: The files do not belong together.
        """
        base = load_bundled(load_base, folder, "tiny_base")
        adapter = load_bundled(load_adapter, folder, "tiny_dense_face")
        analyzer = load_bundled(load_analyzer, folder, "tiny_analyzer")
        if adapter.pose_branch is None or adapter.token is None:
            raise ModelFileError(
                "the adapter file lacks its pose branch or identity token",
                where=str(Path(folder) / DENSE_FACE_FILE),
                fix="Train it again: denseface train-demo dense-face",
            )
        return cls(base, adapter, analyzer, progress)

    def analyse(self, images: Tensor) -> Analysis:
        """The analyzer's output for images [B, 3, H, W] in 0..1."""
        return analyse(self.analyzer, images)

    def identity(self, images: Tensor, names: Sequence[str] = ()) -> Identity:
        """The identity from reference images [N, 3, H, W] in 0..1; ``names`` for errors.

        Raises:
            InputError: An image has no face, or is a photograph.
        """
        seen = self.analyse(images)
        names = names or [f"image {number + 1}" for number in range(len(images))]
        for name, logit in zip(names, seen.face_logit.tolist(), strict=True):
            if not logit > 0:
                raise not_tiny_world(name)
        require_renders(seen, names, FOR_PHOTOGRAPHS)
        return average([Identity(vector, ENCODER) for vector in seen.identity.cpu()])

    def text_image(
        self,
        prompts: str | Sequence[str],
        seeds: int | Sequence[int],
        *,
        steps: int = STEPS,
        guidance: float = GUIDANCE,
    ) -> Tensor:
        """Text-editing mode: images [B, 3, 128, 128] in 0..1, without an identity.

        Raises:
            InputError: Counts differ, or steps or guidance are out of range.
        """
        return self.decode(self.text_latents(prompts, seeds, steps=steps, guidance=guidance))

    def text_latents(
        self,
        prompts: str | Sequence[str],
        seeds: int | Sequence[int],
        *,
        steps: int = STEPS,
        guidance: float = GUIDANCE,
    ) -> Tensor:
        """As :meth:`text_image`, without decoding: scaled latents [B, 4, 16, 16]."""
        seeds = as_seeds(seeds)
        texts = [scene_prompt(text) for text in for_each(prompts, str, len(seeds), "prompts")]
        return self.sampled(
            lambda part: nullcontext(text_model(self.base, texts[part], guidance)),
            None,
            seeds,
            steps,
            label="text editing",
        )

    def face_image(
        self,
        identities: Identity | Sequence[Identity],
        prompts: str | Sequence[str],
        angles: Angles | Sequence[Angles],
        seeds: int | Sequence[int],
        *,
        steps: int = STEPS,
        guidance: float = GUIDANCE,
        parts: Parts = ALL_PARTS,
    ) -> Tensor:
        """Face-generation mode over the whole frame: images [B, 3, 128, 128] in 0..1.

        Prompts without a ``*`` are completed (``prompts.face_prompt``).

        Raises:
            InputError: An angle outside the trained range, a ``*`` that would not be read,
                counts that differ, or steps or guidance out of range.
            IncompatibleError: The identity was measured by another encoder.
        """
        seeds = as_seeds(seeds)
        faces = DenseFaceInputs.prepare(
            identities, prompts, angles, len(seeds),
            encoder=self.adapter.encoder, size=self.side, parts=parts,
        )  # fmt: skip
        latents = self.sampled(
            lambda part: face_model(self.base, self.adapter, faces[part], guidance),
            None,
            seeds,
            steps,
            label="face generation",
        )
        return self.decode(latents)

    def personalise(
        self,
        scenes: Tensor,
        identities: Identity | Sequence[Identity],
        prompts: str | Sequence[str],
        angles: Angles | Sequence[Angles],
        seeds: int | Sequence[int],
        mask: Tensor | None = None,
        *,
        latents: Tensor | None = None,
        steps: int = STEPS,
        guidance: float = GUIDANCE,
    ) -> Personalised:
        """Redraw the head of each scene as the person and keep the rest.

        Args:
            scenes: [B, 3, 128, 128] in 0..1.
            mask: [B or 1, 128, 128] in 0..1, 1 = redraw; the scene's head if None.
            latents: The scenes' latents, where they are known; encoded from the images if None.

        Raises:
            InputError: As :meth:`face_image`; also a scene without a head or of another size.
        """
        seeds = as_seeds(seeds)
        check_scenes(scenes, len(seeds), self.side)
        faces = DenseFaceInputs.prepare(
            identities, prompts, angles, len(seeds), encoder=self.adapter.encoder, size=self.side
        )
        mask = self.scene_mask(scenes) if mask is None else mask
        mask = mask.expand(len(seeds), -1, -1)[:, None].float()
        # As ComfyUI resizes a noise mask, so both redraw the same cells.
        small = F.interpolate(mask, self.latent_shape[1:], mode="bilinear")
        blended = self.sampled(
            lambda part: face_model(self.base, self.adapter, faces[part], guidance),
            self.encode(scenes) if latents is None else latents,
            seeds,
            steps,
            mask=small,
            label="blending",
        )
        generated = self.decode(blended)
        image = composite(scenes, generated, mask, FEATHER)
        return Personalised(image, generated, feather(mask, FEATHER), mask)

    def scene_mask(self, scenes: Tensor, grow: float = GROW) -> Tensor:
        """Masks of the heads in scenes, with a margin: [B, H, W], 1 = redraw.

        Raises:
            InputError: A scene has no head, or is a photograph.
        """
        seen = self.analyse(scenes)
        require_renders(seen, ["scene image"] * len(scenes), FOR_PHOTOGRAPHS)
        mask = head_mask(seen.head_logit, *scenes.shape[-2:], grow=grow)
        if not bool((mask.amax((1, 2)) > 0).all()):
            raise not_tiny_world("scene image")
        return mask

    def swap(self, scenes: Tensor, generated: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The scenes without their heads, and masks of the new ones: ``faces.masks.head_swap``.

        Args:
            mask: [B, H, W], 1 = was redrawn.
        """
        before, after = (
            head_mask(self.analyse(images).head_logit, *mask.shape[-2:], grow=margin)
            for images, margin in ((scenes, OLD_MARGIN), (generated, NEW_MARGIN))
        )
        return swap(scenes, before, after, mask)

    def scene_angles(self, scenes: Tensor) -> list[Angles]:
        """Head poses in scenes [B, 3, H, W], clamped to the trained range."""
        limits = torch.tensor(ANGLE_LIMITS)
        seen = self.analyse(scenes).pose.cpu().clamp(-limits, limits)
        return [(yaw, pitch, roll) for yaw, pitch, roll in seen.tolist()]

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] in 0..1 -> scaled latents, the mean of the posterior."""
        vae: Any = self.base.vae
        means = [vae.encode(some * 2 - 1).latent_dist.mean for some in images.split(self.batch)]
        return LATENT_SCALE * torch.cat(means)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Scaled latents -> images [B, 3, H, W] in 0..1."""
        vae: Any = self.base.vae
        images = [vae.decode(some / LATENT_SCALE).sample for some in latents.split(self.batch)]
        return (torch.cat(images) / 2 + 0.5).clamp(0, 1)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Shape of one image's latent."""
        config = self.base.unet.config
        return config["in_channels"], config["sample_size"], config["sample_size"]

    @property
    def side(self) -> int:
        """Side of an image in pixels."""
        return self.latent_shape[1] * _VAE_FACTOR

    @torch.no_grad()
    def sampled(
        self,
        model_of: Callable[[slice], AbstractContextManager[Model]],
        base: Tensor | None,
        seeds: Sequence[int],
        steps: int,
        *,
        mask: Tensor | None = None,
        label: str,
    ) -> Tensor:
        """Clean latents [B, 4, 16, 16], computed in batches.

        Args:
            model_of: Context manager with the model for a slice of the images.
            base: Clean latents to start from and to keep; zeros if None.
            mask: [B, 1, h, w], 1 = redraw; None redraws everything.
        """
        schedule = clean_schedule(steps)
        noise = seeded_noise(seeds, self.latent_shape)
        base = torch.zeros_like(noise) if base is None else base
        starts = range(0, len(seeds), self.batch)
        found = []
        total = len(starts) * len(schedule)
        with tqdm(total=total, desc=label, leave=False, disable=not self.progress) as bar:
            for start in starts:
                part = slice(start, start + self.batch)
                some = None if mask is None else mask[part]
                with model_of(part) as model:
                    found.append(sample(model, base[part], noise[part], schedule, some, bar.update))
        return torch.cat(found)
