"""Stage ``sfsr``: identity and expression tokens and the background hint on the frozen tiny base.

Two losses. Noise prediction from pictures whose own head was emptied, told who it is by another
picture of the same person and which face it makes. And, since no true picture exists of one
person with the expression of another in the scene of a third, a **cross-identity** one: identity
and expression come from other rows of the batch, the clean picture is estimated by the midpoint
rule, decoded, and the analyzer says whether it shows them (sfsr.md 5, item 6; REFace's exchange
within the batch, 4.3).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..demo.analyzer import ENCODER, IDENTITY_DIM, TinyAnalyzer
from ..demo.captions import GROUPS, IDENTITY_GROUPS, caption
from ..dense_face.pose_branch import PoseBranch
from ..dense_face.schedule import alphas_cumprod
from ..faces.blendshapes import ARKIT_NAMES
from ..pipelines.base import LATENT_SCALE, Base, token_ids
from ..pipelines.source_attention import InstalledSources, Told, install_sources, layers_of
from ..pipelines.text import encode_text
from ..sfsr.adapter import SFSRAdapter
from ..sfsr.background import background_channels
from ..sfsr.compound_inputs import CompoundLayout, ExpressionBatch, IdentityBatch
from ..sfsr.guidance import Absence
from ..sfsr.midpoint import NoiseLevels, denoiser, midpoint_estimate
from ..sfsr.token_attention import EXPRESSION, IDENTITY
from .augment import shaken
from .base import DROPPED_GROUP, PlainAttention, noised
from .demo_data import PER_PERSON, Latents
from .scene_data import SceneData

TOKENS, HIDDEN = 4, 96
ABSENCE = Absence(identity=0.1, expression=0.1, both=0.1)
#: Chances that a training sample comes without words, pose, or background.
NO_WORDS, NO_POSE, NO_BACKGROUND = 0.5, 0.1, 0.1
#: Chance that an expression is the analyzer's reading of the picture instead of the known one, as
#: exemplar pictures are read; and that half of its values are not known.
READ, HALF_KNOWN = 0.3, 0.1
#: Weight of the noise outside the head: there the scene is given.
OUTSIDE = 0.25
#: What a cell full of eye, brow or mouth weighs more: there is the expression, in few cells.
FEATURES = 8.0
#: Signal-to-noise ratio below which an error of the clean latents does not lose weight. In much
#: noise nothing but the tokens tells who it is and what the face does.
LEAST = 0.25
#: Of likenesses (cosines) among which the right person's has to stand out.
TEMPERATURE = 0.1
#: Words that may be said: not who it is, nor what the face does.
SAID = tuple(g for g in GROUPS if g not in IDENTITY_GROUPS and g not in ("expression", "gaze"))


@dataclass(frozen=True)
class FaceLosses:
    """The cross-identity losses.

    rows: Of the batch, that show others' faces. nodes: Of the midpoint estimate; 1 is the one-step
    estimate. identity, mistaken, expression, scene: Weights; ``mistaken`` keeps expressions from
    being learned while there are none. earliest, latest: Timesteps of the estimate.
    """

    rows: int = 6
    nodes: int = 2
    identity: float = 0.5
    mistaken: float = 0.0
    expression: float = 6.0
    scene: float = 1.0
    earliest: int = 400
    latest: int = 950


class SFSRTask(nn.Module):
    """Both losses of a batch; gradients reach the SFSR adapter only.

    Args:
        base: The trained base, frozen. adapter: What learns.
        pose_branch: Dense-Face's, frozen.
        analyzer: Looks at the estimated pictures, frozen.
        data: Latents of N pictures and their mirror images. scenes: The same pictures.
        hints: Their pose pictures [2N, 3, 128, 128] as bytes.
        batch: Samples a step. faces: None trains on noise alone.
    """

    def __init__(
        self,
        base: Base,
        adapter: SFSRAdapter,
        pose_branch: PoseBranch,
        analyzer: TinyAnalyzer,
        data: Latents,
        scenes: SceneData,
        hints: Tensor,
        batch: int,
        faces: FaceLosses | None = None,
    ) -> None:
        super().__init__()
        plain: Any = PlainAttention()  # diffusers lists its own classes only
        base.unet.set_attn_processor(plain)
        self.adapter = adapter
        self.unet, self.text_encoder, self.vae = base.unet, base.text_encoder, base.vae
        self.pose_branch = pose_branch.requires_grad_(False)
        self.analyzer = analyzer
        self.data, self.scenes, self.hints = data, scenes, hints
        self.batch, self.faces = batch, faces
        self.legible = legibility(scenes.read, data.heads.expression)
        self.alphas = alphas_cumprod()
        self.levels = NoiseLevels.from_alphas(self.alphas)

    def train(self, mode: bool = True) -> SFSRTask:
        """The adapter alone: the analyzer's batch norms keep the statistics that it learned."""
        super().train(mode)
        self.analyzer.eval()
        return self

    def forward(self, generator: torch.Generator) -> dict[str, Tensor]:
        half = len(self.data) // 2
        pick = torch.randint(half, (self.batch,), generator=generator)
        # The other picture of the same person: pictures 2i and 2i + 1 belong together.
        other = pick // PER_PERSON * PER_PERSON + 1 - pick % PER_PERSON
        target = pick + torch.randint(2, (self.batch,), generator=generator) * half
        who, face = self.scenes.identities[other], self._expressions(target, generator)
        context = self._context(target, generator)
        given = (target, who, face, context)
        with install_sources(self.unet, self.adapter) as installed:
            losses = self._noise_losses(installed, *given, generator)
            if self.faces is None:
                return losses
            seen = self._face_losses(installed, self.faces, *given, generator)
        loss = losses["loss"]
        loss = loss + self.faces.identity * seen["identity"]
        loss = loss + self.faces.mistaken * seen["mistaken"]
        loss = loss + self.faces.expression * seen["expression"]
        loss = loss + self.faces.scene * seen["scene"]
        apart = {name: value.detach() for name, value in seen.items()}
        return {"loss": loss, "mse": losses["mse"], **apart}

    def _noise_losses(
        self,
        installed: InstalledSources,
        target: Tensor,
        who: Tensor,
        face: ExpressionBatch,
        context: Tensor,
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        count = len(target)
        background = self._background(target)
        known, shown = ABSENCE.draw(count, generator)
        posed = torch.rand(count, generator=generator) >= NO_POSE
        placed = torch.rand(count, generator=generator) >= NO_BACKGROUND
        weights = (known.float(), shown.float(), placed.float())
        installed.told = self._told(who, face, background, weights)
        x, noise, t, weight = noised(self.data.latents[target], self.alphas, generator, least=LEAST)
        out = self._predicted(x, t, context, target, posed.float())
        mask = background[:, :1]
        where = mask + OUTSIDE * (1 - mask) + FEATURES * self.scenes.features[target]
        error = F.mse_loss(out, noise, reduction="none").mean(1, keepdim=True) * where
        error = error.sum((1, 2, 3)) / where.sum((1, 2, 3))
        return {"loss": (error * weight).mean(), "mse": error.detach().mean()}

    def _face_losses(
        self,
        installed: InstalledSources,
        faces: FaceLosses,
        target: Tensor,
        who: Tensor,
        face: ExpressionBatch,
        context: Tensor,
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """What the analyzer misses in faces of one row with the expression of another.

        Of the identity, and in how far somebody else of the batch could be meant, among them the
        expression's owner and who was in the scene. And how far the scene around them is from the
        true one: whoever comes there, it stays.
        """
        count = faces.rows
        target, context, everywhere = target[:count], context[:count], torch.ones(count)
        people = who.roll(-1, 0)
        who = people[:count]
        face = _rows(face, torch.arange(2, count + 2) % len(face.values))
        weights = (everywhere, everywhere, everywhere)
        installed.told = self._told(who, face, self._background(target), weights)
        t = torch.randint(faces.earliest, faces.latest, (count,), generator=generator)
        sigma = self.levels.sigmas[t].float()
        clean = self.data.latents[target]
        noise = torch.randn(clean.shape, generator=generator)
        found = midpoint_estimate(
            denoiser(lambda x, t: self._predicted(x, t, context, target, everywhere), self.levels),
            clean + sigma[:, None, None, None] * noise,
            sigma,
            self.levels,
            nodes=faces.nodes,
        )
        # The new head is looked at where it will be seen: in the scene. For an identity it alone
        # may move, for an expression what makes it: elsewhere a network that is to be pleased
        # finds means that nobody would call a face.
        head = self.scenes.heads[target]
        near = F.max_pool2d((self.scenes.features[target] > 0).float(), 3, stride=1, padding=1)
        placed = head * found + (1 - head) * clean
        held = [part * placed + (1 - part) * placed.detach() for part in (head, near)]
        decode: Callable[..., Any] = self.vae.decode
        pictures = decode(torch.cat(held) / LATENT_SCALE).sample.float() / 2 + 0.5
        seen = self.analyzer(shaken(pictures.clamp(0, 1), generator))
        # The noisier the start, the less of the picture is settled.
        trust = self.alphas[t].sqrt().float()
        likeness = seen.identity[:count].float() @ people.T
        mistaken = F.cross_entropy(likeness / TEMPERATURE, torch.arange(count), reduction="none")
        counts = self.legible * face.known
        missed = (seen.blendshapes[count:].float() - face.values).square() * counts
        missed = missed.sum(1) / counts.sum(1).clamp(min=1)
        around = 1 - head
        lost = ((found - clean).square().mean(1, keepdim=True) * around).sum((1, 2, 3))
        lost = lost / around.sum((1, 2, 3)).clamp(min=1)
        return {
            "identity": (trust * (1 - likeness.diagonal())).sum() / trust.sum(),
            "mistaken": (trust * mistaken).sum() / trust.sum(),
            "expression": (trust * missed).sum() / trust.sum(),
            "scene": (trust * lost).sum() / trust.sum(),
        }

    def _predicted(
        self, x: Tensor, t: Tensor, context: Tensor, target: Tensor, posed: Tensor
    ) -> Tensor:
        with torch.no_grad():
            encoded = self.pose_branch.encode_hint(self.hints[target].float() / 255)
            residuals = self.pose_branch.residuals(x, encoded, t)
        residuals = [r * posed[:, None, None, None].to(r) for r in residuals]
        return self.unet(
            x,
            t,
            context,
            down_block_additional_residuals=tuple(residuals[:-1]),
            mid_block_additional_residual=residuals[-1],
        ).sample.float()

    def _told(
        self,
        who: Tensor,
        face: ExpressionBatch,
        background: Tensor,
        weights: tuple[Tensor, Tensor, Tensor],
    ) -> Told:
        """``weights`` of identity, expression and background."""
        known, shown, placed = weights
        present = torch.ones(len(who), dtype=torch.bool)
        tokens = self.adapter.embedding(IdentityBatch({ENCODER: who}, {ENCODER: present}), face)
        return Told(
            self.adapter.attention.keys_values(tokens),
            {IDENTITY: known, EXPRESSION: shown},
            background=background,
            background_weight=placed,
        )

    def _background(self, target: Tensor) -> Tensor:
        """The scenes as the hint reads them."""
        empty = LATENT_SCALE * self.scenes.emptied[target]
        return background_channels(self.scenes.masks[target], empty)

    def _expressions(self, target: Tensor, generator: torch.Generator) -> ExpressionBatch:
        count = len(target)
        read = torch.rand(count, 1, generator=generator) < READ
        values = torch.where(read, self.scenes.read[target], self.data.heads.expression[target])
        some = torch.rand(count, 1, generator=generator) < HALF_KNOWN
        lot = torch.rand(count, len(ARKIT_NAMES), generator=generator) < 0.5
        known = ~(some & lot)
        nothing = torch.zeros(count, 0)
        return ExpressionBatch(values * known, known, nothing, torch.zeros(count, dtype=torch.bool))

    def _context(self, target: Tensor, generator: torch.Generator) -> Tensor:
        texts = caption(self.data.heads[target], generator, DROPPED_GROUP, groups=SAID)
        empty = torch.rand(len(target), generator=generator) < NO_WORDS
        texts = ["" if gone else text for text, gone in zip(texts, empty, strict=True)]
        return encode_text(self.text_encoder, token_ids(texts))


def legibility(read: Tensor, true: Tensor) -> Tensor:
    """How much of each blendshape an analyzer sees: squared correlation [51] of [N, 51] with it.

    What it cannot read would teach its mistakes.
    """
    read, true = read - read.mean(0), true - true.mean(0)
    both = (read * true).sum(0) / (read.norm(dim=0) * true.norm(dim=0)).clamp(min=1e-6)
    return both.clamp(min=0).square()


def new_adapter(base: Base) -> SFSRAdapter:
    """An untrained adapter for the tiny base."""
    width = base.text_encoder.config.hidden_size
    layout = CompoundLayout({ENCODER: IDENTITY_DIM}, tokens=TOKENS, width=width, hidden=HIDDEN)
    first = base.unet.config["block_out_channels"][0]
    return SFSRAdapter(layout, layers_of(base.unet), first)


def _rows(face: ExpressionBatch, rows: Tensor) -> ExpressionBatch:
    return ExpressionBatch(
        face.values[rows], face.known[rows], face.learned[rows], face.has_learned[rows]
    )
