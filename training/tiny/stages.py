"""The stages of ``denseface train-demo``: from nothing to all bundled weights.

    data -> analyzer, evaluator, vae -> decoder -> parts, expression, base -> dense-face, annotation
         -> sfsr, sfsr-midpoint, sfsr-one-step

Each stage reads the results of earlier ones, resumes after a kill, and writes one file into
``demo/weights``. There are exceptions: ``vae`` and ``decoder`` write into the work folder, and
``base`` includes their result in its file; ``parts`` and ``expression`` replace layers in the file
of ``analyzer``. The last two are controls of ``denseface evaluate sfsr``.
"""

from __future__ import annotations

from collections.abc import Callable
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
from ..loop import seeded, train
from .analyzer import AnalyzerTask, EvaluatorTask
from .annotation import TINY_WIDTH, AnnotationTask
from .annotation_data import ANNOTATED, MAP_SIZE, annotation_truth, load_depth, render_depth
from .base import BaseTask
from .checkpoint import compressed_state_dict, run_metadata
from .data import PER_SHARD, Images, pose_hints, render_shards
from .dense_face import DenseFaceTask
from .expression import ExpressionTask
from .feature_cache import CACHED_SHARDS, cache_features, load_features
from .parts import LAYERS, PartsTask
from .run import TrainingRun
from .sfsr_stages import sfsr, sfsr_control
from .vae import DecoderTask, VAETask, encode_all, fuse_latent_scale

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
    schedule = run.schedule(2400, 2e-3)
    seconds = train(task, schedule, seed=1, folder=run.folder / "analyzer")
    about = run_metadata(run, "analyzer", schedule, 64, 1, seconds)
    write_weights(run.weights / ANALYZER_FILE, compressed_state_dict(task.net, FLOAT8), about)


def evaluator(run: TrainingRun) -> None:
    """Train the evaluator on the last third of the people."""
    with seeded(2):
        task = EvaluatorTask(_between(run.load(), 2 / 3, 1), people=48)
    schedule = run.schedule(1200, 2e-3)
    seconds = train(task, schedule, seed=2, folder=run.folder / "evaluator")
    about = run_metadata(run, "evaluator", schedule, 96, 2, seconds)
    tensors = compressed_state_dict(task.net, ("trunk.", "identity."))
    write_weights(run.weights / EVALUATOR_FILE, tensors, about)


def vae(run: TrainingRun) -> None:
    """Train the autoencoder on crops, then on whole images, and normalise its latents.

    Later stages train the decoder only, so the latents do not change any more.
    """
    images = run.load()
    with seeded(3):
        net = new_vae()
    crops = run.schedule(2000, 5e-3)
    task = VAETask(net, images, batch=16, crop=64)
    first = train(task, crops, seed=3, folder=run.folder / "vae-crops")
    whole = run.schedule(3000, 2e-3)
    task = VAETask(net.requires_grad_(True), images, batch=8, crop=128)
    second = train(task, whole, seed=4, folder=run.folder / "vae")
    fuse_latent_scale(net, encode_all(net, images.rgb[:2000]))
    about = run_metadata(run, "vae", whole, 8, 3, first + second)
    write_weights(run.folder / "vae.safetensors", compressed_state_dict(net), about)
    run.invalidate("latents", "reconstructions", "scenes")


def decoder(run: TrainingRun) -> None:
    """Train the decoder further, on the latents that the diffusion model learns."""
    images = run.load()
    autoencoder, _ = run.autoencoder("vae")
    task = DecoderTask(autoencoder, images, run.latents(autoencoder, images), batch=8)
    schedule = run.schedule(1000, 2e-3)
    seconds = train(task, schedule, seed=7, folder=run.folder / "decoder")
    about = run_metadata(run, "decoder", schedule, 8, 7, seconds)
    write_weights(run.folder / "decoder.safetensors", compressed_state_dict(autoencoder), about)
    run.invalidate("reconstructions")


