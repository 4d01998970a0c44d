"""Training of an SFSR adapter: its tokens and the background hint, on a frozen base.

Two losses. Noise prediction from images whose own head was emptied, told who it is by another image
of the same person and which face it makes. And, since no true image exists of one person with the
expression of another in the scene of a third, a **cross-identity** one: identity and expression
come from other rows of the batch, the clean image is estimated by the midpoint rule, decoded, and a
reader of faces says whether it shows them (docs/reference/diffsfsr.md 5, item 6; REFace's exchange
within the batch, 4.3). The estimate starts at a true image under noise, or on the sampler's own way
(:class:`.Rollout`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..dense_face.blending import guided
from ..dense_face.pose_branch import PoseBranch
from ..dense_face.schedule import alphas_cumprod
from ..pipelines.base import LATENT_SCALE, Base
from ..pipelines.guided import acting
from ..pipelines.source_attention import InstalledSources, SourceInputs, install_sources
from ..sfsr.adapter import SFSRAdapter
from ..sfsr.compound_inputs import IdentityBatch
from ..sfsr.guidance import Absence
from ..sfsr.midpoint import Denoiser, NoiseLevels, denoiser, midpoint_estimate
from ..sfsr.token_attention import EXPRESSION, IDENTITY
from .sfsr_faces import FaceReader, FaceSource, SFSRFaces
from .sfsr_rollout import Rollout
from .tiny.base import PlainAttention, noised

ABSENCE = Absence(identity=0.1, expression=0.1, both=0.1)
#: Chances that a training sample comes without pose, or background.
NO_POSE, NO_BACKGROUND = 0.1, 0.1
#: Weight of the noise outside the head: there the scene is given.
OUTSIDE = 0.25
#: What a cell full of eye, brow or mouth weighs more: there is the expression, in few cells.
FEATURES = 8.0
#: Signal-to-noise ratio below which an error of the clean latents does not lose weight. In much
#: noise nothing but the tokens tells who it is and what the face does.
LEAST = 0.25
#: Of likenesses (cosines) among which the right person's has to stand out.
TEMPERATURE = 0.1


@dataclass(frozen=True)
class FaceLosses:
    """The cross-identity losses.

    rows: Of the batch, that show others' faces. nodes: Of the midpoint estimate; 1 is the one-step
    estimate. identity, mistaken, expression, scene: Weights; ``mistaken`` keeps expressions from
    being learned while there are none. earliest, latest: Timesteps of the estimate. walk: How the
    sampler gets there; None for true images under noise.
    """

    rows: int = 6
    nodes: int = 2
    identity: float = 0.5
    mistaken: float = 0.0
    expression: float = 6.0
    scene: float = 1.0
    earliest: int = 400
    latest: int = 950
    rollout: Rollout | None = None


class SFSRTask(nn.Module):
    """Both losses of a batch; gradients reach the SFSR adapter only.

    Args:
        base: The trained base, frozen. adapter: What learns.
        source: Draws the faces of a step.
        reader: Looks at the estimated images, frozen; None trains on noise alone.
        pose_branch: Dense-Face's, frozen; None where the source has no pose images.
        faces: None trains on noise alone.
    """

    def __init__(
        self,
        base: Base,
        adapter: SFSRAdapter,
        source: FaceSource,
        reader: FaceReader | None = None,
        pose_branch: PoseBranch | None = None,
        faces: FaceLosses | None = None,
    ) -> None:
        super().__init__()
        plain: Any = PlainAttention()  # diffusers lists its own classes only
        base.unet.set_attn_processor(plain)
        self.adapter = adapter
        self.unet, self.vae = base.unet, base.vae
        self.pose_branch = None if pose_branch is None else pose_branch.requires_grad_(False)
        self.source, self.reader, self.faces = source, reader, faces
        self.alphas = alphas_cumprod()
        self.levels = NoiseLevels.from_alphas(self.alphas)

    def train(self, mode: bool = True) -> SFSRTask:
        """The adapter alone: a reader's batch norms keep the statistics that it learned."""
        super().train(mode)
        if isinstance(self.reader, nn.Module):
            self.reader.eval()
        return self

    def forward(self, generator: torch.Generator) -> dict[str, Tensor]:
        shown = self.source.draw(generator)
        with install_sources(self.unet, self.adapter) as installed:
            losses = self._noise_losses(installed, shown, generator)
            if self.faces is None or self.reader is None:
                return losses
            seen = self._face_losses(installed, self.faces, self.reader, shown, generator)
        loss = losses["loss"]
        for name, value in seen.items():
            loss = loss + getattr(self.faces, name) * value
        apart = {name: value.detach() for name, value in seen.items()}
        return {"loss": loss, "mse": losses["mse"], **apart}

    def _noise_losses(
        self, installed: InstalledSources, shown: SFSRFaces, generator: torch.Generator
    ) -> dict[str, Tensor]:
        count, device = len(shown), shown.latents.device
        chances = ABSENCE.draw(count, generator)
        posed = torch.rand(count, generator=generator) >= NO_POSE
        placed = torch.rand(count, generator=generator) >= NO_BACKGROUND
        known, expressed = (chance.float().to(device) for chance in chances)
        weights = known, expressed, placed.float().to(device)
        installed.source_inputs = self._source_inputs(shown.people, shown, weights)
        x, noise, t, weight = noised(shown.latents, self.alphas, generator, least=LEAST)
        out = self._predicted(x, t, shown, posed.float().to(device))
        mask = shown.background[:, :1]
        where = mask + OUTSIDE * (1 - mask) + FEATURES * shown.features
        error = F.mse_loss(out, noise, reduction="none").mean(1, keepdim=True) * where
        error = error.sum((1, 2, 3)) / where.sum((1, 2, 3))
        return {"loss": (error * weight).mean(), "mse": error.detach().mean()}

    def _face_losses(
        self,
        installed: InstalledSources,
        faces: FaceLosses,
        reader: FaceReader,
        everybody: SFSRFaces,
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """What the reader misses in faces of one row with the expression of another.

        Of the identity, and in how far somebody else of the batch could be meant, among them the
        expression's owner and who was in the scene; of the expression, if it reads any. And how far
        the scene around them is from the true one: whoever comes there, it stays.
        """
        count = min(faces.rows, len(everybody))
        shown, device = everybody[:count], everybody.latents.device
        everywhere = torch.ones(count, device=device)
        people = everybody.people.roll(-1, 0)
        others = everybody[torch.arange(2, count + 2) % len(everybody)]
        weights = everywhere, everywhere, everywhere
        asked = self._source_inputs(people[:count], others, weights, shown.background)
        clean = shown.latents
        denoise, x, sigma = self._start(installed, asked, shown, faces, generator)
        found = midpoint_estimate(denoise, x, sigma, self.levels, nodes=faces.nodes)
        # The new head is looked at where it will be seen: in the scene. For an identity it alone
        # may move, for an expression what makes it: elsewhere a network that is to be pleased
        # finds means that nobody would call a face.
        head = shown.heads
        near = F.max_pool2d((shown.features > 0).float(), 3, stride=1, padding=1)
        placed = head * found + (1 - head) * clean
        moving = [head] if reader.legible is None else [head, near]
        held = [part * placed + (1 - part) * placed.detach() for part in moving]
        decode: Callable[..., Any] = self.vae.decode
        images = decode(torch.cat(held) / LATENT_SCALE).sample.float() / 2 + 0.5
        seen = reader(images.clamp(0, 1), shown, generator)
        # The noisier the start, the less of the image is settled.
        trust = (1 + sigma**2).rsqrt()
        likeness = seen.identity[:count] @ people.T
        meant = torch.arange(count, device=device)
        mistaken = F.cross_entropy(likeness / TEMPERATURE, meant, reduction="none")
        around = 1 - head
        lost = ((found - clean).square().mean(1, keepdim=True) * around).sum((1, 2, 3))
        lost = lost / around.sum((1, 2, 3)).clamp(min=1)
        missed = {"identity": 1 - likeness.diagonal(), "mistaken": mistaken}
        if reader.legible is not None:
            counts = reader.legible.to(device) * others.known
            wrong = (seen.blendshapes[count:] - others.values).square() * counts
            missed["expression"] = wrong.sum(1) / counts.sum(1).clamp(min=1)
        missed["scene"] = lost
        return {name: (trust * value).sum() / trust.sum() for name, value in missed.items()}

    def _start(
        self,
        installed: InstalledSources,
        asked: SourceInputs,
        shown: SFSRFaces,
        faces: FaceLosses,
        generator: torch.Generator,
    ) -> tuple[Denoiser, Tensor, Tensor]:
        """Where the estimate starts: its denoiser, x [B, 4, h, w] and the noise levels [B]."""
        clean, rollout = shown.latents, faces.rollout
        if rollout is None:
            installed.source_inputs, everywhere = asked, torch.ones(len(shown)).to(clean)
            t = torch.randint(faces.earliest, faces.latest, (len(shown),), generator=generator)
            sigma = self.levels.sigmas[t].float().to(clean)
            noise = torch.randn(clean.shape, generator=generator).to(clean)
            x = clean + sigma[:, None, None, None] * noise
            predicted = partial(self._predicted, shown=shown, posed=everywhere)
            return denoiser(predicted, self.levels), x, sigma
        denoise = denoiser(self._guided(installed, asked, shown, rollout), self.levels)
        times = rollout.times(faces.earliest, faces.latest, generator)
        noise = torch.randn(clean.shape, generator=generator).to(clean)
        return denoise, *rollout.down(denoise, shown, noise, self.levels.sigma_of(times))

    def _guided(
        self, installed: InstalledSources, asked: SourceInputs, shown: SFSRFaces, rollout: Rollout
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """Predicted noise as in sampling; gradients reach the prompt's half alone."""
        empty = self.source.wordless.expand_as(shown.context)
        wordless, everywhere = replace(shown, context=empty), torch.ones(len(shown)).to(empty)

        def predicted(x: Tensor, t: Tensor) -> Tensor:
            installed.source_inputs = replace(asked, weights={})
            with torch.no_grad():
                nothing = self._predicted(x, t, wordless, None)
            installed.source_inputs = replace(
                asked, weights=acting(asked.weights, rollout.starts, int(t[0]))
            )
            return guided(nothing, self._predicted(x, t, shown, everywhere), rollout.guidance)

        return predicted

    def _predicted(self, x: Tensor, t: Tensor, shown: SFSRFaces, posed: Tensor | None) -> Tensor:
        """posed: Whether each is told its pose, 1 or 0; None for nobody."""
        t = t.to(x.device)
        more: dict[str, Any] = {}
        if posed is not None and self.pose_branch is not None and shown.hints is not None:
            with torch.no_grad():
                encoded = self.pose_branch.encode_hint(shown.hints)
                residuals = self.pose_branch.residuals(x, encoded, t)
            residuals = [r * posed[:, None, None, None].to(r) for r in residuals]
            more["down_block_additional_residuals"] = tuple(residuals[:-1])
            more["mid_block_additional_residual"] = residuals[-1]
        return self.unet(x, t, shown.context, **more).sample.float()

    def _source_inputs(
        self,
        who: Tensor,
        face: SFSRFaces,
        weights: tuple[Tensor, Tensor, Tensor],
        background: Tensor | None = None,
    ) -> SourceInputs:
        """People [B, D] with the expressions, and if no other is given the scenes, of faces.

        weights: Of identity, expression and background.
        """
        known, shown, placed = weights
        present = torch.ones(len(who), dtype=torch.bool, device=who.device)
        encoder = self.adapter.layout.required
        people = IdentityBatch({encoder: who}, {encoder: present})
        tokens = self.adapter.embedding(people, face.expression)
        return SourceInputs(
            self.adapter.attention.keys_values(tokens),
            {IDENTITY: known, EXPRESSION: shown},
            background=face.background if background is None else background,
            background_weight=placed,
        )
