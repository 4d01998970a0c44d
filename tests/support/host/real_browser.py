"""Drives the real frontend through the scripts in ``tests/browser``."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from locate_host import ROOT

FOLDER = ROOT / "tests" / "browser"
SECONDS = 240


def why_no_browser() -> str:
    """What is missing for browser tests, empty when nothing is."""
    if _chromium() is None:
        return "no chromium here (as root, make test installs it with apt-get)"
    if shutil.which("node") is None:
        return "no node here"
    if not (FOLDER / "node_modules" / "playwright-core").is_dir():
        return "playwright-core is not installed (make browser gets it from npm)"
    return ""


def _chromium() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


def open_workflow(
    url: str,
    workflow: Path,
    *,
    rendering: str = "classic",
    run: bool = False,
    again: bool = False,
    screenshot: Path | None = None,
) -> dict[str, Any]:
    """Open a workflow file in the frontend of the server at ``url``, in a window of 1440 x 900.

    rendering: ``"classic"`` or ``"vue"``, the frontend's two ways of drawing nodes.
    again: After the run, open the page anew and run once more what the server still knows.

    Returns:
        What ``open_workflow.mjs`` reports: missing, nodes, scale, covered, errors, blocked, api
        and, with ``run``, the status, messages and outputs of the run and the images shown.
    """
    options = ["--workflow", str(workflow), "--seconds", str(SECONDS), "--rendering", rendering]
    options += ["--run"] if run else []
    options += ["--again"] if again else []
    options += ["--screenshot", str(screenshot)] if screenshot else []
    return run_script("open_workflow.mjs", url, *options)


def run_script(script: str, url: str, *options: str) -> dict[str, Any]:
    """The JSON object that a script of tests/browser prints about the server at ``url``."""
    command = ["node", script, "--url", url, "--chromium", str(_chromium()), *options]
    done = subprocess.run(
        command, cwd=FOLDER, capture_output=True, text=True, timeout=SECONDS + 60, check=False
    )
    if done.returncode:
        raise RuntimeError(f"the browser script failed:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout)
