"""The stages of ``denseface train-demo``: from nothing to all bundled weights.

    data -> analyzer, evaluator -> vae -> decoder -> parts, expression, base
         -> dense-face, annotation -> sfsr, sfsr-midpoint, sfsr-one-step
    expression -> malformed

Each stage reads the results of earlier ones, resumes after a kill, and writes one file into
``demo/weights``. There are exceptions: ``vae`` and ``decoder`` write into the work folder, and
``base`` includes their result in its file; ``parts`` and ``expression`` replace layers in the file
of ``analyzer``. The last two are controls of ``denseface evaluate sfsr``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import partial

import torch
from torch import Tensor

from ...demo.bundled import ANALYZER_FILE, ANNOTATION_FILE, DENSE_FACE_FILE, EVALUATOR_FILE
from ...demo.networks.analyzer import ENCODER, TinyAnalyzer, load_analyzer
from ...demo.networks.expression_reader import ExpressionReader
from ...dense_face.annotation.head_file import save_head
from ...dense_face.checkpoints.adapter_file import DenseFaceAdapter, save_adapter
from ...pipelines.annotation import fitting_config
from ...pipelines.base import (
    TINY_BASE,
    Base,
    load_base,
    new_text_encoder,
    new_unet,
    new_vae,
    save_base,
)
from ...storage import CHECKSUM_KEY, read_weights, write_weights
from ..likeness import LikenessLosses
from ..runs.loop import seeded
from .analyzer import AnalyzerTask, EvaluatorTask
from .annotation import TINY_FINE_WIDTHS, TINY_WIDTH, AnnotationTask
from .annotation_data import ANNOTATED, MAP_SIZE, annotation_truth, load_depth, render_depth
from .base import BaseTask
from .checkpoint import compressed_state_dict, run_metadata, train_part, train_stage
from .data import PER_SHARD, Images, pose_hints, render_shards
from .dense_face import tiny_task
from .expression import ExpressionTask
from .feature_cache import CACHED_SHARDS, cache_features, load_features
from .malformed import malformed
from .parts import LAYERS, PartsTask
from .run import TrainingRun
from .sfsr_stages import sfsr, sfsr_control
from .vae import DecoderTask, VAETask, encode_all, fuse_latent_scale
from .vae_perceptual import PerceptualTask

BASE_STEPS = 5600
DENSE_FACE_LATE = 1000
"""Steps of the stage ``dense-face`` with the losses of drawn images."""
FLOAT8 = ("identity", "expression.", "part_out.0.")
"""Prefixes of the analyzer's layers that are stored as float8; this was measured to change no
reading."""


def data(run: TrainingRun) -> None:
    """Render the training images."""
    render_shards(run.folder / "images", run.images, run.workers)


def analyzer(run: TrainingRun) -> None:
    """Train the analyzer on the first two thirds of the people."""
    images = run.load()
    with seeded(1):
        task = AnalyzerTask(_between(images, 0, 2 / 3), people=32)
    about = train_stage(run, "analyzer", task, run.schedule(2400, 2e-3), batch=64, seed=1)
    write_weights(run.weights / ANALYZER_FILE, compressed_state_dict(task.net, FLOAT8), about)


def evaluator(run: TrainingRun) -> None:
    """Train the evaluator on the last third of the people."""
    with seeded(2):
        task = EvaluatorTask(_between(run.load(), 2 / 3, 1), people=48)
    about = train_stage(run, "evaluator", task, run.schedule(1200, 2e-3), batch=96, seed=2)
    tensors = compressed_state_dict(task.net, ("trunk.", "identity."))
    write_weights(run.weights / EVALUATOR_FILE, tensors, about)


def vae(run: TrainingRun) -> None:
    """Train the autoencoder on crops, then on whole images, and normalise its latents.

    The last part adds perceptual and adversarial terms.

    Later stages train the decoder only, so the latents do not change any more.
    """
    images = run.load()
    with seeded(3):
        net = new_vae()
    crops = run.schedule(2000, 5e-3)
    task = VAETask(net, images, batch=16, crop=64)
    first = train_part(run, "vae-crops", task, crops, batch=16, seed=3)
    whole = run.schedule(3000, 2e-3)
    task = VAETask(net.requires_grad_(True), images, batch=8, crop=128)
    second = train_part(run, "vae-whole", task, whole, batch=8, seed=4)
    with seeded(33):
        trunk = load_analyzer(run.weights / ANALYZER_FILE).trunk
        task = PerceptualTask(net.requires_grad_(True), images, trunk, batch=8)
    last = run.schedule(1200, 1.5e-3, warmup=50)
    third = train_part(run, "vae", task, last, batch=8, seed=33)
    fuse_latent_scale(net, encode_all(net, images.rgb[:2000]))
    about = run_metadata(run, "vae", last, 8, 33, first + second + third)
    about |= {"steps_before": f"{crops.steps} + {whole.steps}"}
    write_weights(run.folder / "vae.safetensors", compressed_state_dict(net), about)
    run.invalidate("latents", "reconstructions", "scenes")


def decoder(run: TrainingRun) -> None:
    """Train the decoder further, on the latents that the diffusion model learns."""
    images = run.load()
    autoencoder, _ = run.autoencoder("vae")
    task = DecoderTask(autoencoder, images, run.latents(autoencoder, images), batch=8)
    about = train_stage(run, "decoder", task, run.schedule(1000, 2e-3), batch=8, seed=7)
    write_weights(run.folder / "decoder.safetensors", compressed_state_dict(autoencoder), about)
    run.invalidate("reconstructions")


def parts(run: TrainingRun) -> None:
    """Train the analyzer's part layers on all images and their VAE reconstructions."""
    images = run.load()
    net = load_analyzer(run.weights / ANALYZER_FILE)
    task = PartsTask(net, images, run.reconstructed(images), batch=64)
    about = train_stage(run, "parts", task, run.schedule(4000, 4e-3), batch=64, seed=11)
    learned = {n: t for n, t in compressed_state_dict(net, FLOAT8).items() if n.startswith(LAYERS)}
    _update_analyzer(run, learned, "parts", about)


