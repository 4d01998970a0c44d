"""The result of a run, also of an unfinished one: a file with its metadata, and its model card."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from ..runs.processes import on_main
from ..settings.config import TrainerConfig
from .model_card import write_card
from .provenance import with_outcome

log = logging.getLogger(__name__)


def write_result(
    config: TrainerConfig,
    about: Mapping[str, str],
    save: Callable[[Path, dict[str, str]], None],
    step: int,
) -> None:
    """Write the file and its card; the main process does.

    Args:
        about: Of ``provenance.result_metadata``. save: Writes the file, with these metadata.
        step: How many steps the weights were trained.

    Raises:
        InputError: Something cannot be written.
    """

    def write() -> None:
        full = with_outcome(about, config.folder, step)
        save(config.out, full)
        card = write_card(config.out, full, config.folder)
        if step == config.steps:
            log.info("model card: %s", card)

    on_main(write)
