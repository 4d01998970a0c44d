"""Training of Dense-Face: PC-adapter, identity token and pose branch on a frozen base.

Noise prediction for an image of a person, with the identity of another image of them: with its own,
the network would copy what else the vector knows of the image (docs/reference/dense_face.md A11).
Unlike the release, text, identity and pose are dropped independently at random, so that guidance
and each control work on their own.

Noise prediction asks for the average image of a person, not for one that is recognised. So a second
loss (:class:`.LikenessLosses`) lets the network draw people as in inference, and a face reader
compares the result with the identity and the head pose that it was given (DRaFT, arXiv 2309.17400).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..demo.networks.analyzer import DEGREES
from ..dense_face.adapter import PCAdapter
from ..dense_face.blending import guided
from ..dense_face.identity_token import IdentityToken
from ..dense_face.noise_prediction import noised
from ..dense_face.pose_branch import HINT_WIDTHS, PoseBranch, PoseBranchConfig
from ..dense_face.schedule import alphas_cumprod
from ..pipelines.attention import InstalledAdapter
from ..pipelines.base import Base
from ..pipelines.guided import as_unet_arguments
from ..pipelines.layout import UNetLayout
from ..pipelines.ldm import unet_to_ldm
from ..pipelines.text import encode_text
from ..sfsr.midpoint import NoiseLevels, denoiser, midpoint_estimate
from .data.batches import Batch
from .likeness import LikenessLosses, PersonReader

NO_POSE = 0.1
"""Probability that it lacks the pose."""
_ANGLES_WEIGHT = 0.05
_TEMPERATURE = 0.1  # of the softmax over cosine similarities to the people of the batch


@dataclass(frozen=True, eq=False)
class PeopleBatch:
    """B images of people, on one device.

    latents: Scaled latents [B, 4, h, w].
    identity: Of another image of the same person [B, D]; zero where it is dropped.
    ids: Token ids [B, L], with the placeholder where the identity is known.
    hints: Pose images [B, 3, 8h, 8w] in 0..1.
    posed: Weight of the pose [B], 0 where it is dropped or unknown.
    angles: Yaw, pitch, roll in degrees [B, 3]; NaN where unknown.
    """

    latents: Tensor
    identity: Tensor
    ids: Tensor
    hints: Tensor
    posed: Tensor
    angles: Tensor

    def __getitem__(self, rows: Tensor) -> PeopleBatch:
        return PeopleBatch(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


class PeopleSource(Protocol):
    """Draws the images of a step.

    placeholder: Token id that the identity token replaces.
    empty_ids: Token ids of the empty prompt [1, L].
    """

    placeholder: int
    empty_ids: Tensor

    def draw(self, generator: torch.Generator, batch: Batch | None = None) -> PeopleBatch:
        """The images of a step, determined by its generator.

        Args:
            batch: Of the data set; None for a source that has its own images.
        """
        ...


class DenseFaceTask(nn.Module):
    """The losses of a batch; adapter, pose branch and token are trained, the base is frozen.

    Args:
        angles: For training only (:func:`new_angle_reader`).
        reader: Reads the images that the network draws; None trains on noise prediction alone.
        likeness: Settings of the losses of these images.
    """

    def __init__(
        self,
        base: Base,
        adapter: PCAdapter,
        pose_branch: PoseBranch,
        angles: nn.Module,
        token: IdentityToken,
        source: PeopleSource,
        reader: PersonReader | None = None,
        likeness: LikenessLosses | None = None,
    ) -> None:
        super().__init__()
        self.adapter, self.pose_branch, self.token = adapter, pose_branch, token
        self.angles = angles
        self.unet, self.text_encoder = base.unet, base.text_encoder
        self.source, self.reader, self.likeness = source, reader, likeness
        self.alphas = alphas_cumprod()
        self.levels = NoiseLevels.from_alphas(self.alphas)
        self.unfreeze()

    def unfreeze(self) -> None:
        """Let the trained networks have gradients, as they had before an earlier training."""
        token = self.token.projector, self.token.projector_norm  # P stays as it is
        for part in (self.adapter, self.pose_branch, *token, self.angles):
            part.requires_grad_(True)
        if not self.adapter.fused:
            for attention in self.adapter.attentions():
                if not attention.layer.takes_identity:
                    attention.feat_to_q.requires_grad_(False)

    def train(self, mode: bool = True) -> DenseFaceTask:
        """All but the reader, whose batch norms keep their statistics."""
        super().train(mode)
        if isinstance(self.reader, nn.Module):
            self.reader.eval()
        return self

    def forward(self, generator: torch.Generator, batch: Batch | None = None) -> dict[str, Tensor]:
        shown = self.source.draw(generator, batch)
        losses = self._noise_losses(shown, generator)
        known = (shown.identity.norm(dim=1) > 0) & (shown.posed > 0)
        if self.reader is None or self.likeness is None or int(known.sum()) < 2:
            return losses
        rows = torch.where(known)[0][: self.likeness.rows]
        terms = self._likeness_losses(self.reader, self.likeness, shown[rows], generator)
        loss = losses["loss"]
        for name, value in terms.items():
            loss = loss + getattr(self.likeness, name) * value
        return losses | {"loss": loss} | {name: value.detach() for name, value in terms.items()}

    def _noise_losses(self, shown: PeopleBatch, generator: torch.Generator) -> dict[str, Tensor]:
        # A batch of one has no statistics of its own.
        self.token.projector_norm.train(self.training and len(shown.latents) > 1)
        context = encode_text(
            self.text_encoder, shown.ids, self.token, shown.identity, self.source.placeholder
        )
        x, noise, t, weight = noised(shown.latents, self.alphas, generator)
        t = t.to(x.device)
        features = self.pose_branch.input_hint_block[:-1](shown.hints)
        encoded = self.pose_branch.input_hint_block[-1](features)
        residuals = self.pose_branch.residuals(x, encoded, t)
        residuals = [r * shown.posed[:, None, None, None].to(r) for r in residuals]
        with InstalledAdapter(self.unet, self.adapter, shown.identity):
            out = self.unet(x, t, context, **as_unet_arguments(residuals)).sample.float()
        error = F.mse_loss(out, noise, reduction="none").mean((1, 2, 3))
        angles = _angle_error(self.angles(features).float(), shown.angles)
        loss = (error * weight).mean() + _ANGLES_WEIGHT * angles
        return {"loss": loss, "mse": error.detach().mean(), "angles": angles.detach()}

    def _likeness_losses(
        self,
        reader: PersonReader,
        likeness: LikenessLosses,
        shown: PeopleBatch,
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """Losses of images drawn with the identities, captions and poses of a batch."""
        rollout = likeness.rollout
        times = rollout.timesteps(likeness.earliest, likeness.latest, generator)
        noise = torch.randn(shown.latents.shape, generator=generator).to(shown.latents)
        with InstalledAdapter(self.unet, self.adapter, shown.identity):
            denoise = denoiser(self._guided(shown, rollout.guidance), self.levels)
            x, sigma = rollout.sample(denoise, noise, self.levels.sigma_of(times))
            found = midpoint_estimate(denoise, x, sigma, self.levels, nodes=likeness.nodes)
        read = reader(found, generator)
        similarity = read.identity @ shown.identity.T
        people = torch.arange(len(similarity), device=similarity.device)
        return {
            "identity": (1 - similarity.diagonal()).mean(),
            "mistaken": F.cross_entropy(similarity / _TEMPERATURE, people),
            "pose": _angle_error(read.angles / DEGREES, shown.angles),
        }

    def _guided(self, shown: PeopleBatch, guidance: float) -> Callable[[Tensor, Tensor], Tensor]:
        """Guided noise prediction, as in inference; only the conditional half has gradients."""
        self.token.projector_norm.eval()
        context = encode_text(
            self.text_encoder, shown.ids, self.token, shown.identity, self.source.placeholder
        )
        with torch.no_grad():
            empty = encode_text(self.text_encoder, self.source.empty_ids.to(shown.ids))
            empty = empty.expand_as(context)
        encoded = self.pose_branch.encode_hint(shown.hints)

        def predicted(x: Tensor, t: Tensor) -> Tensor:
            with torch.no_grad():
                unconditional = self.unet(x, t, empty).sample.float()
            residuals = as_unet_arguments(self.pose_branch.residuals(x, encoded, t))
            conditional = self.unet(x, t, context, **residuals).sample.float()
            return guided(unconditional, conditional, guidance)

        return predicted


def new_pose_branch(base: Base, widths: Sequence[int] = HINT_WIDTHS) -> PoseBranch:
    """An untrained pose branch: a copy of the UNet's encoder whose residuals are zero.

    The hint encoder is initialised so that its eight convolutions preserve the scale of the
    signal; with torch's default the lines of the pose image would vanish.

    Args:
        widths: Channels inside the hint encoder.
    """
    layout = UNetLayout.from_diffusers(base.unet.config)
    branch = PoseBranch(
        PoseBranchConfig(
            model_channels=layout.model_channels,
            channel_mult=layout.channel_mult,
            num_res_blocks=layout.num_res_blocks,
            hint_widths=tuple(widths),
        )
    )
    encoder = unet_to_ldm(base.unet, prefix="")
    # The UNet's middle is block, attention, block; the branch has only the two blocks.
    encoder = {name.replace("middle_block.2.", "middle_block.1."): t for name, t in encoder.items()}
    own = branch.state_dict()
    copied = {n: t for n, t in encoder.items() if n in own and t.shape == own[n].shape}
    branch.load_state_dict(own | copied)
    for layer in list(branch.input_hint_block)[:-1]:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return branch


def new_angle_reader(pose_branch: PoseBranch) -> nn.Module:
    """Predicts the angles from the hint encoder's features, so that these contain them."""
    width = pose_branch.config.hint_widths[-1]
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * width, 3))


def new_token(base: Base, person: int, reference_delta: float) -> IdentityToken:
    """The untrained identity token: P is "person" plus position 0, as in the release.

    Args:
        person: Token id of the word. reference_delta: Strength of the token's offset.
    """
    embeddings = base.text_encoder.get_parameter("embeddings.token_embedding.weight")
    position = base.text_encoder.get_parameter("embeddings.position_embedding.weight")[0]
    return IdentityToken(
        embeddings.shape[1],
        reference_delta=reference_delta,
        initial=embeddings[person] + position,
    )


def _angle_error(read: Tensor, angles: Tensor) -> Tensor:
    """Mean squared error of [B, 3] in units of 30 degrees, where the angles are known."""
    known = angles.isfinite()
    error = F.mse_loss(read, angles.nan_to_num() / DEGREES, reduction="none") * known
    return error.sum() / known.sum().clamp(min=1)
