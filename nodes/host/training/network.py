"""MODEL and CLIP of a training, with the adapter in the attention layers and its gradients.

The adapter acts beside the frozen projections, by hooks on copies of the networks
(docs/reference/dense_face.md A2): the same numbers as Apply Dense-Face Adapter.

Host objects used: ``BaseModel.apply_model``, ``optimized_attention_override``,
``attention_pytorch``, ``load_models_gpu``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import comfy.model_management as mm
import torch
from comfy.ldm.modules.attention import SpatialTransformer, attention_pytorch
from comfy.ldm.modules.diffusionmodules.openaimodel import ResBlock
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ....dense_face.adapter import PCAdapter
from ....dense_face.attention_layers import AttentionLayer, layers_of_block
from ....dense_face.identity_token import IdentityToken
from ....errors import IncompatibleError
from ..dense_face.apply import PLAIN
from ..dense_face.text import encode_prompt, encode_with_identity, text_width
from .own_copy import own_clip, own_model

_PLACE = ".1.transformer_blocks.0"
_ALL = 1e20
"""Bytes to ask the host for: everything else leaves the card."""
_LATENT_CHANNELS = 4
_KEYS = (".to_k.weight", ".k_proj.weight")
"""Ends of the names of weights that no two base models share."""


class TrainedNetwork:
    """Copies of a MODEL's network and a CLIP's text encoder, and what is trained in them.

    Make and use it outside of inference mode.

    Args:
        adapter: Fused, of strength 1 and float32; its parameters are trained.
        token: In evaluation mode; its projector is trained.
        dtype: Of the frozen network.
        checkpointing: Whether activations are computed again in the backward pass.
    """

    def __init__(
        self,
        model: Any,
        clip: Any,
        adapter: PCAdapter,
        token: IdentityToken,
        dtype: torch.dtype,
        *,
        checkpointing: bool,
    ) -> None:
        self.device: torch.device = model.load_device
        self.trained = nn.ModuleDict({"adapter": adapter, "token": token}).to(self.device)
        self.trained.eval()  # a batch of one person has no statistics of its own
        self.adapter, self.token = adapter, token
        self._patcher = own_model(model, dtype)
        self._clip = own_clip(clip, self.device)
        self._identity: Tensor | None = None
        self._hooks: list[Any] = []
        net = self._patcher.model.diffusion_model
        for attention in adapter.attentions():
            layer = net.get_submodule(attention.layer.key)
            query = (
                self._bias(attention.id_to_q)
                if attention.needs_identity
                else _beside(attention.per_q)
            )
            self._hooks += [
                layer.to_q.register_forward_hook(query),
                layer.to_k.register_forward_hook(_beside(attention.per_k)),
                layer.to_v.register_forward_hook(_beside(attention.per_v)),
            ]
        if checkpointing:
            _save_activations(net)
        self.load()
        sampling = self._patcher.model.model_sampling
        self.alphas: Tensor = 1 / (1 + sampling.sigmas.detach().double().cpu() ** 2)

    def load(self) -> None:
        """Bring both networks wholly to the device, where they may have been before."""
        both = [self._patcher, self._clip.patcher]
        mm.load_models_gpu(both, memory_required=_ALL, force_full_load=True)

    def read_weights(self) -> dict[str, Tensor]:
        """What tells base models apart: keys of attention, what a LoRA has changed, the schedule.

        With the layer of the text encoder that is read, -1 for the last one.
        """
        found = {"alphas": self.alphas, "layer": torch.tensor(self._clip.layer_idx or -1)}
        for part, patcher in (("model", self._patcher), ("clip", self._clip.patcher)):
            found |= {
                f"{part}.{name}": tensor
                for name, tensor in patcher.model.state_dict().items()
                if name.endswith(_KEYS) or name in patcher.patches
            }
        return found

    def close(self) -> None:
        """Give the memory back; the network cannot be used any more."""
        for handle in self._hooks:
            handle.remove()
        del self._clip.load_model
        mm.unload_all_models()

    def scaled(self, latents: Tensor) -> Tensor:
        """Latents of the VAE in the network's scale."""
        return self._patcher.model.process_latent_in(latents)

    def for_vae(self, latents: Tensor) -> Tensor:
        """The inverse of :meth:`scaled`."""
        return self._patcher.model.process_latent_out(latents)

    def texts(self, texts: Sequence[str], identity: Tensor) -> Tensor:
        """Text embeddings [B, L, C] of prompts, of which those with a ``*`` get their identity.

        Args:
            identity: [B, D].
        """
        vectors = self.token(identity)
        rows = [
            encode_with_identity(self._clip, text, vectors[i : i + 1])
            if "*" in text
            else encode_prompt(self._clip, text)
            for i, text in enumerate(texts)
        ]
        found = [row[0][0].to(self.device) for row in rows]
        # As the host does for prompts of several chunks of tokens: each is repeated.
        length = math.lcm(*(each.shape[1] for each in found))
        return torch.cat([each.repeat(1, length // each.shape[1], 1) for each in found])

    def noise(self, x: Tensor, t: Tensor, context: Tensor, identity: Tensor) -> Tensor:
        """Predicted noise for x_t [B, 4, h, w] in the scale of DDPM, float32.

        Args:
            t: Timesteps [B]. context: [B, L, C]. identity: [B, D]; zero where there is none.
        """
        alpha = self.alphas[t.cpu()].to(x)[:, None, None, None]
        sigma = ((1 - alpha) / alpha).sqrt()
        x = x / alpha.sqrt()
        self._identity = identity
        options = {"optimized_attention_override": _with_gradients, "cond_or_uncond": [0]}
        clean = self._patcher.model.apply_model(
            x, sigma[:, 0, 0, 0], c_crossattn=context, transformer_options=options
        )
        return (x - clean) / sigma

    def _bias(self, id_to_q: nn.Module) -> Callable[..., Tensor]:
        """A forward hook: the query with the bias of the identities of this pass."""

        def hook(_layer: nn.Module, _inputs: tuple[Any, ...], out: Tensor) -> Tensor:
            return out + id_to_q(self._identity)[:, None].to(out)

        return hook


def trainable_layers(model: Any, clip: Any, where: str) -> list[AttentionLayer]:
    """The attention layers of a MODEL that an adapter for it has.

    Raises:
        IncompatibleError: MODEL and CLIP are not those of one Stable Diffusion 1.x checkpoint, or
            the weights are quantised.
    """
    width = text_width(clip, where)
    net: Any = getattr(model.model, "diffusion_model", None) or nn.Module()
    found: list[AttentionLayer] = []
    for name, module in net.named_modules():
        block, place, rest = name.partition(_PLACE)
        if place and not rest:
            cross = module.attn2.to_k
            found += layers_of_block(block, module.attn1.to_q.out_features, cross.in_features)
    texts = {layer.context_dim for layer in found if layer.cross}
    config = getattr(getattr(model.model, "model_config", None), "unet_config", {})
    if texts != {width} or config.get("in_channels") != _LATENT_CHANNELS:
        raise IncompatibleError(
            "the model is not a Stable Diffusion 1.x model for this CLIP",
            where=where,
            fix="Connect MODEL and CLIP of one Stable Diffusion 1.x checkpoint, not an inpainting "
            "one",
        )
    if any(type(p.data) is not Tensor or p.dtype not in PLAIN for p in net.parameters()):
        raise IncompatibleError(
            "the model's weights are quantised, which gradients cannot pass",
            where=where,
            fix="Load the checkpoint in fp16, bf16 or fp32",
        )
    return found


def _beside(linear: nn.Linear) -> Callable[..., Tensor]:
    """A forward hook: the projection with its delta."""

    def hook(_layer: nn.Module, inputs: tuple[Any, ...], out: Tensor) -> Tensor:
        x: Tensor = inputs[0]
        return out + F.linear(x, linear.weight.to(x))

    return hook


def _with_gradients(_chosen: Any, *args: Any, **kwargs: Any) -> Tensor:
    """The host's attention, whatever kernel was chosen: some have no backward pass."""
    return attention_pytorch(*args, **kwargs)


def _save_activations(net: nn.Module) -> None:
    """Let the blocks of a network of our own compute their insides again for the gradients."""
    for module in net.modules():
        if isinstance(module, ResBlock | SpatialTransformer):
            module.forward = _twice(module.forward)


def _twice(forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        # The host writes the block's place into the options while it goes on.
        kept = [dict(a) if isinstance(a, dict) else a for a in args]
        return checkpoint(forward, *kept, use_reentrant=False, **kwargs)

    return run
