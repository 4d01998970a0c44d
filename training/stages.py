"""The stages of ``denseface train-demo``: from nothing to all bundled weights.

    data -> analyzer, judge, vae -> decoder, base -> dense-face, annotation -> sfsr

Each stage reads what earlier ones wrote, can be killed and started again, and writes one file into
``demo/weights`` (``vae`` and ``decoder`` write into the work
folder; ``base`` joins the result to its own).
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from ..demo.analyzer import ENCODER, WEIGHTS, TinyAnalyzer, load_analyzer
from ..demo.people import Heads
from ..dense_face.annotation_file import save_head
from ..dense_face.checkpoint import DenseFaceAdapter, load_adapter, save_adapter
from ..dense_face.pose_branch import PoseBranch
from ..dense_face.pose_picture import pose_picture
from ..errors import ModelFileError
from ..pipelines.annotation import fitting_config
from ..pipelines.base import (
    LATENT_SCALE,
    TINY_BASE,
    Base,
    load_base,
    new_text_encoder,
    new_unet,
    new_vae,
    save_base,
)
from ..sfsr.adapter import SFSRAdapter
from ..storage import CHECKSUM_KEY, read_weights, write_weights
from .analyzer import AnalyzerTask, JudgeTask
from .annotation import TINY_WIDTH, AnnotationTask
from .annotation_data import ANNOTATED, MAP_SIZE, annotation_truth, load_depth, render_depth
from .annotation_features import LOOKED_AT, load_looks, look
from .base import BaseTask
from .demo_data import PER_SHARD, Latents, Pictures, load_pictures, render_shards
from .dense_face import DenseFaceTask
from .loop import Schedule, fit, seeded
from .scene_data import SceneData, scene_data
from .sfsr import FaceLosses, SFSRTask
from .sfsr import new_adapter as new_sfsr_adapter
from .vae import DecoderTask, VAETask, encode_all, fold_latent_scale


@dataclass(frozen=True)
class Run:
    """Where and how long: work folder, pictures, render processes, share of the full length."""

    folder: Path
    weights: Path = WEIGHTS
    pictures: int = 20_000
    workers: int = 2
    length: float = 1.0

    def schedule(self, steps: int, lr: float, **kwargs: Any) -> Schedule:
        """A schedule of ``steps`` full-length steps."""
        return Schedule(steps=max(1, round(steps * self.length)), lr=lr, **kwargs)

    def load(self) -> Pictures:
        """All training pictures."""
        return load_pictures(self.folder / "pictures", self.pictures)


def data(run: Run) -> None:
    """Render the training pictures."""
    render_shards(run.folder / "pictures", run.pictures, run.workers)


def analyzer(run: Run) -> None:
    """Train the analyzer on the first two thirds of the people."""
    shown = run.load()
    with seeded(1):
        task = AnalyzerTask(_part(shown, 0, 2 / 3), people=32)
    schedule = run.schedule(2400, 2e-3)
    seconds = fit(task, schedule, seed=1, folder=run.folder / "analyzer")
    about = _about(run, "analyzer", schedule, 64, 1, seconds)
    _write(run.weights / "tiny_analyzer.safetensors", task.net, about)


def judge(run: Run) -> None:
    """Train the judge on the last third of the people."""
    with seeded(2):
        task = JudgeTask(_part(run.load(), 2 / 3, 1), people=48)
    schedule = run.schedule(1200, 2e-3)
    seconds = fit(task, schedule, seed=2, folder=run.folder / "judge")
    about = _about(run, "judge", schedule, 96, 2, seconds)
    _write(run.weights / "tiny_judge.safetensors", task.net, about)


def vae(run: Run) -> None:
    """Train the autoencoder on crops, then on whole pictures, and scale its latents.

    From here on the latents stay as they are; only the decoder learns further.
    """
    shown = run.load()
    with seeded(3):
        net = new_vae()
    crops = run.schedule(2000, 5e-3)
    task = VAETask(net, shown, batch=16, crop=64)
    first = fit(task, crops, seed=3, folder=run.folder / "vae-crops")
    whole = run.schedule(3000, 2e-3)
    task = VAETask(net.requires_grad_(True), shown, batch=8, crop=128)
    second = fit(task, whole, seed=4, folder=run.folder / "vae")
    fold_latent_scale(net, encode_all(net, shown.rgb[:2000]))
    about = _about(run, "vae", whole, 8, 3, first + second)
    _write(run.folder / "vae.safetensors", net, about)
    for stale in run.folder.glob("latents-*.safetensors"):
        stale.unlink()


def decoder(run: Run) -> None:
    """Train the decoder further, on the latents that the diffusion model will learn."""
    shown = run.load()
    autoencoder, _ = _autoencoder(run, "vae")
    task = DecoderTask(autoencoder, shown, _latents(run, autoencoder, shown), batch=8)
    schedule = run.schedule(1000, 2e-3)
    seconds = fit(task, schedule, seed=7, folder=run.folder / "decoder")
    about = _about(run, "decoder", schedule, 8, 7, seconds)
    _write(run.folder / "decoder.safetensors", autoencoder, about)


def base(run: Run) -> None:
    """Train UNet and text encoder on captions."""
    shown = run.load()
    autoencoder, _ = _autoencoder(run, "vae")
    with seeded(5):
        unet, text_encoder = new_unet(), new_text_encoder()
    task = BaseTask(unet, text_encoder, _latents(run, autoencoder, shown), batch=64)
    schedule = run.schedule(3600, 2.5e-3)
    seconds = fit(task, schedule, seed=5, folder=run.folder / "base")
    about = _about(run, "base", schedule, 64, 5, seconds)
    # The decoder may have been trained while the UNet was.
    autoencoder, vae_about = _autoencoder(run, "decoder")
    about |= {f"vae_{key}": value for key, value in vae_about.items() if key != "sha256"}
    save_base(run.weights / TINY_BASE.name, task.unet, autoencoder, task.text_encoder, about)


def dense_face(run: Run) -> None:
    """Train PC-adapter, identity token and pose branch on the frozen base."""
    shown = run.load()
    tiny: Base = load_base(run.weights / TINY_BASE.name)
    latents = _latents(run, tiny.vae, shown)
    net = load_analyzer(run.weights / "tiny_analyzer.safetensors")
    identities = _identities(net, shown.rgb)
    hints = _hints(latents.heads)
    with seeded(6):
        task = DenseFaceTask(tiny, latents, identities, hints, batch=48)
    schedule = run.schedule(4000, 2e-3)
    seconds = fit(task, schedule, seed=6, folder=run.folder / "dense-face")
    about = _about(run, "dense-face", schedule, 48, 6, seconds)
    about |= {"base_model": "tiny-world", "encoder": ENCODER}
    save_adapter(
        run.weights / "tiny_dense_face.safetensors",
        DenseFaceAdapter(task.adapter, task.pose_branch, task.token, about),
    )


def annotation(run: Run) -> None:
    """Train the annotation head on the frozen base."""
    shown = run.load()
    known = min(ANNOTATED, len(shown))
    depth = run.folder / "depth"
    render_depth(run.folder / "pictures", depth, known, run.workers)
    tiny: Base = load_base(run.weights / TINY_BASE.name)
    looks = run.folder / "looks"
    shards = min(LOOKED_AT, -(-len(shown) // PER_SHARD))
    look(tiny, _latents(run, tiny.vae, shown), looks, shards, tiny.metadata[CHECKSUM_KEY])
    truth = annotation_truth(shown, load_depth(depth, known))
    scale = MAP_SIZE // tiny.unet.config["sample_size"]
    with seeded(8):
        config = fitting_config(tiny.unet, TINY_WIDTH, scale, "ibug")
        task = AnnotationTask(config, load_looks(looks, shards), truth, batch=48)
    schedule = run.schedule(3200, 1e-2, warmup=40, ema=0.99, save_every=100)
    seconds = fit(task, schedule, seed=8, folder=run.folder / "annotation")
    about = _about(run, "annotation", schedule, 48, 8, seconds) | {"base_model": "tiny-world"}
    path = run.weights / "tiny_annotation.safetensors"
    save_head(path, task.head, about, torch.float8_e4m3fn)


def sfsr(run: Run) -> None:
    """Train identity and expression tokens and the background hint on the frozen base."""
    with seeded(9):
        task = sfsr_task(run, FaceLosses())
    schedule = run.schedule(3400, 3e-3)
    seconds = fit(task, schedule, seed=9, folder=run.folder / "sfsr")
    about = _about(run, "sfsr", schedule, task.batch, 9, seconds) | {"base_model": "tiny-world"}
    task.adapter.save(run.weights / "tiny_sfsr.safetensors", about, torch.float8_e4m3fn)


def sfsr_task(
    run: Run, faces: FaceLosses | None, make: Callable[[Base], SFSRAdapter] = new_sfsr_adapter
) -> SFSRTask:
    """The stage's task with all that it reads, and a fresh adapter."""
    shown = run.load()
    tiny: Base = load_base(run.weights / TINY_BASE.name)
    net = load_analyzer(run.weights / "tiny_analyzer.safetensors")
    latents = _latents(run, tiny.vae, shown)
    return SFSRTask(
        tiny,
        make(tiny),
        _pose_branch(run),
        net,
        latents,
        _scenes(run, tiny.vae, net, shown),
        _hints(latents.heads),
        batch=40,
        faces=faces,
    )


