"""The HTML page, as text; `test_browser.py` opens it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from onnxrich.errors import Notice
from onnxrich.metrics.registry import MEANINGS, METRICS
from onnxrich.report import html
from onnxrich.report.verdict import verdict
from onnxrich.results.analysis import Analysis


class Page(HTMLParser):
    """Tags with their attributes, visible text, and the contents of script and style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.raw: list[tuple[dict[str, str | None], str]] = []
        self.text = ""
        self._raw: dict[str, str | None] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._raw = {"tag": tag, **dict(attrs)} if tag in ("script", "style") else None

    def handle_endtag(self, tag: str) -> None:
        self._raw = None

    def handle_data(self, data: str) -> None:
        if self._raw is None:
            self.text += data
        else:
            self.raw.append((self._raw, data))

    @property
    def documents(self) -> list[dict[str, object]]:
        return [json.loads(data) for kind, data in self.raw if kind.get("type") == "application/json"]


def test_document_is_embedded_exactly(rich: Analysis, lazy: Analysis, hostile: Analysis) -> None:
    """The page carries each model's JSON document, equal to `to_dict` to the last bit."""
    for results in ([lazy], [rich, lazy, hostile]):
        assert Page(html.render(results)).documents == [result.to_dict() for result in results]


def test_names_are_text_and_nothing_else(hostile: Analysis, lazy: Analysis) -> None:
    """A hostile name adds no tag, no attribute and no script, and control characters are escaped."""
    page, plain = (Page(html.render([result])) for result in (hostile, lazy))
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]
    assert [sorted(attributes) for _, attributes in page.tags] == [sorted(attributes) for _, attributes in plain.tags]
    assert "</script><img src=x onerror=alert(1)>[red]x[/red]\\x1b[31m\\u202e$x_1$\\udcff.onnx" in page.text
    text = html.render([hostile])
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e\udcff]", text)
    text.encode("utf-8")


def test_every_field_is_escaped(lazy: Analysis, maker: Callable[..., Analysis]) -> None:
    """No text of the record, and no notice, is taken for markup."""
    bad = "<b onclick='x'>\"&"
    record = lazy.record
    record = replace(
        record,
        model=replace(record.model, path=bad, sha256=bad, producer=bad),
        head=replace(record.head, features=bad, outputs=bad, kind=bad, rows=bad),
        data=replace(record.data, source=bad),
        runtime=replace(record.runtime, device=bad, providers=(bad,), onnxruntime=bad),
    )
    page = html.render([replace(lazy, record=record, notices=(Notice(bad, bad),)), lazy])
    assert "<b onclick" not in page
    assert not any("onclick" in attributes for _, attributes in Page(page).tags)


