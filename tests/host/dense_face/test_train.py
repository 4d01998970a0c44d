"""Train Face Adapter and Save Dense-Face Adapter in the host's process, on random weights."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from in_host import Tiny, difference
from locate_host import ROOT
from pretended_card import pretended_card
from torch import Tensor, nn

SIZE = 64
STEPS = 3


class Studio:
    """A random tiny world with three photos of one person."""

    def __init__(self, tiny: Tiny) -> None:
        self.tiny = tiny
        self.analyzer = tiny.run("LoadTinyAnalyzer")
        views = ((3, 0.0), (8, 20.0), (11, -20.0))
        self.photos = torch.cat([self.photo(2, scene, yaw) for scene, yaw in views])

    def photo(self, person: int, scene: int, yaw: float = 0.0) -> Tensor:
        return self.tiny.run("TinyPortrait", person, scene, yaw, 0.0, 0.0, 128)[0]

    def train(self, **changes: Any) -> tuple[Any, dict[str, list[float]], int, str]:
        """The node with few cheap steps; inputs arrive as lists, as the host sends them."""
        inputs: dict[str, Any] = {
            "model": self.tiny.model,
            "clip": self.tiny.clip,
            "vae": self.tiny.vae,
            "analyzer": self.analyzer,
            "image": self.photos,
            "captions": "a photo of *",
            "batch_size": 2,
            "grad_accumulation_steps": 1,
            "steps": STEPS,
            "learning_rate": 0.001,
            "seed": 0,
            "training_dtype": "fp32",
            "gradient_checkpointing": False,
            "size": SIZE,
            "sample_every": 0,
            **changes,
        }
        lists = {name: v if isinstance(v, list) else [v] for name, v in inputs.items()}
        return self.tiny.run("TrainAdapter", **lists)

    def raw(self, steps: int) -> Any:
        """The weights after so many steps, without the average."""
        with pytest.MonkeyPatch.context() as patch:
            loop = self.tiny.module("nodes.host.training.loop")
            patch.setattr(loop, "average_decay", lambda *_: 0.0)
            return self.train(steps=steps)[0].fused.weights

    def drawn(self, adapter: Any, batch: int = 1, cfg: float = 1.0, **options: Any) -> Tensor:
        """Latents by the adapter for the person on the photos."""
        who = self.tiny.run("EncodeIdentity", self.analyzer, self.photos, "one person")[0]
        model = self.tiny.apply(people=who, adapter=adapter, **options)
        prompt = self.tiny.run("EncodePrompt", self.tiny.clip, adapter, "a photo of *", who)
        return self.tiny.sample(model, prompt, batch=batch, cfg=cfg)


@pytest.fixture(scope="module")
def studio(tiny: Tiny) -> Studio:
    return Studio(tiny)


@pytest.fixture(scope="module")
def trained(studio: Studio) -> Any:
    return studio.train()[0]


@pytest.fixture
def output_folder(tmp_path: Path) -> Iterator[Path]:
    """An output folder of the test's own, as the host and the pack know it."""
    import folder_paths

    before, known = folder_paths.get_output_directory(), folder_paths.folder_names_and_paths
    saved = known["dense_face_trained"]
    folder_paths.set_output_directory(str(tmp_path))
    known["dense_face_trained"] = ([str(tmp_path / "dense_face")], saved[1])
    yield tmp_path / "dense_face"
    folder_paths.set_output_directory(before)
    known["dense_face_trained"] = saved


def parts(adapter: Any) -> dict[str, Tensor]:
    """All tensors of a DENSEFACE_ADAPTER, the strength multiplied in."""
    return {
        **{name: adapter.fused.delta * t.float() for name, t in adapter.fused.weights.items()},
        **{name: adapter.fused.delta * t for name, t in adapter.fused.bias_matrices.items()},
        **{f"token.{name}": t for name, t in adapter.token.state_dict().items()},
    }


