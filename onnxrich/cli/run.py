"""`onnxrich run`: the twin of `onnxrich.run`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import click

from onnxrich.api.resume import resume_hint
from onnxrich.cli import output as shown
from onnxrich.cli.help import LongCommand
from onnxrich.cli.options import HeadNumber, directory_option, force_option, json_option, takes
from onnxrich.cli.progress import progress_line
from onnxrich.pipelines.options import RunOptions


class _TakesData(LongCommand):
    """A command whose data are an option; in Python they stand behind the model, and so people write them here too."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.allow_extra_args = True
        extra = super().parse_args(ctx, args)
        if extra and not ctx.resilient_parsing:
            ctx.fail(f"Got unexpected extra argument ({extra[0]}). Data are an option: --data {extra[0]}")
        return extra


@click.command(cls=_TakesData)
@click.argument("model", type=click.Path(path_type=Path))
@takes(RunOptions, own=["head"])
@click.option("--head", type=HeadNumber(), metavar="K|all", help="Which of several heads, or all, one analysis each.")
@directory_option("analysis.json, moments.npz, report.html, figure.png and figure.svg")
@force_option
@json_option
@click.option("--profile", is_flag=True, help="Print where the time went.")
def run(
    model: Path,
    options: dict[str, Any],
    head: int | Literal["all"] | None,
    output: Path | None,
    force: bool,
    as_json: bool,
    profile: bool,
) -> None:
    """Measure how rich the training dynamics of MODEL were.

    D_LR is 0 for the richest training (the features were rebuilt for the task) and 1 for the laziest (they were kept as
    initialised). It is no accuracy: a rich model can be right or wrong.

    \b
    Examples:
      onnxrich run model.onnx --data test.npz
      onnxrich run model.onnx --data images.npy --labels labels.npy -o report
      onnxrich run model.onnx --data photos --resize 256 --crop 224 --scale 1/255 --limit 5000 --shuffle
      onnxrich run model.onnx --data train.npz --eval-data test.npz -o report
      onnxrich run model.onnx --data test.npz --json | jq .metrics.d_lr
      onnxrich run model.onnx --data test.npz --features /fc1/Relu_output_0
      onnxrich run model.onnx --data large.npz --checkpoint large.checkpoint --profile
    """
    import onnxrich
    from onnxrich.report import files

    _check_pairs(options, all_heads=head == "all")
    shown.check_output(output, force=force)
    analyses = []
    for number in _head_numbers(model, options) if head == "all" else [head]:
        with _resumable(options["checkpoint"]), progress_line(model.name) as listen:
            analyses.append(onnxrich.run(model, head=number, progress=listen, **options))
    if output is not None:
        written = files.save(analyses, output, force=force)
    shown.show(analyses, as_json=as_json)
    if profile:
        for analysis in analyses:
            shown.show_profile(analysis)
    if output is not None:
        shown.list_written(written)


def _check_pairs(options: dict[str, Any], *, all_heads: bool) -> None:
    """Refuse options that do nothing without another one, and those of one head where all are meant."""
    given = [name for name in ("features", "outputs", "checkpoint") if all_heads and options[name] is not None]
    if given:
        raise click.UsageError(f"--{given[0]} is of one head: leave out --head all, or pass --head K.")
    for name, other in (("token", "layers"), ("eval_labels", "eval_data")):
        if options[name] is not None and options[other] is None:
            raise click.UsageError(f"--{name} is of --{other}: pass both, or none of them.".replace("_", "-"))


def _head_numbers(model: Path, options: dict[str, Any]) -> list[int | None]:
    """Numbers of all heads of a model; without any, None lets the run say why."""
    import onnxrich

    limits = {name: options[name] for name in ("isolate", "timeout", "stall_timeout", "max_memory")}
    candidates = onnxrich.inspect(model, verify=False, **limits).candidates
    return [candidate.number for candidate in candidates] or [None]


@contextlib.contextmanager
def _resumable(checkpoint: str | None) -> Iterator[None]:
    """Say what a checkpoint holds when the work inside is interrupted."""
    try:
        yield
    except KeyboardInterrupt as error:
        error.args = (resume_hint(checkpoint),)
        raise
