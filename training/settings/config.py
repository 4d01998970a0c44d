"""The settings of the trainers: one frozen dataclass each.

Every field is a key of the settings file (``config_file``) and an option of ``denseface train``.
This module imports nothing heavy: the command line is built from it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import InputError, require_within

if TYPE_CHECKING:
    from ..data.views import Views
    from ..runs.loop import Schedule

PRECISIONS = ("no", "bf16", "fp16")
OPTIMIZERS = ("muon", "adamw", "adamw8bit")
HIGHEST_SEED = 2**42
"""Seeds are multiplied by a million (``loop.step_generator``)."""
MOST_PROCESSES = 1024
_MANY = 2**53
_BY_THE_LOOP = {"steps", "batch", "accumulation", "rate", "optimizer", "seed", "precision"}
"""Keys that the training loop compares itself."""
_WATCHING = {
    "log_every", "tensorboard", "validate_every", "check_after", "validation_images",
    "validation_guidance",
}  # fmt: skip
_FREE = {"workers", "save_every", "keep", "gradient_checkpointing"} | _WATCHING
"""Keys that do not change the result."""
_STARTS = ("start", "start_expression")
"""Keys of files whose weights are trained on."""
_TOKENIZER = (
    "vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json",
)  # fmt: skip
"""What transformers reads of a tokenizer's folder: with tokenizer.json, the first two no longer."""


def key(
    meaning: str,
    default: Any = dataclasses.MISSING,
    *,
    within: tuple[float, float] | None = None,
    choices: Sequence[str] = (),
) -> Any:
    """A field: a key of the file and an option.

    Args:
        meaning: For ``--help``. default: Left out for a key that must be given.
        within: Lowest and highest number. choices: The values allowed.
    """
    metadata = {"help": meaning, "within": within, "choices": tuple(choices)}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """What all trainers on data sets of faces have in common.

    Raises:
        InputError: A value is out of range.
    """

    dataset: Path = key("data set: output of denseface annotate or render, or T2I-Dense-Face")
    base: Path = key("Stable Diffusion 1.5, one .safetensors file")
    out: Path = key("file to write")
    folder: Path = key("work folder; an interrupted run resumes from it", Path("out/training"))
    tokenizer: Path | None = key(
        "CLIP's vocab.json and merges.txt, for captions; without it the prompt is empty", None
    )
    steps: int = key("training steps", 20_000, within=(1, _MANY))
    batch: int = key("images per batch and process", 8, within=(1, 2**16))
    accumulation: int = key("batches whose gradients make one step", 1, within=(1, 2**16))
    rate: float = key("peak learning rate", 1e-3, within=(1e-12, 1e3))
    optimizer: str = key("adamw8bit needs bitsandbytes", "muon", choices=OPTIMIZERS)
    size: int = key("image side in px, a multiple of 64", 512, within=(64, 4096))
    scheme: str = key("478 landmarks, or 68", "mesh", choices=("mesh", "ibug"))
    cache: Path | None = key(
        "folder for what frozen networks compute of the images, once instead of in every step", None
    )
    variants: int = key(
        "versions of each image: the first whole, others cropped at random", 1, within=(1, 1024)
    )
    flip: bool = key("mirror every second version", True)
    buckets: bool = key("keep the shape of images, about, instead of stretching to squares", False)
    workers: int = key("processes that read images", 2, within=(0, MOST_PROCESSES))
    save_every: int = key("steps between saved states", 200, within=(1, _MANY))
    keep: int = key("saved states to keep", 2, within=(1, 1000))
    log_every: int = key("steps between lines of the curve", 10, within=(1, _MANY))
    tensorboard: bool = key("write TensorBoard's events into the work folder", False)
    held_out: float = key(
        "people kept out of training, for validation: a fraction, or from 1 on their number",
        0.02,
        within=(0, _MANY),
    )
    validate_every: int = key("steps between validations", 1000, within=(1, _MANY))
    check_after: int = key(
        "steps after which the loss is compared with that of the start; 0: never",
        200,
        within=(0, _MANY),
    )
    seed: int = key("seed of weights, order and noise", 0, within=(0, HIGHEST_SEED))
    precision: str = key("of the networks", "bf16", choices=PRECISIONS)

    def __post_init__(self) -> None:
        """Check the values."""
        for each in dataclasses.fields(self):
            value, bounds = getattr(self, each.name), each.metadata["within"]
            option, choices = option_of(each.name), each.metadata["choices"]
            if bounds is not None:
                require_within(option, value, *bounds)
            if choices and value not in choices:
                raise InputError(f"{option} is {value}", fix=f"Choose one of {', '.join(choices)}")
        if self.held_out > 1 and self.held_out % 1:
            raise InputError(
                f"--held-out is {self.held_out}: neither a fraction nor a number of people",
                fix="Give a number below 1, or a whole one",
            )
        if self.size % 64:
            raise InputError(
                f"the images' side is {self.size}", fix="Use a multiple of 64, such as 256"
            )

    @property
    def schedule(self) -> Schedule:
        """Length, rates and optimizer."""
        from ..runs.loop import Schedule

        return Schedule(
            self.steps,
            self.rate,
            warmup=min(100, self.steps),
            save_every=self.save_every,
            keep=self.keep,
            precision=self.precision,
            accumulation=self.accumulation,
            optimizer=self.optimizer,
            log_every=self.log_every,
            tensorboard=self.tensorboard,
        )

    @property
    def shaping(self) -> dict[str, object]:
        """What else shapes the result, by name, for the fingerprint of a run.

        Of the files only those that are not among the networks of the task.
        """
        found: dict[str, object] = {
            each.name.replace("_", " "): getattr(self, each.name)
            for each in dataclasses.fields(self)
            if each.name not in _BY_THE_LOOP | _FREE and kind_of(type(self), each.name) is not Path
        }
        for name in _STARTS:
            path = getattr(self, name, None)
            if path is not None:
                found[name.replace("_", " ")] = _short_sum(path)
        if self.tokenizer is not None:
            files = [self.tokenizer / name for name in _TOKENIZER]
            sums = [f"{path.name} {_short_sum(path)}" for path in files if path.is_file()]
            found["tokenizer"] = hashlib.sha256("\n".join(sums).encode()).hexdigest()[:12]
        return found

    @property
    def views(self) -> Views:
        """How the images are shown."""
        from ..data.views import Views

        return Views(self.size, self.variants, self.flip, self.buckets)

    def about(self, trainer: str, metadata: Mapping[str, str]) -> dict[str, str]:
        """The result's metadata: how it was trained.

        Args:
            trainer: Its name in ``denseface train``. metadata: The base file's.
        """
        given = [
            _as_option(each.name, value)
            for each in dataclasses.fields(self)
            if not isinstance(value := getattr(self, each.name), Path)
            and value not in (each.default, None)
        ]
        return {
            "base_model": metadata.get("base_model") or self.base.stem,
            "command": " ".join(["denseface train", trainer, *given]),
            "seed": str(self.seed),
        }


