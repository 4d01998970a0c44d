"""The stages of ``denseface train-demo`` for SFSR adapters: the shipped one, and brief ones.

Brief trainings are only compared with each other: by ``denseface evaluate sfsr`` as a control, by
the ablation for each choice that was made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from ...demo.bundled import ANALYZER_FILE, SFSR_FILE
from ...demo.networks.analyzer import load_analyzer
from ...pipelines.base import TINY_BASE, Base, load_base
from ...sfsr.adapter import SFSRAdapter
from ..loop import fit, seeded
from ..sfsr import FaceLosses, SFSRTask
from ..sfsr_rollout import Rollout
from .data import pose_hints
from .outcome import about_run
from .sfsr import TinyFaces, TinyReader, new_adapter
from .work_folder import Run

BATCH = 20
WALKED_BATCH = 12
WITH_ROLLOUT = FaceLosses(
    rows=8, mistaken=0.1, expression=12.0, earliest=250, latest=900, rollout=Rollout()
)
BRIEF_STEPS, BRIEF_BATCH, BRIEF_FACES = 750, 14, FaceLosses(rows=4)


def sfsr(run: Run) -> None:
    """Train identity and expression tokens and the background hint on the frozen base.

    In the second part faces are not to be taken for anybody else. In the last two they are looked
    at where sampling itself comes by: first for their expression, then for likeness as well; the
    weights are the mean of both parts' (arXiv 2203.05482), which loses less of either.
    """
    with seeded(9):
        task = sfsr_task(run, FaceLosses(), BATCH)
    early = run.schedule(9600, 3e-3)
    first = fit(task, early, seed=9, folder=run.folder / "sfsr-early")
    task.adapter.requires_grad_(True)
    task.faces = FaceLosses(mistaken=0.1, expression=8.0)
    late = run.schedule(4400, 1e-3)
    second = fit(task, late, seed=12, folder=run.folder / "sfsr-late")
    task.adapter.requires_grad_(True)
    rollout_task = sfsr_task(run, WITH_ROLLOUT, WALKED_BATCH, lambda _: task.adapter)
    expressive = run.schedule(1100, 1e-3, warmup=30)
    third = fit(rollout_task, expressive, seed=16, folder=run.folder / "sfsr-walked")
    halfway = {name: tensor.clone() for name, tensor in task.adapter.state_dict().items()}
    task.adapter.requires_grad_(True)
    rollout_task.faces = replace(WITH_ROLLOUT, identity=1.0, mistaken=0.5, expression=10.0)
    last = run.schedule(1000, 1e-3, warmup=30)
    fourth = fit(rollout_task, last, seed=17, folder=run.folder / "sfsr")
    for name, tensor in task.adapter.state_dict().items():
        tensor.lerp_(halfway[name], 0.5)
    about = about_run(run, "sfsr", last, WALKED_BATCH, 17, first + second + third + fourth)
    before = f"{early.steps} + {late.steps} + {expressive.steps}"
    about |= {"base_model": "tiny-world", "steps_before": before}
    task.adapter.save(run.weights / SFSR_FILE, about, torch.float8_e4m3fn)


def brief_sfsr(
    run: Run,
    stage: str,
    faces: FaceLosses | None,
    make: Callable[[Base], SFSRAdapter] = new_adapter,
    steps: int = BRIEF_STEPS,
) -> tuple[SFSRAdapter, dict[str, str]]:
    """An SFSR adapter after a brief training, and how it was made."""
    with seeded(9):
        task = sfsr_task(run, faces, BRIEF_BATCH, make)
    schedule = run.schedule(steps, 3e-3, warmup=steps // 10)
    seconds = fit(task, schedule, seed=9, folder=run.folder / stage)
    about = about_run(run, stage, schedule, BRIEF_BATCH, 9, seconds) | {"base_model": "tiny-world"}
    return task.adapter, about


def sfsr_control(run: Run, stage: str, nodes: int) -> None:
    """Train an SFSR adapter briefly, its face losses on the estimate with so many nodes."""
    adapter, about = brief_sfsr(run, stage, replace(BRIEF_FACES, nodes=nodes))
    name = f"tiny_{stage.replace('-', '_')}.safetensors"
    adapter.save(run.weights / name, about, torch.float8_e4m3fn)


def sfsr_task(
    run: Run,
    faces: FaceLosses | None,
    batch: int,
    make: Callable[[Base], SFSRAdapter] = new_adapter,
) -> SFSRTask:
    """The stage's task with all that it reads, and a fresh adapter."""
    shown = run.load()
    tiny: Base = load_base(run.weights / TINY_BASE.name)
    net = load_analyzer(run.weights / ANALYZER_FILE)
    latents = run.latents(tiny.vae, shown)
    scenes, hints = run.scenes(tiny.vae, net, shown), pose_hints(latents.heads)
    source = TinyFaces(tiny.text_encoder, latents, scenes, hints, batch)
    return SFSRTask(tiny, make(tiny), source, TinyReader(net, source), run.pose_branch(), faces)
