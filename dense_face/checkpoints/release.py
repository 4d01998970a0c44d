"""The authors' released checkpoint: which of its tensors belong to which part.

Source: docs/reference/dense_face.md A10.

One file holds everything: a whole Stable Diffusion 1.5 with the adapter's projections among its
weights, the pose branch, the identity token and the face encoder. The parts differ by prefix;
required parts are checked, optional ones may be missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from ...errors import FacePackError, ModelFileError
from ...faces.encoders.ir_se50 import IRSE50, RELEASE_PREFIX
from ...readers.lazy_tensor import LazyTensor, to_meta
from ...readers.torch_file import is_torch_file, open_checkpoint, read_checkpoint
from ...state_dict import check_state_dict, without_prefix
from ..adapter import PCAdapter
from ..attention_layers import AttentionLayer
from ..identity_token import IdentityToken
from ..pose_branch import PoseBranch, PoseBranchConfig
from .adapter_file import ADAPTER_PREFIX, FORMAT, POSE_PREFIX, TOKEN_PREFIX
from .safetensors_stream import read_stream

UNET_PREFIX = ADAPTER_PREFIX
BASE_PREFIXES = (UNET_PREFIX, "first_stage_model.", "cond_stage_model.")
SD15_BLOCKS = {
    **dict.fromkeys(("input_blocks.1", "input_blocks.2"), 320),
    **dict.fromkeys(("input_blocks.4", "input_blocks.5"), 640),
    **dict.fromkeys(("input_blocks.7", "input_blocks.8", "middle_block"), 1280),
    **dict.fromkeys(("output_blocks.3", "output_blocks.4", "output_blocks.5"), 1280),
    **dict.fromkeys(("output_blocks.6", "output_blocks.7", "output_blocks.8"), 640),
    **dict.fromkeys(("output_blocks.9", "output_blocks.10", "output_blocks.11"), 320),
}
"""Blocks of Stable Diffusion 1.5 with attention -> their widths."""
_SD15_INPUT_BLOCKS = 12
_PROJECTIONS = ("per_q", "per_k", "per_v", "feat_to_q")

Part = Mapping[str, LazyTensor]


@dataclass(frozen=True, eq=False)
class Release:
    """The tensors of a released checkpoint by part.

    Names in ``adapter``, ``pose_branch``, ``token`` and ``ir_se50`` are without file prefix; those
    in ``base`` are complete, as every loader expects them. The last three may be empty.
    """

    adapter: Part
    pose_branch: Part
    token: Part
    ir_se50: Part
    base: Part
    where: str

    @property
    def has_unet(self) -> bool:
        """Whether the base's UNet is in the file."""
        return any(name.startswith(UNET_PREFIX) for name in self.base)


@contextmanager
def open_release(path: str | Path) -> Iterator[Release]:
    """Open a released checkpoint, ``.ckpt`` or ``.safetensors`` (detected by content).

    The tensors can be read inside the ``with`` block. On entry only the index has been read, and
    adapter, pose branch and identity token have been checked for completeness.

    Raises:
        ModelFileError: The file is missing, truncated, altered or malicious; a weight is missing or
            duplicated; or there is no Dense-Face adapter.
        IncompatibleError: The weights do not have the release's layout.
    """
    path = Path(path)
    with open_checkpoint(path) as stream:
        metadata: dict[str, str] = {}
        if is_torch_file(stream):
            tensors = read_checkpoint(stream, str(path))
        else:
            tensors, metadata = read_stream(stream, str(path))
        if metadata.get("format") == FORMAT:
            raise ModelFileError(
                "the file is already an adapter of this pack",
                where=str(path),
                fix="Use it as it is (models/dense_face)",
            )
        release = split(tensors, str(path))
        try:
            check(release)
        except FacePackError as error:  # the checks of the parts do not know the file
            raise type(error)(error.what, where=error.where or str(path), fix=error.fix) from error
        yield release


def split(tensors: Mapping[str, LazyTensor], where: str = "") -> Release:
    """Sort a checkpoint's tensors by part; others (schedules, EMA) are dropped."""
    part = partial(without_prefix, tensors)
    adapter = {k: t for k, t in part(UNET_PREFIX).items() if _projection_of(k) in _PROJECTIONS}
    base = {
        name: tensor
        for name, tensor in tensors.items()
        if name.startswith(BASE_PREFIXES) and name.removeprefix(UNET_PREFIX) not in adapter
    }
    return Release(
        adapter, part(POSE_PREFIX), part(TOKEN_PREFIX), part(RELEASE_PREFIX), base, where
    )