def parts(run: TrainingRun) -> None:
    """Train the analyzer's part layers on all images and their VAE reconstructions."""
    images = run.load()
    net = load_analyzer(run.weights / ANALYZER_FILE)
    task = PartsTask(net, images, run.reconstructed(images), batch=64)
    schedule = run.schedule(4000, 4e-3)
    seconds = train(task, schedule, seed=11, folder=run.folder / "parts")
    learned = {n: t for n, t in compressed_state_dict(net, FLOAT8).items() if n.startswith(LAYERS)}
    _update_analyzer(run, learned, "parts", run_metadata(run, "parts", schedule, 64, 11, seconds))


def expression(run: TrainingRun) -> None:
    """Train the analyzer's expression reader on all images and their VAE reconstructions."""
    images = run.load()
    with seeded(10):
        task = ExpressionTask(ExpressionReader(), images, run.reconstructed(images), batch=96)
    schedule = run.schedule(8000, 4e-3, ema=0.999)
    seconds = train(task, schedule, seed=10, folder=run.folder / "expression")
    learned = {f"expression.{n}": t for n, t in compressed_state_dict(task.reader, ("",)).items()}
    _update_analyzer(
        run, learned, "expression", run_metadata(run, "expression", schedule, 96, 10, seconds)
    )
    run.invalidate("scenes")


def base(run: TrainingRun) -> None:
    """Train UNet and text encoder on captions."""
    images = run.load()
    autoencoder, _ = run.autoencoder("vae")
    with seeded(5):
        unet, text_encoder = new_unet(), new_text_encoder()
    task = BaseTask(unet, text_encoder, run.latents(autoencoder, images), batch=64)
    schedule = run.schedule(3600, 2.5e-3)
    seconds = train(task, schedule, seed=5, folder=run.folder / "base")
    about = run_metadata(run, "base", schedule, 64, 5, seconds)
    # The decoder may have been trained at the same time as the UNet.
    autoencoder, vae_about = run.autoencoder("decoder")
    about |= {f"vae_{key}": value for key, value in vae_about.items() if key != "sha256"}
    save_base(run.weights / TINY_BASE.name, task.unet, autoencoder, task.text_encoder, about)


def dense_face(run: TrainingRun) -> None:
    """Train PC-adapter, identity token and pose branch on the frozen base."""
    images = run.load()
    tiny: Base = load_base(run.weights / TINY_BASE.name)
    latents = run.latents(tiny.vae, images)
    net = load_analyzer(run.weights / ANALYZER_FILE)
    identities = _identities(net, images.rgb)
    hints = pose_hints(latents.heads)
    with seeded(6):
        task = DenseFaceTask(tiny, latents, identities, hints, batch=48)
    schedule = run.schedule(4000, 2e-3)
    seconds = train(task, schedule, seed=6, folder=run.folder / "dense-face")
    about = run_metadata(run, "dense-face", schedule, 48, 6, seconds)
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
        config = fitting_config(tiny.unet, TINY_WIDTH, scale, "ibug")
        task = AnnotationTask(config, load_features(cache, shards), truth, batch=48)
    schedule = run.schedule(14_000, 1e-2, warmup=40, ema=0.997, save_every=200)
    seconds = train(task, schedule, seed=8, folder=run.folder / "annotation")
    about = run_metadata(run, "annotation", schedule, 48, 8, seconds) | {"base_model": "tiny-world"}
    path = run.weights / ANNOTATION_FILE
    save_head(path, task.head, about, torch.float8_e4m3fn)


STAGES: dict[str, Callable[[TrainingRun], None]] = {
    "data": data,
    "analyzer": analyzer,
    "evaluator": evaluator,
    "vae": vae,
    "decoder": decoder,
    "parts": parts,
    "expression": expression,
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
    return Images(
        rgb=images.rgb[a:b],
        parts=images.parts[a:b],
        head=images.head[a:b],
        landmarks=images.landmarks[a:b],
        heads=images.heads[a:b],
    )


@torch.inference_mode()
def _identities(net: TinyAnalyzer, rgb: Tensor) -> Tensor:
    with torch.autocast(rgb.device.type, torch.bfloat16):
        found = [net(part.float() / 255).identity.float() for part in rgb.split(32)]
    return torch.cat(found)
