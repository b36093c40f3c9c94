"""What runtime, execution providers and versions are installed, and what is wrong with them."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import Any

from onnxrich import __version__
from onnxrich._utils.formatting import size_text
from onnxrich._utils.limits import MEMORY_SHARE, STALL_SECONDS, STALL_SECONDS_A_GIB, default_memory_limit
from onnxrich.errors import Notice

PACKAGES = ("onnx", "numpy", "click", "rich", "jinja2", "matplotlib", "psutil")

# Asked in another process: a broken runtime must not take the doctor down.
_ASK = """
import json, os
from onnxrich.engine import runtime
import onnxruntime
print(json.dumps({"version": onnxruntime.__version__, "providers": onnxruntime.get_available_providers(),
                  "telemetry": "off" if os.environ.get("ORT_DISABLE_TELEMETRY") == "1" else "on",
                  "cuda_missing": runtime.cuda_missing(), "cores": runtime.usable_cores(),
                  "cuda_libraries": runtime.missing_cuda_libraries()}))
"""


@dataclass(frozen=True)
class Findings:
    """What was found: facts by name, and problems, each with its remedy."""

    facts: dict[str, str]
    problems: tuple[Notice, ...]

    def to_dict(self) -> dict[str, Any]:
        """The findings as JSON-able values."""
        return {"facts": dict(self.facts), "problems": [asdict(problem) for problem in self.problems]}


def examine() -> Findings:
    """Look at what is installed; nothing is changed.

    >>> "onnxrich" in examine().facts
    True
    """
    wheels = sorted(set(importlib.metadata.packages_distributions().get("onnxruntime", [])))
    runtime = _runtime()
    facts = {
        "onnxrich": __version__,
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "runtime wheels": ", ".join(f"{wheel} {importlib.metadata.version(wheel)}" for wheel in wheels) or "none",
    }
    if runtime is not None:
        facts["providers"] = ", ".join(runtime["providers"])
        facts["device of --device auto"] = "cpu" if runtime["cuda_missing"] else "cuda"
        facts["CUDA"] = runtime["cuda_missing"] or "a device is there"
        facts["usable cores"] = str(runtime["cores"])
        facts["runtime telemetry"] = runtime["telemetry"]
    facts["memory limit"] = (
        f"{size_text(default_memory_limit())}, {MEMORY_SHARE:.0%} of what is free now, without --max-memory"
    )
    facts["stall limit"] = (
        f"{STALL_SECONDS:g} s and {STALL_SECONDS_A_GIB:g} s for each GiB in use, without --stall-timeout"
    )
    facts |= {name: _version(name) for name in PACKAGES}
    return Findings(facts, tuple(_problems(wheels, runtime)))


def _problems(wheels: list[str], runtime: dict[str, Any] | None) -> list[Notice]:
    problems = []
    if len(wheels) > 1:
        problems.append(
            Notice(
                "two_runtimes",
                f"{' and '.join(wheels)} are both installed and overwrite each other. Keep one: "
                f"`pip uninstall -y {' '.join(wheels)}`, then `pip install onnxruntime-gpu` (or `onnxruntime`).",
            )
        )
    if runtime is None:
        problems.append(
            Notice("no_runtime", "onnxruntime can't be imported: `pip install --force-reinstall onnxruntime-gpu`.")
        )
    elif runtime["cuda_missing"] is None and runtime["cuda_libraries"]:
        problems.append(
            Notice(
                "no_cuda_libraries",
                f"A GPU is there, but not the libraries {', '.join(runtime['cuda_libraries'])}: "
                "`pip install onnxrich[cuda]`.",
            )
        )
    return problems


def _runtime() -> dict[str, Any] | None:
    asked = subprocess.run(
        [sys.executable, "-P", "-c", _ASK],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    lines = asked.stdout.strip().splitlines()
    if asked.returncode != 0 or not lines:
        return None
    answer: dict[str, Any] = json.loads(lines[-1])
    return answer


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "missing"
