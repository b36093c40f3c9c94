"""HDF5: links out of the file are not followed."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from data.formats.files import X, in_hdf5
from zoo_text import blocks_of, read_all, refused, source_of, table_of, two_layers

from onnxrich.errors import DataError


def test_hdf5_links_are_not_followed(tmp_path: Path) -> None:
    """Links to other files, and datasets that keep their values there, are passed over or refused."""
    secret = in_hdf5(tmp_path)
    raw = tmp_path / "raw.bin"
    raw.write_bytes(X.tobytes())
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["x"] = h5py.ExternalLink(str(secret), "x")
        file["y"] = h5py.SoftLink("/x")
        file["z"] = X + 1
        file.create_group("loop")["again"] = file["/"]
    rows, _ = read_all(source_of(two_layers(), table_only(tmp_path / "link.h5")), 5)
    np.testing.assert_array_equal(rows["x"], X + 1)
    with h5py.File(tmp_path / "external.h5", "w") as file:
        file.create_dataset("x", X.shape, "f4", external=[(str(raw), 0, X.nbytes)])
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        layout = h5py.VirtualLayout(X.shape, "f4")
        layout[...] = h5py.VirtualSource(secret, "x", X.shape)
        file.create_virtual_dataset("x", layout)
    for name in ("external", "virtual"):
        with refused(
            DataError, f"{name}.h5: dataset 'x' keeps its values in other files; needed: values in the file its"
        ):
            source_of(two_layers(), tmp_path / f"{name}.h5")


def table_only(path: Path) -> dict[str, np.ndarray]:
    """The dataset `z` of a file, which must be all that it shows but for the copies behind the loop."""
    table = table_of(path)
    assert {name.rpartition("/")[2] for name in table.fields} == {"z"}
    return {"x": np.concatenate(list(blocks_of(table, "z", 5)))}


def test_rows_that_nobody_wrote(tmp_path: Path) -> None:
    """A notice names datasets of which values were never written; more of these than the file can hold are refused."""
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file.create_dataset("x", (46, 6), "f4", chunks=(23, 6))[:23] = X
    source = source_of(two_layers(), tmp_path / "d.h5")
    np.testing.assert_array_equal(read_all(source, 5)[0]["x"], np.concatenate([X, np.zeros_like(X)]))
    (notice,) = source.skipped.notices()
    assert notice.code == "parts_filled_in"
    assert notice.message.startswith("Parts of 'x' are not in d.h5, and are read as the value that fills them")
    with h5py.File(tmp_path / "huge.h5", "w") as file:
        file.create_dataset("x", (10**12, 6), "f4", chunks=(1000, 6))
    with refused(DataError, "huge.h5 has ", "and claims to unpack to 24,000,000,000,000; needed: at most 1,000 times"):
        table_of(tmp_path / "huge.h5")
