"""Help pages and workflow notes: complete, and naming only nodes that exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from comfy_server import ComfyServer
from comfyui_dense_face.sfsr.emotion_table import emotion_words, synonyms
from locate_host import ROOT
from node_schemas import FILE_LISTS

HELP = ROOT / "web" / "docs"
WORKFLOWS = ROOT / "workflows"
LONGEST_NAME = 28
"""Letters that a node of usual width shows beside a value."""
LONGEST_OPTION_LIST = 8
"""Longer lists of options, such as the words, are described as a whole."""

CORE_NODES = {
    "Apply ControlNet",
    "CFG Guider",
    "Basic Guider",
    "BasicScheduler",
    "CLIP Text Encode (Prompt)",
    "Detect Face Landmarks (MediaPipe)",
    "KSampler",
    "KSamplerSelect",
    "Load CLIP",
    "Load CLIP Vision",
    "Load Diffusion Model",
    "Load Face Detection Model (MediaPipe)",
    "Load Image",
    "Load Image (from Folder)",
    "Plot Loss Graph",
    "Preview Image",
    "RandomNoise",
    "SamplerCustom",
    "SamplerCustomAdvanced",
    "Set Latent Noise Mask",
    "VAE Decode",
    "VAE Encode",
}
"""Display names of the host's own nodes that our texts mention."""

GUIDE = (
    "first_image.md", "your_checkpoint.md", "swap.md", "expressions.md", "training.md",
    "troubleshooting.md",
)  # fmt: skip
NO_NODES = {"How far this is proven:", "tiny world"}
"""What else is bold in the guide."""

FROM_WHERE = re.compile(r"(?:^|[.:;(] )(?:From|For) ([A-Z][^.;:]*)", re.MULTILINE)
"""What a tooltip or a line of a help page says to connect: *From Detect Faces.*"""
CAPITALS = re.compile(r"\b[A-Z][\w-]*")
NO_NODES_THERE = {
    "YuNet", "SFace", "IR-SE50", "Arc2Face", "FaceID-Plus", "Plus", "Stable", "Diffusion",
}  # fmt: skip
"""Else in such a place: files and models."""

IN_CODE = re.compile(r"`([^`\n]+)`")
WORDS_IN_CODE = re.compile(r"[a-z][A-Za-z0-9_ ]*")
"""What can be the name of an input or output; no command, folder or file."""
NO_NAMES = {"buffalo_l", "dense_face", "none", "pip install timm"}
"""Else in code in a help page: models, the start of a file's name, a cell of a table, a command."""
LISTED = re.compile(r"^- (`[^`]+`(?:, `[^`]+`)*)", re.MULTILINE)

BOLD = re.compile(r"\*\*([^*\n]+)\*\*")
TITLE_IN_ITALICS = re.compile(r"(?<![*\w`])\*([A-Z][^*`\n]*)\*(?![*\w`])")


def notes() -> Iterator[tuple[str, str]]:
    """(file, Markdown) of every note in the workflows."""
    for path in sorted(WORKFLOWS.glob("*.json")):
        for node in json.loads(path.read_text(encoding="utf-8"))["nodes"]:
            if node["type"] == "MarkdownNote":
                yield path.name, node["widgets_values"][0]


def subgraphs() -> set[str]:
    """Names of the subgraphs in the workflows; in a note "(tiny world)" is understood."""
    saved = [json.loads(path.read_text(encoding="utf-8")) for path in WORKFLOWS.glob("*.json")]
    kinds = [kind for each in saved for kind in each["definitions"]["subgraphs"]]
    return {kind["name"].removesuffix(" (tiny world)") for kind in kinds}


def test_every_node_has_a_complete_help_page(schemas: dict[str, Any]) -> None:
    for schema in schemas.values():
        page = (HELP / f"{schema.node_id}.md").read_text(encoding="utf-8")
        assert page.startswith(f"# {schema.display_name}\n")
        for item in (*schema.inputs, *schema.outputs):
            name = getattr(item, "display_name", None) or item.id
            assert f"`{name}`" in page, f"{schema.node_id}: {name} is not in its help page"


def test_help_pages_list_inputs_and_outputs_as_the_nodes_do(schemas: dict[str, Any]) -> None:
    """All, in their order, and no other."""
    for schema in schemas.values():
        page = (HELP / f"{schema.node_id}.md").read_text(encoding="utf-8")
        for title, items in (("Inputs", schema.inputs), ("Outputs", schema.outputs)):
            section = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)
            lines = LISTED.findall(section[1]) if section else []
            listed = [name for line in lines for name in IN_CODE.findall(line)]
            names = [getattr(item, "display_name", None) or item.id for item in items]
            assert listed == names, f"{schema.node_id}: {title}"


