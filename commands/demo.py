"""``denseface demo``: images and metrics of the bundled tiny world in about a minute."""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from .checks import require_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("--out", type=Path, default=Path("out/demo"), help="folder to write to")
    parser.add_argument("--seed", type=int, default=1, help="selects the people, 1 by default")
    parser.add_argument("--weights", type=Path, help="folder with weights other than the bundled")


def run(args: argparse.Namespace) -> None:
    """Write ``dense_face.png``, ``people.png``, ``sfsr.png`` and ``report.json``; all or none."""
    started = time.perf_counter()  # includes the time to import libraries
    from ..demo.bundled import WEIGHTS, load_bundled
    from ..demo.networks.evaluator import load_evaluator
    from ..demo.seeds import held_out_seed
    from ..evaluation.demo import demo
    from ..evaluation.demo_people import people_sheet
    from ..evaluation.demo_sfsr import sfsr_demo
    from ..evaluation.metrics import json_of
    from ..pipelines.tiny.sfsr import SFSRPipeline
    from ..storage import atomic_path

    held_out_seed(args.seed, 0)  # raises, if it is out of range
    require_folder("--out", args.out)
    names = ("dense_face.png", "people.png", "sfsr.png", "report.json")
    paths = [args.out / name for name in names]
    with ExitStack() as unfinished:
        sheet_file, people_file, sfsr_file, report_file = (
            unfinished.enter_context(atomic_path(path)) for path in paths
        )
        folder = args.weights or WEIGHTS
        pipeline = SFSRPipeline.load(folder, progress=True)
        evaluator = load_bundled(load_evaluator, folder, "tiny_evaluator")
        sheet, report = demo(pipeline.world, evaluator, args.seed)
        sheet.save(sheet_file)
        people_sheet(pipeline.world, args.seed).save(people_file)
        sheet, measured = sfsr_demo(pipeline, evaluator, args.seed)
        sheet.save(sfsr_file)
        report |= measured
        report["seconds.total"] = time.perf_counter() - started
        report |= _peak_memory()
        report_file.write_text(json_of(report) + "\n", encoding="utf-8")
    print(json_of(report))
    for path in paths:
        print(path)


def _peak_memory() -> dict[str, float]:
    """The peak memory of this process; empty where the system does not report it."""
    try:
        import resource
    except ImportError:  # Windows
        return {}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"memory.peak_mb": peak / (2**20 if sys.platform == "darwin" else 2**10)}
