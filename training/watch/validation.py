"""Validation with people who are held out: losses under the same noise every time, and images.

It uses the averaged weights, needs no gradients, and changes nothing of the training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor, nn

from ..data.batches import Batches

BATCHES = 16
"""Batches of a validation; with few images these come again, under other noise."""
_SEED = 2**40


@dataclass(frozen=True, eq=False)
class Validation:
    """What a run is validated with.

    batches: Of people who are held out; of those trained on where nobody is.
    people: How many are held out; 0 for nobody, and then only the check is made.
    every: Steps between validations.
    check_after: Steps after which the loss is compared with that of the start; 0 for never.
    criterion: The loss that is compared.
    draw: Draws the validation images with the weights that the networks have; None for none.
    """

    batches: Batches
    people: int
    every: int = 1000
    check_after: int = 200
    criterion: str = "loss"
    draw: Callable[[], Image.Image] | None = None

    def due(self, step: int, steps: int) -> bool:
        """Whether a run of ``steps`` steps is validated after ``step`` of them."""
        return self.people > 0 and (step % self.every == 0 or step == steps)

    def checks(self, step: int, steps: int) -> bool:
        """Whether the losses of this step are compared, or are those they are compared with."""
        return 0 < self.check_after <= steps and step in (0, self.check_after)

    def acts(self, step: int, steps: int) -> bool:
        """Whether there is anything to do after this step."""
        return self.due(step, steps) or self.checks(step, steps)


@contextmanager
def averaged_weights(
    task: nn.Module, trained: dict[str, nn.Parameter], average: dict[str, Tensor]
) -> Iterator[None]:
    """The task in evaluation mode with its averaged weights, inside the block.

    Nothing is copied: weights and averages exchange their storage, and get it back.
    """

    def exchange() -> None:
        for name, parameter in trained.items():
            parameter.data, average[name] = average[name], parameter.data

    exchange()
    task.eval()
    try:
        # Data loaders draw a seed from the global generator.
        with torch.no_grad(), torch.random.fork_rng():
            yield
    finally:
        task.train()
        exchange()


def batch_losses(task: nn.Module, batches: Batches) -> list[dict[str, float]]:
    """The losses of each of :data:`BATCHES` batches, with the timesteps and noise of its number.

    Raises:
        InputError: The images cannot be used.
    """
    found: list[dict[str, float]] = []
    for number, batch in enumerate(batches.loader(0, BATCHES)):
        generator = torch.Generator().manual_seed(_SEED + number)
        losses: dict[str, Tensor] = task(generator, batches.checked(batch))
        found.append({name: float(value) for name, value in losses.items()})
    return found
