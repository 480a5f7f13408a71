"""A report is one file that needs nothing else, for light and dark pages, and says what is so."""

import base64
import dataclasses
import hashlib
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
        self.tags, self.text, self.script, self.open = [], "", "", []
        self.feed(html)
        assert self.open == [], "every element is closed"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] == ["script"]:
            self.script += data
        elif self.open[-1:] != ["style"]:
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


def test_nothing_is_loaded_and_one_script_runs(tmp_path, line):
    shown = page(tmp_path, line)
    assert not {"link", "iframe", "object", "embed"} & {tag for tag, _ in shown.tags}
    for _, attrs in shown.tags:
        assert not [name for name in attrs if name.startswith("on")]
        for name in {"src", "srcset"} & attrs.keys():
            assert attrs[name].startswith("data:image/png;base64,")
        assert attrs.get("href", "#").startswith("#")
    raw = (tmp_path / "r.html").read_text("utf-8")
    assert not re.search(r"https?://|url\(|@import|image/jpe?g", raw)


def test_the_policy_allows_this_script_and_no_network(tmp_path, line):
    shown = page(tmp_path, line)
    (policy,) = [a["content"] for a in shown.all("meta") if a.get("http-equiv")]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    digest = base64.b64encode(hashlib.sha256(shown.script.encode()).digest()).decode()
    assert rules.pop("script-src") == f"'sha256-{digest}'"
    assert rules.pop("style-src") == "'unsafe-inline'"
    assert rules.pop("img-src") == "data:"
    assert rules == dict.fromkeys(("default-src", "base-uri", "form-action"), "'none'")
    assert len(shown.all("script")) == 1


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
    assert len(shown.all("script")) == 1
    assert "evil" not in shown.script
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
        assert dark["media"] == "screen and (prefers-color-scheme: dark)"
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
    assert repr(pl.GradCAM()) in text
    assert "99.5th percentile of |values|" in text
    assert "36 not finite (yellow, on dark pages white)" in text


def test_a_page_can_be_read_by_a_machine(tmp_path, line):
    """Alternative texts, a caption for each table, headings in order, a language."""
    shown = page(tmp_path, line)
    assert all(attrs.get("alt") for attrs in shown.all("img"))
    assert len(shown.all("caption")) == len(shown.all("table")) == 1
    assert shown.all("html") == [{"lang": "en"}]
    levels = [int(tag[1]) for tag, _ in shown.tags if re.fullmatch(r"h\d", tag)]
    assert levels == [1, 2, *[3] * len(line), 2], "the last is that of the map that is opened large"


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
    assert scales(shown.tags, "now") == [False, False], "what is written without a script"
    now = re.findall(r'data-scale="now">.*?\+([\d.]+)<', (tmp_path / "r.html").read_text("utf-8"))
    assert now == ["10", "10"]
    limits = [(a["data-own"], a["data-shared"]) for a in shown.all("article")]
    assert limits == [("1.0", "10.0"), ("10.0", "10.0")]
    assert "maximum of |values|, shared" in shown.text


def scales(tags, which):
    """Whether each scale of one sort is hidden."""
    return ["hidden" in attrs for _, attrs in tags if attrs.get("data-scale") == which]


def test_a_scale_by_hand_is_not_switched(tmp_path):
    shown = page(tmp_path, [image(ramp(3, 3)), image(10 * ramp(3, 3))], scale=4.0)
    assert {(a["data-own"], a["data-shared"]) for a in shown.all("article")} == {("4.0", "4.0")}
    assert "scale" not in [a.get("name") for a in shown.all("select")]


def test_a_signal_has_a_lane_for_each_channel(tmp_path):
    signal = made(ramp(1, 2, 9), inputs=torch.rand(1, 2, 9))
    shown = page(tmp_path, [signal], features=["left", "right"], rate=4.0)
    assert png(shown.all("source")[0]["srcset"]).size == (9, 2)
    lines = [attrs["d"] for attrs in shown.all("path") if "class" not in attrs]
    assert [line.count("L") for line in lines] == [8, 8]
    for words in ("left", "right", "seconds", "percentile of |values|"):
        assert words in shown.text
    flat = page(tmp_path, [made(ramp(1, 9))], rate=4.0)
    assert png(flat.all("source")[0]["srcset"]).size == (9, 1), "with a rate it is a signal"


