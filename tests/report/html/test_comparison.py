"""The page of a comparison."""

from __future__ import annotations

from onnxrich.report import html, wording
from onnxrich.results.comparison import Comparison


def test_page_holds_the_same(comparison: Comparison) -> None:
    """Differences and CKA are in the page, escaped, and its document is the comparison without the analyses."""
    page = html.render(comparison)
    assert wording.difference(comparison.differences[1]["d_lr"]) in page
    assert "0.7100 ± 0.02 (0.7500)" in page and "S<sub>init</sub>" in page and wording.DIFFERENCES in page
    assert "Rows &lt;differ&gt;." in page and "<img src=x" not in page
    assert page == html.render(comparison)
    assert "built-in method" not in page