def same(one: Any, other: Any) -> bool:
    first, second = parts(one), parts(other)
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


def test_same_seed_same_adapter(studio: Studio, trained: Any) -> None:
    torch.rand(3)
    assert same(studio.train()[0], trained)
    assert not same(studio.train(seed=1)[0], trained)


def test_nothing_shared_changes(studio: Studio) -> None:
    """MODEL, CLIP, VAE, torch's own generator and the host's flags are as before."""
    import comfy.model_management as mm

    tiny = studio.tiny
    networks = (tiny.model.model, tiny.clip.cond_stage_model, tiny.vae.first_stage_model)
    before = [{n: t.clone() for n, t in net.state_dict().items()} for net in networks]
    hooks = [sum(len(m._forward_hooks) for m in net.modules()) for net in networks]
    drawn, options = tiny.sample(tiny.model), repr(tiny.model.model_options)
    state = torch.get_rng_state()
    studio.train(gradient_checkpointing=True, sample_every=2)
    assert torch.equal(torch.get_rng_state(), state)
    for net, known, count in zip(networks, before, hooks, strict=True):
        assert all(torch.equal(t, known[n]) for n, t in net.state_dict().items())
        assert sum(len(m._forward_hooks) for m in net.modules()) == count
    assert repr(tiny.model.model_options) == options and not tiny.model.patches
    assert not mm.in_training and torch.equal(tiny.sample(tiny.model), drawn)


def test_the_copies_are_freed(studio: Studio) -> None:
    from comfy.model_base import BaseModel

    def networks() -> int:
        gc.collect()
        return sum(issubclass(type(thing), BaseModel) for thing in gc.get_objects())

    before = networks()
    adapter = studio.train(gradient_checkpointing=True, sample_every=1, steps=1)[0]
    assert networks() == before
    del adapter


@pytest.mark.parametrize("mode", ["weights", "runtime"])
def test_it_trains_what_the_nodes_apply(studio: Studio, mode: str) -> None:
    """The network that is trained predicts what the host does with the applied adapter."""
    import comfy.sample
    import comfy.samplers

    tiny = studio.tiny
    run, network = (tiny.module(f"nodes.host.training.{name}") for name in ("run", "network"))
    people, sigma = tiny.people(), 3.0
    x = sigma * torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    model = tiny.apply(people=people, mode=mode)
    prompt = tiny.run("EncodePrompt", tiny.clip, tiny.adapter, "a photo of *", people)
    with torch.inference_mode():
        clean = comfy.sample.sample_custom(
            model, x / sigma, 1.0, comfy.samplers.sampler_object("euler"),
            torch.tensor([sigma, 0.0]), prompt, prompt, torch.zeros_like(x), disable_pbar=True,
        )  # fmt: skip
        layers = network.trainable_layers(tiny.model, tiny.clip, "test")
        vectors = people.vectors.clone()
    with torch.inference_mode(False), torch.no_grad():
        adapter = run._adapter(tiny.adapter, layers, 512)
        token = run._token(tiny.adapter, tiny.clip, 512)
        own = network.TrainedNetwork(
            tiny.model, tiny.clip, adapter, token, torch.float32, checkpointing=False
        )
        sigmas = tiny.model.model.model_sampling.sigmas
        t = (sigmas.log() - torch.tensor(sigma).log()).abs().argmin()[None].clone()
        alpha = own.alphas[t].float()
        found = own.noise(x * alpha.sqrt(), t, own.texts(["a photo of *"], vectors), vectors)
        own.close()
    expected = (x - own_scale(tiny, clean)) / sigma
    assert difference(found, expected) < 0.01  # the sigma is rounded to the table's
    without = (x - own_scale(tiny, tiny_clean(tiny, x, sigma, prompt))) / sigma
    assert difference(found, without) > 0.05


def own_scale(tiny: Tiny, latent: Tensor) -> Tensor:
    return tiny.model.model.process_latent_in(latent)


