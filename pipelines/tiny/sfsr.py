"""SFSR in the tiny world: a person with an expression in a scene, whose head is drawn anew."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ...demo.bundled import SFSR_FILE, WEIGHTS, load_bundled
from ...demo.networks.analyzer import ENCODER
from ...dense_face.blending import Model
from ...errors import IncompatibleError, InputError
from ...faces.angles import Angles
from ...faces.identity import Identity, away_from
from ...sfsr.adapter import SFSRAdapter, load_adapter
from ...sfsr.background import background_channels, emptied, latent_mask, start_latent
from ...sfsr.expression import Expression
from ...sfsr.guidance import balance_weights
from ..guided import expression_model
from .dense_face import STEPS, DenseFacePipeline
from .inputs import SFSRInputs, as_seeds, for_each
from .scenes import Personalised, check_scenes, finished, redraw_masks, swapped

GUIDANCE = 2.0
"""Lower than Dense-Face's: likeness, expression and scene all gain (docs/sfsr.md)."""
MARGIN = 0.2
"""Around the scene's head, as a share of its diameter. Wider than for Dense-Face: a narrow mask
tells the outline of the head that was there, and with it the hair (docs/sfsr.md)."""
AWAY = 0.06
"""Share of the scene's own person that is taken from the wanted one (docs/sfsr.md, leaks)."""
HINT, BLEND = "hint", "blend"
BACKGROUNDS = (HINT, BLEND)
STARTS = (0.0, 0.3)
"""When identity and expression set in. An expression from the first step on costs likeness and
sharpness and gains nothing (docs/sfsr.md)."""


@dataclass(frozen=True, eq=False)
class SFSRPipeline:
    """The tiny world's base model with an SFSR adapter and Dense-Face's pose branch.

    Args:
        world: Base, analyzer and pose branch; Dense-Face's own adapter does not act.
        adapter: Frozen.
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
                f"the tiny world measures them by {ENCODER}",
                where=str(Path(folder) / SFSR_FILE),
                fix="Use an adapter that was trained in the tiny world",
            )
        return cls(world, adapter)

    def read_expressions(self, images: Tensor) -> list[Expression]:
        """What the faces of images [B, 3, H, W] in 0..1 do, as the analyzer sees it."""
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
        """Draw the head of each scene anew: another person, another expression, the same pose.

        Args:
            scenes: [B, 3, 128, 128] in 0..1.
            prompts: What is to be seen besides (clothes, place); may be empty.
            angles: Of the new head; those of the scene's head if None.
            mask: [B or 1, 128, 128] in 0..1, 1 = draw anew, and all of it comes into the scene. If
                None the scene's head with room around it; of that only the new head comes into it,
                and the rest of the old one's place is filled from the scene around it.
            balance: -1 (identity alone) to 1 (expression alone), 0 both in full.
            weights: Of identity and expression, times those of the balance; 0 leaves one out.
            starts: Share of the way down the noise (0..1) from which identity and expression act:
                first who it is, then what the face does.
            away: How much less each person is like the scene's own one, 0 (as they are) to less
                than 1 (``faces.identity.away_from``).
            background: ``hint`` tells the UNet the scene without its head; ``blend`` only puts its
                latents back in every step, as is done with the hint too.

        Raises:
            InputError: Counts that differ, scenes of another size or without a head, a mask of
                everything or nothing, angles, balance, ``away``, steps or guidance out of range, an
                unknown background.
            IncompatibleError: The identity was measured by another encoder, or the adapter has no
                background hint.
        """
        world, seeds = self.world, as_seeds(seeds)
        check_scenes(scenes, len(seeds), world.side)
        by_balance = balance_weights(balance)
        room = world.scene_mask(scenes, MARGIN) if mask is None else mask
        masks, small = redraw_masks(room, len(seeds), *world.latent_shape[1:])
        empty = world.encode(emptied(scenes, masks))
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
        latents = world.sampled(
            lambda part: self._model(inputs[part], guidance),
            start_latent(world.encode(scenes), empty, masks),
            seeds,
            steps,
            mask=small,
            label="expression",
        )
        made = world.decode(latents)
        if mask is not None:
            return finished(scenes, made, masks)
        return swapped(scenes, made, masks, *world.swap(scenes, made, room))

    def _apart(self, people: Sequence[Identity], scenes: Tensor, away: float) -> list[Identity]:
        """The people as the adapter is told them: less like those whose place they take."""
        if away == 0:
            return list(people)
        for person in people:
            person.require(ENCODER)
        seen = self.world.analyse(scenes)
        there = (seen.face_logit > 0).tolist()  # a mask may be given for a scene without anybody
        each = zip(people, seen.identity.cpu(), there, strict=True)
        return [
            away_from(who, Identity(v, ENCODER), away) if face else who for who, v, face in each
        ]

    def _model(self, inputs: SFSRInputs, guidance: float) -> AbstractContextManager[Model]:
        dense_face = self.world.adapter
        return expression_model(
            self.world.base, self.adapter, dense_face.pose_branch, inputs, guidance
        )

    def _channels(self, background: str, mask: Tensor, empty: Tensor) -> Tensor | None:
        """What the hint reads [B, 5, h, w]; None for blending alone."""
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
