"""The template of the page, with its style, its script and the policy that admits nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined

from onnxrich._utils.text import printable
from onnxrich.errors import Notice
from onnxrich.report import wording
from onnxrich.report.html import svg

_FRAME = {
    "width": svg.WIDTH, "height": svg.HEIGHT, "left": svg.LEFT, "right": svg.RIGHT, "top": svg.TOP, "bottom": svg.BOTTOM
}  # fmt: skip


def fill_template(variables: Mapping[str, Any]) -> str:
    """Fill the template with the variables of a result, from `html.analysis`, `html.comparison` or `html.track`."""
    script, style = _read("report.js"), _read("report.css")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_printable
    )
    page = environment.from_string(_read("template.html")).render(
        script=script,
        style=style,
        policy=_policy(script, style),
        frame=_FRAME,
        not_performance=wording.NOT_PERFORMANCE,
        **variables,
    )
    return page + "\n"


def embed(document: Mapping[str, Any]) -> str:
    """Format a document as JSON that can't end the script block that holds it, no matter what names it contains."""
    text = json.dumps(document, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def warnings(notices: Sequence[Notice]) -> list[dict[str, str]]:
    """Describe notices."""
    return [{"code": notice.code, "message": notice.message} for notice in notices]


def _printable(value: Any) -> Any:
    """Escape what an expression of the template gives, but for our own files and the parts that were filled before."""
    return printable(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _read(name: str) -> str:
    return resources.files("onnxrich.report.html").joinpath(name).read_text(encoding="utf-8").replace("\r\n", "\n")


def _policy(script: str, style: str) -> str:
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (script, style)]
    return (
        f"default-src 'none'; script-src 'sha256-{digests[0]}'; style-src 'sha256-{digests[1]}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
