"""What the stages minimise: shapes, frozen parts, and the fused scale of the latents."""

from __future__ import annotations

import copy

import pytest
import torch
from comfyui_dense_face.demo.networks.analyzer import TinyAnalyzer
from comfyui_dense_face.demo.networks.expression_reader import ExpressionReader
from comfyui_dense_face.demo.people import sample_heads
from comfyui_dense_face.demo.renderer.renderer import render
from comfyui_dense_face.dense_face.noise_prediction import noised
from comfyui_dense_face.dense_face.schedule import alphas_cumprod
from comfyui_dense_face.pipelines.base import Base, new_text_encoder, new_unet, new_vae
from comfyui_dense_face.training.likeness import LikenessLosses
from comfyui_dense_face.training.rollout import Rollout
from comfyui_dense_face.training.runs.loop import seeded, step_generator
from comfyui_dense_face.training.runs.optimizer import MuonAdamW
from comfyui_dense_face.training.tiny.base import BaseTask
from comfyui_dense_face.training.tiny.data import Images, Latents
from comfyui_dense_face.training.tiny.dense_face import tiny_task
from comfyui_dense_face.training.tiny.expression import ExpressionTask, reconstructions
from comfyui_dense_face.training.tiny.parts import LAYERS, PartsTask
from comfyui_dense_face.training.tiny.vae import SCALE, VAETask, encode_all, fuse_latent_scale
from comfyui_dense_face.training.tiny.vae_perceptual import PerceptualTask
from torch import nn


@pytest.fixture(scope="module")
def images() -> Images:
    heads = sample_heads([1, 2, 3, 4], identity_seeds=[1, 1, 2, 2])
    drawn = render(heads)
    rgb = (drawn.rgb * 255).byte()
    return Images(rgb, drawn.parts, drawn.head_mask.to(torch.uint8), drawn.landmarks, heads)


def test_fusing_the_scale_leaves_images_alone(images: Images) -> None:
    with seeded(1):
        vae = new_vae().eval()
    rgb = images.rgb.float() / 127.5 - 1
    with torch.no_grad():
        before = vae.decode(vae.encode(rgb).latent_dist.mean).sample
        fuse_latent_scale(vae, vae.encode(rgb).latent_dist.mean)
        posterior = vae.encode(rgb).latent_dist
        after = vae.decode(posterior.mean).sample
    assert torch.allclose(before, after, atol=1e-4)
    scaled = posterior.mean * SCALE
    assert torch.allclose(scaled.mean((0, 2, 3)), torch.zeros(4), atol=1e-3)
    assert torch.allclose(scaled.std((0, 2, 3)), torch.ones(4), atol=1e-3)


def test_autoencoder_task_repeats_with_its_generator(images: Images) -> None:
    with seeded(1):
        task = VAETask(new_vae(), images, batch=2, crop=64)
    first, second = (task(step_generator(1, 5))["loss"] for _ in range(2))
    assert torch.equal(first, second)


def test_expression_reader_sees_renders_and_reconstructions(images: Images) -> None:
    with seeded(1):
        task = ExpressionTask(ExpressionReader(), images, images.rgb, batch=8)
    task.eval()  # statistics of the batch would mix both halves
    first, again = (task(step_generator(1, 5)) for _ in range(2))
    assert torch.equal(first["loss"], again["loss"])
    inverted = ExpressionTask(task.reader, images, 255 - images.rgb, batch=8).eval()
    other = inverted(step_generator(1, 5))
    assert torch.equal(other["renders"], first["renders"])
    assert not torch.equal(other["reconstructions"], first["reconstructions"])
    first["loss"].backward()
    assert all(p.grad is not None for p in task.parameters())


def test_part_layers_learn_alone(images: Images) -> None:
    with seeded(1):
        net = TinyAnalyzer()
    before = copy.deepcopy(net.state_dict())
    task = PartsTask(net, images, images.rgb, batch=4).train()
    losses = task(step_generator(1, 5))
    losses["loss"].backward()
    taught = {name for name, p in net.named_parameters() if p.grad is not None}
    assert taught and all(name.startswith(LAYERS) for name in taught)
    changed = {n for n, t in net.state_dict().items() if not torch.equal(t, before[n])}
    assert changed and all(name.startswith(LAYERS) for name in changed)  # running statistics


def test_reconstructions_are_what_the_autoencoder_gives_back(images: Images) -> None:
    with seeded(1):
        vae = new_vae().eval()
    latents = encode_all(vae, images.rgb)
    given = reconstructions(vae, latents)
    assert given.shape == images.rgb.shape and given.dtype == torch.uint8
    with torch.no_grad():
        true = (vae.decode(latents).sample / 2 + 0.5).clamp(0, 1) * 255
    assert (given.float() - true).abs().mean() < 2  # decoded in bf16


def test_noise_weights_are_those_of_the_clean_latents() -> None:
    """An error of the clean latents weighs SNR, at most 5 and at least the given minimum."""
    alphas, latents = alphas_cumprod(), torch.zeros(256, 4, 2, 2)
    for least in (0.0, 0.25):
        _, _, t, weight = noised(latents, alphas, torch.Generator().manual_seed(3), least=least)
        snr = (alphas[t] / (1 - alphas[t])).float()
        assert snr.min() < 0.25 and snr.max() > 5
        torch.testing.assert_close(weight * snr, snr.clamp(least, 5))


