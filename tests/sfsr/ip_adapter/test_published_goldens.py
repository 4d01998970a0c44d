"""What the public implementations computed on random weights, computed again by the pack.

Through ``denseface conformance``, which has each golden's tolerance; what it refuses and notices.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from comfyui_dense_face.cli import main
from comfyui_dense_face.evaluation.parity.conformance import Row, check_conformance
from parity_fixture import alter
from published_bench import PUBLISHED, fixture, goldens, numbers
from torch import Tensor

COUNTS = {"unet": 4, "faceid": 84, "fineface": 40, "arc2face": 38}
TOLERANCES = {"te": 1e-5, "tok": 1e-5, "attn": 1e-5, "ref": 1e-5, "eps": 1e-4}


@pytest.fixture(scope="module", params=COUNTS)
def folder(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def rows(folder: str) -> list[Row]:
    return check_conformance(PUBLISHED / folder)


def test_every_golden_agrees(folder: str, rows: list[Row]) -> None:
    outputs = {name for name in goldens(folder) if not name.startswith(("in.", "te.in."))}
    assert {row.name for row in rows} == outputs and len(outputs) == COUNTS[folder]
    for row in rows:
        assert row.tolerance == TOLERANCES[row.name.partition(".")[0]]
        assert row.passed, f"{row.name}: {row.difference:.1e}"
    assert max(row.difference for row in rows) < 5e-6


def test_numbers_are_those_of_the_reference() -> None:
    """The fixture computes the place of each attention by its number."""
    given = fixture("faceid")
    assert given.target.attentions == len(numbers())
    for number, entry in numbers().items():
        assert given.attention(number) is given.unet.get_submodule(entry["diffusers"])


def copied(tmp_path: Path, name: str) -> Path:
    for each in {name, "unet"}:
        shutil.copytree(PUBLISHED / each, tmp_path / each)
    return tmp_path / name


def test_altered_unknown_and_missing_goldens_are_noticed(tmp_path: Path) -> None:
    def change(tensors: dict[str, Tensor]) -> None:
        tensors["tok.au.cond"].flatten()[-1] *= 1.001
        tensors["eps.au.cond.t981.a7"] = tensors.pop("eps.au.cond.t981.a1")
        tensors["eps.other.cond.t981"] = tensors["eps.au.cond.t261.a1"].clone()
        tensors["other"] = tensors["in.x"].clone()

    altered = copied(tmp_path, "fineface")
    alter(altered / "forward.safetensors", change)
    found = {row.name for row in check_conformance(altered) if not row.passed}
    assert found == {"tok.au.cond", "eps.au.cond.t981.a7", "eps.other.cond.t981", "other"}


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conformance", str(PUBLISHED / "fineface"), "--only", "tok.", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["passed"] and len(report["differences"]) == 4
    assert set(report["tolerances"].values()) == {1e-5}
    assert main(["conformance", str(PUBLISHED / "unet")]) == 0
    assert "4 of 4 below 0.0001" in capsys.readouterr().out


def without(*starts: str) -> Callable[[dict[str, Tensor]], None]:
    """For ``alter``: drops the tensors whose names begin so."""

    def change(tensors: dict[str, Tensor]) -> None:
        for name in [name for name in tensors if name.startswith(starts)]:
            del tensors[name]

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda to: (to / "config.json").write_text('{"kind": "magicface"}'), "kind 'magicface'"),
        (lambda to: (to / "config.json").write_text("[]"), "fixtures of kind None"),
        (lambda to: (to / "forward.safetensors").unlink(), "forward.safetensors"),
        (lambda to: (to / "sd15_attn_processors.ckpt").unlink(), "attn_processors is missing"),
        (lambda to: (to / "ip-adapter-faceid-portrait-v11_sd15.bin").unlink(), "is missing"),
        (lambda to: shutil.rmtree(to.parent / "unet"), "unet"),
        (lambda to: (to.parent / "unet" / "config.json").write_text('{"unet": {}}'), "network"),
        (lambda to: alter(to / "forward.safetensors", without("in.au")), "lacks 'in.au'"),
        (lambda to: alter(to / "forward.safetensors", without("in.text")), "lacks 'in.text'"),
        (lambda to: alter(to / "forward.safetensors", without("tok", "attn", "eps")), "no values"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_missing_is_named(
    tmp_path: Path,
    change: Callable[[Path], None],
    says: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    altered = copied(tmp_path, "fineface")
    change(altered)
    assert main(["conformance", str(altered)]) == 2
    message = capsys.readouterr().err
    assert says in message and message.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda to: (to / "encoder" / "pytorch_model.bin").unlink(), "pytorch_model.bin"),
        (lambda to: (to / "encoder" / "pytorch_model.bin").write_bytes(b"PK"), "text encoder"),
        (lambda to: (to / "encoder" / "config.json").unlink(), "config.json"),
        (lambda to: (to / "exp_adapter" / "exp_adapter_mlp.bin").unlink(), "exp_adapter_mlp.bin"),
        (
            lambda to: alter(
                to / "ref_adapter" / "pytorch_lora_weights.safetensors",
                without("unet.mid_block.attentions.0"),
            ),
            "reference adapter lacks mid_block.attentions.0",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_an_arc2face_folder_lacks_is_named(
    tmp_path: Path,
    change: Callable[[Path], None],
    says: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    altered = copied(tmp_path, "arc2face")
    change(altered)
    assert main(["conformance", str(altered)]) == 2
    message = capsys.readouterr().err
    assert says in message and message.count("\n") == 1


def test_a_part_that_the_folder_lacks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conformance", str(PUBLISHED / "unet"), "--only", "tok."]) == 2
    assert "holds no values of tok" in capsys.readouterr().err
    assert main(["conformance", str(PUBLISHED / "unet"), "--only", "ref."]) == 2
    assert "Choose from tok., attn., eps." in capsys.readouterr().err
