"""Help of the long commands: options under headings, the examples last, where they are seen without scrolling."""

from __future__ import annotations

import inspect
from typing import Any

import click

# In the order in which they are shown; an option that stands nowhere here would be hidden.
SECTIONS = {
    "Model and head": ("--init", "--features", "--outputs", "--head", "--mask"),
    "Data": (
        "--data", "--labels", "--ignore-label", "--eval-data", "--eval-labels", "--limit", "--shuffle", "--seed",
        "--balanced", "--max-errors", "--text", "--tokenizer", "--batch-axis",
    ),
    "Preprocessing": ("--resize", "--resample", "--crop", "--color", "--scale", "--mean", "--std", "--layout"),
    "What is measured": ("--metrics", "--layers", "--token", "--blocks"),
    "How it runs": (
        "--device", "--provider", "--batch-size", "--checkpoint", "--timeout", "--stall-timeout", "--max-memory",
        "--in-process",
    ),
    "Output": ("--output", "--force", "--json", "--csv", "--profile", "--help"),
}  # fmt: skip
EXAMPLES = "\b\nExamples:\n"
# Terms up to this width have their help beside them.
WIDEST = 30


class LongCommand(click.Command):
    """A command with so many options that they need headings."""

    def __init__(self, *, help: str | None = None, **options: Any) -> None:
        about, mark, examples = inspect.cleandoc(help or "").partition(EXAMPLES)
        super().__init__(help=about, epilog=mark + examples, **options)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, all sections in the same two columns."""
        shown = {param.opts[-1]: param.get_help_record(ctx) for param in self.get_params(ctx)}
        records = {name: record for name, record in shown.items() if record is not None}
        width = max(len(term) for term, _ in records.values() if len(term) <= WIDEST)
        for heading, names in SECTIONS.items():
            rows = [(f"{records[name][0]:{width}}", records[name][1]) for name in names if name in records]
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows, col_max=width)
