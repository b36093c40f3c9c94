"""Measure how a neural network learned, rich or lazy, from nothing but its exported ONNX file.

`run` takes a model and data, `richness` takes arrays. Nothing heavy is imported before it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnxrich.api.compare import Comparison as Comparison
    from onnxrich.api.compare import compare as compare
    from onnxrich.api.loggers import to_writer as to_writer
    from onnxrich.api.recorder import Recorder as Recorder
    from onnxrich.api.run import Analysis as Analysis
    from onnxrich.api.run import run as run
    from onnxrich.api.track import Track as Track
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
    from onnxrich.frameworks.export import Export as Export
    from onnxrich.frameworks.export import export as export
    from onnxrich.metrics.registry import measure as measure
    from onnxrich.metrics.registry import metric_list as metric_list
    from onnxrich.metrics.richness import Richness as Richness
    from onnxrich.metrics.richness import richness as richness
    from onnxrich.moments.matrix import Moments as Moments
    from onnxrich.pipelines.inspect import Inspection as Inspection
    from onnxrich.pipelines.inspect import inspect as inspect
    from onnxrich.pipelines.patch import expose as expose
    from onnxrich.pipelines.patch import instrument as instrument
    from onnxrich.progress import Progress as Progress

__version__ = "0.1.0"

_HOME = {
    "Analysis": "api.run", "run": "api.run", "Comparison": "api.compare", "compare": "api.compare",
    "Inspection": "pipelines.inspect", "inspect": "pipelines.inspect",
    "expose": "pipelines.patch", "instrument": "pipelines.patch",
    "measure": "metrics.registry", "metric_list": "metrics.registry", "demo_file": "demo",
    "AdapterError": "errors",
    "DataError": "errors", "DeviceError": "errors", "HeadError": "errors", "ModelError": "errors", "Notice": "errors",
    "OnnxrichError": "errors", "OutputError": "errors", "WorkerError": "errors", "Moments": "moments.matrix",
    "Progress": "progress", "Richness": "metrics.richness", "richness": "metrics.richness",
    "Track": "api.track", "track": "api.track",
    "Export": "frameworks.export", "export": "frameworks.export",
    "Recorder": "api.recorder", "to_writer": "api.loggers",
    "Preprocessing": "data.preprocessing.steps", "Reading": "data.selection", "Selection": "data.selection",
}  # fmt: skip

__all__ = [*sorted(_HOME), "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
