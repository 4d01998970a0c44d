"""Training of an SFSR adapter: its tokens and the background hint, on a frozen base.

There are two losses. The first is noise prediction for images whose head was emptied, given the
identity of another image of the same person and the blendshapes. The second is a **cross-identity**
loss, because no real image exists of one person with the expression of another in the scene of a
third: identity and expression come from other rows of the batch, the clean image is estimated by
the midpoint rule and decoded, and a face reader compares it with both (docs/reference/diffsfsr.md
5, item 6; REFace's exchange within the batch, 4.3). The estimate starts from a real image under
noise or from a :class:`.Rollout` of the sampler.
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
from ..dense_face.noise_prediction import noised
from ..dense_face.pose_branch import PoseBranch
from ..dense_face.schedule import alphas_cumprod
from ..pipelines.base import LATENT_SCALE, Base
from ..pipelines.guided import acting, as_unet_arguments
from ..pipelines.source_attention import InstalledSources, SourceInputs
from ..sfsr.adapter import SFSRAdapter
from ..sfsr.background import start_latent
from ..sfsr.compound_inputs import IdentityBatch
from ..sfsr.guidance import SourceDropout
from ..sfsr.midpoint import Denoiser, NoiseLevels, denoiser, midpoint_estimate
from ..sfsr.token_attention import EXPRESSION, IDENTITY
from .data.batches import Batch
from .rollout import Rollout
from .sfsr_faces import FaceReader, FaceSource, SFSRFaces
from .tiny.base import use_plain_attention

SOURCE_DROPOUT = SourceDropout(identity=0.1, expression=0.1, both=0.1)
#: Probabilities that a training sample lacks the pose, or the background.
NO_POSE, NO_BACKGROUND = 0.1, 0.1
#: Loss weight outside the head, where the scene is given.
OUTSIDE = 0.25
#: Additional loss weight of cells full of eye, brow or mouth: the expression is in few cells.
FEATURES = 8.0
#: Lower bound of the loss weight. At high noise levels only the tokens carry identity and
#: expression, so these levels must not lose all weight.
MIN_SNR = 0.25
#: Of the softmax over cosine similarities to the people of the batch.
TEMPERATURE = 0.1


@dataclass(frozen=True)
class FaceLosses:
    """The cross-identity losses.

    rows: Rows of the batch that get another face.
    nodes: Of the midpoint estimate; 1 is the one-step estimate.
    identity, mistaken, expression, scene: Weights. ``mistaken`` penalises confusion with others in
        the batch; from the start, it would keep the adapter from learning expressions.
    earliest, latest: Range of timesteps where the estimate starts.
    rollout: Samples the starting points; None for real images under noise.
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
    """Both losses of a batch; only the SFSR adapter is trained.

    Args:
        base: The trained base, frozen. adapter: To be trained.
        source: Draws the faces of a step.
        reader: Reads the estimated images, frozen; None trains on noise prediction alone.
        pose_branch: Dense-Face's, frozen; None if the source has no pose images.
        faces: Settings of the cross-identity losses; None trains on noise prediction alone.
        noise: Whether there is a loss of noise prediction; else only those.
    """

    def __init__(
        self,
        base: Base,
        adapter: SFSRAdapter,
        source: FaceSource,
        reader: FaceReader | None = None,
        pose_branch: PoseBranch | None = None,
        faces: FaceLosses | None = None,
        noise: bool = True,
    ) -> None:
        super().__init__()
        use_plain_attention(base.unet)
        self.adapter = adapter
        self.unet = base.unet
        self.vae = None if reader is None or faces is None else base.vae
        self.pose_branch = None if pose_branch is None else pose_branch.requires_grad_(False)
        self.source, self.reader, self.faces, self.noise = source, reader, faces, noise
        self.alphas = alphas_cumprod()
        self.levels = NoiseLevels.from_alphas(self.alphas)

    def train(self, mode: bool = True) -> SFSRTask:
        """All but the reader, whose batch norms keep their statistics."""
        super().train(mode)
        if isinstance(self.reader, nn.Module):
            self.reader.eval()
        return self

    def forward(self, generator: torch.Generator, batch: Batch | None = None) -> dict[str, Tensor]:
        shown = self.source.draw(generator, batch)
        with InstalledSources(self.unet, [self.adapter]) as installed:
            losses: dict[str, Tensor] = {}
            if self.noise:
                losses = self._noise_losses(installed, shown, generator)
            if self.faces is None or self.reader is None:
                return losses
            terms = self._face_losses(installed, self.faces, self.reader, shown, generator)
        loss = losses.pop("loss", torch.zeros_like(terms["identity"]))
        for name, value in terms.items():
            loss = loss + getattr(self.faces, name) * value
        detached = {name: value.detach() for name, value in terms.items()}
        return {"loss": loss, **losses, **detached}

    def _noise_losses(
        self, installed: InstalledSources, shown: SFSRFaces, generator: torch.Generator
    ) -> dict[str, Tensor]:
        count, device = len(shown), shown.latents.device
        chances = SOURCE_DROPOUT.draw(count, generator)
        posed = torch.rand(count, generator=generator) >= NO_POSE
        placed = torch.rand(count, generator=generator) >= NO_BACKGROUND
        known, expressed = (chance.float().to(device) for chance in chances)
        weights = known, expressed, placed.float().to(device)
        installed.source_inputs = self._source_inputs(shown.people, shown, weights)
        x, noise, t, weight = noised(shown.latents, self.alphas, generator, least=MIN_SNR)
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
        batch: SFSRFaces,
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """Losses of estimated images with identity, expression and scene from different rows.

        A single row has its own: the identity is that of another image of the person.

        ``identity`` is 1 minus the cosine similarity. ``mistaken`` is a cross-entropy over the
        people of the batch, among them the sources of expression and scene. ``expression``, if the
        reader reads any, is the error of the blendshapes, ``scene`` that of the latents around the
        head.
        """
        count = min(faces.rows, len(batch))
        shown, device = batch[:count], batch.latents.device
        everywhere = torch.ones(count, device=device)
        people = batch.people.roll(-1, 0)
        expressive = batch[torch.arange(2, count + 2) % len(batch)]
        weights = everywhere, everywhere, everywhere
        inputs = self._source_inputs(people[:count], expressive, weights, shown.background)
        clean = shown.latents
        denoise, x, sigma = self._start(installed, inputs, shown, faces, generator)
        found = midpoint_estimate(denoise, x, sigma, self.levels, nodes=faces.nodes)
        # The reader sees the new head in the scene. The identity's gradients affect the head only,
        # those of the expression eyes, brows and mouth only: elsewhere the adapter would learn to
        # fool the reader with patterns that do not look like faces.
        head = shown.heads
        near = F.max_pool2d((shown.features > 0).float(), 3, stride=1, padding=1)
        placed = head * found + (1 - head) * clean
        trainable = [head] if reader.reliability is None else [head, near]
        latents = [part * placed + (1 - part) * placed.detach() for part in trainable]
        vae: Any = self.vae
        images = vae.decode(torch.cat(latents) / LATENT_SCALE).sample.float() / 2 + 0.5
        read = reader(images.clamp(0, 1), shown, generator)
        # The noisier the start, the less certain the estimate.
        trust = (1 + sigma**2).rsqrt()
        similarity = read.identity[:count] @ people.T
        target = torch.arange(count, device=device)
        mistaken = F.cross_entropy(similarity / TEMPERATURE, target, reduction="none")
        outside = 1 - head
        scene_error = ((found - clean).square().mean(1, keepdim=True) * outside).sum((1, 2, 3))
        scene_error = scene_error / outside.sum((1, 2, 3)).clamp(min=1)
        losses = {"identity": 1 - similarity.diagonal(), "mistaken": mistaken}
        if reader.reliability is not None:
            weight = reader.reliability.to(device) * expressive.known
            error = (read.blendshapes[count:] - expressive.values).square() * weight
            losses["expression"] = error.sum(1) / weight.sum(1).clamp(min=1)
        losses["scene"] = scene_error
        return {name: (trust * value).sum() / trust.sum() for name, value in losses.items()}

    def _start(
        self,
        installed: InstalledSources,
        inputs: SourceInputs,
        shown: SFSRFaces,
        faces: FaceLosses,
        generator: torch.Generator,
    ) -> tuple[Denoiser, Tensor, Tensor]:
        """The start of the estimate: its denoiser, x [B, 4, h, w] and the noise levels [B]."""
        clean, rollout = shown.latents, faces.rollout
        if rollout is None:
            installed.source_inputs, everywhere = inputs, torch.ones(len(shown)).to(clean)
            t = torch.randint(faces.earliest, faces.latest, (len(shown),), generator=generator)
            sigma = self.levels.sigmas[t].float().to(clean)
            noise = torch.randn(clean.shape, generator=generator).to(clean)
            x = clean + sigma[:, None, None, None] * noise
            predicted = partial(self._predicted, shown=shown, posed=everywhere)
            return denoiser(predicted, self.levels), x, sigma
        denoise = denoiser(self._guided(installed, inputs, shown, rollout), self.levels)
        times = rollout.timesteps(faces.earliest, faces.latest, generator)
        noise = torch.randn(clean.shape, generator=generator).to(clean)
        # As in inference, the heads start from an empty scene; here with every cell that they
        # touch, where inference redraws only whole ones (background.noise_mask).
        new, empty = shown.background[:, :1], shown.background[:, 1:]
        scene = start_latent(clean, empty, new)
        sigmas = self.levels.sigma_of(times)
        return denoise, *rollout.sample(denoise, noise, sigmas, scene, new)

    def _guided(
        self, installed: InstalledSources, inputs: SourceInputs, shown: SFSRFaces, rollout: Rollout
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """Guided noise prediction, as in inference; only the conditional half has gradients."""
        empty = self.source.empty_context.expand_as(shown.context)
        unprompted, everywhere = replace(shown, context=empty), torch.ones(len(shown)).to(empty)

        def predicted(x: Tensor, t: Tensor) -> Tensor:
            installed.source_inputs = replace(inputs, weights={})
            with torch.no_grad():
                unconditional = self._predicted(x, t, unprompted, None)
            installed.source_inputs = replace(
                inputs, weights=acting(inputs.weights, rollout.starts, int(t[0]))
            )
            return guided(unconditional, self._predicted(x, t, shown, everywhere), rollout.guidance)

        return predicted

    def _predicted(self, x: Tensor, t: Tensor, shown: SFSRFaces, posed: Tensor | None) -> Tensor:
        """posed: Weight of the pose of each row, 1 or 0; None for no poses."""
        t = t.to(x.device)
        more: dict[str, Any] = {}
        if posed is not None and self.pose_branch is not None and shown.hints is not None:
            with torch.no_grad():
                encoded = self.pose_branch.encode_hint(shown.hints)
                residuals = self.pose_branch.residuals(x, encoded, t)
            residuals = [r * posed[:, None, None, None].to(r) for r in residuals]
            more = as_unet_arguments(residuals)
        return self.unet(x, t, shown.context, **more).sample.float()

    def _source_inputs(
        self,
        who: Tensor,
        face: SFSRFaces,
        weights: tuple[Tensor, Tensor, Tensor],
        background: Tensor | None = None,
    ) -> SourceInputs:
        """Identities [B, D] with expressions and, unless others are given, scenes of ``face``.

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
