"""`onnxrich run`: the twin of `onnxrich.run`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from onnxrich.api.resume import resume_hint
from onnxrich.cli import _common
from onnxrich.cli._data_options import data_options
from onnxrich.cli._sections import LongCommand
from onnxrich.cli.progress import progress_line


class HeadNumber(click.ParamType[int]):
    """The number of a head, or `all`, which becomes 0."""

    name = "head"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number of the head, 0 for all."""
        if value == "all":
            return 0
        if not str(value).isdigit() or int(value) < 1:
            self.fail(f"{value!r} is neither a number from 1 nor `all`", param, ctx)
        return int(value)


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
@data_options
@click.option("--eval-data", metavar="FILE", help="Other data to evaluate on, over the eigenfunctions of the first.")
@click.option("--eval-labels", metavar="KEY|FILE", help="Labels of these, as --labels.")
@_common.output_option
@_common.force_option
@_common.json_option
@_common.metrics_option
@click.option(
    "--layers", type=_common.Names(), metavar="all|NAMES",
    help="Measure hidden layers too, all or those named, with commas; `onnxrich inspect --layers` lists them.",
)  # fmt: skip
@click.option("--token", type=int, metavar="N", help="Take this token of such layers, instead of the mean of all.")
@click.option("--features", metavar="NAME", help="Take this tensor as the penultimate layer.")
@click.option("--outputs", metavar="NAME", help="Take this tensor as the outputs of the last linear layer.")
@click.option("--head", type=HeadNumber(), metavar="K|all", help="Which of several heads, or all, one analysis each.")
@click.option(
    "--mask", metavar="NAME", help="Input that is 0 for tokens to leave out; `attention_mask` is taken by itself."
)
@_common.device_options
@click.option(
    "--batch-size", type=click.IntRange(min=1), metavar="N", help="Rows a run; by default as the rows' size suggests."
)
@click.option(
    "--blocks", type=click.IntRange(min=0), metavar="N",
    help="Blocks of rows that error bars are computed from, at least 4; 16 by default, 0 or 1 for none.",
)  # fmt: skip
@click.option(
    "--checkpoint", type=click.Path(dir_okay=False), metavar="FILE",
    help="Keep the sums and the position there, about every 5 s, and go on from it when it is there.",
)  # fmt: skip
@click.option("--profile", is_flag=True, help="Print where the time went.")
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="Of --shuffle, and of rows made up without data.",
)
@_common.worker_options
def run(
    model: Path,
    output: Path | None,
    force: bool,
    as_json: bool,
    limits: dict[str, Any],
    head: int | None,
    profile: bool,
    **options: Any,
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

    if head == 0:
        _check_all_heads(options)
    for name, other in (("token", "layers"), ("eval_labels", "eval_data")):
        if options[name] is not None and options[other] is None:
            raise click.UsageError(f"--{name} is of --{other}: pass both, or none of them.".replace("_", "-"))
    _common.check_output(output, force=force)
    heads: list[int | None] = [head]
    if head == 0:
        found = onnxrich.inspect(model, verify=False, **limits)
        heads = [entry.number for entry in found.candidates] or [None]
    options |= limits
    analyses = []
    for number in heads:
        with _kept(options["checkpoint"]), progress_line(model.name) as listen:
            analyses.append(onnxrich.run(model, head=number, progress=listen, **options))
    if output is not None:
        written = files.save(analyses, output, force=force)
    _common.show(analyses, as_json=as_json)
    if profile:
        for analysis in analyses:
            _common.show_profile(analysis)
    if output is not None:
        _common.wrote(written)


@contextlib.contextmanager
def _kept(checkpoint: str | None) -> Iterator[None]:
    """Say, where somebody ends the work inside, what is not lost."""
    try:
        yield
    except KeyboardInterrupt as error:
        error.args = (resume_hint(checkpoint),)
        raise


def _check_all_heads(options: dict[str, Any]) -> None:
    """Refuse what can't be meant for several heads at once."""
    given = [name for name in ("features", "outputs", "checkpoint") if options[name] is not None]
    if given:
        raise click.UsageError(f"--{given[0]} is of one head: leave out --head all, or pass --head K.")
