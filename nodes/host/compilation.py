"""Models compiled with ``torch.compile``, by the host's TorchCompileModel or by other packs.

The host compiles without guards on ``transformer_options``: code traced with the patches of one
MODEL is used for all its clones, with other people, other masks, or without any patch. So whatever
depends on our patches and hooks runs eagerly.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch


def uncompiled() -> AbstractContextManager[Any]:
    """A context in which compiled models run eagerly."""
    if "torch._dynamo" not in sys.modules:  # nothing was compiled in this process
        return nullcontext()
    stance = getattr(torch.compiler, "set_stance", None)  # torch 2.6
    return nullcontext() if stance is None else stance("force_eager")


class Uncompiled:
    """APPLY_MODEL wrapper: the model runs eagerly."""

    def __call__(self, executor: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with uncompiled():
            return executor(*args, **kwargs)
