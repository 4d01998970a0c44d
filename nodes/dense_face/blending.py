"""Keeping the scene: the sampler that blends latents, and the composite of the images."""

from __future__ import annotations

import torch
from comfy_api.latest import io
from torch import Tensor
from torch.nn import functional as F

from ..images import channels_first, channels_last, checked_mask, common_count
from ..inputs import between, choice, feather_pixels, output

CATEGORY = "face/dense_face"
COMPOSITE = "Composite Face"
FRESH, FIXED = "fresh in every step", "one for all steps"
FROM_BASE, FROM_NOISE = "noised scene", "noise"
CLEAN, AS_RELEASED = "clean", "as released"
SOFT, HARD = "soft", "hard"


class BlendedSampler(io.ComfyNode):
    """The sampler of the release, with latent-space blending."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_BlendedSampler",
            display_name="Blended DDIM Sampler",
            category=CATEGORY,
            description="Redraws the white part of the latent's noise mask and restores the scene "
            "around it in every step, as the Dense-Face release does. For SamplerCustom, with the "
            "scheduler ddim_uniform. An ordinary KSampler with Set Latent Noise Mask does nearly "
            "the same.",
            search_aliases=["latent blending", "ddim", "inpaint sampler", "dense-face sampler"],
            inputs=[
                io.Float.Input(
                    "eta",
                    **between(0.0, 1.0, step=0.05, default=1.0),
                    tooltip="DDIM eta, the amount of new noise in each step: 1 as released, 0 "
                    "deterministic.",
                ),
                choice(
                    "background_noise",
                    [FRESH, FIXED],
                    "Noise on the kept scene. fresh in every step: as released. one for "
                    "all steps: as with the host's own noise mask.",
                ),
                choice(
                    "start",
                    [FROM_BASE, FROM_NOISE],
                    "noised scene (as released): the scene's colours and lighting leak "
                    "into the face. noise: the face starts from pure noise.",
                ),
                choice(
                    "end",
                    [CLEAN, AS_RELEASED],
                    "clean: ends without noise and restores the scene once more. as "
                    "released: ends one step early, without restoring it.",
                ),
                choice(
                    "mask_edge",
                    [SOFT, HARD],
                    "soft: blends where the mask is grey. hard (as released): thresholds "
                    "the mask at each latent cell.",
                ),
            ],
            outputs=[output(io.Sampler, "sampler", "For SamplerCustom and SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(
        cls, eta: float, background_noise: str, start: str, end: str, mask_edge: str
    ) -> io.NodeOutput:
        from ..host.dense_face.sampling import Blending, blended_sampler

        blending = Blending(
            eta, background_noise == FRESH, start == FROM_BASE, end == CLEAN, mask_edge == HARD
        )
        return io.NodeOutput(blended_sampler(blending))


class Composite(io.ComfyNode):
    """Scene + generated face + mask -> the scene, unchanged outside the mask."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_Composite",
            display_name=COMPOSITE,
            category=CATEGORY,
            description="Composites the generated face into the scene. Outside the mask every "
            "pixel is the scene's own, to the last bit; a transparent scene stays transparent.",
            search_aliases=[
                "paste face",
                "blend images",
                "face composite",
                "keep background",
                "swap face",
                "keep scene",
            ],
            inputs=[
                io.Image.Input("scene", tooltip="The image to keep outside the mask."),
                io.Image.Input("generated", tooltip="The image with the new face."),
                io.Mask.Input("mask", tooltip="White = the new face; from Face Mask."),
                feather_pixels(4.0),
            ],
            outputs=[output(io.Image, "image", "The finished image.")],
        )

    @classmethod
    def execute(
        cls, scene: Tensor, generated: Tensor, mask: Tensor, feather: float
    ) -> io.NodeOutput:
        from ...faces.masks.compositing import composite
        from ..host.memory import require_room

        base = channels_first(scene, COMPOSITE)
        new = channels_first(generated, COMPOSITE)
        mask = checked_mask(mask, COMPOSITE)[:, None]
        count = common_count(COMPOSITE, scene=base, generated=new, mask=mask)
        require_room(count, base.shape[-2], base.shape[-1], COMPOSITE)
        if mask.shape[-2:] != base.shape[-2:]:
            mask = F.interpolate(mask, base.shape[-2:], mode="bilinear")
        if new.shape[-2:] != base.shape[-2:]:
            new = F.interpolate(new, base.shape[-2:], mode="bicubic", antialias=True).clamp(0, 1)
        base, new = base.expand(count, -1, -1, -1), new.expand(count, -1, -1, -1)
        done = channels_last(composite(base, new, mask, feather))
        if scene.shape[-1] > 3:
            done = torch.cat([done, scene[..., 3:].to(done).expand(count, -1, -1, -1)], -1)
        return io.NodeOutput(done)
