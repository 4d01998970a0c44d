"""The curves of a run as one image, ``curve.png`` in its work folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ...storage import atomic_path
from .curve import Point

log = logging.getLogger(__name__)
CHART = "curve.png"
HELD_OUT = "held_out_"
"""Prefix of the losses of people who are not trained on."""
_TITLES = {
    "lr": "learning rate",
    "grad_norm": "gradient norm",
    "samples_per_second": "samples per second",
}
_OTHER = {"step", "seconds", *_TITLES}


def can_draw() -> bool:
    """Whether matplotlib is there; a warning says what to install where it is not."""
    there = find_spec("matplotlib") is not None
    if not there:
        log.warning("%s is not drawn: pip install matplotlib", CHART)
    return there


def draw_curves(points: Sequence[Point], path: Path, title: str) -> None:
    """Draw a curve: losses (held-out ones as points), learning rate, gradient norm, speed.

    Args:
        points: Of ``curve.read_curve``; none draw nothing.

    Raises:
        InputError: The image cannot be written.
    """
    panes = _panes(points)
    if not panes:
        return
    from matplotlib.figure import Figure  # no pyplot: it keeps every figure, and needs a backend

    rows = -(-len(panes) // 2)
    figure = Figure(figsize=(11, 3 * rows), layout="constrained")
    figure.suptitle(title)
    axes: Any = figure.subplots(rows, 2, squeeze=False)
    for pane, (name, series) in zip(axes.flat, panes.items(), strict=False):
        for label, values in series.items():
            held_out = label.startswith(HELD_OUT)
            pane.plot(*values, label=label, linewidth=1, marker="o" if held_out else None)
        values = [value for _, line in series.values() for value in line]
        if min(values) > 0 and max(values) > 5 * min(values):
            pane.set_yscale("log")
        pane.set(title=name, xlabel="step")
        pane.grid(alpha=0.3)
        if len(series) > 1:
            pane.legend(fontsize="small")
    for pane in list(axes.flat)[len(panes) :]:
        pane.set_visible(False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=90)


Series = dict[str, tuple[list[int], list[float]]]
"""Name of a line to its steps and values."""


def _panes(points: Sequence[Point]) -> Mapping[str, Series]:
    """Title of each pane to its lines: each loss with its held-out one, then the rest."""
    names = list(dict.fromkeys(name for point in points for name in point if name not in _OTHER))
    losses = list(dict.fromkeys(name.removeprefix(HELD_OUT) for name in names))
    panes = {name: _series(points, (name, HELD_OUT + name)) for name in losses}
    panes |= {title: _series(points, (name,)) for name, title in _TITLES.items()}
    return {title: series for title, series in panes.items() if series}


def _series(points: Sequence[Point], names: Sequence[str]) -> Series:
    found: Series = {}
    for name in names:
        known = [(p["step"], p[name]) for p in points if p.get(name) is not None]
        if known:
            steps, values = zip(*known, strict=True)
            found[name] = list(steps), list(values)
    return found
