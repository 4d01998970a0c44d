"""The annotation head of any Stable Diffusion 1.x model, trained on a dense-annotation data set."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ...dense_face.annotation.head import TIMESTEPS, AnnotationHead
from ...dense_face.annotation.head_file import save_head
from ...dense_face.annotation.loss import AnnotationLabels, annotation_losses
from ...dense_face.feature_hooks import capture_features
from ...dense_face.schedule import alphas_cumprod
from ...pipelines.annotation import fitting_config, stage_modules
from ...pipelines.base import LATENT_SCALE, Base
from ...pipelines.single_file import Tokenize, load_checkpoint, tokenizer_for
from ...pipelines.text import encode_text
from ..data.batches import Batch, Batches
from ..data.dataset import FaceDataset
from ..data.held_out import split
from ..data.record import KINDS
from ..runs.loop import seeded, train
from ..runs.memory import DTYPES, save_memory
from ..runs.processes import on_main
from ..settings.config import AnnotationsConfig
from ..tiny.feature_cache import EMPTY_CAPTION
from ..watch.provenance import result_metadata
from ..watch.result import write_result
from .validation import validation_of

VAE_FACTOR = 8


class HeadTask(nn.Module):
    """Predicts the labels of images from their noisy latents, in one pass of the frozen UNet.

    Args:
        base: The model; it gets no gradients.
    """

    def __init__(self, base: Base, config: AnnotationsConfig, tokenize: Tokenize) -> None:
        super().__init__()
        with seeded(config.seed):
            self.head = AnnotationHead(
                fitting_config(base.unet, config.width, config.scale, config.scheme)
            )
        self.unet, self.vae, self.text_encoder = base.unet, base.vae, base.text_encoder
        self.config, self.tokenize = config, tokenize
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
        count, side = len(images), self.config.size // VAE_FACTOR
        t = (TIMESTEPS * torch.rand(count, generator=generator).square()).long()
        noise = torch.randn(count, 4, side, side, generator=generator)
        return t, noise, (torch.rand(count, generator=generator) < EMPTY_CAPTION).tolist()


def head_batches(config: AnnotationsConfig, *, held_out: bool = False) -> Batches:
    """The data set; an image with few labels trains what it can.

    Args:
        held_out: Whether those of the people who are held out, instead of those trained on.

    Raises:
        InputError: There is no data set.
    """
    cells = config.size // VAE_FACTOR * config.scale
    data = FaceDataset(config.dataset, config.size, cells, config.scheme, KINDS)
    data = split(data, config.held_out)[held_out]
    return Batches(data, config.batch, config.seed, workers=config.workers)


def train_head(
    base: Base, config: AnnotationsConfig, tokenize: Tokenize, *, fresh: bool = False
) -> AnnotationHead:
    """Train a head and return it with the averaged weights; a killed run resumes.

    Under ``accelerate launch`` or ``torchrun`` each process reads other records.

    Raises:
        InputError: As :func:`.train`; or there is no data set, or it has no usable image.
        ModelFileError: The work folder holds a run of another head.
    """
    task = HeadTask(base, config, tokenize)
    batches = partial(head_batches, config)
    train(
        task,
        config.schedule,
        seed=config.seed,
        folder=config.folder,
        batches=batches(),
        settings=config.shaping,
        validation=validation_of(config, batches),
        fresh=fresh,
    )
    return task.head


def train_and_save(config: AnnotationsConfig, *, fresh: bool = False) -> None:
    """Train a head for a base and write its file.

    Raises:
        FacePackError: As :func:`train_head`; or the base or the tokenizer cannot be used, or
            nothing can be written.
    """
    base = load_checkpoint(config.base, dtype=DTYPES[config.precision])
    save_memory(base, config.precision, checkpointing=False)  # nothing is trained through it
    tokenize = tokenizer_for(base, config.tokenizer)
    about = on_main(lambda: result_metadata(config, "annotations", base.metadata))
    head = train_head(base, config, tokenize, fresh=fresh)
    write_result(config, about, lambda path, full: save_head(path, head, full))