def tiny_clean(tiny: Tiny, x: Tensor, sigma: float, prompt: Any) -> Tensor:
    """The clean latent that the MODEL without an adapter predicts."""
    import comfy.sample
    import comfy.samplers

    with torch.inference_mode():
        return comfy.sample.sample_custom(
            tiny.model, x / sigma, 1.0, comfy.samplers.sampler_object("euler"),
            torch.tensor([sigma, 0.0]), prompt, prompt, torch.zeros_like(x), disable_pbar=True,
        )  # fmt: skip


def test_checkpointing_changes_nothing(studio: Studio, trained: Any) -> None:
    assert same(studio.train(gradient_checkpointing=True)[0], trained)


def test_accumulation_is_a_larger_batch(studio: Studio) -> None:
    _, losses, steps, _ = studio.train(grad_accumulation_steps=2, steps=2)
    assert steps == 2 and len(losses["loss"]) == 2


def test_captions_of_all_lengths(studio: Studio) -> None:
    """Of one, two and three chunks of tokens, together in a batch."""
    captions = "\n".join(["*" + " smiling" * count for count in (1, 60, 110)])
    studio.train(captions=captions, batch_size=8, steps=1)


def test_it_goes_on_from_an_adapter(studio: Studio) -> None:
    """With steps that go nowhere, the given adapter comes out, whatever its strength."""
    adapter = studio.tiny.adapter
    still, *_ = studio.train(adapter=adapter, learning_rate=1e-7, steps=1)
    moved, *_ = studio.train(adapter=adapter, steps=1)
    given = parts(adapter)
    for name, tensor in parts(still).items():
        assert torch.allclose(tensor, given[name], atol=1e-5), name
    assert any(not torch.allclose(t, given[n], atol=1e-4) for n, t in parts(moved).items())


def test_the_average_comes_out(studio: Studio, trained: Any) -> None:
    """Of the weights after each step, newest last: decays 1/10, 2/11, 3/12."""
    first, second, last = (studio.raw(steps) for steps in (1, 2, 3))
    key = "input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight"
    mean = 0.9 * first[key]
    for decay, weights in ((2 / 11, second), (3 / 12, last)):
        mean = decay * mean + (1 - decay) * weights[key]
    assert torch.allclose(trained.fused.weights[key], mean, atol=1e-7)


def test_every_part_learns(studio: Studio, trained: Any) -> None:
    """From nothing: an adapter without steps would change no image."""
    assert all(bool(t.any()) for t in trained.fused.weights.values())
    assert all(bool(t.any()) for t in trained.fused.bias_matrices.values())
    assert bool(trained.token.projector.weight.any())
    assert trained.encoder == "tiny-world"


def test_the_adapter_draws(studio: Studio, trained: Any) -> None:
    """A batch of three, guidance off and on, and both modes agree."""
    three = studio.drawn(trained, batch=3)
    assert three.shape == (3, 4, 16, 16) and bool(three.isfinite().all())
    merged, beside = (studio.drawn(trained, cfg=3.0, mode=mode) for mode in ("weights", "runtime"))
    assert difference(merged, beside) < 1e-3


@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
def test_a_half_precision_model(studio: Studio, dtype: str) -> None:
    model = studio.tiny.recast(torch.float16)
    adapter, losses, *_ = studio.train(model=model, training_dtype=dtype, steps=1)
    assert all(bool(t.isfinite().all()) and bool(t.any()) for t in adapter.fused.weights.values())
    assert all(0 < loss < 10 for loss in losses["loss"])


def test_a_lora_is_trained_with(studio: Studio, trained: Any) -> None:
    """Weight patches of other nodes are in the copy that is trained."""
    patched = studio.tiny.model.clone()
    key = "diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight"
    shape = studio.tiny.model.model.state_dict()[key].shape
    patched.add_patches({key: ("diff", (torch.ones(shape),))})
    assert not same(studio.train(model=patched)[0], trained)


