"""What every result does with itself: JSON text, a figure, a report in a folder, and a page in a notebook."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from onnxrich.results.serialize import to_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from onnxrich.report.kinds import Result


class Renderable:
    """A result that formats of `onnxrich.report` render: an analysis, a comparison or a track."""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON document: dictionaries, lists, text, numbers and None."""
        raise NotImplementedError

    def to_json(self, *, indent: int | None = 2) -> str:
        """Return `to_dict` as JSON text that ends with a newline."""
        return to_text(self.to_dict(), indent=indent)

    def figure(self) -> Figure:
        """Draw quality, utilization and intensity against rank, and metrics of a track against the step.

        Returns:
            A matplotlib figure; the models of a comparison share its panels.
        """
        from onnxrich.report import figure

        return figure.draw(self._kind)

    def save(self, directory: str | os.PathLike[str], *, force: bool = False) -> tuple[Path, ...]:
        """Write `report.html`, `figure.png`, `figure.svg`, and the numbers.

        The numbers of an analysis are `analysis.json`, `moments.npz`, and `evaluation.npz` where there are data to
        evaluate on; a comparison has `comparison.json` and a folder with these files for each model; a track has
        `track.json` and `track.csv`.

        Args:
            directory: folder to write to; it is made when it does not exist.
            force: write into a folder that holds files: an earlier report is replaced, other files stay.

        Returns:
            The paths that were written.

        Raises:
            OutputError: when the folder is not empty, or can't be written; no partial file stays.
        """
        from onnxrich.report import files

        return files.save(self._kind, directory, force=force)

    def _repr_html_(self) -> str:
        from onnxrich.report import html

        return html.render_frame(self._kind)

    @property
    def _kind(self) -> Result:
        return cast("Result", self)