def test_what_help_pages_set_as_code_is_a_name(schemas: dict[str, Any]) -> None:
    """Names of inputs and outputs, as shown, options, words and templates; and no old ones."""
    items = [item for schema in schemas.values() for item in (*schema.inputs, *schema.outputs)]
    known = {getattr(item, "display_name", None) or item.id for item in items}
    # Both sides of a blendshape.
    known |= {re.sub(r" (left|right)$", "", name) for name in known}
    known |= {str(option) for item in items for option in getattr(item, "options", None) or ()}
    known |= {*emotion_words(), *synonyms(), *(path.stem for path in WORKFLOWS.glob("*.json"))}
    unknown = [
        f"{page.name}: {name}"
        for page in HELP.glob("*.md")
        for name in IN_CODE.findall(page.read_text(encoding="utf-8"))
        if WORDS_IN_CODE.fullmatch(name) and name not in known | NO_NAMES
    ]
    assert unknown == []


def test_what_is_connected_is_a_node(schemas: dict[str, Any]) -> None:
    """*From Load Face Analyzer or Load Tiny-World Analyzer.*: as the nodes are called."""
    known = CORE_NODES | {schema.display_name for schema in schemas.values()}
    names = re.compile("|".join(map(re.escape, sorted(known, key=len, reverse=True))))
    texts = {page.name: page.read_text(encoding="utf-8") for page in HELP.glob("*.md")}
    for schema in schemas.values():
        for item in (*schema.inputs, *schema.outputs):
            texts[f"{schema.node_id}.{item.id}"] = item.tooltip
    found = [
        f"{place}: {said}"
        for place, text in texts.items()
        for said in FROM_WHERE.findall(text)
        if set(CAPITALS.findall(names.sub("", said))) - NO_NODES_THERE
    ]
    assert found == []


def test_nodes_of_the_host_are_called_so(server: ComfyServer) -> None:
    described = server.get("/object_info")
    names = {node["display_name"] or name for name, node in described.items()}
    assert names >= CORE_NODES


def test_inputs_are_displayed_in_words(schemas: dict[str, Any]) -> None:
    for schema in schemas.values():
        names = [item.display_name for item in schema.inputs]
        assert len(set(names)) == len(names), schema.node_id
        for name in names:
            assert name.isascii() and len(name) <= LONGEST_NAME, name
            assert not re.search(r"_|\b[a-z]+[A-Z]", name), f"{schema.node_id}: {name}"


def test_no_text_names_an_input_by_its_id(schemas: dict[str, Any]) -> None:
    """Ids that differ from what the nodes show: ``face_index`` for *face index*."""
    items = [item for schema in schemas.values() for item in schema.inputs]
    ids = {item.id for item in items if item.display_name != item.id}
    names = "|".join(sorted(ids, key=len, reverse=True))
    hidden = re.compile(rf"(?<![\w./])(?:{names})(?!\w|\.\w)")
    texts = {page.name: page.read_text(encoding="utf-8") for page in HELP.glob("*.md")}
    documents = [*(ROOT / "docs").glob("*.md"), ROOT / "README.md"]
    texts |= {page.name: page.read_text(encoding="utf-8") for page in documents}
    for name, text in notes():
        texts[name] = texts.get(name, "") + text
    for schema in schemas.values():
        said = (schema.description, *(each.tooltip for each in (*schema.inputs, *schema.outputs)))
        texts[schema.node_id] = "\n".join(said)
    found = [f"{name}: {each}" for name, text in texts.items() for each in hidden.findall(text)]
    assert len(ids) > 50 and found == []


def test_help_pages_spell_options_as_the_nodes_do(schemas: dict[str, Any]) -> None:
    missing = []
    for schema in schemas.values():
        page = (HELP / f"{schema.node_id}.md").read_text(encoding="utf-8")
        for item in schema.inputs:
            options = getattr(item, "options", None) or ()
            listed = (schema.node_id, item.id) in FILE_LISTS or len(options) > LONGEST_OPTION_LIST
            for option in () if listed or item.io_type != "COMBO" else options:
                if option not in page:
                    missing.append(f"{schema.node_id}.{item.id}: {option}")
    assert missing == []


def test_no_page_without_a_node(schemas: dict[str, Any]) -> None:
    assert {page.stem for page in HELP.glob("*.md")} == set(schemas)


def test_the_guide_names_only_nodes_that_exist(schemas: dict[str, Any]) -> None:
    known = CORE_NODES | {schema.display_name for schema in schemas.values()}
    for page in GUIDE:
        named = set(BOLD.findall((ROOT / "docs" / page).read_text(encoding="utf-8")))
        assert named - known <= NO_NODES, page


def test_pages_and_notes_name_only_nodes_that_exist(schemas: dict[str, Any]) -> None:
    """Help pages set node names in bold; notes, where bold is for their sections, in italics."""
    known = CORE_NODES | subgraphs() | {schema.display_name for schema in schemas.values()}
    pages = [(page.name, page.read_text(encoding="utf-8")) for page in HELP.glob("*.md")]
    named = [(name, found) for name, text in pages for found in BOLD.findall(text)]
    named += [(name, found) for name, text in notes() for found in TITLE_IN_ITALICS.findall(text)]
    assert len(named) > len(pages)
    assert [f"{name}: {found}" for name, found in named if found not in known] == []
