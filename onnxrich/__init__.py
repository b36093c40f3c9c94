"""Measure how a neural network learned, rich or lazy, from nothing but its exported ONNX file.

`run` takes a model and data, `richness` takes arrays. Nothing heavy is imported before it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnxrich.analysis import Analysis as Analysis
    from onnxrich.analysis import run as run
    from onnxrich.comparison import Comparison as Comparison
    from onnxrich.comparison import compare as compare
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
    from onnxrich.exporting import Export as Export
    from onnxrich.exporting import export as export
    from onnxrich.inspection import Inspection as Inspection
    from onnxrich.inspection import inspect as inspect
    from onnxrich.loggers import to_writer as to_writer
    from onnxrich.metrics import measure as measure
    from onnxrich.metrics import metric_list as metric_list
    from onnxrich.metrics.richness import Richness as Richness
    from onnxrich.metrics.richness import richness as richness
    from onnxrich.moments import Moments as Moments
    from onnxrich.patching import expose as expose
    from onnxrich.patching import instrument as instrument
    from onnxrich.preprocessing import Preprocessing as Preprocessing
    from onnxrich.progress import Progress as Progress
    from onnxrich.recording import Recorder as Recorder
    from onnxrich.sources.reading import Reading as Reading
    from onnxrich.tracking import Track as Track
    from onnxrich.tracking import track as track

__version__ = "0.1.0"

_HOME = {
    "Analysis": "analysis", "run": "analysis", "Comparison": "comparison", "compare": "comparison",
    "Inspection": "inspection", "inspect": "inspection",
    "expose": "patching", "instrument": "patching", "measure": "metrics", "metric_list": "metrics", "demo_file": "demo",
    "AdapterError": "errors",
    "DataError": "errors", "DeviceError": "errors", "HeadError": "errors", "ModelError": "errors", "Notice": "errors",
    "OnnxrichError": "errors", "OutputError": "errors", "WorkerError": "errors", "Moments": "moments",
    "Progress": "progress", "Richness": "metrics.richness", "richness": "metrics.richness",
    "Track": "tracking", "track": "tracking",
    "Export": "exporting", "export": "exporting", "Recorder": "recording", "to_writer": "loggers",
    "Preprocessing": "preprocessing", "Reading": "sources.reading",
}  # fmt: skip

__all__ = [*sorted(_HOME), "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
