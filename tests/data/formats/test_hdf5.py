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
