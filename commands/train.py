"""``denseface train``: an annotation head or an adapter for a model, from a data set of faces."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..training.settings.config import (
    AnnotationsConfig,
    DenseFaceConfig,
    SFSRConfig,
    TrainerConfig,
    kind_of,
    option_of,
)
from ..training.settings.config_file import read_config
from .checks import require_folder, require_present, require_safetensors

TRAINERS: dict[str, type[TrainerConfig]] = {
    "dense-face": DenseFaceConfig,
    "sfsr": SFSRConfig,
    "annotations": AnnotationsConfig,
}
_SUMMARIES = {
    "dense-face": "a Dense-Face adapter: identity and head pose",
    "sfsr": "an SFSR adapter: identity and expression",
    "annotations": "an annotation head: depth, parts and landmarks while sampling",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    trainers = parser.add_subparsers(dest="trainer", metavar="trainer", required=True)
    for name, config in TRAINERS.items():
        summary = _SUMMARIES[name]
        add_keys(trainers.add_parser(name, help=summary, description=f"Train {summary}."), config)


def add_keys(
    parser: argparse.ArgumentParser, config: type[TrainerConfig], *, dataset: bool = True
) -> None:
    """Add the keys of a trainer as options.

    Args:
        dataset: Whether ``--dataset`` is one of them; else it is the first argument.
    """
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="YAML with these keys; options override it"
    )
    parser.add_argument(
        "--fresh", action="store_true", help="remove what an earlier run left in --folder"
    )
    parser.add_argument(
        "--plan", action="store_true", help="print what a step needs and train nothing"
    )
    for field in dataclasses.fields(config):
        kind, given = kind_of(config, field.name), field.metadata
        more: dict[str, Any] = {"help": f"{given['help']}{_default(field.default)}"}
        if kind is bool:
            more["action"] = argparse.BooleanOptionalAction
        else:
            more["type"] = kind
        if given["choices"]:
            more["choices"] = given["choices"]
        if field.name == "dataset" and not dataset:
            parser.add_argument("dataset", metavar="DATASET", **more)
        else:
            parser.add_argument(option_of(field.name), default=argparse.SUPPRESS, **more)


def run(args: argparse.Namespace) -> None:
    """Train; unusable parts of the data set are reported on standard error."""
    train(args.trainer, args)


def train(trainer: str, args: argparse.Namespace, hint: str = "") -> None:
    """Check the settings, train and write the result.

    Args:
        hint: Printed on standard error once the settings are found to be usable.

    Raises:
        InputError: A setting cannot be used; and as the trainers.
    """
    import logging
    import sys

    config = _settings(trainer, args)
    if args.plan:
        _print_plan(config)
        return
    logging.basicConfig(format="%(message)s")
    logging.getLogger(__name__.split(".")[0]).setLevel(logging.INFO)
    if hint:
        print(hint, file=sys.stderr)
    from tqdm.contrib.logging import logging_redirect_tqdm

    from ..training.runs.machine import require_machine
    from ..training.runs.processes import process_state

    state = process_state()
    require_machine(config.schedule)
    if _generates(config) and state.is_main_process:
        print("\n".join(_costs(config)), file=sys.stderr)
    if isinstance(config, AnnotationsConfig):
        from ..training.photos.annotations import train_and_save
    elif isinstance(config, DenseFaceConfig):
        from ..training.photos.dense_face import train_and_save
    else:
        from ..training.photos.sfsr import train_and_save
    with logging_redirect_tqdm():
        train_and_save(config, fresh=args.fresh)  # type: ignore[arg-type]
    if state.is_main_process:
        print(config.out)


def _settings(trainer: str, args: argparse.Namespace) -> TrainerConfig:
    """The settings, checked with all places, before anything is loaded."""
    from ..training.data.dataset import require_data_set

    kind = TRAINERS[trainer]
    names = [field.name for field in dataclasses.fields(kind)]
    given = {name: getattr(args, name) for name in names if hasattr(args, name)}
    config = read_config(kind, args.config, given, trainer)
    if args.plan:
        require_present(argparse.Namespace(base=config.base))
        return config
    require_safetensors("--out", config.out)
    for name in names:
        path = getattr(config, name)
        if name != "out" and isinstance(path, Path) and _is_same_file(path, config.out):
            raise InputError(
                f"the result would replace the file of {option_of(name)}",
                where=str(config.out),
                fix="Give --out another name",
            )
    require_folder("--folder", config.folder)
    if config.cache is not None:
        require_folder("--cache", config.cache)
    require_data_set(config.dataset)
    require_present(argparse.Namespace(**{name: getattr(config, name) for name in names}))
    return config


def _is_same_file(one: Path, other: Path) -> bool:
    """Whether both are one file; no when one of them is not there."""
    try:
        return one.samefile(other)
    except OSError:
        return False


def _print_plan(config: TrainerConfig) -> None:
    from ..training.settings.plans import plan_of

    images = config.batch * config.accumulation
    print(f"a step of {images} images of {config.size} px in one process, {config.precision}:")
    print("\n".join(plan_of(config).lines()))
    if _generates(config):
        print("\n".join(_costs(config)))


def _generates(config: TrainerConfig) -> bool:
    """Whether there are losses beside noise prediction."""
    return isinstance(config, SFSRConfig) and config.identity_loss and config.ir_se50 is not None


def _costs(config: TrainerConfig) -> list[str]:
    from ..training.settings.plans import loss_costs

    return loss_costs(config) if isinstance(config, SFSRConfig) else []


def _default(value: Any) -> str:
    if value in (None, "", dataclasses.MISSING):
        return ""
    return f" ({value})"