def test_the_hosts_graph_draws_the_losses(studio: Studio) -> None:
    from comfy_extras.nodes_train import LossGraphNode

    _, losses, steps, _ = studio.train()
    assert steps == STEPS and len(losses["loss"]) == STEPS
    LossGraphNode.execute(losses, "loss")


def test_saved_and_loaded(studio: Studio, trained: Any, output_folder: Path) -> None:
    file = studio.tiny.run("SaveAdapter", trained, "anna")
    assert (output_folder / file).is_file() and file == "anna_00001.safetensors"
    adapter_node = studio.tiny.module("nodes.dense_face.adapter")
    assert file in adapter_node.LoadAdapter.define_schema().inputs[0].options
    loaded, _ = studio.tiny.run("LoadAdapter", file)
    assert loaded.encoder == "tiny-world"
    assert difference(studio.drawn(loaded), studio.drawn(trained)) < 0.01
    assert studio.tiny.run("SaveAdapter", trained, "anna") == "anna_00002.safetensors"


def test_previews(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """The progress bar shows the loss curve and a sample; the node keeps the last one."""
    import comfy.utils

    seen: list[tuple[int, Any]] = []
    hook = lambda value, total, preview, **_: seen.append((value, preview))  # noqa: E731
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", hook)
    studio.train(sample_every=2, steps=2)
    images = {value: preview for value, preview in seen if preview is not None}
    assert set(images) == {1, 2}
    kind, image, _ = images[2]
    assert kind == "JPEG" and image.size == (512, 256)


class Stop:
    """Stops the run after a step, as the button does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tiny: Tiny, after: int) -> None:
        import comfy.model_management as mm

        progress = tiny.module("nodes.host.training.run").TrainingProgress
        step = progress.step

        def stopping(own: Any, done: int, preview: Any = None) -> None:
            step(own, done, preview)
            mm.interrupt_current_processing(done == after)

        monkeypatch.setattr(progress, "step", stopping)


def test_stopped_and_gone_on(
    studio: Studio,
    trained: Any,
    output_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A stopped run leaves a file that loads; the next one ends where one without a stop does."""
    import comfy.model_management as mm

    with monkeypatch.context() as patches:
        Stop(patches, studio.tiny, after=2)
        with pytest.raises(mm.InterruptProcessingException):
            studio.train()
    file = next(output_folder.glob("*.safetensors"))
    assert f"after step 2 of {STEPS}" in caplog.text and str(file) in caplog.text
    part, _ = studio.tiny.run("LoadAdapter", file.name)
    assert bool(studio.drawn(part).isfinite().all())
    assert not same(studio.train(seed=5)[0], trained)  # another run, which keeps the state
    assert file.exists()
    loop, calls = studio.tiny.module("nodes.host.training.loop"), []
    noised = loop.noised
    monkeypatch.setattr(loop, "noised", lambda *args: (calls.append(1), noised(*args))[1])
    assert same(studio.train()[0], trained)
    assert len(calls) == STEPS - 2
    assert list(output_folder.iterdir()) == []


@pytest.mark.parametrize("part", ["LoRA on the model", "LoRA on the text", "layer of the text"])
def test_another_base_does_not_go_on(
    studio: Studio, part: str, output_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor the same one with a LoRA beside the keys, or with CLIP Set Last Layer."""
    import comfy.model_management as mm

    with monkeypatch.context() as patches:
        Stop(patches, studio.tiny, after=2)
        with pytest.raises(mm.InterruptProcessingException):
            studio.train()
    model, clip = studio.tiny.model.clone(), studio.tiny.clip.clone()
    if part == "layer of the text":
        clip.clip_layer(-2)
    else:
        model_part = part == "LoRA on the model"
        patcher, end = (model, ".to_q.weight") if model_part else (clip.patcher, ".fc1.weight")
        name, weight = next(
            (n, w) for n, w in patcher.model.state_dict().items() if n.endswith(end)
        )
        patcher.add_patches({name: ("diff", (torch.ones(weight.shape),))})
    begun: list[int] = []
    progress = studio.tiny.module("nodes.host.training.run").TrainingProgress
    monkeypatch.setattr(progress, "step", lambda _own, done, _preview=None: begun.append(done))
    studio.train(model=model, clip=clip)
    assert begun[0] == 1


def test_a_damaged_state_starts_anew(
    studio: Studio, trained: Any, output_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import comfy.model_management as mm

    with monkeypatch.context() as patches:
        Stop(patches, studio.tiny, after=1)
        with pytest.raises(mm.InterruptProcessingException):
            studio.train()
    next(output_folder.glob("*.state")).write_bytes(b"half a file")
    assert same(studio.train()[0], trained)


def test_a_loss_that_is_no_number(
    studio: Studio, output_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = studio.tiny.module("nodes.host.training.loop")
    noised, calls = loop.noised, []

    def failing(*args: Any) -> Any:
        calls.append(1)
        x, noise, t, weight = noised(*args)
        return x, noise, t, weight * (float("nan") if len(calls) == 2 else 1)

    monkeypatch.setattr(loop, "noised", failing)
    message = refused(studio)
    assert "the loss of step 2 is nan" in message and "Lower the learning rate" in message
    file = next(output_folder.glob("*.safetensors"))
    assert str(file) in message and not list(output_folder.glob("*.state"))
    studio.tiny.run("LoadAdapter", file.name)


def test_a_rate_that_spoils_the_weights(pack: Any, output_folder: Path) -> None:
    """The loss stays finite, and the samples are noise; of trained weights, for it to rise."""
    studio = Studio(Tiny(pack, ROOT / "demo" / "weights"))
    message = refused(studio, learning_rate=1.0, steps=300)
    assert "the loss of the photos has risen from " in message and "in 10 steps" in message
    assert message.endswith("Lower the learning rate, for example to 0.1.")
    assert not output_folder.exists()  # before the first check there was nothing to keep


def test_what_a_check_found_well_is_kept(
    studio: Studio, output_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two checks with the loss of the start, then one with more: the average of the second."""
    loop = studio.tiny.module("nodes.host.training.loop")
    found = iter([1.0, 1.5, 2.0, 2.1])
    with monkeypatch.context() as patches:
        for name in ("_FIRST_CHECK", "_CHECK_EVERY"):
            patches.setattr(loop, name, 1)
        patches.setattr(loop.AdapterTraining, "_checked_loss", lambda _: next(found))
        assert "has risen from 1 to 2.1 in 3 steps" in refused(studio)
    (file,) = output_folder.iterdir()
    kept, _ = studio.tiny.run("LoadAdapter", file.name)
    whole = parts(studio.train(steps=2)[0])
    for name, tensor in parts(kept).items():
        assert torch.allclose(tensor, whole[name], atol=1e-3), name


def refused(studio: Studio, **changes: Any) -> str:
    """The one sentence that the node says."""
    with pytest.raises(ValueError, match=r"\.$") as caught:
        studio.train(**changes)
    assert type(caught.value).__module__.endswith("errors"), "not one of our sentences"
    message = str(caught.value)
    assert "\n" not in message
    return message


def other_net(net: nn.Module | None) -> Any:
    return SimpleNamespace(model=SimpleNamespace(diffusion_model=net))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": other_net(nn.Linear(8, 8))}, "not a Stable Diffusion 1.x model"),
        ({"model": None}, "the checkpoint has no MODEL"),
        ({"clip": None}, "the checkpoint has no CLIP"),
        ({"vae": None}, "the checkpoint has no VAE"),
        ({"image": torch.zeros(1, 64, 64, 3)}, "no face"),
        ({"image": torch.zeros(0, 64, 64, 3)}, "the image is empty"),
        ({"image": []}, "there is no photo"),
        ({"captions": "a photo of *\na portrait of *"}, "2 captions for 3 photos"),
        ({"captions": "a photo of Anna*"}, "touches another word"),
        ({"size": 65}, "the size is 65"),
        ({"steps": 0}, "steps is 0"),
        ({"learning_rate": float("nan")}, "'learning rate' is nan"),
        ({"training_dtype": "fp8"}, "'training dtype' is 'fp8'"),
    ],
)
def test_wrong_inputs(studio: Studio, changes: dict[str, Any], said: str) -> None:
    assert said in refused(studio, **changes)


