"""Data sets of Hugging Face as `save_to_disk` writes them: Arrow files, and JSON that describes their columns."""

from __future__ import annotations

from onnxrich.data.context import OpenContext
from onnxrich.data.formats.arrow import read_ipc
from onnxrich.data.formats.columns import ArrowData, classes_of_features, pyarrow
from onnxrich.data.formats.registry import DATASET_INFO, DATASET_SPLITS
from onnxrich.data.paths import DataPath
from onnxrich.data.table import Table
from onnxrich.errors import DataError

STATE = "state.json"
LARGEST_JSON = 2**26


def open_dataset(context: OpenContext) -> Table:
    """Open a data set on disk: its Arrow files, mapped into memory, and the names of its classes.

    Raises:
        DataError: when it is damaged, or a folder of several splits.
    """
    path = context.path
    if path.child(DATASET_SPLITS).is_file():
        splits = path.child(DATASET_SPLITS).read_json(LARGEST_JSON, "Save the data set again.").get("splits")
        names = ", ".join(map(str, splits)) if isinstance(splits, list) else "none"
        raise DataError(f"{path.name} holds several splits ({names})", "one of them", f"Pass hf:{path.url}/SPLIT.")
    tables = [read_ipc(path.child(name)) for name in _file_names(path)]
    if any(not table.schema.equals(tables[0].schema) for table in tables):
        raise DataError(f"{path.name} holds files with different columns", "the same columns", "Save it again.")
    info = path.child(DATASET_INFO)
    features = info.read_json(LARGEST_JSON, "Save the data set again.").get("features") if info.is_file() else {}
    classes = classes_of_features(features) if isinstance(features, dict) else {}
    return ArrowData.from_table(path.name, pyarrow().concat_tables(tables), classes=classes).to_table(context)


def _file_names(path: DataPath) -> list[str]:
    """Read the names of a data set's Arrow files; files outside its folder are refused."""
    files = path.child(STATE).read_json(LARGEST_JSON, "Save the data set again.").get("_data_files")
    entries = files if isinstance(files, list) else []
    names = [str(entry.get("filename")) for entry in entries if isinstance(entry, dict)]
    if not names or not all(map(_is_plain, names)):
        raise DataError(f"{path.name}/{STATE} names {names!r}", "Arrow files of the same folder", "Save it again.")
    return names


def _is_plain(name: str) -> bool:
    """Tell whether a name is that of a file in the folder itself."""
    return "/" not in name and "\\" not in name and "\0" not in name and name not in ("", ".", "..")
