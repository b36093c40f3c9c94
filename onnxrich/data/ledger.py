"""What a pass over the data could not read."""

from __future__ import annotations

from onnxrich.errors import DataError, Notice, printable

# Names that a notice lists.
LISTED = 10


class Ledger:
    """Counts the items that are left out, and stops at one more than the user allows.

    Attributes:
        skipped: names of the items of this pass, each with the reason.
        doubts: what looks wrong with the rows of this pass.
        known: what was known of the data before any pass.
    """

    def __init__(self, max_errors: int = 0) -> None:
        self.skipped: list[tuple[str, str]] = []
        self.doubts: list[Notice] = []
        self.known: list[Notice] = []
        self._max_errors = max_errors

    def begin(self) -> None:
        """A pass begins at the first row."""
        self.skipped.clear()
        self.doubts.clear()

    def skip(self, name: str, reason: str) -> None:
        """Leave an item out.

        Raises:
            DataError: when that is one more than is allowed.
        """
        self.skipped.append((name, reason))
        if len(self.skipped) > self._max_errors:
            allowed = f" ({self._max_errors} such allowed)" if self._max_errors else ""
            raise DataError(
                f"{name}: {reason}{allowed}",
                "items that can be read",
                "Mend or remove it, or pass --max-errors N to leave out up to N.",
            )

    def notices(self) -> list[Notice]:
        """What a reader of the results should know: doubts, and what was left out."""
        if not self.skipped:
            return [*self.known, *self.doubts]
        names = ", ".join(printable(name) for name, _ in self.skipped[:LISTED])
        more = f" and {len(self.skipped) - LISTED} more" if len(self.skipped) > LISTED else ""
        message = f"{len(self.skipped)} items could not be read and were left out: {names}{more}."
        return [*self.known, *self.doubts, Notice("skipped_items", message)]