def test_a_quantised_model(studio: Studio) -> None:
    model = studio.tiny.recast(torch.float8_e4m3fn)
    assert "weights are quantised" in refused(studio, model=model)


def test_an_adapter_of_another_encoder(studio: Studio) -> None:
    from dataclasses import replace

    other = replace(studio.tiny.adapter, encoder="ir-se50")
    assert "ir-se50" in refused(studio, adapter=other)


def test_one_photo_and_a_photo_without_a_face(studio: Studio) -> None:
    """Allowed, and said."""
    blank = torch.full_like(studio.photos[:1], 0.5)
    *_, report = studio.train(image=torch.cat([studio.photos[:1], blank]), steps=1)
    assert report.startswith("1 photo; left out: image 2: ")
    assert "no other photo of the person on 1" in report


def test_photos_of_other_people_and_sizes(studio: Studio) -> None:
    """A list as the host's loaders of folders give it; nobody is trained with another's face."""
    photos = studio.tiny.module("nodes.host.training.photos").training_photos
    people = [studio.photo(person, scene) for person in (2, 5) for scene in (3, 8)]
    people[1] = torch.nn.functional.pad(people[1], (0, 0, 0, 40))  # 40 px to the right
    with torch.inference_mode():
        found = photos(people, ["a man on a beach"], studio.analyzer, studio.tiny.vae, SIZE, "test")
    assert found.others == ((1,), (0,), (3,), (2,))
    assert set(found.captions) == {"* on a beach"}
    assert found.latents.shape == (4, 4, 8, 8)


