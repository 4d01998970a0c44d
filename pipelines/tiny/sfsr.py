"""SFSR in the tiny world: redraw a scene's head as another person with a chosen expression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ...demo.bundled import SFSR_FILE, WEIGHTS, load_bundled
from ...demo.networks.analyzer import ENCODER
from ...errors import IncompatibleError, InputError
from ...faces.angles import Angles
from ...faces.identity import Identity, away_from
from ...faces.masks.compositing import composite, feather
from ...sfsr.adapter import SFSRAdapter, load_adapter
from ...sfsr.background import (
    background_channels,
    emptied,
    latent_mask,
    noise_mask,
    start_latent,
)
from ...sfsr.expression import Expression
from ...sfsr.guidance import balance_weights
from ..guided import expression_model
from .dense_face import STEPS, DenseFacePipeline
from .inputs import SFSRInputs, as_seeds, for_each
from .scenes import FEATHER, Personalised, check_scenes, swapped

GUIDANCE = 2.0
"""Lower than Dense-Face's: likeness, expression and scene all improve (docs/sfsr.md)."""
MARGIN = 0.22
"""Around the scene's head, as a fraction of its diameter. Wider than for Dense-Face: a narrow mask
reveals the outline of the original head, and with it the hair (docs/sfsr.md)."""
AWAY = 0.06
"""Fraction of the scene's identity subtracted from the target's (docs/sfsr.md, leaks)."""
HINT, BLEND = "hint", "blend"
BACKGROUNDS = (HINT, BLEND)
STARTS = (0.0, 0.3)
"""Start of identity and expression, as fractions of the denoising. Starting the expression at the
first step costs likeness and sharpness and gains nothing (docs/sfsr.md)."""


@dataclass(frozen=True, eq=False)
class SFSRPipeline:
    """The tiny world's base model with an SFSR adapter and Dense-Face's pose branch.

    Args:
        world: Base, analyzer and pose branch; Dense-Face's adapter is not used.
    """

    world: DenseFacePipeline
    adapter: SFSRAdapter

    @classmethod
    def load(cls, folder: str | Path = WEIGHTS, *, progress: bool = False) -> SFSRPipeline:
        """The networks of a folder, the bundled ones by default.

        Raises:
            ModelFileError: A file is missing, truncated, altered, or lacks a part.
            IncompatibleError: The files do not belong together.
        """
        world = DenseFacePipeline.load(folder, progress=progress)
        adapter = load_bundled(load_adapter, folder, "tiny_sfsr")
        if set(adapter.layout.identities) != {ENCODER}:
            raise IncompatibleError(
                f"the adapter reads identities by {', '.join(adapter.layout.identities)}, "
                f"the tiny world's are from {ENCODER}",
                where=str(Path(folder) / SFSR_FILE),
                fix="Use an adapter that was trained in the tiny world",
            )
        return cls(world, adapter)

    def read_expressions(self, images: Tensor) -> list[Expression]:
        """The expressions in images [B, 3, H, W] in 0..1, by the analyzer."""
        seen = self.world.analyse(images).blendshapes.cpu().clamp(0, 1)
        return [Expression(values, f"image by {ENCODER}") for values in seen]

    def express(
        self,
        scenes: Tensor,
        identities: Identity | Sequence[Identity],
        expressions: Expression | Sequence[Expression],
        prompts: str | Sequence[str],
        seeds: int | Sequence[int],
        *,
        angles: Angles | Sequence[Angles] | None = None,
        mask: Tensor | None = None,
        balance: float = 0.0,
        weights: tuple[float, float] = (1.0, 1.0),
        starts: tuple[float, float] = STARTS,
        away: float = AWAY,
        steps: int = STEPS,
        guidance: float = GUIDANCE,
        background: str = HINT,
    ) -> Personalised:
        """Redraw the head of each scene: another person, another expression, the same pose.

        Args:
            scenes: [B, 3, 128, 128] in 0..1.
            prompts: Everything else (clothes, place); may be empty.
            angles: Of the new head; the scene's head pose if None.
            mask: [B or 1, 128, 128] in 0..1, 1 = redraw; all of it is composited. If None, the
                scene's head with a margin is redrawn, only the new head is composited, and the
                rest of the old head is inpainted from the scene.
            balance: -1 (identity only) to 1 (expression only); 0: both in full.
            weights: Of identity and expression, times those from ``balance``; 0 switches one off.
            starts: Fractions of the denoising (0..1) after which identity and expression act.
            away: How far each identity is moved away from the scene's, 0 to below 1
                (``faces.identity.away_from``).
            background: ``hint`` gives the UNet the scene without its head; ``blend`` only restores
                the scene's latents at every step, which ``hint`` does too.

        Raises:
            InputError: Counts differ, scenes of another size or without a head, a full or empty
                mask, angles, balance, ``away``, steps or guidance out of range, or an unknown
                background.
            IncompatibleError: The identity comes from another encoder, or the adapter has no
                background hint.
        """
        world, seeds = self.world, as_seeds(seeds)
        check_scenes(scenes, len(seeds), world.side)
        by_balance = balance_weights(balance)
        room = world.scene_mask(scenes, MARGIN) if mask is None else mask
        masks = room.expand(len(seeds), -1, -1)[:, None].float()
        empty = world.encode(emptied(scenes, masks))
        small = noise_mask(masks, *world.latent_shape[1:])
        turned = world.scene_angles(scenes) if angles is None else angles
        inputs = SFSRInputs.prepare(
            self.adapter,
            self._apart(for_each(identities, Identity, len(seeds), "people"), scenes, away),
            expressions,
            prompts,
            turned,
            self._channels(background, masks, empty),
            (weights[0] * by_balance[0], weights[1] * by_balance[1]),
            starts,
            size=world.side,
        )
        branch = world.adapter.pose_branch
        latents = world.sampled(
            lambda part: expression_model(world.base, self.adapter, branch, inputs[part], guidance),
            start_latent(world.encode(scenes), empty, small),
            seeds,
            steps,
            mask=small,
            label="expression",
        )
        made = world.decode(latents)
        if mask is not None:
            image = composite(scenes, made, masks, FEATHER)
            return Personalised(image, made, feather(masks, FEATHER), masks)
        return swapped(scenes, made, masks, *world.swap(scenes, made, room))

    def _apart(self, people: Sequence[Identity], scenes: Tensor, away: float) -> list[Identity]:
        """The identities, each moved away from that of the scene's head."""
        if away == 0:
            return list(people)
        for person in people:
            person.require(ENCODER)
        seen = self.world.analyse(scenes)
        there = (seen.face_logit > 0).tolist()  # with a mask the scene may have no face
        each = zip(people, seen.identity.cpu(), there, strict=True)
        return [
            away_from(who, Identity(v, ENCODER), away) if face else who for who, v, face in each
        ]

    def _channels(self, background: str, mask: Tensor, empty: Tensor) -> Tensor | None:
        """The hint's input [B, 5, h, w]; None for latent blending."""
        if background not in BACKGROUNDS:
            raise InputError(
                f"the background {background!r} is unknown", fix=f"Use {' or '.join(BACKGROUNDS)}"
            )
        if background == BLEND:
            return None
        if self.adapter.hint is None:
            raise IncompatibleError(
                "this adapter has no background hint", fix=f"Use the background {BLEND!r}"
            )
        return background_channels(latent_mask(mask, *empty.shape[-2:]), empty)