def test_base_and_adapter_train_only_what_they_own(images: Images) -> None:
    with seeded(1):
        vae, unet, text = new_vae().eval(), new_unet(), new_text_encoder()
    halves = [encode_all(vae, rgb) for rgb in (images.rgb, images.rgb.flip(-1))]
    data = Latents(images, torch.cat(halves))
    BaseTask(unet, text, data, batch=2)(step_generator(1, 0))["loss"].backward()
    assert all(p.grad is not None for p in unet.parameters())
    for module in (unet, text):
        module.zero_grad()
        module.requires_grad_(False)
    identities = torch.nn.functional.normalize(torch.randn(4, 512), dim=1)
    hints = torch.zeros(8, 3, 128, 128, dtype=torch.uint8)
    task = tiny_task(Base(unet, vae, text, {}), data, identities, hints, batch=4)
    task(step_generator(1, 0))["loss"].backward()
    assert all(p.grad is None for p in unet.parameters())
    assert any(
        bool(p.grad.abs().sum() > 0) for p in task.adapter.parameters() if p.grad is not None
    )
    # The residuals start at zero; what makes them must learn first.
    assert bool(task.pose_branch.get_parameter("zero_convs.0.0.weight").grad.abs().sum() > 0)


def test_drawn_images_teach_likeness_and_pose(images: Images) -> None:
    """Their losses add gradients to what Dense-Face trains, and to nothing else."""
    with seeded(1):
        vae, unet, text = new_vae().eval(), new_unet(), new_text_encoder()
        net = TinyAnalyzer()
    base = Base(unet, vae, text, {})
    for module in (unet, vae, text, net):
        module.requires_grad_(False)
    halves = [encode_all(vae, rgb) for rgb in (images.rgb, images.rgb.flip(-1))]
    identities = torch.nn.functional.normalize(torch.randn(4, 512), dim=1)
    hints = torch.zeros(8, 3, 128, 128, dtype=torch.uint8)
    data = Latents(images, torch.cat(halves))
    with seeded(2):
        task = tiny_task(base, data, identities, hints, batch=6, analyzer=net).train()
    alone = task(step_generator(1, 0))
    rollout = Rollout(steps=2, guidance=3.0)
    task.likeness = LikenessLosses(rows=2, earliest=400, latest=500, rollout=rollout)
    losses = task(step_generator(1, 0))
    assert set(losses) - set(alone) == {"identity", "mistaken", "pose"}
    weighted = alone["loss"] + 0.5 * losses["identity"] + 0.1 * losses["mistaken"] + losses["pose"]
    torch.testing.assert_close(losses["loss"].detach(), weighted.detach(), rtol=1e-4, atol=1e-5)
    (losses["loss"] - alone["loss"].detach()).backward()
    frozen = (*unet.parameters(), *vae.parameters(), *net.parameters(), *text.parameters())
    assert all(p.grad is None for p in frozen) and not net.training
    assert bool(task.pose_branch.get_parameter("zero_convs.0.0.weight").grad.abs().sum() > 0)


def test_perceptual_and_adversarial_terms_train_their_own_network(images: Images) -> None:
    with seeded(1):
        vae, trunk = new_vae(), TinyAnalyzer().trunk
        task = PerceptualTask(vae, images, trunk, batch=2).train()
    losses = task(step_generator(1, 5))
    assert torch.equal(losses["loss"], task(step_generator(1, 5))["loss"])
    losses["loss"].backward()
    assert not trunk.training and all(p.grad is None for p in trunk.parameters())
    assert all(p.grad is not None for p in task.discriminator.parameters())
    assert all(p.grad is not None for p in vae.encoder.parameters())
    # The discriminator's own loss has no gradients in the autoencoder, and the other way round.
    task.zero_grad()
    rgb = images.rgb[:2].float() / 127.5 - 1
    out = vae(rgb).sample
    apart, fooled = task._adversarial(out, rgb, images.head[:2])
    apart.backward(retain_graph=True)
    assert all(p.grad is None for p in vae.parameters())
    task.zero_grad()
    fooled.backward()
    assert all(p.grad is None for p in task.discriminator.parameters())


def test_optimizer_moves_matrices_and_resumes() -> None:
    def step(net: nn.Module, optimizer: MuonAdamW) -> None:
        net(torch.ones(1, 3, 8, 8)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    with seeded(1):
        net = nn.Sequential(nn.Conv2d(3, 32, 3), nn.Conv2d(32, 32, 3))
    before = [p.detach().clone() for p in net.parameters()]
    optimizer = MuonAdamW(net, 1e-2, 0.0)
    step(net, optimizer)
    assert all(not torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
    weights, state = copy.deepcopy((net.state_dict(), optimizer.state_dict()))
    step(net, optimizer)
    with seeded(2):
        again = nn.Sequential(nn.Conv2d(3, 32, 3), nn.Conv2d(32, 32, 3))
    again.load_state_dict(weights)
    resumed = MuonAdamW(again, 1e-2, 0.0)
    resumed.load_state_dict(state)
    step(again, resumed)
    for a, b in zip(net.parameters(), again.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)
