"""The loop of Train Face Adapter: noise prediction on a few photos, on copies of the networks.

All randomness of a step comes from a generator seeded with (seed, step): the same inputs give the
same adapter, and a stopped run goes on as if it had not been stopped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ....dense_face.blending import blended_ddim, gaussian, guided
from ....dense_face.noise_prediction import (
    EMPTY_CAPTION,
    NO_IDENTITY,
    average_decay,
    noised,
)
from ....dense_face.schedule import schedule_of
from ....errors import InputError
from .network import TrainedNetwork
from .photos import TrainingPhotos
from .unfinished import TrainingState, new_average

_MAX_NORM = 1.0
_LARGEST_DECAY = 0.99
_SAMPLE_STEPS, _GUIDANCE = 12, 4.0
_FIRST_CHECK, _CHECK_EVERY = 10, 50
_CHECKED_PHOTOS = 8
"""At least: the loss of a single one depends on its noise level more than on the weights."""
_DIVERGED = 2.0
"""Times the loss of the start: a network that predicts nothing has ten times as much."""


@dataclass(frozen=True)
class TrainingSettings:
    """steps: Updates of the weights. batch: Photos per pass. accumulation: Passes per update."""

    steps: int
    batch: int
    accumulation: int
    rate: float
    seed: int


class AdapterTraining:
    """A training that is run step by step, outside of inference mode."""

    def __init__(
        self, network: TrainedNetwork, photos: TrainingPhotos, settings: TrainingSettings
    ) -> None:
        self.network, self.photos, self.settings = network, photos, settings
        self._latents = network.scaled(photos.latents.clone()).to(network.device)
        self._identities = photos.vectors.clone().to(network.device)
        trained = [p for p in network.trained.parameters() if p.requires_grad]
        self._trained, self._alphas = trained, network.alphas.float()
        optimizer = torch.optim.AdamW(trained, lr=settings.rate, weight_decay=0.0)
        self.state = TrainingState(network.trained, optimizer, new_average(network.trained), [])
        self._at_start = self._checked_loss() if settings.steps >= _FIRST_CHECK else math.inf
        self._good: tuple[int, dict[str, Tensor]] = (0, {})

    def run(self, on_step: Callable[[int], None]) -> None:
        """Do the steps that are left; ``on_step`` gets their number after each.

        Raises:
            InputError: The loss or a gradient is not finite; the weights are those before. Or the
                loss has risen far above that of the start; the average is that of the last check.
        """
        self._good = self.state.step, self._average()
        while self.state.step < self.settings.steps:
            self._step()
            if self.state.step == _FIRST_CHECK or self.state.step % _CHECK_EVERY == 0:
                self._check()
            on_step(self.state.step)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The averaged weights inside the block."""
        names = [n for n, p in self.network.trained.named_parameters() if p.requires_grad]
        average = [self.state.average[name] for name in names]
        last = [p.detach().clone() for p in self._trained]
        with torch.no_grad():
            for parameter, mean in zip(self._trained, average, strict=True):
                parameter.copy_(mean)
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, value in zip(self._trained, last, strict=True):
                    parameter.copy_(value)

    @torch.no_grad()
    def sample(self) -> Tensor:
        """A latent [1, 4, h, w] for the VAE: the first caption with the first person."""
        network, generator = self.network, torch.Generator().manual_seed(self.settings.seed)
        identity = self._identities[list(self.photos.others[0])].mean(0, keepdim=True)
        identity = F.normalize(identity).repeat(2, 1)
        count = len(network.alphas)
        timesteps = torch.linspace(0, count - 1, _SAMPLE_STEPS).long()
        schedule = schedule_of(timesteps, network.alphas[timesteps], torch.ones(1), 0.0)

        def predict(x: Tensor, t: Tensor) -> Tensor:
            noise = network.noise(x.repeat(2, 1, 1, 1), t.repeat(2), context, identity)
            return guided(noise[1:], noise[:1], _GUIDANCE)

        draw = gaussian(tuple(self._latents[:1].shape), generator)
        start = draw().to(self._latents)
        with self.averaged():
            context = network.texts([self.photos.captions[0], ""], identity)
            found = blended_ddim(predict, start, None, schedule, draw, start=start)
        return network.for_vae(found)

    def _step(self) -> None:
        settings, step = self.settings, self.state.step
        losses = []
        for part in range(settings.accumulation):
            number = step * settings.accumulation + part
            seed = (settings.seed * 1_000_003 + number) % 2**63
            loss = self._loss(torch.Generator().manual_seed(seed)) / settings.accumulation
            loss.backward()
            losses.append(float(loss.detach()))
        norm = torch.nn.utils.clip_grad_norm_(self._trained, _MAX_NORM)
        loss = sum(losses)
        if not math.isfinite(loss) or not bool(norm.isfinite()):
            self.state.optimizer.zero_grad()
            raise InputError(
                f"the loss of step {step + 1} is {loss:.4g} and its gradient {float(norm):.4g}, "
                "and the training has stopped before it spoils the weights",
                fix="Lower the learning rate, or train in fp32",
            )
        self.state.optimizer.step()
        self.state.optimizer.zero_grad()
        decay = average_decay(step, _LARGEST_DECAY)
        with torch.no_grad():
            means = self.state.average.values()
            for mean, parameter in zip(means, self._trained, strict=True):
                mean.lerp_(parameter, 1 - decay)
        self.state.losses.append(loss)

    def _check(self) -> None:
        """Stop a training that has spoiled the weights: the loss stays finite, noise is drawn."""
        found, step = self._checked_loss(), self.state.step
        if found <= _DIVERGED * self._at_start:
            self._good = step, self._average()
            return
        good, average = self._good
        for name, mean in average.items():
            self.state.average[name].copy_(mean)
        del self.state.losses[good:]
        raise InputError(
            f"the loss of the photos has risen from {self._at_start:.2g} to {found:.2g} in {step} "
            "steps, and the training has stopped",
            fix=f"Lower the learning rate, for example to {self.settings.rate / 10:.1g}",
        )

    @torch.no_grad()
    def _checked_loss(self) -> float:
        """The loss under the same noise every time, so that only the weights change it."""
        passes = math.ceil(_CHECKED_PHOTOS / self.settings.batch)
        losses = [self._loss(torch.Generator().manual_seed(number)) for number in range(passes)]
        return float(sum(losses)) / passes

    def _average(self) -> dict[str, Tensor]:
        return {name: mean.to("cpu", copy=True) for name, mean in self.state.average.items()}

    def _loss(self, generator: torch.Generator) -> Tensor:
        count, photos = self.settings.batch, self.photos
        pick = torch.randint(len(photos), (count,), generator=generator)
        # With its own identity a photo's light and pose would be learned as part of it.
        chance = torch.rand(count, generator=generator).tolist()
        others = [photos.others[i] for i in pick.tolist()]
        other = [seen[int(c * len(seen))] for seen, c in zip(others, chance, strict=True)]
        known = torch.rand(count, generator=generator) >= NO_IDENTITY
        empty = torch.rand(count, generator=generator) < EMPTY_CAPTION
        texts = [
            "" if e else (photos.captions if k else photos.plain_captions)[i]
            for i, k, e in zip(pick.tolist(), known.tolist(), empty.tolist(), strict=True)
        ]
        identity = self._identities[other] * known[:, None].to(self._identities)
        latents = self._latents[pick.to(self._latents.device)]
        x, noise, t, weight = noised(latents, self._alphas, generator)
        context = self.network.texts(texts, identity)
        error = F.mse_loss(
            self.network.noise(x, t, context, identity), noise, reduction="none"
        ).mean((1, 2, 3))
        return (error * weight).mean()
