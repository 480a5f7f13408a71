"""A report is one file that needs nothing else, for light and dark pages, and says what is so."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image

import pellucid as pl
from pellucid.errors import FileError, InputError
from pellucid.plot.color import COLORS, table
from pellucid.report import Section, panel, write
from tests.plot.made import completeness, image, made, ramp

HOSTILE = "<script>alert('x')</script><img src=http://evil.example/x onerror=alert(1)>"


VOID = {"meta", "img", "source", "br", "link", "hr", "input"}


class Page(HTMLParser):
    """The elements of a page: its tags with their attributes, and its text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text, self.open = [], "", []
        self.feed(html)
        assert self.open == [], "every element is closed"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.text += data

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def page(tmp_path, explanations, **options):
    return Page(write(tmp_path / "r.html", explanations, **options).read_text("utf-8"))


def png(uri):
    head, _, data = uri.partition(",")
    assert head == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


@pytest.fixture
def line():
    """Four kinds of map of one sample."""
    return [
        image(ramp(6, 6), completeness=completeness(1.9, 2.0)),
        image(ramp(6, 6), method=pl.GradCAM(), evaluations=pl.Evaluations(2, 1, 1), seconds=2.5),
        image(torch.zeros(6, 6)),
        image(torch.full((6, 6), torch.nan)),
    ]


def test_nothing_is_loaded_and_nothing_runs(tmp_path, line):
    shown = page(tmp_path, line)
    assert not {"script", "link", "iframe", "object", "embed"} & {tag for tag, _ in shown.tags}
    for _, attrs in shown.tags:
        assert not [name for name in attrs if name.startswith("on")]
        for name in {"src", "srcset", "href"} & attrs.keys():
            assert attrs[name].startswith("data:image/png;base64,")
    raw = (tmp_path / "r.html").read_text("utf-8")
    assert not re.search(r"https?://|url\(|@import|image/jpe?g", raw)


def test_names_from_outside_are_text_and_nothing_else(tmp_path, line):
    names = [HOSTILE, "b", "c"]
    shown = page(
        tmp_path,
        line,
        title=HOSTILE,
        about=HOSTILE,
        credits=HOSTILE,
        names=[HOSTILE],
        classes=names,
    )
    assert not shown.all("script")
    assert all(attrs["src"].startswith("data:") for attrs in shown.all("img"))
    assert shown.text.count(HOSTILE) >= 6


def test_notes_and_options_are_escaped_too():
    noted = image(ramp(2, 2), notes=(f"of `{HOSTILE}` and {HOSTILE}",))
    shown = Page(panel(noted))
    assert not shown.all("script")
    assert shown.text.count("alert('x')") == 2
    assert "code" in [tag for tag, _ in shown.tags]


def test_both_color_schemes_are_there(tmp_path, line):
    shown = page(tmp_path, line)
    sources, images = (
        shown.all("source"),
        [i for i in shown.all("img") if "map" in i.get("class", "")],
    )
    assert len(sources) == len(images) == len(line)
    for dark, light in zip(sources, images, strict=True):
        assert dark["media"] == "(prefers-color-scheme: dark)"
        assert dark["srcset"] != light["src"]
    style = (tmp_path / "r.html").read_text("utf-8").partition("</style>")[0]
    assert "prefers-color-scheme: dark" in style
    assert {"name": "color-scheme", "content": "light dark"} in shown.all("meta")


def test_a_map_is_stored_pixel_by_pixel(tmp_path):
    values = ramp(6, 6)
    shown = page(tmp_path, [image(values)], percentile=100)
    light = np.asarray(png(shown.all("img")[1]["src"]).convert("RGB"))
    dark = np.asarray(png(shown.all("source")[0]["srcset"]).convert("RGB"))
    assert light.shape == (6, 6, 3)
    for colors, theme in ((light, False), (dark, True)):
        assert (colors[0, 0] == table(theme)[0]).all()
        assert (colors[-1, -1] == table(theme)[COLORS - 1]).all()
    assert "crisp" in shown.all("img")[1]["class"]


def test_a_cam_is_enlarged_and_laid_on_the_picture(tmp_path):
    cam = image(ramp(6, 6), method=pl.GradCAM())
    shown = page(tmp_path, [cam], pictures=[np.zeros((48, 64, 3), np.uint8)])
    assert png(shown.all("img")[1]["src"]).size == (64, 48)
    assert "crisp" not in shown.all("img")[1]["class"]
    assert "on the picture" in shown.text


