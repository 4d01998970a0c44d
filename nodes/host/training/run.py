"""Training an adapter on a few photos, from inputs to DENSEFACE_ADAPTER."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import comfy.model_management as mm
import torch
from torch import Tensor, nn

from ....dense_face.adapter import PCAdapter
from ....dense_face.attention_layers import AttentionLayer
from ....dense_face.checkpoints.adapter_file import DenseFaceAdapter, save_adapter
from ....dense_face.fused import unfuse
from ....dense_face.identity_token import IdentityToken
from ....errors import FacePackError, InputError
from ....state_dict import as_float32
from ...sockets import LoadedAdapter, People
from ..compatibility import matching_attentions
from ..dense_face.text import SD1_KEY
from ..folders import TRAINED_FOLDER, output_folder
from .loop import AdapterTraining, TrainingSettings
from .network import TrainedNetwork, trainable_layers
from .photos import TrainingPhotos
from .progress import TrainingProgress, as_image, loss_and_sample, say
from .unfinished import remove, run_name

_NAME = "trained adapter"


@dataclass(frozen=True, eq=False)
class Trained:
    """A finished training. losses: Of each step. image: Loss curve and a last sample, IMAGE."""

    adapter: LoadedAdapter
    losses: list[float]
    image: Tensor


@dataclass(frozen=True, eq=False)
class AdapterRun:
    """Inputs of a training.

    start: The adapter to go on from; None starts from nothing.
    dtype: Of the frozen network.
    sample_every: Steps between previews with a sample; 0 makes none.
    where: The node, for messages.
    """

    model: Any
    clip: Any
    vae: Any
    photos: TrainingPhotos
    start: LoadedAdapter | None
    settings: TrainingSettings
    dtype: torch.dtype
    checkpointing: bool
    sample_every: int
    where: str

    def train(self) -> Trained:
        """Train, or go on with what an earlier run with the same inputs has left.

        Raises:
            IncompatibleError: The parts do not fit each other.
            InputError: The loss is not finite, or the state of a stopped run cannot be written.
        """
        layers = trainable_layers(self.model, self.clip, self.where)
        if self.start is not None:
            matching_attentions(self.model, self.start.fused, self.where)
            self.start.vectors(People(self.photos.identities))
        # Autograd refuses tensors made in inference mode, in which the host runs its nodes. New
        # layers draw from torch's own generator, whose numbers belong to others.
        with torch.inference_mode(False), torch.random.fork_rng(devices=[]):
            token = _token(self.start, self.clip, self.photos.vectors.shape[1])
            network = TrainedNetwork(
                self.model,
                self.clip,
                _adapter(self.start, layers, self.photos.vectors.shape[1]),
                token,
                self.dtype,
                checkpointing=self.checkpointing,
            )
            try:
                return self._run(AdapterTraining(network, self.photos, self.settings))
            finally:
                network.close()

    def _run(self, training: AdapterTraining) -> Trained:
        state, steps = training.state, self.settings.steps
        name = run_name(*self._identity_of_run(training))
        saved = output_folder(TRAINED_FOLDER) / f"{name}.safetensors"
        kept = saved.with_suffix(".state")
        if state.load(kept):
            say(f"Goes on after step {state.step} of {steps}")
        progress = TrainingProgress(steps)

        def on_step(done: int) -> None:
            due = self.sample_every and (done % self.sample_every == 0 or done == 1)
            preview = loss_and_sample(state.losses, self._image(training)) if due else None
            progress.step(done, preview)
            mm.throw_exception_if_processing_interrupted()

        try:
            training.run(on_step)
        except FacePackError as error:
            where = self._save(training, saved) if state.step else self.where
            raise InputError(error.what, where=where, fix=error.fix) from error
        except BaseException:
            if state.step:
                state.save(kept)
                where = self._save(training, saved)
                text = f"Stopped after step {state.step} of {steps}; {where}. The same inputs go on"
                logging.warning("%s: %s", self.where, text)
                say(text)
            raise
        image = loss_and_sample(state.losses, self._image(training) if self.sample_every else None)
        with training.averaged():
            adapter = _loaded(training.network, self.photos.identities[0].encoder)
        remove(saved, kept)
        return Trained(adapter, list(state.losses), as_image(image))

    def _image(self, training: AdapterTraining) -> Tensor:
        """A sample [H, W, 3]; decoding it may have moved the networks."""
        with torch.no_grad():
            image = self.vae.decode(training.sample().cpu())
        training.network.load()
        return image[0]

    def _save(self, training: AdapterTraining, path: Path) -> str:
        with training.averaged():
            adapter = _loaded(training.network, self.photos.identities[0].encoder)
        write_adapter(path, adapter, {"steps": str(training.state.step)})
        return f"the adapter so far is in {path}"

    def _identity_of_run(
        self, training: AdapterTraining
    ) -> tuple[dict[str, Tensor], dict[str, object]]:
        tensors = {
            "latents": self.photos.latents,
            "identities": self.photos.vectors,
            **training.network.trained.state_dict(),
            **training.network.read_weights(),
        }
        settings = {
            **asdict(self.settings),
            "captions": self.photos.captions,
            "dtype": str(self.dtype),
        }
        return tensors, settings


def write_adapter(path: Path, adapter: LoadedAdapter, about: dict[str, str]) -> None:
    """Write DENSEFACE_ADAPTER as an adapter file; raises InputError."""
    tensors = as_float32(unfuse(adapter.fused))
    module = PCAdapter.from_state_dict(tensors, delta=adapter.fused.delta)
    metadata = {"encoder": adapter.encoder} if adapter.encoder else {}
    save_adapter(path, DenseFaceAdapter(module, None, adapter.token, {**metadata, **about}))


def _adapter(start: LoadedAdapter | None, layers: list[AttentionLayer], id_dim: int) -> PCAdapter:
    """To be trained, of strength 1, so that a learning rate means the same for every adapter."""
    if start is None:
        return PCAdapter(layers, id_dim=id_dim, delta=1.0, fused=True)
    tensors = as_float32(unfuse(start.fused))
    scaled = {name: tensor.clone() * start.fused.delta for name, tensor in tensors.items()}
    return PCAdapter.from_state_dict(scaled, delta=1.0)


def _token(start: LoadedAdapter | None, clip: Any, id_dim: int) -> IdentityToken:
    """To be trained; a new one begins as the word "person", as in the release."""
    if start is not None and start.token is not None:
        state = {name: t.clone() for name, t in start.token.state_dict().items()}
        return IdentityToken.from_state_dict(state, reference_delta=start.token.reference_delta)
    text = getattr(clip.cond_stage_model, f"clip_{SD1_KEY}").transformer.text_model.embeddings
    number = int(clip.tokenize("person")[SD1_KEY][0][1][0])
    words, places = text.token_embedding.weight, text.position_embedding.weight
    initial = words[number].float().cpu() + places[0].float().cpu()
    token = IdentityToken(len(initial), id_dim=id_dim, reference_delta=1.0, initial=initial.clone())
    nn.init.zeros_(token.projector.weight)
    return token.eval()


def _loaded(network: TrainedNetwork, encoder: str) -> LoadedAdapter:
    """DENSEFACE_ADAPTER with copies of the trained weights."""
    tensors = {name: t.detach().cpu().clone() for name, t in network.adapter.state_dict().items()}
    fused = PCAdapter.from_state_dict(tensors, delta=1.0).fuse()
    state = {name: t.detach().cpu().clone() for name, t in network.token.state_dict().items()}
    token = IdentityToken.from_state_dict(state, reference_delta=network.token.reference_delta)
    return LoadedAdapter(_NAME, fused, token.requires_grad_(False), encoder)
