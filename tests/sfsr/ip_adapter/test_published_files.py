"""Files of the exact published layouts at full size, in every form; what is wrong with others."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from comfyui_dense_face.errors import FacePackError
from comfyui_dense_face.sfsr.ip_adapter.expected import check_layout, expected_shapes
from comfyui_dense_face.sfsr.ip_adapter.fineface import ExpressionAdapter
from comfyui_dense_face.sfsr.ip_adapter.identity_adapter import IdentityAdapter
from comfyui_dense_face.sfsr.ip_adapter.kinds import (
    FACEID,
    FINEFACE,
    PLUS,
    PLUS_V2,
    PORTRAIT,
    AdapterKind,
)
from comfyui_dense_face.sfsr.ip_adapter.layout import IdentityLayout, recognise
from comfyui_dense_face.sfsr.ip_adapter.load import (
    load_published,
    proposes_plus_v2,
    published_adapter,
)
from comfyui_dense_face.sfsr.ip_adapter.reading import read_adapter_file
from comfyui_dense_face.sfsr.ip_adapter.state_dict import flat_state_dict
from published_bench import PUBLISHED, distance, goldens, layout_json, target
from safetensors.torch import save_file
from torch import Tensor

Tensors = dict[str, Tensor]
WRITERS: dict[str, Callable[[Any, Path], None]] = {
    "legacy": lambda found, path: torch.save(found, path, _use_new_zipfile_serialization=False),
    "zip": torch.save,
}
ONE_SENTENCE = r"^[^\n]+$"


def drawn(name: str, dtype: torch.dtype = torch.float16) -> Tensors:
    """Random tensors of a published layout, at full size."""
    chance = torch.Generator().manual_seed(0)
    return {
        key: (torch.rand(shape, generator=chance) * 0.04).to(dtype)
        for key, shape in layout_json(name).items()
    }


def nested(flat: Mapping[str, Tensor]) -> dict[str, Any]:
    parts: dict[str, Any] = {"image_proj": {}, "ip_adapter": {}}
    for name, tensor in flat.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    return parts


def empty(name: str) -> Tensors:
    """The same without memory."""
    return {key: torch.empty(shape, device="meta") for key, shape in layout_json(name).items()}


FACEID_LAYOUT = "faceid/layout_ip-adapter-faceid_sd15.json"
PLUS_LAYOUT = "faceid/layout_ip-adapter-faceid-plus_sd15.json"
PORTRAIT_LAYOUT = "faceid/layout_ip-adapter-faceid-portrait_sd15.json"
PROCESSORS = "fineface/layout_sd15_attn_processors.json"
UNITS = "fineface/layout_sd15_au_encoder.json"


@pytest.mark.parametrize(
    ("name", "shortcut", "kind", "tokens", "rank", "count"),
    [
        (FACEID_LAYOUT, False, FACEID, 4, 128, 294),
        (PLUS_LAYOUT, False, PLUS, 4, 128, 344),
        (PLUS_LAYOUT, True, PLUS_V2, 4, 128, 344),
        (PORTRAIT_LAYOUT, False, PORTRAIT, 16, 0, 38),
    ],
)
def test_shapes_tell_the_kind(
    name: str, shortcut: bool, kind: AdapterKind, tokens: int, rank: int, count: int
) -> None:
    found = recognise(empty(name), shortcut=shortcut)
    assert isinstance(found, IdentityLayout)
    assert (found.kind, found.tokens, found.rank) == (kind, tokens, rank)
    assert (found.vector, found.hidden) == (512, 1024)
    assert found.clip_width == (1280 if kind.needs_clip else 0)
    assert expected_shapes(found) == layout_json(name)
    assert len(layout_json(name)) == count
    assert kind.start_percent == 0


def test_shapes_tell_fineface() -> None:
    found = recognise(empty(PROCESSORS) | empty(UNITS))
    assert found.kind == FINEFACE and found.kind.sources == ("expression",)
    assert expected_shapes(found) == layout_json(PROCESSORS) | layout_json(UNITS)


@pytest.mark.parametrize("form", ["legacy", "zip", "safetensors"])
@pytest.mark.parametrize(
    ("name", "kind"),
    [(FACEID_LAYOUT, FACEID), (PLUS_LAYOUT, PLUS), (PORTRAIT_LAYOUT, PORTRAIT)],
    ids=lambda value: getattr(value, "name", ""),
)
def test_identity_files_at_full_size(
    tmp_path: Path, name: str, kind: AdapterKind, form: str
) -> None:
    tensors, path = drawn(name), tmp_path / f"x.{'safetensors' if form == 'safetensors' else 'bin'}"
    if form == "safetensors":
        save_file(tensors, path)
    else:
        WRITERS[form](nested(tensors), path)
    adapter = load_published(path)
    assert isinstance(adapter, IdentityAdapter) and adapter.kind == kind
    assert adapter.lora.rank == (0 if kind == PORTRAIT else 128)
    assert len(adapter.lora.pairs) == (0 if kind == PORTRAIT else 128)
    clip = torch.zeros(1, 257, 1280) if kind.needs_clip else None
    tokens = adapter.absent(clip)
    assert tokens.shape == (1, 16 if kind == PORTRAIT else 4, 768)
    keys, values = adapter.keys_values(tokens)["middle_block"]
    for made, side in ((keys, "k"), (values, "v")):
        theirs = tensors[f"ip_adapter.31.to_{side}_ip.weight"].float()
        torch.testing.assert_close(made, tokens @ theirs.T)


@pytest.mark.parametrize("form", WRITERS)
def test_fineface_at_full_size(tmp_path: Path, form: str) -> None:
    processors, units = drawn(PROCESSORS, torch.float32), drawn(UNITS, torch.float32)
    WRITERS[form](processors, tmp_path / "sd15_attn_processors.ckpt")
    WRITERS[form](units, tmp_path / "sd15_au_encoder.ckpt")
    WRITERS[form]({"attn_processors": processors, "au_encoder": units}, tmp_path / "both.ckpt")
    au = torch.arange(12.0)[None] / 3
    token = torch.cat([au, au @ units["au_encoder.weight"].T + units["au_encoder.bias"]], 1)
    name = "up_blocks.1.attentions.2.transformer_blocks.0.attn2.processor.au_to_v.weight"
    for paths in (
        [tmp_path / "sd15_attn_processors.ckpt", tmp_path / "sd15_au_encoder.ckpt"],
        tmp_path / "sd15_attn_processors.ckpt",
        tmp_path / "sd15_au_encoder.ckpt",
        tmp_path / "both.ckpt",
    ):
        adapter = load_published(paths)
        assert isinstance(adapter, ExpressionAdapter) and not adapter.kind.combining
        torch.testing.assert_close(
            adapter.vectors(au)["output_blocks.5"], token @ processors[name].T
        )
        torch.testing.assert_close(adapter.encoder(au)[:, 0], token)


# ---- spellings --------------------------------------------------------------------------------


def small() -> Tensors:
    return read_adapter_file(PUBLISHED / "faceid" / "ip-adapter-faceid_sd15.bin")


def same(found: Any) -> bool:
    """Whether it draws as the small FaceID file does."""
    golden = goldens("faceid")
    tokens = found.tokens(golden["in.id.faceid"][:, None])
    return distance(tokens, golden["tok.faceid.cond"]) < 1e-5 and found.lora.rank == 8


def renamed(theirs: str, ours: str) -> Tensors:
    return {name.replace(ours, theirs, 1): tensor for name, tensor in small().items()}


@pytest.mark.parametrize(
    "made",
    [
        lambda: nested(small()),
        small,
        lambda: renamed("adapter_modules.", "ip_adapter."),
        lambda: {"image_proj": nested(small())["image_proj"], "adapter_modules": _modules()},
        lambda: {"state_dict": small(), "epoch": 3},
        lambda: {f"module.{name}": tensor for name, tensor in small().items()},
    ],
    ids=["nested", "dotted", "adapter_modules", "nested modules", "state_dict", "module"],
)
def test_spellings(tmp_path: Path, made: Callable[[], Any]) -> None:
    for form, write in WRITERS.items():
        path = tmp_path / f"{form}.ckpt"
        write(made(), path)
        assert same(load_published(path, target=target()))


def _modules() -> dict[str, Tensor]:
    return nested(small())["ip_adapter"]


def test_dotted_safetensors(tmp_path: Path) -> None:
    for name in ("x.safetensors", "x.bin"):  # what it is stands in its first bytes
        save_file(small(), tmp_path / name)
        assert same(load_published(tmp_path / name, target=target()))


def test_other_keys_and_values_in_finefaces_file_are_left_aside() -> None:
    pair = _pair()
    extra = {
        name.replace("au_to_", "to_").replace(".weight", "_ip.weight"): torch.ones(1)
        for name in pair
        if "au_to_" in name
    }
    assert len(extra) == 32 and "to_k_ip.weight" in next(iter(extra))
    one = published_adapter(pair, target=target())
    two = published_adapter(pair | extra, target=target())
    assert isinstance(one, ExpressionAdapter) and isinstance(two, ExpressionAdapter)
    assert torch.equal(one.absent()["middle_block"], two.absent()["middle_block"])


def _pair() -> Tensors:
    folder = PUBLISHED / "fineface"
    halves = (folder / f"sd15_{half}.ckpt" for half in ("attn_processors", "au_encoder"))
    return {name: tensor for half in halves for name, tensor in read_adapter_file(half).items()}


@pytest.mark.parametrize(
    ("name", "v2"),
    [
        ("ip-adapter-faceid-plusv2_sd15.bin", True),
        ("FaceID Plus V2.safetensors", True),
        ("faceid.plus-v2.sd15.bin", True),
        ("ip-adapter-faceid-plus_sd15.bin", False),
        ("ip-adapter-faceid_sd15.bin", False),
    ],
)
def test_a_name_proposes_v2_and_the_option_decides(tmp_path: Path, name: str, v2: bool) -> None:
    assert proposes_plus_v2(f"folder/{name}") is v2
    source = PUBLISHED / "faceid" / "ip-adapter-faceid-plus_sd15.bin"
    path = tmp_path / name
    path.symlink_to(source)
    if path.suffix == ".bin":
        assert load_published(path, target=target()).kind == (PLUS_V2 if v2 else PLUS)
        for shortcut, kind in ((True, PLUS_V2), (False, PLUS)):
            assert load_published(path, target=target(), shortcut=shortcut).kind == kind


# ---- what is refused --------------------------------------------------------------------------


def _without(*parts: str) -> Tensors:
    return {k: t for k, t in empty(FACEID_LAYOUT).items() if not any(part in k for part in parts)}


def _text_of(width: int, name: str) -> Tensors:
    found = empty(name)
    ends = ("_ip.weight", "au_to_k.weight", "au_to_v.weight")
    return {
        k: torch.empty(t.shape[0], width, device="meta") if k.endswith(ends) else t
        for k, t in found.items()
    }


def _shaped(*shapes: tuple[str, tuple[int, ...]]) -> Tensors:
    return empty(PORTRAIT_LAYOUT) | {k: torch.empty(s, device="meta") for k, s in shapes}


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        (
            lambda: _text_of(2048, FACEID_LAYOUT),
            r"ends in 3072 numbers, .* no tokens of 2048.*Use a f",
        ),
        (lambda: _text_of(1024, FACEID_LAYOUT), r"is for Stable Diffusion 2, .* 1024"),
        (lambda: _text_of(512, FACEID_LAYOUT), r"a base that this pack does not know, .* 512"),
        (
            lambda: _text_of(1024, PROCESSORS) | empty(UNITS),
            r"this FineFace is for Stable Diffusion 2, .*sd15_attn_processors",
        ),
        (lambda: empty(PROCESSORS), r"half of FineFace, au_encoder is missing .*sd15_au_encoder"),
        (lambda: empty(UNITS), r"half of FineFace, attn_processors is missing"),
        (lambda: empty(FACEID_LAYOUT) | empty(UNITS), "an IP-Adapter and FineFace at once"),
        (
            lambda: _shaped(("image_proj.latents", (1, 16, 768))),
            "reads images instead of a face's vector",
        ),
        (
            lambda: _shaped(("image_proj.proj.3.weight", (768,))),
            "reads images instead of a face's vector",
        ),
        (
            lambda: _shaped(("image_proj.proj.0.weight", (100, 55))),
            "reads 55 numbers instead of a face's 512",
        ),
        (
            lambda: _shaped(("image_proj.proj.weight", (3072, 1024))),
            "reads images instead of a face's vector",
        ),
        (
            lambda: _shaped(("image_proj.proj.0.weight", (1024, 256))),
            "reads 256 numbers instead of a face's 512",
        ),
        (
            lambda: _shaped(("image_proj.proj.2.weight", (1000, 1024))),
            "ends in 1000 numbers, which are no tokens of 768",
        ),
        (
            lambda: (
                {k: t for k, t in empty(FACEID_LAYOUT).items() if "_lora" in k}
                | {"ip_adapter.1.to_k_ip.weight": torch.empty(320, 768, device="meta")}
            ),
            r"lacks the matrix image_proj\.proj\.0",
        ),
        (lambda: {"a.lora_down.weight": torch.zeros(1)}, "a LoRA without its adapter"),
        (lambda: {"a": torch.zeros(1)}, "no adapter that is known here"),
        (dict, "no adapter that is known here"),
        (
            lambda: _without("ip_adapter.9.to_v_ip", "ip_adapter.30.to_out_lora.up"),
            r"lacks 2 weights: .*9\.to_v_ip\.weight.*30\.to_out_lora\.up\.weight \(",
        ),
        (
            lambda: _without("ip_adapter.2", "ip_adapter.3"),
            r"lacks \d+ weights: (\S+, ){2}\S+ and \d+ more \(",
        ),
        (
            lambda: empty(FACEID_LAYOUT) | {"ip_adapter.more": torch.zeros(1)},
            r"holds 1 unknown weight: ip_adapter\.more",
        ),
        (
            lambda: empty(FACEID_LAYOUT) | {"ip_adapter.5.to_k_ip.weight": torch.zeros(320, 768)},
            r"5\.to_k_ip\.weight of shape \[320, 768\] instead of \[640, 768\]",
        ),
        (
            lambda: (
                empty(FACEID_LAYOUT) | {"image_proj.norm.bias": torch.zeros(768, dtype=torch.int8)}
            ),
            r"no floating point numbers in image_proj\.norm\.bias",
        ),
    ],
)
def test_other_files_are_refused_in_a_sentence(tensors: Callable[[], Tensors], says: str) -> None:
    with pytest.raises(FacePackError, match=says) as error:
        found = tensors()
        check_layout(found, recognise(found, where="models/ipadapter/x.bin"), "x.bin")
    assert "x.bin" in str(error.value)
    assert "\n" not in str(error.value)


def test_doubled_weights_are_named(tmp_path: Path) -> None:
    twice = nested(small())
    for number in (1, 3, 5, 7):
        name = f"{number}.to_k_ip.weight"
        twice[f"adapter_modules.{name}"] = twice["ip_adapter"][name]
    torch.save(twice, tmp_path / "x.bin")
    with pytest.raises(FacePackError, match=r"holds ip_adapter\.1\.\S+, .* and 1 more twice"):
        load_published(tmp_path / "x.bin", target=target())
    half = PUBLISHED / "fineface" / "sd15_au_encoder.ckpt"
    with pytest.raises(FacePackError, match=r"both files hold au_encoder\.weight, au_encoder\.b"):
        load_published([half, half], target=target())


def test_the_other_half_is_found_beside_it(tmp_path: Path) -> None:
    for half in ("attn_processors", "au_encoder"):
        (tmp_path / f"own_{half}.ckpt").symlink_to(PUBLISHED / "fineface" / f"sd15_{half}.ckpt")
    for half in ("attn_processors", "au_encoder"):
        found = load_published(tmp_path / f"own_{half}.ckpt", target=target())
        assert isinstance(found, ExpressionAdapter)


def test_parameters_are_read_as_tensors(tmp_path: Path) -> None:
    for form, write in WRITERS.items():
        path = tmp_path / f"{form}.ckpt"
        write({name: torch.nn.Parameter(tensor) for name, tensor in _pair().items()}, path)
        found = load_published(path, target=target())
        assert isinstance(found, ExpressionAdapter)
        assert not any(vector.requires_grad for vector in found.absent().values())


def test_a_half_alone_asks_for_the_other(tmp_path: Path) -> None:
    alone = tmp_path / "sd15_au_encoder.ckpt"
    alone.symlink_to(PUBLISHED / "fineface" / "sd15_au_encoder.ckpt")
    with pytest.raises(FacePackError, match="attn_processors is missing") as error:
        load_published(alone, target=target())
    assert "published at https://huggingface.co/Tvaranka/fineface" in error.value.fix


class _Trap:
    """Says what it would run if somebody unpickled it."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.place),)


