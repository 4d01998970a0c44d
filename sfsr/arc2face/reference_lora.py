"""The LoRA of Arc2Face's reference adapter: on all self-attentions, without alpha.

Source: docs/reference/published_weights.md A7.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ...errors import IncompatibleError, ModelFileError
from ..ip_adapter.lora import AdapterLora
from ..ip_adapter.places import PROJECTIONS, SD15, Target, attention_place, diffusers_attention
from ..ip_adapter.reading import read_adapter_file
from ..ip_adapter.state_dict import listed

_SPELLINGS = (("lora.down", "lora.up"), ("lora_A", "lora_B"))
"""As published, and as peft writes it."""
STRENGTH = 0.8
"""As published: at 1 the reference image is copied, and the expression suffers."""
MOST_STRENGTH = 2.0
_FIX = "Use ref_adapter/pytorch_lora_weights.safetensors of FoivosPar/Arc2Face"


def load_reference_lora(path: str | Path, target: Target = SD15) -> AdapterLora:
    """The LoRA of a file.

    Args:
        target: What it has to fit.

    Raises:
        ModelFileError: The file is missing, damaged, or not the reference adapter's.
        IncompatibleError: It was made for another base.
    """
    return reference_lora(read_adapter_file(path), target, str(path))


def reference_lora(
    tensors: Mapping[str, Tensor], target: Target = SD15, where: str = ""
) -> AdapterLora:
    """The LoRA by the weights that it changes.

    Args:
        tensors: Of the file (``ip_adapter.state_dict.flat_state_dict``).

    Raises:
        ModelFileError: Weights are missing or unknown.
        IncompatibleError: A weight has another shape.
    """
    rest = dict(tensors)
    pairs: dict[str, tuple[Tensor, Tensor]] = {}
    missing: list[str] = []
    for number in range(0, target.attentions, 2):
        for projection in PROJECTIONS:
            place = f"{attention_place(number, target)}.{projection}"
            name = diffusers_attention(place)
            found = [
                tuple(rest.pop(f"{name}.{end}.weight", None) for end in ends) for ends in _SPELLINGS
            ]
            down, up = next((pair for pair in found if None not in pair), (None, None))
            if down is None or up is None:
                missing.append(name)
                continue
            width, rank = target.attention_width(number), len(down) if down.ndim else 0
            if tuple(down.shape) != (rank, width) or tuple(up.shape) != (width, rank):
                raise IncompatibleError(
                    f"the reference adapter has {name} of shapes {list(down.shape)} and "
                    f"{list(up.shape)} for an attention of width {width}",
                    where=where,
                    fix=_FIX,
                )
            pairs[place] = down, up
    for verb, names in (("lacks", missing), ("holds unknown weights:", list(rest))):
        if names:
            raise ModelFileError(
                f"the reference adapter {verb} {listed(names)}",
                where=where,
                fix=_FIX,
            )
    return AdapterLora(pairs)
