"""``denseface annotate`` on many machines: the groups as a data set of Ray Data.

Ray does a killed worker's group again in another one. The machines share the folders of photos and
of the data set.
"""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from ...errors import FacePackError, IncompatibleError, InputError, ModelFileError
from .annotate_groups import GroupTask, Progress, Run
from .folder import Defects
from .writer import Group

_KINDS = (FacePackError, InputError, ModelFileError, IncompatibleError)
_ERRORS = {kind.__name__: kind for kind in _KINDS}


def ray_workers(workers: int) -> Run:
    """So many workers of Ray: of the cluster that ``RAY_ADDRESS`` names, or else of this machine.

    Raises:
        ImportError: Ray is not installed.
    """
    # Ray reports its use to its makers unless it is told not to.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray
    import ray.data

    def run(task: GroupTask, groups: Sequence[Group], progress: Progress) -> Iterator[Defects]:
        if not groups:
            return
        if not ray.is_initialized():
            ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)
        # The command has a progress bar of its own.
        ray.data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.WARNING)
        # A block for each group, so that a killed worker costs no more than one.
        rows = [{"row": row} for row in range(len(groups))]
        data = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            _Worker,
            fn_constructor_args=(task, groups),
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(groups))),
            num_cpus=1,
        )
        for done in data.iter_rows():
            outcome = json.loads(done["outcome"])
            if "error" in outcome:
                raise _ERRORS[outcome["error"]](**outcome["words"])
            progress(groups[done["row"]].images)
            yield Defects(Counter(outcome["counts"]), outcome["places"])

    return run


class _Worker:
    """Lives in a process of Ray and annotates one group after the other."""

    def __init__(self, task: GroupTask, groups: Sequence[Group]) -> None:
        self._task, self._groups = task, groups

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row with what was left out, or the error, which Ray would wrap in its own."""
        outcome: dict[str, Any]
        try:
            defects = self._task(self._groups[row["row"]])
            outcome = {"counts": defects.counts, "places": defects.places}
        except FacePackError as error:
            words = {"what": error.what, "where": error.where, "fix": error.fix}
            outcome = {"error": type(error).__name__, "words": words}
        return {**row, "outcome": json.dumps(outcome)}