def test_a_table_has_bars(tmp_path):
    shown = page(tmp_path, [made([[0.5, -2.0, 0.0]])], features=["age", "income", "height"])
    bars = [attrs for attrs in shown.all("span") if "mark" in attrs.get("class", "")]
    assert [a["data-value"] for a in bars] == ["-2.0", "0.5", "0.0"]
    assert [a["style"].rpartition("width: ")[2] for a in bars] == ["50.00%", "12.50%", "0.00%"]
    words = r"income = 0.5\s+\N{MINUS SIGN}2\s+age = 0\s+\+0.5\s+height = 1\s+0"
    assert re.search(words, shown.text)


def text_of(*values, tokens=None, **fields):
    ids = torch.arange(len(values))[None]
    return made(torch.tensor([values]), inputs=ids, **fields)


def test_a_text_is_read_with_its_values(tmp_path):
    tokens = ["[CLS]", "un", "##seen", "film", "[PAD]", "[PAD]"]
    shown = page(tmp_path, [text_of(0.1, 1.0, -1.0, torch.nan, 0.0, 0.0)], tokens=[tokens])
    marks = [attrs for attrs in shown.all("span") if "token" in attrs.get("class", "")]
    assert [a["data-value"][:4] for a in marks] == ["0.10", "1.0", "-1.0", "", "0.0"]
    assert marks[1]["title"] == "un: +1"
    assert "un +1seen \N{MINUS SIGN}1 film not finite" in shown.text, "pieces of a word are joined"
    assert "\N{MULTIPLICATION SIGN} 2" in shown.text, "padding is one mark"
    light, dark = table(False)[COLORS - 1], table(True)[COLORS - 1]
    for name, color in (("--l", light), ("--d", dark)):
        assert f"{name}:#{bytes(color).hex()}" in marks[1]["style"]
    assert "255" not in page(tmp_path, [text_of(1.0, 2.0)]).text


def test_tokens_are_counted(tmp_path):
    with pytest.raises(InputError, match="`tokens` must name all 2 tokens; got 1"):
        page(tmp_path, [text_of(1.0, 2.0)], tokens=[["one"]])
    with pytest.raises(InputError, match="`tokens` must have one entry a sample, 1; got 2"):
        page(tmp_path, [text_of(1.0, 2.0)], tokens=[["a", "b"], ["c"]])


def of_class(explanation, number):
    return dataclasses.replace(explanation, target=pl.Target.of(number))


def test_several_targets_are_groups(tmp_path):
    maps = [of_class(image(ramp(3, 3)), k) for k in (1, 0)]
    maps += [of_class(image(ramp(3, 3), method=pl.GradCAM()), k) for k in (1, 0)]
    shown = page(tmp_path, maps, classes=["cat", "dog"])
    choices = [a for a in shown.all("input") if a["type"] == "radio"]
    assert [(a["value"], "checked" in a) for a in choices] == [("1", True), ("2", False)]
    assert [a["id"] for a in shown.all("article")] == [
        *("1.1.saliency", "1.1.gradcam", "1.2.saliency", "1.2.gradcam")
    ]
    assert shown.text.count("The maps below explain the score of “dog”") == 1
    assert not [a for _, a in shown.tags if a.get("class") == "group" and "hidden" in a]


def test_the_same_method_twice_is_numbered(tmp_path):
    shown = page(tmp_path, [image(ramp(3, 3)), image(-ramp(3, 3))])
    assert [a["data-method"] for a in shown.all("article")] == ["saliency", "saliency-2"]
    assert "Saliency 2" in shown.text


def test_one_method_with_two_options_is_told_apart(tmp_path):
    maps = [image(ramp(3, 3), method=pl.Saliency(reduce=how)) for how in ("signed", "squared")]
    shown = page(tmp_path, maps)
    assert "Saliency, reduce='squared'" in shown.text
    keys = [a["data-method"] for a in shown.all("article")]
    assert keys == ["saliency-reduce-signed", "saliency-reduce-squared"]


