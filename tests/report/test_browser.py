"""The report in a real browser, opened from a file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from onnxrich.report import html
from onnxrich.report.kinds import Result
from onnxrich.results.analysis import Analysis
from onnxrich.results.comparison import Comparison
from onnxrich.results.differences import Similarity
from onnxrich.results.track import Track

BROWSER = Path(__file__).parent / "browser"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def programs() -> tuple[str, str]:
    """Paths of node and chromium. Where they lack the tests are skipped, but in CI they fail."""
    node, chromium = shutil.which("node"), shutil.which("chromium")
    lacks = [name for name, path in (("node", node), ("chromium", chromium)) if path is None]
    if not (BROWSER / "node_modules" / "playwright-core").is_dir():
        lacks.append("its packages (npm install --prefix tests/report/browser)")
    if node is None or chromium is None or lacks:
        leave = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        leave(f"the browser test lacks {', '.join(lacks)}")
    return node, chromium


def visit(programs: tuple[str, str], result: Result, folder: Path) -> dict[str, Any]:
    """What happened when the page of a result was opened and used."""
    node, chromium = programs
    page = folder / "report.html"
    page.write_text(html.render(result), encoding="utf-8")
    command = [node, str(BROWSER / "check.mjs"), chromium, str(page)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    assert seen["messages"] == [], "the console stays empty"
    assert set(seen["requests"]) == {page.as_uri()}, "the page asks for nothing but itself"
    assert seen["violations"] == [], "axe finds nothing, in light and dark, wide and narrow"
    assert seen["overflow"] is False, "a narrow window needs no sideways scrolling"
    return seen


def test_reading_follows_toggles_keyboard_and_mouse(
    programs: tuple[str, str], rich: Analysis, lazy: Analysis, tmp_path: Path
) -> None:
    """Toggles show the other curves, and the values at rank k are those of the analysis."""
    seen = visit(programs, [rich, lazy], tmp_path)
    steps = {
        "opened": ("cumulative", "span", 5),
        "individual": ("individual", "span", 5),
        "variance": ("individual", "variance", 5),
        "stepped": ("individual", "variance", 6),
        "hovered": ("individual", "variance", 1),
    }
    for step, (mode, form, k) in steps.items():
        assert seen[step]["k"] == str(k)
        looks = [line.split(maxsplit=3)[3] for line in seen[step]["lines"]]
        assert looks == [f"{mode} {form}"] * 4 + ["always"] * 2, step
        # The page shows four significant digits.
        assert [float(value) for value in seen[step]["values"]] == pytest.approx(
            [value for name in ("quality", "utilization") for value in values([rich, lazy], name, mode, form, k)]
            + [float(result.curves.intensity[k - 1]) for result in (rich, lazy)],
            rel=1e-3,
        )
    assert json.loads(seen["download"]) == rich.to_dict()


def values(results: list[Analysis], name: str, mode: str, form: str, k: int) -> list[float]:
    """The values of a curve at rank k, a model each."""
    curve = name if form == "span" else f"{name}_variance"
    arrays = [
        result.curves.individual(curve) if mode == "individual" else getattr(result.curves, curve) for result in results
    ]
    return [float(array[k - 1]) for array in arrays]


def test_hostile_names_run_nothing(programs: tuple[str, str], hostile: Analysis, tmp_path: Path) -> None:
    """Names with tags stay text: no image, no dialog, no error."""
    seen = visit(programs, [hostile], tmp_path)
    assert seen["images"] == 0
    assert json.loads(seen["download"]) == hostile.to_dict()


def test_page_without_labels_on_made_up_data(programs: tuple[str, str], synthetic: Analysis, tmp_path: Path) -> None:
    """The quality panel reads "-", and the page works all the same."""
    seen = visit(programs, [synthetic], tmp_path)
    assert [seen[step]["values"][0] for step in ("opened", "individual", "stepped")] == ["-"] * 3


def test_pages_of_comparisons_and_trainings(
    programs: tuple[str, str], tmp_path: Path, maker: Any, hostile: Analysis
) -> None:
    """They are as accessible as the page of one model, and names with tags stay text in them too."""
    compared = Comparison.of([maker("a.onnx", blocks=8), hostile], initial=0, cka={(0, 1): Similarity(0.5)})
    visit(programs, compared, tmp_path)
    results = [maker(f"m-{step}.onnx", rich=step > 5, blocks=8) for step in (1, 5, 200)]
    tracked = Track.of([1, 5, 200], results, s_init=[Similarity(1.0), None, Similarity(0.2)])
    seen = visit(programs, tracked, tmp_path)
    assert seen["images"] == 0