@pytest.mark.parametrize("form", WRITERS)
def test_a_hostile_pickle_is_not_run(tmp_path: Path, form: str) -> None:
    ran = tmp_path / "ran"
    WRITERS[form]({**nested(small()), "more": _Trap(ran)}, tmp_path / "x.bin")
    with pytest.raises(FacePackError, match=ONE_SENTENCE) as error:
        load_published(tmp_path / "x.bin", target=target())
    assert not ran.exists() and "not a weight file" in str(error.value)


def test_a_tar_archive_is_not_read(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.ckpt", "w") as tar:
        tar.addfile(tarfile.TarInfo("storages"), io.BytesIO())
    with pytest.raises(FacePackError, match="tar archive"):
        load_published(tmp_path / "x.ckpt", target=target())


@pytest.mark.parametrize("form", [*WRITERS, "safetensors"])
@pytest.mark.parametrize("kept", [0.0, 0.0001, 0.3, 0.9, 0.999])
def test_truncated_files(tmp_path: Path, form: str, kept: float) -> None:
    path = tmp_path / ("x.safetensors" if form == "safetensors" else "x.bin")
    if form == "safetensors":
        save_file(small(), path)
    else:
        WRITERS[form](nested(small()), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(FacePackError, match=ONE_SENTENCE):
        load_published(path, target=target())


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FacePackError, match="is missing"):
        load_published(tmp_path / "x.bin")


def test_a_tensor_that_claims_more_than_there_is(tmp_path: Path) -> None:
    """A view that repeats one number takes no place in a file, and gigabytes once copied."""
    wide = torch.zeros(1).expand(3072, 1 << 20)
    torch.save({**small(), "image_proj.proj.2.weight": wide}, tmp_path / "x.bin")
    with pytest.raises(FacePackError, match=r"image_proj\.proj\.2\.weight extends beyond"):
        load_published(tmp_path / "x.bin", target=target())


def test_names_deeper_than_any_file_has_are_passed_over() -> None:
    deep: Any = torch.zeros(1)
    for _ in range(50):
        deep = {"a": deep}
    assert flat_state_dict(deep, "x") == {}
    assert set(flat_state_dict({1: {"a": torch.zeros(1), "b": "text"}}, "x")) == {"1.a"}
