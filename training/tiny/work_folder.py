"""The work folder of ``denseface train-demo``, and what one stage leaves in it for others."""

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
from ...storage import read_weights, write_weights
from ..loop import Schedule
from .data import Images, Latents, load_images
from .expression import reconstructions
from .scene_data import SceneData, scene_data
from .vae import encode_all


@dataclass(frozen=True)
class Run:
    """Where and how long: work folder, images, render processes, share of the full length."""

    folder: Path
    weights: Path = WEIGHTS
    images: int = 20_000
    workers: int = 2
    length: float = 1.0

    def schedule(self, steps: int, lr: float, **kwargs: Any) -> Schedule:
        """A schedule of ``steps`` full-length steps."""
        return Schedule(steps=max(1, round(steps * self.length)), lr=lr, **kwargs)

    def load(self) -> Images:
        """All training images."""
        return load_images(self.folder / "images", self.images)

    def autoencoder(self, stage: str) -> tuple[AutoencoderKL, dict[str, str]]:
        """The autoencoder after stage ``vae`` or ``decoder``, frozen, and how it was made."""
        tensors, about = read_weights(self.folder / f"{stage}.safetensors")
        autoencoder = new_vae().requires_grad_(False)
        autoencoder.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
        return autoencoder.eval(), about

    def latents(self, autoencoder: AutoencoderKL, shown: Images) -> Latents:
        """Of all images; encoded once."""
        cached = self._cached("latents", shown)
        if not cached.is_file():
            halves = [encode_all(autoencoder, rgb) for rgb in (shown.rgb, shown.rgb.flip(-1))]
            write_weights(cached, {"latents": LATENT_SCALE * torch.cat(halves)}, {})
        return Latents(shown, read_weights(cached)[0]["latents"])

    def reconstructed(self, shown: Images) -> Tensor:
        """All images as the autoencoder gives them back, bytes [N, 3, H, W]; decoded once."""
        cached = self._cached("softened", shown)
        if not cached.is_file():
            autoencoder, _ = self.autoencoder("decoder")
            latents = self.latents(autoencoder, shown).latents[: len(shown)] / LATENT_SCALE
            write_weights(cached, {"rgb": reconstructions(autoencoder, latents)}, {})
        return read_weights(cached)[0]["rgb"]

    def scenes(self, vae: AutoencoderKL, net: TinyAnalyzer, shown: Images) -> SceneData:
        """All images with their heads emptied; encoded once."""
        cached = self._cached("scenes", shown)
        if not cached.is_file():
            write_weights(cached, scene_data(shown, vae, net).tensors(), {})
        return SceneData(**read_weights(cached)[0])

    def pose_branch(self) -> PoseBranch:
        """Dense-Face's, of the stage ``dense-face``."""
        path = self.weights / DENSE_FACE_FILE
        branch = load_adapter(path).pose_branch
        if branch is None:
            raise ModelFileError(
                "the file has no pose branch", where=str(path), fix="Run the stage dense-face first"
            )
        return branch

    def invalidate(self, *names: str) -> None:
        """Remove what was computed once under these names: a stage has changed what it is from."""
        for name in names:
            for stale in self.folder.glob(f"{name}-*.safetensors"):
                stale.unlink()

    def _cached(self, name: str, shown: Images) -> Path:
        return self.folder / f"{name}-{len(shown)}.safetensors"
