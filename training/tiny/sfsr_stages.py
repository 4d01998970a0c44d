"""The stages of ``denseface train-demo`` for SFSR adapters: the bundled one, and short runs.

Short runs are compared with each other only: as controls in ``denseface evaluate sfsr``, and in the
ablation of single design choices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from ...demo.bundled import ANALYZER_FILE, SFSR_FILE
from ...demo.networks.analyzer import load_analyzer
from ...pipelines.base import TINY_BASE, Base, load_base
from ...sfsr.adapter import SFSRAdapter
from ..rollout import Rollout
from ..runs.loop import seeded
from ..sfsr import FaceLosses, SFSRTask
from .checkpoint import run_metadata, train_part, train_stage
from .data import pose_hints
from .run import TrainingRun
from .sfsr import TinyFaces, TinyReader, new_adapter

BATCH = 20
ROLLOUT_BATCH = 12
WITH_ROLLOUT = FaceLosses(
    rows=8, mistaken=0.1, expression=12.0, earliest=250, latest=900, rollout=Rollout()
)
BRIEF_STEPS, BRIEF_BATCH, BRIEF_FACES = 750, 14, FaceLosses(rows=4)


def sfsr(run: TrainingRun) -> None:
    """Train identity and expression tokens and the background hint on the frozen base.

    The second part adds the loss on mistaken identities. The last two parts use rollouts: the third
    stresses expression, the fourth likeness as well. The final weights are the mean of both (model
    soup, arXiv 2203.05482), which keeps most of either.
    """
    with seeded(9):
        task = sfsr_task(run, FaceLosses(), BATCH)
    early = run.schedule(9600, 3e-3)
    first = train_part(run, "sfsr-early", task, early, batch=BATCH, seed=9)
    task.adapter.requires_grad_(True)
    task.faces = FaceLosses(mistaken=0.1, expression=8.0)
    late = run.schedule(4400, 1e-3)
    second = train_part(run, "sfsr-late", task, late, batch=BATCH, seed=12)
    task.adapter.requires_grad_(True)
    rollout_task = sfsr_task(run, WITH_ROLLOUT, ROLLOUT_BATCH, lambda _: task.adapter)
    expressive = run.schedule(1100, 1e-3, warmup=30)
    third = train_part(run, "sfsr-rollout", rollout_task, expressive, batch=ROLLOUT_BATCH, seed=16)
    halfway = {name: tensor.clone() for name, tensor in task.adapter.state_dict().items()}
    task.adapter.requires_grad_(True)
    rollout_task.faces = replace(WITH_ROLLOUT, identity=1.0, mistaken=0.5, expression=10.0)
    last = run.schedule(1000, 1e-3, warmup=30)
    fourth = train_part(run, "sfsr", rollout_task, last, batch=ROLLOUT_BATCH, seed=17)
    for name, tensor in task.adapter.state_dict().items():
        tensor.lerp_(halfway[name], 0.5)
    about = run_metadata(run, "sfsr", last, ROLLOUT_BATCH, 17, first + second + third + fourth)
    before = f"{early.steps} + {late.steps} + {expressive.steps}"
    about |= {"base_model": "tiny-world", "steps_before": before}
    task.adapter.save(run.weights / SFSR_FILE, about, torch.float8_e4m3fn)


def brief_sfsr(
    run: TrainingRun,
    stage: str,
    faces: FaceLosses | None,
    make: Callable[[Base], SFSRAdapter] = new_adapter,
    steps: int = BRIEF_STEPS,
) -> tuple[SFSRAdapter, dict[str, str]]:
    """An SFSR adapter after a short training, and its metadata."""
    with seeded(9):
        task = sfsr_task(run, faces, BRIEF_BATCH, make)
    schedule = run.schedule(steps, 3e-3, warmup=steps // 10)
    about = train_stage(run, stage, task, schedule, batch=BRIEF_BATCH, seed=9)
    return task.adapter, about | {"base_model": "tiny-world"}


def sfsr_control(run: TrainingRun, stage: str, nodes: int) -> None:
    """Train an SFSR adapter briefly, with ``nodes`` midpoint nodes in its face losses."""
    adapter, about = brief_sfsr(run, stage, replace(BRIEF_FACES, nodes=nodes))
    name = f"tiny_{stage.replace('-', '_')}.safetensors"
    adapter.save(run.weights / name, about, torch.float8_e4m3fn)


def sfsr_task(
    run: TrainingRun,
    faces: FaceLosses | None,
    batch: int,
    make: Callable[[Base], SFSRAdapter] = new_adapter,
) -> SFSRTask:
    """The task of the stage, with its data and an adapter from ``make``."""
    images = run.load()
    tiny: Base = load_base(run.weights / TINY_BASE.name)
    net = load_analyzer(run.weights / ANALYZER_FILE)
    latents = run.latents(tiny.vae, images)
    scenes, hints = run.scenes(tiny.vae, net, images), pose_hints(latents.heads)
    source = TinyFaces(tiny.text_encoder, latents, scenes, hints, batch)
    return SFSRTask(tiny, make(tiny), source, TinyReader(net, source), run.pose_branch(), faces)
