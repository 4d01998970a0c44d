"""Text-editing and face-generation mode in one sampling, as a GUIDER of the host.

Both modes denoise the same latent in every step and a mask blends their predictions, so that one
sampling draws the scene from text and the person into it (docs/reference/dense_face.md B4, our
design).

Each mode keeps a CFGGuider of its own, prepared by the host with its own patches, conditionings,
control nets, hooks and wrappers. The samplings are nested: inside the prepared sampling of
face-generation mode, text-editing mode runs the sampler and calls the other mode's model. The modes
use two networks, or one network with two sets of patches (``shared_weights.py``).

Host objects used: ``samplers.CFGGuider`` and ``samplers.Sampler``, ``set_additional_models``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import comfy.model_sampling
import comfy.samplers
import torch
from torch import Tensor

from ....errors import IncompatibleError
from .blend_mask import BlendMask
from .shared_weights import on_shared_weights

KEY = "dense_face_joint"
_POST_CFG = "sampler_post_cfg_function"


@dataclass(frozen=True)
class Mode:
    """One of the two modes: MODEL, both CONDITIONINGs, guidance scale."""

    model: Any
    positive: Any
    negative: Any
    cfg: float

    def settle(self, guider: Any) -> Any:
        """The guider, with this mode's conditionings and guidance scale set."""
        guider.set_conds(self.positive, self.negative)
        guider.set_cfg(self.cfg)
        return guider

    def alone(self) -> Any:
        """The host's own guider for this mode alone."""
        return self.settle(comfy.samplers.CFGGuider(self.model))


def joint_guider(text: Mode, face: Mode, blend_mask: BlendMask) -> Any:
    """A GUIDER of both modes; the plain one of a single mode where the other never draws.

    Raises:
        IncompatibleError: The two MODELs cannot work on one latent, or one network would need two
            sets of weights.
    """
    if blend_mask.always is not None:
        return (face if blend_mask.always else text).alone()
    _check_same_latents(text.model, face.model)
    text_model, face_model = on_shared_weights(text.model, face.model)
    own = face.settle(comfy.samplers.CFGGuider(face_model))
    return text.settle(JointGuider(text_model, own, blend_mask))


class JointGuider(comfy.samplers.CFGGuider):
    """The guider of text-editing mode, which mixes in the prediction of face-generation mode.

    Args:
        model: MODEL of text-editing mode.
        face: Guider of face-generation mode; its MODEL has a network of its own or the same one
            with the same weight patches.
        blend_mask: Where face-generation mode draws in each step.
    """

    def __init__(self, model: Any, face: Any, blend_mask: BlendMask) -> None:
        super().__init__(model)
        self.face = face
        self.blend_mask = blend_mask
        self._face_options: dict[str, Any] = {}

    def sample(
        self,
        noise: Tensor,
        latent_image: Tensor,
        sampler: Any,
        sigmas: Tensor,
        denoise_mask: Tensor | None = None,
        callback: Any = None,
        disable_pbar: bool = False,
        seed: int | None = None,
    ) -> Tensor:
        """Sampled latents [B, 4, h, w]; see the host's ``CFGGuider.sample``."""
        if sigmas.shape[-1] == 0:
            return latent_image

        def text_mode(face_options: dict[str, Any]) -> Tensor:
            self._face_options = face_options
            return super(JointGuider, self).sample(
                noise, latent_image, sampler, sigmas, denoise_mask, callback, disable_pbar, seed
            )

        inside = _Inside(lambda options: self._beside(lambda: text_mode(options)))
        try:
            self.face.sample(noise, latent_image, inside, sigmas, denoise_mask, None, True, seed)
        finally:
            self._face_options = {}
        return inside.result

    def predict_noise(
        self,
        x: Tensor,
        timestep: Tensor,
        model_options: dict[str, Any] = {},  # noqa: B006 (host API)
        seed: int | None = None,
    ) -> Tensor:
        """The clean latent [B, 4, h, w]: the blend of both modes' predictions."""
        self._refuse_cfg_pp(model_options)
        sigma = float(timestep.flatten()[0])
        alone = self.blend_mask.alone(sigma)
        if alone == 1:
            return self._face(x, timestep, seed)
        scene = super().predict_noise(x, timestep, model_options, seed)
        if alone == 0:
            return scene
        face = self._face(x, timestep, seed)
        # lerp is exact at both ends: where the mask is 0 or 1, the result is one mode's own value.
        return torch.lerp(scene, face, self.blend_mask.at(sigma, scene, face).to(scene))

    def _face(self, x: Tensor, timestep: Tensor, seed: int | None) -> Tensor:
        net = self.face.inner_model
        others = net.current_patcher
        net.current_patcher = self.face.model_patcher
        try:
            return self.face(x, timestep, model_options=self._face_options, seed=seed)
        finally:
            net.current_patcher = others

    def _beside(self, run: Callable[[], Tensor]) -> Tensor:
        """Keep the networks of face-generation mode loaded while text-editing mode loads its own.

        A clone of the same network is left out: the host would unload one for the other.
        """
        patcher = self.face.model_patcher
        models = [*self.face.loaded_models, *patcher.model_patches_models()]
        if patcher.model is not self.model_patcher.model:
            models.append(patcher)
        self.model_patcher.set_additional_models(KEY, models)
        try:
            return run()
        finally:
            self.model_patcher.remove_additional_models(KEY)

    def _refuse_cfg_pp(self, model_options: dict[str, Any]) -> None:
        """Raise for CFG++ samplers: they read the unconditional prediction of a single model."""
        if len(model_options.get(_POST_CFG, ())) > len(self.model_options.get(_POST_CFG, ())):
            raise IncompatibleError(
                "a CFG++ sampler cannot follow two modes at once",
                where="Joint Guider",
                fix="Choose a sampler without cfg_pp in its name",
            )


class _Inside(comfy.samplers.Sampler):
    """Runs another sampling while its guider is prepared, and keeps the result.

    Args:
        run: The other sampling; called with the guider's prepared model options.
    """

    def __init__(self, run: Callable[[dict[str, Any]], Tensor]) -> None:
        self.run = run
        self.result = torch.empty(0)

    def sample(
        self,
        model_wrap: Any,
        sigmas: Tensor,
        extra_args: dict[str, Any],
        callback: Any,
        noise: Tensor,
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        """The returned latent is not used."""
        self.result = self.run(extra_args["model_options"])
        return noise


def _check_same_latents(text: Any, face: Any) -> None:
    flows = {
        isinstance(model.get_model_object("model_sampling"), comfy.model_sampling.CONST)
        for model in (text, face)
    }
    if type(text.model.latent_format) is not type(face.model.latent_format) or len(flows) > 1:
        raise IncompatibleError(
            "the two models do not work on the same kind of latents",
            where="Joint Guider",
            fix="Connect two models of one kind, both Stable Diffusion 1.x",
        )
