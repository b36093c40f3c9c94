"""Data sets of Hugging Face as `save_to_disk` leaves them: Arrow files, and JSON that says what their columns mean."""

from __future__ import annotations

import json
from typing import Any

from onnxrich.data.context import OpenContext
from onnxrich.data.formats.arrow import read_ipc
from onnxrich.data.formats.columns import arrow, classes_in, of_memory, table_of
from onnxrich.data.paths import DataPath
from onnxrich.data.table import Table
from onnxrich.errors import DataError

INFO, STATE, SPLITS = "dataset_info.json", "state.json", "dataset_dict.json"
LARGEST_JSON = 2**26


def open_hub(request: OpenContext) -> Table:
    """A data set on disk: its Arrow files, mapped into memory, with the names of its classes.

    Raises:
        DataError: when it is damaged, or a folder of several splits.
    """
    place = request.place
    if place.child(SPLITS).is_file():
        splits = _json(place.child(SPLITS)).get("splits")
        told = ", ".join(map(str, splits)) if isinstance(splits, list) else "none"
        raise DataError(f"{place.name} holds several splits ({told})", "one of them", f"Pass hf:{place.url}/SPLIT.")
    files = _json(place.child(STATE)).get("_data_files")
    entries = files if isinstance(files, list) else []
    named = [str(entry.get("filename")) for entry in entries if isinstance(entry, dict)]
    if not named or not all(map(_plain, named)):
        raise DataError(f"{place.name}/{STATE} names {named!r}", "Arrow files of the same folder", "Save it again.")
    tables = [read_ipc(place.child(name)) for name in named]
    if any(not table.schema.equals(tables[0].schema) for table in tables):
        raise DataError(f"{place.name} holds files with different columns", "files alike", "Save it again.")
    features = _json(place.child(INFO)).get("features") if place.child(INFO).is_file() else {}
    classes = classes_in(features) if isinstance(features, dict) else {}
    return table_of(of_memory(place.name, arrow().concat_tables(tables), classes=classes), request)


def _plain(name: str) -> bool:
    """Whether a name is that of a file in the folder itself: nothing outside is read because a file says so."""
    return "/" not in name and "\\" not in name and "\0" not in name and name not in ("", ".", "..")


def _json(place: DataPath) -> dict[str, Any]:
    with place.open("a readable JSON file") as file:
        content = file.read(LARGEST_JSON)
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place.url} is no JSON", "a whole JSON file", "Save the data set again.") from error
    return found if isinstance(found, dict) else {}
