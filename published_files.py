"""Every published model file that the pack can use: one table for the commands, nodes and docs.

Names, sizes and sums: docs/reference/published_weights.md C1, D1, D3, D7, E, I and
docs/reference/libraries.md 13. Sums and exact sizes are given only where public sources state them.
Nothing here is ever downloaded.
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import InputError

TINY_INSTEAD = "the bundled tiny world needs no file"


@dataclass(frozen=True)
class PublishedFile:
    """One file of a download.

    Args:
        name: As published; a description if any name will do (:attr:`Download.kind`).
        megabytes: Size in 10^6 bytes, for people; 0 = varies, or not known.
        size: In bytes, None = not known exactly.
        sha256: Of the whole file, empty = not known.
        others: Names under which other forms of it are used; their size and sum are not known.
    """

    name: str
    megabytes: float
    size: int | None = None
    sha256: str = ""
    others: tuple[str, ...] = ()

    @property
    def size_text(self) -> str:
        """``97 MB``; empty if it varies."""
        return size_text(self.megabytes)


@dataclass(frozen=True)
class Download:
    """Files that are published together.

    Args:
        key: For code.
        title: In tables.
        use: What it is for.
        files: All of them are needed.
        folder: Below ComfyUI's ``models``; the first part is the name of the folder in the host.
        licence: One clause.
        page: Where its publisher offers it.
        nodes: Ids of the nodes that read it (names without a prefix are ComfyUI's own).
        workflows: Templates that need it.
        kind: How a safetensors file of any name is recognised: ``sd15``, ``sd15-inpainting``,
            ``sdxl``, or the ``format`` in its metadata; empty = by names alone.
    """

    key: str
    title: str
    use: str
    files: tuple[PublishedFile, ...]
    folder: str
    licence: str
    page: str
    nodes: tuple[str, ...]
    workflows: tuple[str, ...] = ()
    kind: str = ""

    @property
    def names(self) -> str:
        """``a.ckpt and b.ckpt``, for sentences."""
        names = [file.name for file in self.files]
        return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))

    @property
    def size(self) -> str:
        """``97 MB``, of all files; empty if it varies."""
        return size_text(sum(file.megabytes for file in self.files))

    @property
    def where_to_get(self) -> str:
        """A clause for messages: which file to get, its size, page and licence."""
        about = "; ".join(filter(None, (self.size, f"published at {self.page}", self.licence)))
        return f"{self.names} ({about})"


def size_text(megabytes: float) -> str:
    """``97 MB``, ``2.5 GB``; empty for 0."""
    if not megabytes:
        return ""
    if megabytes >= 1000:
        return f"{megabytes / 1000:.1f} GB"
    return f"{megabytes:.0f} MB" if megabytes >= 10 else f"{megabytes:.2g} MB"


_RESEARCH_ONLY = "research only, not for commercial use (h94/IP-Adapter-FaceID's model card)"
_FACEID_PAGE = "https://huggingface.co/h94/IP-Adapter-FaceID"
_ARC2FACE_LICENCE = "MIT (FoivosPar/Arc2Face's model card)"
_ARC2FACE_PAGE = "https://huggingface.co/FoivosPar/Arc2Face"
_IP_ADAPTERS = "ipadapter"
_SFSR = ("SFSR_LoadAdapter",)
_CHECKPOINT = ("CheckpointLoaderSimple",)
_ARC2FACE = "17 Expression of another photo"
_PHOTO_WORKFLOWS = ("11 Portrait from a photo", "14 Swap a face", "15 Expressions of a person")
_ALL_CONTROLS = "18 All controls with photos"


def _faceid(
    key: str, title: str, file: PublishedFile, use: str, workflows: tuple[str, ...] = ()
) -> Download:
    return Download(
        key, title, use, (file,), _IP_ADAPTERS, _RESEARCH_ONLY, _FACEID_PAGE, _SFSR, workflows
    )


def _lora(of: str, sha256: str) -> PublishedFile:
    return PublishedFile(f"ip-adapter-faceid{of}_sd15_lora.safetensors", 51.1, 51_059_544, sha256)


DOWNLOADS: tuple[Download, ...] = (
    Download(
        "sd15",
        "Stable Diffusion 1.5",
        "the base model",
        (
            PublishedFile(
                "any checkpoint of this architecture",
                0,
                others=("v1-5-pruned-emaonly.safetensors", "v1-5-pruned-emaonly.ckpt"),
            ),
        ),
        "checkpoints",
        "see its author; often CreativeML OpenRAIL-M",
        "https://huggingface.co/stable-diffusion-v1-5/stable-diffusion-v1-5",
        _CHECKPOINT,
        (
            "11 Portrait from a photo",
            "15 Expressions of a person",
            "16 Face into a scene",
            "13 Turn the head",
            _ALL_CONTROLS,
            _ARC2FACE,
        ),
        kind="sd15",
    ),
    Download(
        "sd15_inpainting",
        "Stable Diffusion 1.5, inpainting",
        "the base model for a scene that stays (nine input channels)",
        (
            PublishedFile(
                "any inpainting checkpoint of this architecture",
                0,
                others=("sd-v1-5-inpainting.ckpt", "sd-v1-5-inpainting.safetensors"),
            ),
        ),
        "checkpoints",
        "see its author; often CreativeML OpenRAIL-M",
        "https://huggingface.co/stable-diffusion-v1-5/stable-diffusion-inpainting",
        _CHECKPOINT,
        ("14 Swap a face",),
        kind="sd15-inpainting",
    ),
    Download(
        "sdxl",
        "SDXL",
        "a base model for the identity alone",
        (
            PublishedFile(
                "any SDXL checkpoint",
                0,
                others=("sd_xl_base_1.0.safetensors",),
            ),
        ),
        "checkpoints",
        "see its author; often CreativeML Open RAIL++-M",
        "https://huggingface.co/stabilityai/stable-diffusion-xl-base-1.0",
        _CHECKPOINT,
        ("12 Portrait from a photo on SDXL",),
        kind="sdxl",
    ),
    _faceid(
        "faceid",
        "IP-Adapter-FaceID",
        PublishedFile(
            "ip-adapter-faceid_sd15.bin",
            96.7,
            96_740_574,
            "201344e22e6f55849cf07ca7a6e53d8c3b001327c66cb9710d69fd5da48a8da7",
            others=("ip-adapter-faceid_sd15.safetensors",),
        ),
        "identity: 4 tokens and a LoRA",
        (*_PHOTO_WORKFLOWS, "13 Turn the head"),
    ),
    _faceid(
        "faceid-plus",
        "IP-Adapter-FaceID-Plus",
        PublishedFile(
            "ip-adapter-faceid-plus_sd15.bin",
            156.6,
            156_558_503,
            "252fb53e0d018489d9e7f9b9e2001a52ff700e491894011ada7cfb471e0fadf2",
            others=("ip-adapter-faceid-plus_sd15.safetensors",),
        ),
        "identity: the face's vector and CLIP vision; superseded by Plus v2",
    ),
    _faceid(
        "faceid-plusv2",
        "IP-Adapter-FaceID-Plus v2",
        PublishedFile(
            "ip-adapter-faceid-plusv2_sd15.bin",
            156.6,
            156_558_509,
            "26d0d86a1d60d6cc811d3b8862178b461e1eeb651e6fe2b72ba17aa95411e313",
            others=("ip-adapter-faceid-plusv2_sd15.safetensors",),
        ),
        "identity: the face's vector, and CLIP vision with a scale of its own",
        (_ALL_CONTROLS,),
    ),
    _faceid(
        "faceid-portrait",
        "IP-Adapter-FaceID-Portrait",
        PublishedFile(
            "ip-adapter-faceid-portrait_sd15.bin",
            64.6,
            others=("ip-adapter-faceid-portrait_sd15.safetensors",),
        ),
        "identity: 16 tokens for each photo, no LoRA; superseded by v11",
    ),
    _faceid(
        "faceid-portrait-v11",
        "IP-Adapter-FaceID-Portrait v11",
        PublishedFile(
            "ip-adapter-faceid-portrait-v11_sd15.bin",
            64.6,
            64_586_623,
            "a48cb4f89ed18e02c6000f65aa9efec452e87eaed4a1bc9fcf4a460c8d0e3bc6",
            others=("ip-adapter-faceid-portrait-v11_sd15.safetensors",),
        ),
        "identity: 16 tokens for each photo, no LoRA",
    ),
    _faceid(
        "faceid-sdxl",
        "IP-Adapter-FaceID for SDXL",
        PublishedFile(
            "ip-adapter-faceid_sdxl.bin", 1071, others=("ip-adapter-faceid_sdxl.safetensors",)
        ),
        "identity on SDXL: 4 tokens and a LoRA",
        ("12 Portrait from a photo on SDXL",),
    ),
    _faceid(
        "faceid-plusv2-sdxl",
        "IP-Adapter-FaceID-Plus v2 for SDXL",
        PublishedFile(
            "ip-adapter-faceid-plusv2_sdxl.bin",
            1490,
            others=("ip-adapter-faceid-plusv2_sdxl.safetensors",),
        ),
        "identity on SDXL: the face's vector, and CLIP vision with a scale of its own",
    ),
    _faceid(
        "faceid-portrait-sdxl",
        "IP-Adapter-FaceID-Portrait for SDXL",
        PublishedFile(
            "ip-adapter-faceid-portrait_sdxl.bin",
            750,
            others=("ip-adapter-faceid-portrait_sdxl.safetensors",),
        ),
        "identity on SDXL: 16 tokens for each photo, no LoRA",
    ),
    Download(
        "faceid-loras",
        "LoRA of these adapters, as separate files",
        "not needed: the adapters' own files contain the same",
        (
            _lora("", "70699f0dbfadd47de1f81d263cf4c86bd4b7271d841304af9b340b3a7f38e86a"),
            _lora("-plus", "3f00341d11e5e7b5aadf63cbdead09ef82eb28669156161cf1bfc2105d4ff1cd"),
            _lora("-plusv2", "8abff87a15a049f3e0186c2e82c1c8e77783baf2cfb63f34c412656052eb57b0"),
        ),
        "loras",
        _RESEARCH_ONLY,
        _FACEID_PAGE,
        ("LoraLoader", "LoraLoaderModelOnly"),
    ),
    Download(
        "fineface",
        "FineFace",
        "expression: 12 action units",
        (
            PublishedFile("sd15_attn_processors.ckpt", 76.7),
            PublishedFile("sd15_au_encoder.ckpt", 0.04),
        ),
        _IP_ADAPTERS,
        "Apache-2.0; trained on DISFA and AffectNet, which are for research",
        "https://huggingface.co/Tvaranka/fineface",
        _SFSR,
        (*_PHOTO_WORKFLOWS, _ALL_CONTROLS),
    ),
    Download(
        "arc2face-unet",
        "Arc2Face, UNet",
        "the base model of Arc2Face: portraits by an identity alone, without other prompts",
        (
            PublishedFile(
                "diffusion_pytorch_model.safetensors",
                3438.2,
                3_438_167_536,
                "d2377c16b7135650ca375817a4812a999194fba1f081e39117bd54e50dacc784",
            ),
        ),
        "diffusion_models/arc2face",
        _ARC2FACE_LICENCE,
        _ARC2FACE_PAGE,
        ("UNETLoader",),
        (_ARC2FACE,),
    ),
    Download(
        "arc2face-text",
        "Arc2Face, text encoder",
        "turns the identity into the prompt of Arc2Face; published in the folder encoder",
        (
            PublishedFile(
                "pytorch_model.bin",
                492.3,
                492_308_829,
                "e2d364df774b7d3975f85de42bda73c0c0cdb952273dd5f138511b6cf65424aa",
            ),
        ),
        "text_encoders/arc2face",
        _ARC2FACE_LICENCE,
        _ARC2FACE_PAGE,
        ("CLIPLoader", "SFSR_EncodeArc2Face"),
        (_ARC2FACE,),
    ),
    Download(
        "arc2face-recogniser",
        "Arc2Face, recogniser",
        "the identity that Arc2Face reads; not interchangeable with antelopev2's glintr100.onnx",
        (
            PublishedFile(
                "arcface.onnx",
                260.7,
                260_694_151,
                "ec639a0429b4819130d1405a2d3b38beaa4cc4a6c5bd9cf48b94fdf65461de83",
            ),
        ),
        "insightface/models/arc2face",
        _ARC2FACE_LICENCE,
        _ARC2FACE_PAGE,
        ("DenseFace_LoadEncoder",),
        (_ARC2FACE,),
    ),
    Download(
        "arc2face-expression",
        "Arc2Face, expression adapter",
        "expression: 55 numbers of FLAME; published in the folder exp_adapter",
        (
            PublishedFile(
                "exp_adapter.bin",
                78.1,
                78_085_419,
                "a4ad105a8960889109e156af4fa6b0e19ede1cf27633f830fb95c1f141f20011",
            ),
        ),
        _IP_ADAPTERS,
        f"{_ARC2FACE_LICENCE}; FLAME's expression space and SMIRK are for research",
        _ARC2FACE_PAGE,
        _SFSR,
        (_ARC2FACE,),
    ),
    Download(
        "arc2face-reference",
        "Arc2Face, reference adapter",
        "keeps the look of a photo in Arc2Face's images; published in the folder ref_adapter",
        (
            PublishedFile(
                "pytorch_lora_weights.safetensors",
                51.1,
                51_137_360,
                "69ab49aa393868fa0139f4e80222077fcb33b917b22a3ee3631e847b182c3ecd",
            ),
        ),
        f"{_IP_ADAPTERS}/arc2face",
        _ARC2FACE_LICENCE,
        _ARC2FACE_PAGE,
        ("SFSR_ApplyArc2FaceReference",),
    ),
    Download(
        "clip_vision",
        "CLIP ViT-H/14 image encoder",
        "second input of FaceID-Plus and Plus v2; published as models/image_encoder/"
        "model.safetensors, to be renamed",
        (
            PublishedFile(
                "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors",
                2528.4,
                2_528_373_448,
                "6ca9667da1ca9e0b0f75e46bb030f7e011f44f86cbfb8d5a36590fcd7507b030",
            ),
        ),
        "clip_vision",
        "Apache-2.0 (h94/IP-Adapter's model card)",
        "https://huggingface.co/h94/IP-Adapter",
        ("CLIPVisionLoader", "DenseFace_EncodeIdentity"),
        (_ALL_CONTROLS,),
    ),
    Download(
        "buffalo_l",
        "InsightFace, buffalo_l.zip",
        "faces in photographs: detection, 68 points, head pose, and the identity FaceID reads",
        (
            PublishedFile(
                "det_10g.onnx",
                16.9,
                16_923_827,
                "5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91",
            ),
            PublishedFile(
                "w600k_r50.onnx",
                174.4,
                174_383_860,
                "4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43",
            ),
            PublishedFile(
                "1k3d68.onnx",
                143.6,
                143_607_619,
                "df5c06b8a0c12e422b2ed8947b8869faa4105387f199c477af038aa01f9a45cc",
            ),
        ),
        "insightface/models/buffalo_l",
        "all its models are for non-commercial research only",
        "https://github.com/deepinsight/insightface/releases",
        ("DenseFace_LoadAnalyzer", "DenseFace_LoadEncoder"),
        (*_PHOTO_WORKFLOWS, "13 Turn the head", _ALL_CONTROLS, "12 Portrait from a photo on SDXL"),
    ),
    Download(
        "landmarker",
        "MediaPipe Face Landmarker",
        "faces in photographs: 478 landmarks, 52 blendshapes, head pose",
        (
            PublishedFile(
                "face_landmarker_v2_with_blendshapes.task",
                3.8,
                others=("face_landmarker.task",),
            ),
        ),
        "dense_face",
        "Apache-2.0",
        "https://ai.google.dev/edge/mediapipe/solutions/vision/face_landmarker",
        ("DenseFace_LoadAnalyzer", "DenseFace_DrawFaceMesh"),
        (
            "19 Faces of a photo",
            "16 Face into a scene",
            "13 Turn the head",
            _ALL_CONTROLS,
            _ARC2FACE,
        ),
    ),
    Download(
        "smirk",
        "SMIRK",
        "a photo's expression in FLAME's numbers, for Arc2Face; needs pip install timm",
        (PublishedFile("SMIRK_em1.pt", 0),),
        "dense_face",
        "code MIT, weights without a licence; FLAME is for non-commercial research only",
        "https://github.com/georgeretsi/smirk",
        ("SFSR_LoadSMIRK",),
        (_ARC2FACE,),
    ),
    Download(
        "mediapipe-face",
        "MediaPipe-face ControlNet",
        "head pose, gaze and mouth on Stable Diffusion 1.5, from a drawn face mesh",
        (
            PublishedFile(
                "control_v2p_sd15_mediapipe_face.safetensors",
                1445.2,
                1_445_154_814,
                "5be501156709895f0b14a7ec76faae7cf0a105f76895252a2c69db541629628f",
            ),
        ),
        "controlnet",
        "OpenRAIL",
        "https://huggingface.co/CrucibleAI/ControlNetMediaPipeFace",
        ("ControlNetLoader",),
        ("13 Turn the head", _ALL_CONTROLS),
    ),
    Download(
        "yunet",
        "YuNet",
        "faces in photographs, at work too: detection and five points",
        (
            PublishedFile(
                "face_detection_yunet_2023mar.onnx",
                0.23,
                232_589,
                "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
                others=("face_detection_yunet_2026may.onnx",),
            ),
        ),
        "dense_face",
        "MIT",
        "https://huggingface.co/opencv/face_detection_yunet",
        ("DenseFace_LoadAnalyzer",),
    ),
    Download(
        "sface",
        "SFace",
        "measuring likeness, at work too: a recogniser that conditions no adapter",
        (
            PublishedFile(
                "face_recognition_sface_2021dec.onnx",
                38.7,
                38_696_353,
                "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
            ),
        ),
        "dense_face",
        "Apache-2.0; its training data are not stated",
        "https://huggingface.co/opencv/face_recognition_sface",
        ("DenseFace_LoadEncoder",),
    ),
    Download(
        "ir_se50",
        "IR-SE50",
        "the face encoder that the released Dense-Face was trained with",
        (
            PublishedFile(
                "model_ir_se50.pth",
                175.4,
                sha256="a035c768259b98ab1ce0e646312f48b9e1e218197a0f80ac6765e88f8b6ddf28",
                others=("ir_se50.safetensors",),
            ),
        ),
        "dense_face",
        "code MIT, trained on research data",
        "https://github.com/TreB1eN/InsightFace_Pytorch",
        ("DenseFace_LoadEncoder",),
        ("16 Face into a scene",),
    ),
    Download(
        "6drepnet",
        "6DRepNet",
        "head pose as the paper's authors measured it; optional",
        (PublishedFile("6DRepNet_300W_LP_AFLW2000.pth", 157),),
        "dense_face",
        "code MIT, trained on research data",
        "https://github.com/thohemp/6DRepNet",
        ("DenseFace_LoadAnalyzer",),
    ),
    Download(
        "dense_face",
        "Dense-Face release, converted",
        "identity and head pose on Stable Diffusion 1.5",
        (PublishedFile("the authors' checkpoint, converted by Convert Dense-Face Release", 0),),
        "dense_face",
        "none stated: ask the authors",
        "https://github.com/CHELSEA234/Dense-Face",
        ("DenseFace_LoadAdapter",),
        ("16 Face into a scene",),
        kind="denseface-adapter/1",
    ),
)
BY_KEY: dict[str, Download] = {each.key: each for each in DOWNLOADS}


def download_of(name: str) -> Download | None:
    """The download with a file of this name; None for a name that is not published."""
    for each in DOWNLOADS:
        if any(name in (file.name, *file.others) for file in each.files):
            return each
    return None


def workflow_names() -> tuple[str, ...]:
    """Templates that need published files, in the table's order."""
    return tuple(dict.fromkeys(name for each in DOWNLOADS for name in each.workflows))


def needed_by(workflow: str) -> tuple[Download, ...]:
    """What a template needs.

    Raises:
        InputError: No such template needs a published file.
    """
    found = tuple(each for each in DOWNLOADS if workflow in each.workflows)
    if not found:
        raise InputError(
            f"no published file is listed for a workflow {workflow!r}",
            fix=f"Choose {', '.join(workflow_names())}; {TINY_INSTEAD}",
        )
    return found