def expression(run: TrainingRun) -> None:
    """Train the analyzer's expression reader on all images and their VAE reconstructions."""
    images = run.load()
    with seeded(10):
        task = ExpressionTask(ExpressionReader(), images, run.reconstructed(images), batch=96)
    schedule = run.schedule(8000, 4e-3, ema=0.999)
    about = train_stage(run, "expression", task, schedule, batch=96, seed=10)
    learned = {f"expression.{n}": t for n, t in compressed_state_dict(task.reader, ("",)).items()}
    _update_analyzer(run, learned, "expression", about)
    run.invalidate("scenes")


def base(run: TrainingRun) -> None:
    """Train UNet and text encoder on captions."""
    images = run.load()
    autoencoder, _ = run.autoencoder("vae")
    with seeded(5):
        unet, text_encoder = new_unet(), new_text_encoder()
    task = BaseTask(unet, text_encoder, run.latents(autoencoder, images), batch=64)
    schedule = run.schedule(BASE_STEPS, 2.5e-3, ema=0.999)
    about = train_stage(run, "base", task, schedule, batch=64, seed=5)
    # The decoder may have been trained at the same time as the UNet.
    autoencoder, vae_about = run.autoencoder("decoder")
    about |= {f"vae_{key}": value for key, value in vae_about.items() if key != "sha256"}
    save_base(run.weights / TINY_BASE.name, task.unet, autoencoder, task.text_encoder, about)


