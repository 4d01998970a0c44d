"""``make mutants``: change the code at random, one small change at a time; tests should notice.

A sample of mutants, drawn by a seed and spread over the modules by their number of mutants. Each is
tried by the tests that run the changed line. Those that no test notices are listed with their
differences in out/mutants/survivors.txt; a second run into the same folder tries only these again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support" / "mutation"))
# Hypothesis then draws the same examples each time and keeps none.
os.environ["CI"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"

from covering_tests import CoveringTests  # noqa: E402
from source_mutants import Mutant, SourceFile  # noqa: E402
from warm_process import SURVIVED, WarmProcess  # noqa: E402

PACKAGES = ("nodes/host", "dense_face", "sfsr", "faces")
TESTS = (
    *("tests/dense_face", "tests/sfsr", "tests/faces", "tests/readers", "tests/host"),
    "--ignore=tests/host/workflows",  # they run in another process
)
MARKS = "not slow and not full_size and not browser"


def main() -> int:
    """Try the mutants and print how many were noticed, by package."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=400, help="mutants in the sample")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--only", action="append", help="start of a path; may be repeated")
    parser.add_argument("--budget", type=float, default=15.0, help="seconds of tests for a mutant")
    parser.add_argument("--out", type=Path, default=Path("out/mutants"))
    parser.add_argument("--cover", action="store_true", help="measure anew which tests run a line")
    args = parser.parse_args()
    out: Path = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    results: dict[str, str] = {}
    if (out / "results.json").exists():
        results = json.loads((out / "results.json").read_text())
    with tempfile.TemporaryDirectory() as place:
        process = WarmProcess(_copy(Path(place)), out)
        covered = out / "covered.json"
        if args.cover or not covered.exists():
            process.measure(PACKAGES, [*TESTS, "-m", MARKS], covered)
        covering = CoveringTests.load(covered)
        sample = _sample(args.only or PACKAGES, args.count, args.seed)
        started = time.monotonic()
        for number, mutant in enumerate(sample):
            if results.get(mutant.name, SURVIVED) == SURVIVED:
                tests = covering.of(mutant.path, mutant.lines, args.budget)
                results[mutant.name] = process.try_mutant(mutant, tests)
                (out / "results.json").write_text(json.dumps(results, indent=1))
            print(f"{number + 1}/{len(sample)} {mutant.name} {results[mutant.name]}", flush=True)
        print(f"{time.monotonic() - started:.0f} s")
    _report(sample, results, out)
    return 0


def _copy(place: Path) -> Path:
    """The files of the working tree, elsewhere, as the package that the tests import."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    copy = place / "comfyui_dense_face"
    for name in listed:
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    return copy


def _sample(starts: tuple[str, ...] | list[str], count: int, seed: int) -> list[Mutant]:
    """Each module gives as many as its share of all mutants, and at least one."""
    files = []
    for start in starts:
        found = [ROOT / start] if start.endswith(".py") else sorted((ROOT / start).rglob("*.py"))
        files += [SourceFile(ROOT, path.relative_to(ROOT).as_posix()) for path in found]
    total = sum(map(len, files))
    print(f"{total} mutants in {len(files)} modules", flush=True)
    sample: list[Mutant] = []
    for file in files:
        size = max(1, round(count * len(file) / total))
        sample += file.sample(size, random.Random(f"{seed} {file.path}"))
    # In any order, so that a run that is stopped has tried a fair part of them.
    return random.Random(seed).sample(sample, len(sample))


def _report(sample: list[Mutant], results: dict[str, str], out: Path) -> None:
    tried, noticed = Counter[str](), Counter[str]()
    survivors = []
    for mutant in sample:
        package = next(p for p in PACKAGES if mutant.path.startswith(p + "/"))
        tried[package] += 1
        if results[mutant.name] == SURVIVED:
            survivors.append(f"{mutant.name}\n{mutant.diff}\n")
        else:
            noticed[package] += 1
    (out / "survivors.txt").write_text("\n".join(survivors), encoding="utf-8")
    for package in tried:
        print(f"{package:12} {noticed[package]} of {tried[package]} mutants noticed")
    print(f"{'all':12} {noticed.total()} of {tried.total()}")


if __name__ == "__main__":
    sys.exit(main())
