"""What the trainers on photographs are validated with."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable

from PIL import Image

from ..data.batches import Batches
from ..data.dataset import FaceDataset
from ..settings.config import TrainerConfig
from ..watch.validation import Validation

log = logging.getLogger(__name__)


def validation_of(
    config: TrainerConfig,
    trained: Batches,
    held_out: Batches,
    criterion: str = "loss",
    draw: Callable[[FaceDataset], Callable[[], Image.Image]] | None = None,
) -> Validation:
    """The validation of a run.

    Args:
        trained: The batches of the people trained on; taken where nobody is held out.
        held_out: Those of the people held out.
        criterion: The loss that says whether it learns.
        draw: Of the people held out: draws them; None for no images.

    """
    people = len(set(held_out.data.subjects))
    if not people:
        if config.held_out:
            log.info(
                "the data set has few people and nobody is held out, so there are no validations; "
                "--held-out 1 holds out one"
            )
        held_out = copy.copy(trained)
    held_out.workers = 0  # a few images, now and then
    return Validation(
        held_out,
        people,
        every=config.validate_every,
        check_after=config.check_after,
        criterion=criterion,
        draw=draw(held_out.data.images) if draw is not None and people else None,
    )