def test_policy_admits_our_own_script_and_style_alone(lazy: Analysis) -> None:
    """The content security policy names the digests of the one script and the one style, and nothing else runs."""
    page = Page(html.render([lazy]))
    policy = next(a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    for tag in ("script", "style"):
        (content,) = [data for kind, data in page.raw if kind["tag"] == tag and "type" not in kind]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    attributes = [name for _, attributes in page.tags for name in attributes]
    assert not [name for name in attributes if name == "style" or name.startswith("on")]


def test_page_needs_no_other_file(rich: Analysis, lazy: Analysis) -> None:
    """Nothing in the page points outside it."""
    page = Page(html.render([rich, lazy]))
    links = [a[name] for _, a in page.tags for name in ("src", "href", "action", "data") if name in a]
    assert links == ["data:,"]
    assert "url(http" not in html.render([rich])


def test_same_results_give_the_same_page(rich: Analysis, lazy: Analysis) -> None:
    """No date and no random identifier is in the page."""
    assert html.render([rich, lazy]) == html.render([rich, lazy])


def test_page_says_number_meaning_and_provenance(rich: Analysis, lazy: Analysis) -> None:
    """Headline, metrics with meanings, head, data, runtime, digest and choices are all there."""
    text = re.sub(r"\s+", " ", Page(html.render([rich, lazy])).text)
    for result in (rich, lazy):
        assert f"{result.metrics['d_lr']:.4f}" in text
    listed = [name for name in rich.metrics if METRICS[name].family != "weights"]
    for words in (
        *listed,
        *(MEANINGS[name] for name in listed),
        verdict(rich).place,
        "verified by running",
        "ab" * 32,
        "centring",
    ):
        assert words in text
    assert "says nothing about accuracy" in text


def test_values_at_the_first_rank_need_no_script(lazy: Analysis) -> None:
    """Without JavaScript the panels are read at k = C, the number of outputs."""
    curves = lazy.curves
    assert curves.quality is not None
    shown = re.findall(r"<output>([^<]+)</output>", html.render([lazy]))
    assert shown == [f"{curve[4]:.4g}" for curve in (curves.quality, curves.utilization, curves.intensity)]


def test_intervals_and_convergence_are_shown(certain: Analysis, lazy: Analysis) -> None:
    """The page says ± and whether rows suffice, and draws D_LR against rows with its interval; else it does not."""
    page = html.render([certain, lazy])
    assert certain.uncertainty is not None
    half = certain.uncertainty.intervals["d_lr"].half_width
    assert f'<span class="spread"> ± {half:.2g}</span>' in page
    assert certain.uncertainty.summary in page
    assert len(re.findall(r'<path class="line s0 d0 (plain|debiased)" d="M[^"]+l', page)) == 2
    assert len(re.findall(r'<path class="line s0 d0 interval"', page)) == 1
    assert "Are there enough rows?" not in html.render([lazy])


def test_without_labels_the_panel_says_so(unlabelled: Analysis) -> None:
    """The quality panel is not left blank without a word."""
    page = html.render([unlabelled])
    assert 'text-anchor="middle">no labels given</text>' in page
    assert "It needs class labels." in page


def test_synthetic_data_are_loud(synthetic: Analysis, lazy: Analysis) -> None:
    """Made-up inputs have a banner before everything else, and a mark in every panel."""
    page = html.render([synthetic])
    assert page.index('<p class="loud">SYNTHETIC DATA') < page.index("<main>")
    assert page.count(">SYNTHETIC DATA</text>") == 3
    assert "says nothing about how the model was trained" in page
    assert "SYNTHETIC" not in html.render([lazy])


def test_null_is_a_dash_with_its_reason(undefined: Analysis) -> None:
    """An undefined D_LR has no marker on the scale, no NaN in any path, and its reason in words."""
    page = html.render([undefined])
    assert not re.search(r'<circle class="s0 d0" cx', page)
    assert "The features are the same for every row" in page
    assert not re.search(r"\bnan\b", page, re.IGNORECASE)
    assert "inf" not in " ".join(re.findall(r' d="[^"]*"', page))


def test_single_points_are_drawn(single: Analysis) -> None:
    """A curve of one point is a dot: a path of no length with round ends."""
    assert re.search(r'<path class="line s0 d0 cumulative span" d="M[\d. ]+h0"/>', html.render([single]))


@pytest.mark.parametrize("size", [1, 7])
def test_any_number_of_models(maker: Callable[..., Analysis], size: int) -> None:
    """Each model has its card, its curves and its document; looks repeat only with other dashes."""
    page = html.render([maker(f"{i}.onnx") for i in range(size)])
    assert len(Page(page).documents) == size
    assert len(set(re.findall(r'<path class="line (s\d d\d) always"', page))) == size


def test_curves_that_coincide_show_through_each_other(lazy: Analysis) -> None:
    """Each of six models has dashes of its own, of one period, shorter than those that they are drawn on."""
    page = html.render([lazy] * 6)
    looks = re.findall(r'<path class="line (s\d d\d) always"', page)
    assert looks == [f"s{index} d{index}" for index in range(6)]
    dashes = [tuple(map(float, pair)) for pair in re.findall(r"\.d[1-5] \{ stroke-dasharray: (\d+) (\d+); \}", page)]
    assert [on + off for on, off in dashes] == [24] * 5
    assert all(after[0] < before[0] for before, after in pairwise([(24, 0), *dashes]))


def test_layers_have_panels_and_a_table(deep: Analysis, lazy: Analysis) -> None:
    """The page draws D_LR and the effective rank against the layer, with intervals, and lists all layers as text."""
    page = html.render([lazy, deep])
    assert "Richness by depth" in page
    assert "Effective rank by depth" in page
    assert page.count('<tr><td class="value">') == 5
    assert "<img src=x>" not in page.split("<script")[0]
    assert "&lt;/script&gt;" in page
    assert "Layer by layer" not in html.render([lazy])