@dataclass(frozen=True, kw_only=True)
class AnnotationsConfig(TrainerConfig):
    """An annotation head: depth, parts and landmarks from the UNet's features."""

    folder: Path = key("work folder; an interrupted run resumes from it", Path("out/annotations"))
    batch: int = key("images per batch and process", 16, within=(1, 2**16))
    rate: float = key("peak learning rate", 2e-3, within=(1e-12, 1e3))
    size: int = key("image side in px, a multiple of 64", 256, within=(64, 4096))
    width: int = key("channels inside the head", 192)
    scale: int = key("cells of the maps per latent cell", 2)

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        from ...dense_face.annotation.head import HeadConfig

        HeadConfig(width=self.width, scale=self.scale, scheme=self.scheme)


@dataclass(frozen=True, kw_only=True)
class AdapterConfig(TrainerConfig):
    """What the trainers of adapters have in common: an identity for each image."""

    ir_se50: Path | None = key("IR-SE50's weights, for identities", None)
    encoder: str = key(
        "without IR-SE50: name of the encoder of the data set's identities, such as "
        "insightface/w600k_r50",
        "",
    )
    gradient_checkpointing: bool = key("less memory, a third more time", False)
    validation_images: int = key(
        "people drawn in a validation, each twice; 0: none", 2, within=(0, 64)
    )
    validation_guidance: float = key("guidance of these images", 7.0, within=(1, 30))

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        if (self.ir_se50 is None) == (not self.encoder):
            two = bool(self.encoder)
            raise InputError(
                f"exactly one identity encoder is needed, and {'two are' if two else 'none is'} "
                "given",
                where="--ir-se50, --encoder",
                fix="Leave one out, the option or its line in the settings file"
                if two
                else "Give IR-SE50's file or the name of the data set's encoder",
            )


@dataclass(frozen=True, kw_only=True)
class SFSRConfig(AdapterConfig):
    """An SFSR adapter: identity and expression tokens, and the scene."""

    folder: Path = key("work folder; an interrupted run resumes from it", Path("out/sfsr"))
    tokens: int = key("tokens per source", 4, within=(1, 1024))
    ir_se50: Path | None = key("IR-SE50's weights, for identities and for the identity loss", None)
    identity_loss: bool = key(
        "compare generated faces with their identity by IR-SE50: that of somebody else in the "
        "batch; with --batch 1, of the person on another photo",
        True,
    )
    start: Path | None = key(
        "adapter to train on from: this pack's, IP-Adapter-FaceID's or FineFace's file", None
    )
    start_expression: Path | None = key("the same for the expression alone: FineFace's file", None)
    noise_loss: bool = key("predict the noise of the images", True)
    rollout: bool = key("generate these faces with the sampler, not from images under noise", False)

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        generating = self.identity_loss and self.ir_se50 is not None
        if not self.noise_loss and not generating:
            raise InputError("there is no loss", fix="Leave out --no-noise-loss")
        if self.rollout and not generating:
            raise InputError(
                "a rollout needs the identity loss, and that needs IR-SE50", fix="Give --ir-se50"
            )


@dataclass(frozen=True, kw_only=True)
class DenseFaceConfig(AdapterConfig):
    """A Dense-Face adapter: PC-adapter, identity token and pose branch."""

    folder: Path = key("work folder; an interrupted run resumes from it", Path("out/dense-face"))
    batch: int = key("images per batch and process", 4, within=(1, 2**16))
    rate: float = key("peak learning rate", 1e-4, within=(1e-12, 1e3))
    start: Path | None = key("adapter file to train on from, such as the converted release", None)
    delta: float = key(
        "strength of a new adapter and token; the files have their own", 0.1, within=(1e-6, 1e3)
    )


def _short_sum(path: Path) -> str:
    from ...storage import file_sha256

    return file_sha256(path)[:12]


def option_of(name: str) -> str:
    """The option of a key."""
    return f"--{name.replace('_', '-')}"


def _as_option(name: str, value: object) -> str:
    """As it is written on the command line."""
    option = option_of(name)
    if isinstance(value, bool):
        return option if value else f"--no-{option.removeprefix('--')}"
    return f"{option} {value}"


def kind_of(config: type[TrainerConfig], name: str) -> type:
    """The type of a key's values; of an optional one without None."""
    hint = typing.get_type_hints(config)[name]
    if isinstance(hint, types.UnionType):
        hint = next(each for each in typing.get_args(hint) if each is not type(None))
    return hint
