"""A run of ``denseface train-demo``: its work folder and the data that stages share in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from ...demo.bundled import DENSE_FACE_FILE, WEIGHTS
from ...demo.networks.analyzer import TinyAnalyzer
from ...dense_face.checkpoints.adapter_file import load_adapter
from ...dense_face.pose_branch import PoseBranch
from ...errors import ModelFileError
from ...pipelines.base import LATENT_SCALE, new_vae
from ...state_dict import as_float32
from ...storage import read_weights, write_weights
from ..runs.loop import Schedule
from .data import Images, Latents, load_images
from .expression import reconstructions
from .scenes import Scenes, encode_scenes
from .vae import encode_all


@dataclass(frozen=True)
class TrainingRun:
    """Folders and size of a run.

    folder: Work folder. weights: Folder of the finished files.
    images: Number of training images.
    workers: Processes that render.
    length: Fraction of the full number of steps.
    fresh: Whether to remove the states of earlier runs.
    """

    folder: Path
    weights: Path = WEIGHTS
    images: int = 20_000
    workers: int = 2
    length: float = 1.0
    fresh: bool = False

    def schedule(self, steps: int, lr: float, **kwargs: Any) -> Schedule:
        """A schedule of ``steps`` steps at full length."""
        return Schedule(steps=max(1, round(steps * self.length)), lr=lr, **kwargs)

    def load(self) -> Images:
        """All training images."""
        return load_images(self.folder / "images", self.images)

    def autoencoder(self, stage: str) -> tuple[AutoencoderKL, dict[str, str]]:
        """The autoencoder after stage ``vae`` or ``decoder``, frozen, and its metadata."""
        tensors, about = read_weights(self.folder / f"{stage}.safetensors")
        autoencoder = new_vae().requires_grad_(False)
        autoencoder.load_state_dict(as_float32(tensors))
        return autoencoder.eval(), about

    def latents(self, autoencoder: AutoencoderKL, images: Images) -> Latents:
        """Latents of all images and their mirror images; encoded once."""
        cached = self._cached("latents", images)
        if not cached.is_file():
            halves = [encode_all(autoencoder, rgb) for rgb in (images.rgb, images.rgb.flip(-1))]
            write_weights(cached, {"latents": LATENT_SCALE * torch.cat(halves)}, {})
        return Latents(images, read_weights(cached)[0]["latents"])

    def reconstructed(self, images: Images) -> Tensor:
        """VAE reconstructions of all images, bytes [N, 3, H, W]; decoded once."""
        cached = self._cached("reconstructions", images)
        if not cached.is_file():
            autoencoder, _ = self.autoencoder("decoder")
            latents = self.latents(autoencoder, images).latents[: len(images)] / LATENT_SCALE
            write_weights(cached, {"rgb": reconstructions(autoencoder, latents)}, {})
        return read_weights(cached)[0]["rgb"]

    def scenes(self, vae: AutoencoderKL, net: TinyAnalyzer, images: Images) -> Scenes:
        """The scenes of all images without their heads; encoded once."""
        cached = self._cached("scenes", images)
        if not cached.is_file():
            write_weights(cached, encode_scenes(images, vae, net).tensors(), {})
        return Scenes(**read_weights(cached)[0])

    def pose_branch(self) -> PoseBranch:
        """The pose branch of the stage ``dense-face``; ModelFileError without one."""
        path = self.weights / DENSE_FACE_FILE
        branch = load_adapter(path).pose_branch
        if branch is None:
            raise ModelFileError(
                "the file has no pose branch", where=str(path), fix="Run the stage dense-face first"
            )
        return branch

    def invalidate(self, *names: str) -> None:
        """Remove cached data that a stage has made stale."""
        for name in names:
            for stale in self.folder.glob(f"{name}-*.safetensors"):
                stale.unlink()

    def _cached(self, name: str, images: Images) -> Path:
        return self.folder / f"{name}-{len(images)}.safetensors"