@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, pytest.param(torch.float32, marks=pytest.mark.slow)]
)
def test_loss_and_sample_on_a_card(
    studio: Studio, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The numbers of the CPU, and no mixture of devices or dtypes."""
    # Parameters on the pretended card need no gradient, and there is no optimizer for none.
    monkeypatch.setattr(torch.optim, "AdamW", lambda *_, **__: None)
    expected = loss_and_sample(studio, torch.float32)
    with pretended_card():
        found = loss_and_sample(studio, dtype)
    for one, other in zip(found, expected, strict=True):
        assert difference(one, other) < (1e-5 if dtype == torch.float32 else 0.1)


def loss_and_sample(studio: Studio, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Of a training before its first step, with the world loaded anew, onto the device in use."""
    tiny = studio.tiny
    loop, network, photos, run = (
        tiny.module(f"nodes.host.training.{name}") for name in ("loop", "network", "photos", "run")
    )
    with torch.inference_mode():
        world = tiny.module("nodes.host.tiny.tiny_sd").load_tiny_sd(
            tiny.folder / "tiny_base.safetensors"
        )
        model, clip, _ = world
        seen = photos.training_photos(
            [studio.photos], ["a photo of *"], studio.analyzer, tiny.vae, SIZE, "test"
        )
    with torch.inference_mode(False):
        adapter, token = run._adapter(tiny.adapter, [], 512), run._token(tiny.adapter, clip, 512)
        own = network.TrainedNetwork(model, clip, adapter, token, dtype, checkpointing=False)
        training = loop.AdapterTraining(own, seen, loop.TrainingSettings(1, 2, 1, 0.001, 0))
        loss = training._loss(torch.Generator().manual_seed(1)).detach()
        sample = training.sample()
        own.close()
    return loss.cpu(), sample.cpu()