def dense_face(run: TrainingRun) -> None:
    """Train PC-adapter, identity token and pose branch on the frozen base.

    The second part adds the losses of images that the network draws itself.
    """
    images = run.load()
    tiny: Base = load_base(run.weights / TINY_BASE.name)
    latents = run.latents(tiny.vae, images)
    net = load_analyzer(run.weights / ANALYZER_FILE)
    identities = _identities(net, images.rgb)
    hints = pose_hints(latents.heads)
    with seeded(6):
        task = tiny_task(tiny, latents, identities, hints, batch=48, analyzer=net)
    early = run.schedule(4000, 2e-3)
    first = train_part(run, "dense-face-noise", task, early, batch=48, seed=6)
    task.unfreeze()
    task.likeness = LikenessLosses()
    late = run.schedule(DENSE_FACE_LATE, 1e-3, warmup=30)
    second = train_part(run, "dense-face", task, late, batch=48, seed=26)
    about = run_metadata(run, "dense-face", late, 48, 26, first + second)
    about |= {"steps_before": str(early.steps)}
    about |= {"base_model": "tiny-world", "encoder": ENCODER}
    save_adapter(
        run.weights / DENSE_FACE_FILE,
        DenseFaceAdapter(task.adapter, task.pose_branch, task.token, about),
        pose_dtype=torch.float8_e4m3fn,
    )


def annotation(run: TrainingRun) -> None:
    """Train the annotation head on the frozen base."""
    images = run.load()
    known = min(ANNOTATED, len(images))
    depth = run.folder / "depth"
    render_depth(run.folder / "images", depth, known, run.workers)
    tiny: Base = load_base(run.weights / TINY_BASE.name)
    cache = run.folder / "features"
    shards = min(CACHED_SHARDS, -(-len(images) // PER_SHARD))
    cache_features(tiny, run.latents(tiny.vae, images), cache, shards, tiny.metadata[CHECKSUM_KEY])
    truth = annotation_truth(images, load_depth(depth, known))
    scale = MAP_SIZE // tiny.unet.config["sample_size"]
    with seeded(8):
        config = fitting_config(tiny.unet, TINY_WIDTH, scale, "ibug", TINY_FINE_WIDTHS)
        task = AnnotationTask(config, load_features(cache, shards), truth, batch=48)
    schedule = run.schedule(14_000, 1e-2, warmup=40, ema=0.997, save_every=200)
    about = train_stage(run, "annotation", task, schedule, batch=48, seed=8)
    about |= {"base_model": "tiny-world"}
    save_head(run.weights / ANNOTATION_FILE, task.head, about, torch.float8_e4m3fn)


STAGES: dict[str, Callable[[TrainingRun], None]] = {
    "data": data,
    "analyzer": analyzer,
    "evaluator": evaluator,
    "vae": vae,
    "decoder": decoder,
    "parts": parts,
    "expression": expression,
    "malformed": malformed,
    "base": base,
    "dense-face": dense_face,
    "annotation": annotation,
    "sfsr": sfsr,
    "sfsr-midpoint": partial(sfsr_control, stage="sfsr-midpoint", nodes=2),
    "sfsr-one-step": partial(sfsr_control, stage="sfsr-one-step", nodes=1),
}


def _update_analyzer(
    run: TrainingRun, learned: dict[str, Tensor], stage: str, about: dict[str, str]
) -> None:
    """Replace layers in the analyzer's file by those that a later stage has trained."""
    path = run.weights / ANALYZER_FILE
    tensors, known = read_weights(path)
    known |= {f"{stage}_{key}": about[key] for key in ("command", "samples", "commit", "date")}
    write_weights(path, tensors | learned, known)


def _between(images: Images, start: float, end: float) -> Images:
    """The images between two fractions of the list."""
    # Even borders keep both images of a person together.
    a, b = (int(len(images) * fraction) // 2 * 2 for fraction in (start, end))
    return Images(*(getattr(images, field.name)[a:b] for field in fields(Images)))


@torch.inference_mode()
def _identities(net: TinyAnalyzer, rgb: Tensor) -> Tensor:
    with torch.autocast(rgb.device.type, torch.bfloat16):
        found = [net(part.float() / 255).identity.float() for part in rgb.split(32)]
    return torch.cat(found)