def check(release: Release) -> None:
    """Check that adapter, pose branch and (where there is one) identity token are complete.

    The adapter must cover every attention layer of the UNet in the file, or of Stable Diffusion 1.5
    if the file has none.

    Raises:
        ModelFileError, IncompatibleError: As :func:`open_release`.
    """
    if not release.adapter and not release.pose_branch:
        raise _ordinary(release)
    missing = [
        f"{UNET_PREFIX}{layer.key}.{name}.weight"
        for layer in _attentions(release)
        for name in layer.projections(fused=False)
        if f"{layer.key}.{name}.weight" not in release.adapter
    ]
    if missing:
        raise _lacks("PC-adapter", missing, release.where)
    if not release.pose_branch:
        raise _lacks("pose branch", [f"{POSE_PREFIX}*"], release.where)
    PCAdapter.from_shapes(to_meta(release.adapter))
    _check_pose_branch(release)
    if release.token:
        IdentityToken.from_shapes(to_meta(release.token))


def check_ir_se50(release: Release) -> None:
    """Check that the face encoder is complete; raises as :func:`open_release`."""
    if not release.ir_se50:
        raise ModelFileError(
            f"the checkpoint contains no face encoder ({RELEASE_PREFIX}*)",
            where=release.where,
            fix="Convert it without --ir-se50",
        )
    with torch.device("meta"):
        net = IRSE50()
    check_state_dict(net, to_meta(release.ir_se50), f"IR-SE50 ({RELEASE_PREFIX})")


def check_base(release: Release) -> None:
    """Check that there is a base model; raises ModelFileError."""
    if not release.has_unet:
        raise ModelFileError(
            "the checkpoint contains no base model",
            where=release.where,
            fix="Convert it without --base and use any Stable Diffusion 1.5 checkpoint",
        )


def _attentions(release: Release) -> list[AttentionLayer]:
    """The attention layers of the UNet in the file; only the names matter, widths are 0."""
    query = ".to_q.weight"
    names = [
        name.removeprefix(UNET_PREFIX).removesuffix(query)
        for name in release.base
        if name.startswith(UNET_PREFIX) and name.endswith(query)
    ]
    if not names:
        names = [f"{block}.1.transformer_blocks.0.attn{i}" for block in SD15_BLOCKS for i in (1, 2)]
    return [
        AttentionLayer(name.partition(".1.transformer_blocks")[0], 0, 0, name.endswith("attn2"))
        for name in names
    ]


def _check_pose_branch(release: Release) -> None:
    tensors = to_meta(release.pose_branch)
    config = PoseBranchConfig.from_state_dict(tensors)
    # Missing blocks at the end would look like a smaller branch: compare with the UNet.
    expected = {
        n.split(".")[3] for n in release.base if n.startswith(f"{UNET_PREFIX}input_blocks.")
    }
    count = len(expected) or _SD15_INPUT_BLOCKS
    found = len(config.channel_mult) * (config.num_res_blocks + 1)
    if found < count:
        raise _lacks("pose branch", [f"{POSE_PREFIX}input_blocks.{found}.*"], release.where)
    branch = PoseBranch(config, device="meta")
    check_state_dict(branch, tensors, f"the pose branch ({POSE_PREFIX})")


def _projection_of(name: str) -> str:
    """``per_q`` of ``<...>.attn1.per_q.weight``."""
    return name.rpartition(".")[0].rpartition(".")[2]


def _lacks(part: str, missing: list[str], where: str) -> ModelFileError:
    more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    return ModelFileError(
        f"the checkpoint lacks {missing[0]}{more} of the {part}",
        where=where,
        fix="Download it again",
    )


def _ordinary(release: Release) -> ModelFileError:
    if release.has_unet:
        return ModelFileError(
            "the file contains no Dense-Face adapter: it is an ordinary checkpoint, like the "
            "release's text-editing model",
            where=release.where,
            fix="Put it into models/checkpoints and load it with Load Checkpoint",
        )
    return ModelFileError(
        "the file contains neither a Dense-Face adapter nor a Stable Diffusion model",
        where=release.where,
        fix="Choose the checkpoint that the authors of Dense-Face released",
    )
