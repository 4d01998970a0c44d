"""What each decoder stage and timestep contributes: ``python -m ...annotation_ablation``.

The trained head is evaluated on held-out renders at several noise levels, and again with the
features of one stage taken from another image: what is then lost came from that stage.
Prints a table and plots the curves.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from ..demo.bundled import ANNOTATION_FILE, WEIGHTS
from ..demo.seeds import held_out_seed
from ..dense_face.annotation.head_file import load_head
from ..evaluation.annotations import against_truth, rendered_truth
from ..evaluation.metrics import Report
from ..pipelines.annotation import Change, annotate_latents
from ..pipelines.tiny.dense_face import DenseFacePipeline
from ..storage import atomic_path

TIMESTEPS = (1, 40, 100, 200, 350, 500, 650, 800, 950)
TITLES = {
    "part_miou": "parts: mean IoU",
    "landmark_error": "landmarks: error / eye distance",
    "depth_error": "depth: error / range",
}


def one_stage_of_another(stage: int) -> Change:
    """Take the features of one stage from the next image in the batch."""

    def change(features: list[Tensor]) -> list[Tensor]:
        return [f.roll(1, 0) if i == stage else f for i, f in enumerate(features)]

    return change


def measure(seed: int, count: int) -> dict[str, list[Report]]:
    """Name of the change -> metrics at each timestep."""
    pipeline = DenseFacePipeline.load(progress=True)
    head, _ = load_head(WEIGHTS / ANNOTATION_FILE)
    size = pipeline.base.unet.config["sample_size"] * head.config.scale
    images, truth = rendered_truth(seed, count, size, progress=True)
    latents = pipeline.encode(images)
    seeds = [held_out_seed(seed, i) for i in range(count)]
    stages = head.config.stage_widths
    changes: dict[str, Change] = {"all stages": list}
    for i, width in enumerate(stages):
        name = f"stage {i + 1} of {len(stages)} ({width} channels) of another image"
        changes[name] = one_stage_of_another(i)

    def at(timestep: int, change: Change) -> Report:
        seen = annotate_latents(
            pipeline.base, head, latents, seeds, timestep=timestep, change=change
        )
        return against_truth(seen, truth)

    work = [(name, t) for name in changes for t in TIMESTEPS]
    found: dict[str, list[Report]] = {name: [] for name in changes}
    for name, timestep in tqdm(work, desc="ablation"):
        found[name].append(at(timestep, changes[name]))
    return found


def draw(found: dict[str, list[Report]], path: Path) -> None:
    """Plot the metrics over the timestep."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panes = pyplot.subplots(1, len(TITLES), figsize=(12, 4), layout="constrained")
    for pane, (measure_name, title) in zip(panes, TITLES.items(), strict=True):
        for name, reports in found.items():
            values = [report[measure_name] for report in reports]
            pane.plot(TIMESTEPS, values, marker="o", markersize=3, label=name)
        pane.set(title=title, xlabel="timestep")
        pane.grid(alpha=0.3)
    # Below the panes: inside one it would cover a curve.
    figure.legend(*panes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)
    pyplot.close(figure)


def table(found: dict[str, list[Report]]) -> None:
    """Print the metrics of each change and timestep."""
    for name, reports in found.items():
        for timestep, report in zip(TIMESTEPS, reports, strict=True):
            values = "  ".join(f"{key} {value:.3f}" for key, value in report.items())
            print(f"{name:<50} t {timestep:>3}  {values}")


def main() -> None:
    """Measure, print and plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=7, help="chooses the people")
    parser.add_argument("--count", type=int, default=64, help="images")
    parser.add_argument("--out", type=Path, default=Path("out/annotation_ablation.png"))
    args = parser.parse_args()
    found = measure(args.seed, args.count)
    table(found)
    draw(found, args.out)


if __name__ == "__main__":
    main()
