"""Measure how a neural network learned, rich or lazy, from nothing but its exported ONNX file.

`run` takes a model and data, `richness` takes arrays. Nothing heavy is imported before it is used.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# ONNX Runtime looks up its vendor's host, and writes a device id into the home folder, unless this is set before it is
# imported.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

if TYPE_CHECKING:
    from onnxrich.api.compare import compare as compare
    from onnxrich.api.export import export as export
    from onnxrich.api.inspect import inspect as inspect
    from onnxrich.api.loggers import to_writer as to_writer
    from onnxrich.api.patch import expose as expose
    from onnxrich.api.patch import instrument as instrument
    from onnxrich.api.recorder import Recorder as Recorder
    from onnxrich.api.run import run as run
    from onnxrich.api.track import track as track
    from onnxrich.data.preprocessing.steps import Preprocessing as Preprocessing
    from onnxrich.data.selection import Selection as Selection
    from onnxrich.demo import demo_file as demo_file
    from onnxrich.errors import AdapterError as AdapterError
    from onnxrich.errors import DataError as DataError
    from onnxrich.errors import DeviceError as DeviceError
    from onnxrich.errors import HeadError as HeadError
    from onnxrich.errors import ModelError as ModelError
    from onnxrich.errors import Notice as Notice
    from onnxrich.errors import OnnxrichError as OnnxrichError
    from onnxrich.errors import OutputError as OutputError
    from onnxrich.errors import WorkerError as WorkerError
    from onnxrich.metrics.registry import measure as measure
    from onnxrich.metrics.registry import metric_list as metric_list
    from onnxrich.metrics.richness import Richness as Richness
    from onnxrich.metrics.richness import richness as richness
    from onnxrich.moments.matrix import Moments as Moments
    from onnxrich.progress import Progress as Progress
    from onnxrich.results.analysis import Analysis as Analysis
    from onnxrich.results.comparison import Comparison as Comparison
    from onnxrich.results.export import Export as Export
    from onnxrich.results.inspection import Inspection as Inspection
    from onnxrich.results.track import Track as Track

__version__ = "0.1.0"

_HOME = {
    "AdapterError": "errors", "DataError": "errors", "DeviceError": "errors", "HeadError": "errors",
    "ModelError": "errors", "Notice": "errors", "OnnxrichError": "errors", "OutputError": "errors",
    "WorkerError": "errors", "Progress": "progress",
    "run": "api.run", "compare": "api.compare", "track": "api.track", "inspect": "api.inspect",
    "expose": "api.patch", "instrument": "api.patch", "export": "api.export",
    "Recorder": "api.recorder", "to_writer": "api.loggers",
    "Analysis": "results.analysis", "Comparison": "results.comparison", "Track": "results.track",
    "Inspection": "results.inspection", "Export": "results.export",
    "Moments": "moments.matrix", "Richness": "metrics.richness", "richness": "metrics.richness",
    "measure": "metrics.registry", "metric_list": "metrics.registry",
    "Preprocessing": "data.preprocessing.steps", "Selection": "data.selection", "Reading": "data.selection",
    "demo_file": "demo",
}  # fmt: skip

__all__ = [*sorted(_HOME), "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