def test_a_section_needs_explanations():
    for given in ([], image(ramp(2, 2)), ["saliency"], 3):
        with pytest.raises(InputError, match="must have at least one explanation, in a list"):
            Section(explanations=given)


def test_a_path_must_be_one():
    with pytest.raises(InputError, match="`path` must be a path; got 3"):
        write(3, image(ramp(2, 2)))


def test_tokens_are_seen_and_stand_alone(tmp_path):
    shown = page(tmp_path, [text_of(1.0, -2.0)], tokens=[["", "مرحبا"]])
    assert "“␣” (+1)" in shown.text
    assert len(shown.all("bdi")) == 2
    assert "\N{FIRST STRONG ISOLATE}" in shown.text


@pytest.mark.parametrize("shape", [(1, 2, 5, 6, 7), (1, 2, 3, 4, 5, 6), (1, 9, 9, 3), (1,)])
@pytest.mark.parametrize("at", [None, "layer"])
def test_a_notebook_shows_values_of_any_shape(shape, at):
    shown = Page(made(ramp(*shape), at=at)._repr_html_())
    assert len(shown.all("article")) == 1
    assert ("the middle: slice" in shown.text) == (len(shape) > 4)
    assert ("in the slice shown, half of" in shown.text) == (len(shape) > 4)


def test_words_at_a_layer_are_not_of_pixels():
    notes = ("Relevance of single pixels.",)
    found = image(ramp(3, 3), at="conv", notes=notes)
    assert "pixel" not in Page(found._repr_html_()).text
    assert "pixel" in Page(image(ramp(3, 3), notes=notes)._repr_html_()).text


def test_an_index_of_several_samples(tmp_path):
    both = made(torch.stack([ramp(1, 3, 3), -ramp(1, 3, 3)]))
    shown = page(tmp_path, both, names=["first", "second"])
    ids = {attrs["id"] for _, attrs in shown.tags if "id" in attrs}
    links = [attrs["href"][1:] for attrs in shown.all("a")]
    assert set(links) <= ids
    assert links[:2] == ["sample-1", "sample-2"]
    assert not page(tmp_path, image(ramp(3, 3))).all("nav"), "one sample needs no index"


def test_the_tape_and_the_ledger_are_folded(tmp_path):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(9, 4), torch.nn.ReLU())
    inputs = torch.rand(1, 1, 3, 3)
    found = pl.explain(model, inputs, "lrp", target=0)
    shown = page(tmp_path, found, tape=pl.record(model, inputs))
    titles = r"LRP, ledger: where relevance went, at \d+ operations|The tape: the 3 operations"
    summaries = re.findall(titles, shown.text)
    assert len(summaries) == len(set(summaries)) == len(shown.all("details")) == 2
    assert not [a for a in shown.all("details") if "open" in a]
    for words in ("stabilizer", "addmm", "1x4", "Epsilon"):
        assert words in shown.text
    assert "details" not in found._repr_html_().partition("</style>")[2]


def test_values_at_a_layer_are_a_map_of_their_own(tmp_path):
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, 2), torch.nn.Flatten(), torch.nn.Linear(16, 2)
    )
    found = pl.explain(model, torch.rand(1, 1, 5, 5), "saliency", at="0")
    shown = page(tmp_path, found)
    assert png(shown.all("img")[1]["src"]).size == (2, 2)
    assert "At layer" in shown.text


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
    assert not shown.all("button")
    assert "“class 0”" in shown.text


@pytest.mark.parametrize("what", ["text", "signal", "table"])
def test_a_notebook_shows_the_same_rendering(tmp_path, what):
    found = {
        "text": text_of(1.0, -2.0), "signal": made(ramp(1, 2, 9)), "table": made(ramp(1, 5)),
    }[what]  # fmt: skip
    inside = [Page(found._repr_html_()), page(tmp_path, found)]
    kinds = {"text": "token", "signal": "lanes", "table": "bars"}
    drawn = [[t for t, a in p.tags if kinds[what] in a.get("class", "")] for p in inside]
    assert drawn[0] == drawn[1] != []
