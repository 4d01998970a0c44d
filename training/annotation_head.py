"""The annotation head of any Stable Diffusion 1.x model, trained on a dense-annotation data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..dense_face.annotation.head import TIMESTEPS, AnnotationHead, HeadConfig
from ..dense_face.annotation.loss import AnnotationLabels, annotation_losses
from ..dense_face.feature_hooks import capture_features
from ..dense_face.schedule import alphas_cumprod
from ..errors import InputError
from ..pipelines.annotation import fitting_config, stage_modules
from ..pipelines.base import LATENT_SCALE, Base
from ..pipelines.single_file import Tokenize
from ..pipelines.text import encode_text
from .data.batches import Batch, Batches
from .data.dataset import FaceDataset
from .data.record import KINDS
from .loop import Schedule, seeded, train
from .tiny.feature_cache import EMPTY_CAPTION

VAE_FACTOR = 8


@dataclass(frozen=True)
class HeadPlan:
    """The head to train, and its data.

    dataset: Folder in the Dense-Face layout, or of its WebDataset shards.
    folder: Work folder with the saved state, from which a killed run resumes.
    size: Side of the images in pixels, a multiple of 64.
    width, scale, scheme: Of the head (``HeadConfig``).
    batch: Records per step and process.
    workers: Processes that read images.
    """

    dataset: Path
    folder: Path
    size: int = 256
    width: int = 192
    scale: int = 2
    scheme: str = "mesh"
    batch: int = 16
    workers: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise InputError for sizes that UNet or head cannot have, or an empty batch."""
        if self.size < 64 or self.size % 64:
            raise InputError(
                f"the images' side is {self.size}", fix="Use a multiple of 64, such as 256"
            )
        HeadConfig(width=self.width, scale=self.scale, scheme=self.scheme)
        if self.batch < 1:
            raise InputError(f"the batch size is {self.batch}", fix="Use 1 or more")


class HeadTask(nn.Module):
    """Predicts the labels of images from their noisy latents, in one pass of the frozen UNet.

    Args:
        base: The model; it gets no gradients.
    """

    def __init__(self, base: Base, plan: HeadPlan, tokenize: Tokenize) -> None:
        super().__init__()
        with seeded(plan.seed):
            self.head = AnnotationHead(
                fitting_config(base.unet, plan.width, plan.scale, plan.scheme)
            )
        self.unet, self.vae, self.text_encoder = base.unet, base.vae, base.text_encoder
        self.plan, self.tokenize = plan, tokenize
        self.alphas = alphas_cumprod()

    def forward(self, generator: torch.Generator, batch: Batch) -> dict[str, Tensor]:
        device = self.head.get_parameter("read.0.weight").device
        images = batch["image"].to(device)
        t, noise, dropped = self._draw(images, generator)
        with torch.no_grad():
            vae: Any = self.vae
            latents = LATENT_SCALE * vae.encode(2 * images - 1).latent_dist.mode().float()
            alpha = self.alphas[t].to(latents)[:, None, None, None]
            noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise.to(device)
            texts = [
                "" if drop else text for text, drop in zip(batch["caption"], dropped, strict=True)
            ]
            context = encode_text(self.text_encoder, self.tokenize(texts).to(device))
            with capture_features(stage_modules(self.unet)) as features:
                self.unet(noisy, t.to(device), context)
        labels = AnnotationLabels(*(batch[k].to(device) for k in ("depth", "parts", "landmarks")))
        losses = annotation_losses(self.head(features, t.to(device)), labels)
        return {n: value if n == "loss" else value.detach() for n, value in losses.items()}

    def _draw(
        self, images: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, list[bool]]:
        """Timesteps (preferring little noise), noise, and which captions to drop."""
        count, side = len(images), self.plan.size // VAE_FACTOR
        t = (TIMESTEPS * torch.rand(count, generator=generator).square()).long()
        noise = torch.randn(count, 4, side, side, generator=generator)
        return t, noise, (torch.rand(count, generator=generator) < EMPTY_CAPTION).tolist()


def head_batches(plan: HeadPlan) -> Batches:
    """The plan's data set; images lack labels, not the reverse, so all of them are used.

    Raises:
        InputError: There is no data set.
    """
    cells = plan.size // VAE_FACTOR * plan.scale
    data = FaceDataset(plan.dataset, plan.size, cells, plan.scheme, KINDS)
    return Batches(data, plan.batch, plan.seed, workers=plan.workers)


def train_head(
    base: Base, plan: HeadPlan, tokenize: Tokenize, schedule: Schedule, *, fresh: bool = False
) -> HeadTask:
    """Train a head and return the task with the averaged weights; a killed run resumes.

    Under ``accelerate launch`` or ``torchrun`` each process reads other records.

    Raises:
        InputError: As :func:`.train`; or there is no data set, or it has no usable image.
        ModelFileError: The work folder holds a run of another head.
    """
    task = HeadTask(base, plan, tokenize)
    settings = {name: getattr(plan, name) for name in ("size", "width", "scale", "scheme")}
    batches = head_batches(plan)
    train(
        task, schedule, seed=plan.seed, folder=plan.folder, batches=batches, settings=settings,
        fresh=fresh,
    )  # fmt: skip
    return task
