"""``denseface train``: settings from a file and options, and the older commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from comfyui_dense_face import cli
from comfyui_dense_face.errors import InputError, ModelFileError
from comfyui_dense_face.training.photos import annotations
from comfyui_dense_face.training.photos import sfsr as sfsr_photos
from comfyui_dense_face.training.settings.config import AnnotationsConfig, SFSRConfig
from comfyui_dense_face.training.settings.config_file import read_config

NEEDED = "dataset: faces\nbase: sd15.safetensors\nout: head.safetensors\n"


def _read(tmp_path: Path, text: str, **given: object) -> AnnotationsConfig:
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    return read_config(AnnotationsConfig, path, given, "annotations")


def test_a_file_and_options(tmp_path: Path) -> None:
    """Options take precedence; what neither says has its default."""
    text = NEEDED + "rate: 1e-3\nsave-every: 050\nworkers: '3'\ntokenizer:\nprecision: no\n"
    config = _read(tmp_path, text, workers=1)
    assert config == AnnotationsConfig(
        dataset=Path("faces"), base=Path("sd15.safetensors"), out=Path("head.safetensors"),
        rate=1e-3, save_every=50, workers=1, precision="no",
    )  # fmt: skip
    assert config.schedule.lr == 1e-3 and config.schedule.save_every == 50
    assert config.batch == 16 and config.size == 256


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("stepps: 5", r"there is no key stepps \(.*settings.yaml\). Did you mean steps\?"),
        ("save-evry: 5", r"Did you mean save_every\?"),
        ("zzz: 5", r"there is no key zzz .* Keys are dataset, base, "),
        ("steps: many", "steps is many, which is no whole number"),
        ("steps: 2.5", "steps is 2.5, which is no whole number"),
        ("steps: true", "steps is true, which is no whole number"),
        ("rate: fast", "rate is fast, which is no number"),
        ("rate: nan", r"--rate is out of range \(nan\)"),
        ("scheme: [mesh]", r"scheme is \['mesh'\], which is no text"),
        ("held-out: 1.5", "--held-out is 1.5: neither a fraction nor a number of people"),
        ("steps: 1:30", "steps is 1:30, which is no whole number"),
        ('cache: "a\\0b"', "cache is .*, which is no text"),
        ("flip: maybe", "flip is maybe, which is neither true nor false"),
        ("scheme: all", "--scheme is all. Choose one of mesh, ibug"),
        ("steps:", "steps has no value .* Write one behind the colon, or remove the line"),
        ("flip:", "flip has no value"),
        ("folder: ''", "folder has no value"),
        ("steps: 5\nsteps: 7", "steps is there 2 times .* Leave one of these lines"),
        ("save-every: 5\nsave_every: 7", "save_every is there 2 times"),
        ("cache: ~nobody-of-this-name/x", "--cache is in a home folder that is not known"),
        ("- 5", "the settings cannot be read"),
        ("a: &a [*a", "the settings cannot be read"),
    ],
)
def test_unusable_files(more: str, message: str, tmp_path: Path) -> None:
    with pytest.raises((InputError, ModelFileError), match=message) as refused:
        _read(tmp_path, f"{NEEDED}{more}\n")
    assert "\n" not in str(refused.value)


def test_keys_without_a_value(tmp_path: Path) -> None:
    """What need not be given counts as left out, and is no path to the current folder."""
    config = _read(tmp_path, f"{NEEDED}cache: ''\ntokenizer: ~\n")
    assert config.cache is None and config.tokenizer is None
    assert _read(tmp_path, f"{NEEDED}cache: NULL\n").cache is None
    with pytest.raises(InputError, match="train annotations needs out"):
        _read(tmp_path, "dataset: faces\nbase: sd15.safetensors\nout:\n")


def test_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder of the name ``~`` is made."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    config = _read(tmp_path, f"{NEEDED}cache: ~/cache\n", folder=Path("~/work"))
    assert config.cache == tmp_path / "cache" and config.folder == tmp_path / "work"


def test_files_without_settings(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the file holds no settings"):
        _read(tmp_path, "just words")
    with pytest.raises(ModelFileError, match=r"cannot be read: No such file or directory \("):
        read_config(SFSRConfig, tmp_path / "gone.yaml", {}, "sfsr")
    with pytest.raises(InputError, match=r"train sfsr needs dataset, base, out. Give --dataset"):
        read_config(SFSRConfig, None, {}, "sfsr")


def test_every_key_is_an_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the file, by options, and by the older command: the same settings."""
    seen: list[tuple[Any, bool]] = []
    for module in (annotations, sfsr_photos):
        monkeypatch.setattr(
            module, "train_and_save", lambda config, fresh: seen.append((config, fresh))
        )
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "faces.csv").touch()
    (tmp_path / "base").touch()
    monkeypatch.chdir(tmp_path)
    options = ["--base", "base", "--out", "out.safetensors", "--steps", "7", "--no-identity-loss"]
    options += ["--encoder", "x", "--accumulation", "4"]
    (tmp_path / "settings.yaml").write_text(
        "dataset: data\nbase: base\nout: out.safetensors\nsteps: 9\n"
        "identity_loss: false\nencoder: x\n"
    )
    file = ["--config", "settings.yaml", "--steps", "7", "--accumulation", "4"]
    assert cli.main(["train", "sfsr", "--dataset", "data", *options]) == 0
    assert cli.main(["train", "sfsr", *file]) == 0
    assert "now" not in capsys.readouterr().err
    assert cli.main(["train-sfsr", "data", *options]) == 0
    assert "this command is now: denseface train sfsr --dataset data" in capsys.readouterr().err
    assert seen[0] == seen[1] == seen[2]
    assert isinstance(seen[0][0], SFSRConfig) and seen[0][0].steps == 7
    assert not seen[0][0].identity_loss and not seen[0][1]
    words = ["train", "annotations", "--dataset", "data", "--base", "base"]
    words += ["--out", "out.safetensors"]
    assert cli.main([*words, "--fresh"]) == 0
    assert isinstance(seen[3][0], AnnotationsConfig) and seen[3][1]


def test_misspelt_options_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["train", "sfsr", "--gradient-checkpoint-every", "5"])
    message = capsys.readouterr().err
    assert "Did you mean --gradient-checkpointing?" in message and message.count("\n") == 1


def test_the_result_says_how_it_was_trained() -> None:
    """Without the places on the machine where it was."""
    config = SFSRConfig(
        dataset=Path("mine/faces"), base=Path("mine/dream.safetensors"), out=Path("x"),
        encoder="insightface/w600k_r50", steps=10, gradient_checkpointing=True,
        identity_loss=False, flip=False,
    )  # fmt: skip
    about = config.about("sfsr", {})
    assert about["command"] == (
        "denseface train sfsr --steps 10 --no-flip --encoder insightface/w600k_r50 "
        "--gradient-checkpointing --no-identity-loss"
    )
    assert about["base_model"] == "dream"
    assert config.about("sfsr", {"base_model": "other"})["base_model"] == "other"