def test_the_top_predictions_are_right(tmp_path):
    logits = torch.tensor([[0.0, 3.0, 1.0, 2.0, -1.0, -9.0, 0.5]])
    shown = page(tmp_path, [image(ramp(2, 2), output=logits)], classes=list("abcdefg"))
    rows = re.findall(r"([a-g]) (\d)\s+(\d+\.\d)\s%", shown.text)
    chances = [f"{100 * p:.1f}" for p in logits.softmax(1)[0].sort(descending=True).values]
    assert [(name, number) for name, number, _ in rows] == [
        *(("b", "1"), ("d", "3"), ("c", "2"), ("g", "6"), ("a", "0"))
    ]
    assert [chance for _, _, chance in rows] == chances[:5]
    widths = [a["style"] for a in shown.all("span") if "width" in a.get("style", "")]
    assert widths == [f"width: {chance}%" for chance in chances[:5]]


def test_the_evidence_is_stated(tmp_path, line):
    text = page(tmp_path, line).text
    assert "values sum to 1.9 of 2; residual 0.1 (5\N{NO-BREAK SPACE}%)" in text
    assert "claims no completeness" in text
    assert "2 forward, 1 backward evaluations, 2.5 s" in text
    assert pl.Saliency.answers in text
    assert pl.GradCAM.weakness in text
    assert "GradCAM(layer=None, relu=True, upsample=True)" in text
    assert "99.5th percentile of |values|" in text
    assert "36 not finite (yellow, on dark pages white)" in text


def test_a_page_can_be_read_by_a_machine(tmp_path, line):
    """Alternative texts, a caption for each table, headings in order, a language."""
    shown = page(tmp_path, line)
    assert all(attrs.get("alt") for attrs in shown.all("img"))
    assert len(shown.all("caption")) == len(shown.all("table")) == 1
    assert shown.all("html") == [{"lang": "en"}]
    levels = [int(tag[1]) for tag, _ in shown.tags if re.fullmatch(r"h\d", tag)]
    assert levels == [1, 2, *[3] * len(line)]


def test_one_section_for_each_sample(tmp_path):
    both = made(torch.stack([ramp(1, 3, 3), -ramp(1, 3, 3)]))
    shown = page(tmp_path, both, names=["first", "second"])
    assert len(shown.all("section")) == 2
    assert "first" in shown.text
    assert "second" in shown.text


def test_sections_by_hand(tmp_path):
    sections = [Section(explanations=[image(ramp(3, 3))], name=n) for n in ("cat", "dog")]
    assert len(page(tmp_path, sections).all("section")) == 2


def test_one_scale_for_a_section(tmp_path):
    weak, strong = image(ramp(3, 3)), image(10 * ramp(3, 3))
    shown = page(tmp_path, [weak, strong], scale="shared", percentile=100)
    assert shown.text.count("+10") == 2
    assert "All maps share one scale." in shown.text


@pytest.mark.parametrize("values", [ramp(1, 2, 9), ramp(1, 5)], ids=["signal", "table"])
def test_other_inputs_than_images(tmp_path, values):
    shown = page(tmp_path, [made(values)])
    assert png(shown.all("source")[0]["srcset"]).size[0] > 100
    assert "percentile of |values|" in shown.text


def test_what_cannot_be_reported(tmp_path):
    with pytest.raises(InputError, match="must be a list of explanations or of sections; got"):
        write(tmp_path / "r.html", [])
    with pytest.raises(InputError, match=r"must be of the same samples; got .*1, 2"):
        write(tmp_path / "r.html", [made(ramp(1, 3)), made(ramp(2, 3))])
    with pytest.raises(InputError, match="`names` must have one entry a sample, 2; got 1"):
        write(tmp_path / "r.html", made(ramp(2, 3)), names=["a"])
    assert list(tmp_path.iterdir()) == []


def test_the_place_is_checked_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr("pellucid.report.document._context", lambda *_: pytest.fail("worked"))
    with pytest.raises(FileError, match=r"folder of .* must exist"):
        write(tmp_path / "nowhere" / "r.html", [image(ramp(2, 2))])


def test_a_notebook_shows_the_first_samples():
    shown = Page(made(torch.stack([ramp(1, 3, 3)] * 6))._repr_html_())
    assert len(shown.all("article")) == 4
    assert "2 more samples are not shown." in shown.text
    assert not shown.all("script")
    assert "“class 0”" in shown.text