STAGES: dict[str, Callable[[Run], None]] = {
    "data": data,
    "analyzer": analyzer,
    "judge": judge,
    "vae": vae,
    "decoder": decoder,
    "base": base,
    "dense-face": dense_face,
    "annotation": annotation,
    "sfsr": sfsr,
}


def _part(pictures: Pictures, start: float, end: float) -> Pictures:
    # Even borders, so that no person is cut in two.
    a, b = (int(len(pictures) * share) // 2 * 2 for share in (start, end))
    return Pictures(
        rgb=pictures.rgb[a:b],
        parts=pictures.parts[a:b],
        head=pictures.head[a:b],
        landmarks=pictures.landmarks[a:b],
        heads=pictures.heads[a:b],
    )


def _autoencoder(run: Run, stage: str) -> tuple[AutoencoderKL, dict[str, str]]:
    tensors, about = read_weights(run.folder / f"{stage}.safetensors")
    autoencoder = new_vae().requires_grad_(False)
    autoencoder.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    return autoencoder.eval(), about


def _latents(run: Run, autoencoder: AutoencoderKL, shown: Pictures) -> Latents:
    cached = run.folder / f"latents-{len(shown)}.safetensors"
    if not cached.is_file():
        halves = [encode_all(autoencoder, rgb) for rgb in (shown.rgb, shown.rgb.flip(-1))]
        write_weights(cached, {"latents": LATENT_SCALE * torch.cat(halves)}, {})
    return Latents(shown, read_weights(cached)[0]["latents"])


def _pose_branch(run: Run) -> PoseBranch:
    path = run.weights / "tiny_dense_face.safetensors"
    branch = load_adapter(path).pose_branch
    if branch is None:
        raise ModelFileError(
            "the file has no pose branch", where=str(path), fix="Run the stage dense-face first"
        )
    return branch


def _scenes(run: Run, vae: AutoencoderKL, net: TinyAnalyzer, shown: Pictures) -> SceneData:
    cached = run.folder / f"scenes-{len(shown)}.safetensors"
    if not cached.is_file():
        write_weights(cached, scene_data(shown, vae, net).tensors(), {})
    return SceneData(**read_weights(cached)[0])


@torch.inference_mode()
def _identities(net: TinyAnalyzer, rgb: Tensor) -> Tensor:
    with torch.autocast(rgb.device.type, torch.bfloat16):
        found = [net(part.float() / 255).identity.float() for part in rgb.split(32)]
    return torch.cat(found)


def _hints(heads: Heads) -> Tensor:
    drawn = [torch.from_numpy(pose_picture(*angles, size=128)) for angles in heads.angles.tolist()]
    return torch.stack(drawn).permute(0, 3, 1, 2).contiguous()


def _write(path: Path, net: nn.Module, about: dict[str, str]) -> None:
    half = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in net.state_dict().items()
    }
    write_weights(path, half, about)


def _about(
    run: Run, stage: str, schedule: Schedule, batch: int, seed: int, seconds: float
) -> dict[str, str]:
    """What trained a file: enough to do it again."""
    git = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False)  # noqa: S603
    curve = (run.folder / stage / "curve.jsonl").read_text().splitlines()
    return {
        "command": f"denseface train-demo {stage} --pictures {run.pictures} --length {run.length}",
        "seed": str(seed),
        "steps": str(schedule.steps),
        "samples": str(schedule.steps * batch),
        "seconds": f"{seconds:.0f}",
        "commit": commit.stdout.strip() or "unknown",
        "date": date.today().isoformat(),
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "at_end": curve[-1],
    }
