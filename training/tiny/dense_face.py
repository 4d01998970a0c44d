"""Stage ``dense-face``: PC-adapter, identity token and pose branch on the frozen tiny base."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...demo.captions import caption, identity_free_caption
from ...demo.networks.analyzer import DEGREES
from ...demo.vocabulary import WORDS
from ...dense_face.adapter import PCAdapter
from ...dense_face.identity_token import IdentityToken
from ...dense_face.pose_branch import PoseBranch, PoseBranchConfig
from ...dense_face.schedule import alphas_cumprod
from ...pipelines.attention import InstalledAdapter, layers_for
from ...pipelines.base import Base
from ...pipelines.guided import as_unet_arguments
from ...pipelines.layout import UNetLayout
from ...pipelines.ldm import unet_to_ldm
from ...pipelines.text import encode_text, token_ids
from .base import DROPPED_GROUP, EMPTY_CAPTION, noised
from .data import PER_PERSON, Latents

#: Strengths of the tiny adapter. The release's 0.01 suits weights a hundred times larger.
TINY_DELTA = 1.0
TINY_REFERENCE_DELTA = 0.1
TINY_HINT_WIDTHS = (8, 8, 16, 16, 32, 32, 64)
#: Probabilities that a training sample lacks identity, or pose.
NO_IDENTITY = 0.1
NO_POSE = 0.1
_ANGLES_WEIGHT = 0.05


def new_pose_branch(base: Base) -> PoseBranch:
    """An untrained pose branch: a copy of the UNet's encoder whose residuals are zero.

    The hint encoder is initialised so that its eight convolutions preserve the scale of the
    signal; with torch's default the lines of the pose image would vanish.
    """
    layout = UNetLayout.from_diffusers(base.unet.config)
    branch = PoseBranch(
        PoseBranchConfig(
            model_channels=layout.model_channels,
            channel_mult=layout.channel_mult,
            num_res_blocks=layout.num_res_blocks,
            hint_widths=TINY_HINT_WIDTHS,
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


def new_token(base: Base) -> IdentityToken:
    """The untrained identity token: P is "person" plus position 0, as in the release."""
    embeddings = base.text_encoder.get_parameter("embeddings.token_embedding.weight")
    position = base.text_encoder.get_parameter("embeddings.position_embedding.weight")[0]
    return IdentityToken(
        embeddings.shape[1],
        reference_delta=TINY_REFERENCE_DELTA,
        initial=embeddings[WORDS.index("person")] + position,
    )


class DenseFaceTask(nn.Module):
    """Noise prediction for an image of a person, with the identity of another image of them.

    Text, identity and pose are dropped independently at random, so that guidance and each control
    work on their own. Only adapter, pose branch and token are trained; the base is frozen.

    Args:
        data: Latents of N images and their mirror images.
        identities: Identity vectors [N, 512] of the images themselves.
        hints: Pose images [2N, 3, 128, 128] of the same images, bytes.
    """

    def __init__(
        self, base: Base, data: Latents, identities: Tensor, hints: Tensor, batch: int
    ) -> None:
        super().__init__()
        self.adapter = PCAdapter(layers_for(base.unet), delta=TINY_DELTA)
        self.pose_branch = new_pose_branch(base)
        # For training only: predicts the angles, so that the encoded pose image contains them.
        self.angles = nn.Sequential(
            nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * TINY_HINT_WIDTHS[-1], 3)
        )
        self.token = new_token(base)
        self.unet = base.unet
        self.text_encoder = base.text_encoder
        self.data, self.identities, self.hints = data, identities, hints
        self.batch = batch
        self.alphas = alphas_cumprod()
        for attention in self.adapter.attentions():
            if not attention.layer.takes_identity:
                attention.feat_to_q.requires_grad_(False)

    def forward(self, generator: torch.Generator) -> dict[str, Tensor]:
        half = len(self.data) // 2
        pick = torch.randint(half, (self.batch,), generator=generator)
        target = pick + torch.randint(2, (self.batch,), generator=generator) * half
        # The other image of the same person: images 2i and 2i + 1 belong together.
        other = pick // PER_PERSON * PER_PERSON + 1 - pick % PER_PERSON
        identity = self.identities[other]

        known = torch.rand(self.batch, generator=generator) >= NO_IDENTITY
        posed = torch.rand(self.batch, generator=generator) >= NO_POSE
        empty = torch.rand(self.batch, generator=generator) < EMPTY_CAPTION
        identity = identity * known[:, None]
        heads = self.data.heads[target]
        faces = identity_free_caption(heads, generator, DROPPED_GROUP)
        people = caption(heads, generator, DROPPED_GROUP)
        texts = [
            "" if gone else (face if is_known else person)
            for gone, is_known, face, person in zip(empty, known, faces, people, strict=True)
        ]
        context = encode_text(self.text_encoder, token_ids(texts), self.token, identity)
        x, noise, t, weight = noised(self.data.latents[target], self.alphas, generator)
        hint = self.hints[target].float() / 255
        features = self.pose_branch.input_hint_block[:-1](hint)
        encoded = self.pose_branch.input_hint_block[-1](features)
        residuals = self.pose_branch.residuals(x, encoded, t)
        residuals = [r * posed[:, None, None, None].to(r) for r in residuals]
        with InstalledAdapter(self.unet, self.adapter, identity):
            out = self.unet(x, t, context, **as_unet_arguments(residuals)).sample.float()
        error = F.mse_loss(out, noise, reduction="none").mean((1, 2, 3))
        read = self.angles(features).float()
        angles = F.mse_loss(read, heads.angles / DEGREES)
        loss = (error * weight).mean() + _ANGLES_WEIGHT * angles
        return {"loss": loss, "mse": error.detach().mean(), "angles": angles.detach()}
