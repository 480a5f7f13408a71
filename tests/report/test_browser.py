"""The page in a browser: every switch works, links restore a view, no network is asked."""

import io
import itertools
import json
import re
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import pellucid as pl
from pellucid.plot import Map, Scale
from pellucid.plot.color import Scale as ColorScale
from pellucid.plot.color import colorize
from pellucid.report import Section, write
from tests.plot.made import image, made, of_players, ramp
from tests.report.browser import CHROMIUM, Browser
from tests.report.test_document import of_class, text_of

pytestmark = pytest.mark.skipif(
    not CHROMIUM, reason="No Chromium was found: the report is NOT tested in a browser."
)

SIDE = 24
PAGES = ["photos", "single", "bad", "text", "signal", "table", "players", "regions"]
PHOTOS = [np.full((SIDE, SIDE, 3), (200, 60, 40), np.uint8), np.zeros((SIDE, SIDE, 3), np.uint8)]


def noise(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) ** 3


def sample(seed):
    """Two methods, each for two classes; the second map is ten times as strong."""
    maps = [
        image(noise(SIDE, SIDE, seed=seed)),
        image(10 * noise(SIDE, SIDE, seed=seed + 1), method=pl.GradientXInput()),
        image(noise(6, 6, seed=seed + 2), method=pl.GradCAM()),
    ]
    return [of_class(each, k) for k in (0, 1) for each in maps]


@pytest.fixture(scope="module")
def folder():
    """Pages of every kind, written once."""
    with tempfile.TemporaryDirectory() as made_here:
        folder = Path(made_here)
        photos = [
            Section(
                explanations=sample(i), name=name, picture=picture, classes=["cat", "dog", "cow"]
            )
            for i, (name, picture) in enumerate(zip(["one.png", "two.png"], PHOTOS, strict=True))
        ]
        write(folder / "photos.html", photos)
        write(folder / "single.html", image(ramp(5, 5)))
        bad = [image(torch.full((4, 4), v)) for v in (0.0, torch.nan)]
        write(folder / "bad.html", bad)
        words = ["[CLS]", "a", "fine", "film", "[SEP]", *["[PAD]"] * 9]
        values = [0.1, -0.2, 1.0, torch.nan, 0.3, *[0.0] * 9]
        write(folder / "text.html", text_of(*values), tokens=[words])
        signal = made(noise(1, 2, 50, seed=0), inputs=torch.rand(1, 2, 50))
        write(folder / "signal.html", signal, features=["left", "right"], rate=25.0)
        write(folder / "table.html", made(noise(1, 30, seed=0)))
        players = noise(1, 9, seed=0)
        names = tuple(f"a quite long name of column {i} = {i}" for i in range(9))
        law = {"expected": float(players.sum()) + 1, "error": players.abs() / 9}
        write(folder / "players.html", of_players(players, names=(names,), **law))
        labels = torch.arange(SIDE**2).reshape(1, 1, SIDE, SIDE) // 96
        regions = of_players(
            noise(1, 6, seed=1), labels=labels, inputs=torch.rand(1, 3, SIDE, SIDE)
        )
        write(folder / "regions.html", [regions, image(noise(SIDE, SIDE, seed=2))])
        tape = pl.record(torch.nn.Linear(2, 2), torch.ones(1, 2))
        write(folder / "tape.html", image(ramp(2, 2)), tape=tape, title="long" * 90)
        yield folder


@pytest.fixture(scope="module")
def browser():
    """One process for all tests of this file."""
    started = Browser()
    yield started
    started.close()


@pytest.fixture(scope="module")
def tabs(browser):
    """Two tabs, since some tests compare pages."""
    return [browser.tab(), browser.tab()]


@pytest.fixture
def show(tabs, folder):
    """Open a page; afterwards it must have made no complaint and no request."""
    used = []

    def open_(name, **how):
        used.append(tabs[len(used)].open(folder / f"{name}.html", **how))
        return used[-1]

    yield open_
    for tab in used:
        complaints, requests = tab.complaints(), tab.requests()
        assert complaints == []
        assert [url for url in requests if not url.startswith(("file:", "data:", "about:"))] == []


def pixels(tab, panel):
    """What the canvas of a panel holds, of shape (height, width, 4)."""
    code = """(() => { const drawn = document.getElementById('%s').querySelector('canvas');
      const c = new OffscreenCanvas(drawn.width, drawn.height).getContext('2d');
      c.drawImage(drawn, 0, 0);
      return [drawn.height, drawn.width, ...c.getImageData(0, 0, drawn.width, drawn.height).data];
    })()"""
    height, width, *data = tab.run(code % panel)
    return np.array(data, dtype=np.uint8).reshape(height, width, 4)


def choose(tab, name, value):
    """Choose in one of the controls, as a user does."""
    tab.run(
        f"(() => {{ const c = document.querySelector('.controls [name={name}]');"
        f"c.value = {json.dumps(value)};"
        "c.dispatchEvent(new Event(c.type === 'range' ? 'input' : 'change')); })()"
    )
    tab.settle()


def shown(tab):
    """The panels that are to be seen."""
    return tab.run(
        "[...document.querySelectorAll('.panel')].filter(p => p.checkVisibility()).map(p => p.id)"
    )


def scale_words(tab, panel):
    return tab.run(f"document.getElementById('{panel}').querySelector('figcaption').innerText")


def close_to(drawn, values, scale, dark=False):
    """As Python colors them, but for values that lie on the border between two colors."""
    wanted = colorize(values, scale, dark=dark)
    far = np.abs(drawn[..., :3].astype(int) - wanted.astype(int)).max(-1)
    return far.max() <= 6 and (far > 0).mean() < 0.1


@pytest.mark.parametrize("name", PAGES)
def test_every_page_fits_and_can_be_read(show, name):
    tab = show(name)
    for scheme, ground in (("light", "rgb(251, 250, 248)"), ("dark", "rgb(16, 18, 20)")):
        tab.color_scheme(scheme)
        tab.settle()
        for width in (400, 1300):
            tab.resize(width)
            assert tab.run("document.documentElement.scrollWidth") <= width
            assert tab.run("getComputedStyle(document.body).backgroundColor") == ground
            assert tab.run(CONTRASTS) == []


# Words whose contrast with the ground behind them is below 4.5.
CONTRASTS = """(() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (c) => { const [r, g, b] = c.slice(0, 3).map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ground = (e) => { for (; e; e = e.parentElement) {
    const c = rgb(getComputedStyle(e).backgroundColor); if (c[3] !== 0) return c; }
    return [255, 255, 255]; };
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const weak = [];
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement, words = walk.currentNode.textContent.trim();
    if (!words || !e.checkVisibility() || e.closest('script, style, .hidden')) continue;
    const [a, b] = [light(rgb(getComputedStyle(e).color)), light(ground(e))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) weak.push(`${words}: ${contrast.toFixed(2)}`);
  }
  return weak; })()"""


def test_the_search_for_weak_contrast_can_find_some(show):
    tab = show("single")
    tab.run("document.querySelector('h1').style.color = '#aaa'")
    assert any("What the model saw" in each for each in tab.run(CONTRASTS))


def test_without_a_script_all_is_there_and_nothing_can_be_switched(show):
    tab = show("photos")
    tab.send("Emulation.setScriptExecutionDisabled", value=True)
    tab.send("Page.reload")
    tab.until("document.readyState === 'complete'")
    assert len(shown(tab)) == 12
    assert tab.run("[...document.querySelectorAll('.panel img')].every(i => i.checkVisibility())")
    controls = "document.querySelectorAll('button, select, input, canvas')"
    assert not tab.run(f"[...{controls}].some(c => c.checkVisibility())")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_map_is_drawn_in_the_colors_of_python(show, dark):
    tab = show("photos", dark=dark)
    shown_map = Map.of(sample(0)[0])
    drawn = pixels(tab, "1.1.saliency")
    assert close_to(drawn, shown_map.values, shown_map.scale, dark)
    assert (drawn[..., 3] == 255).all()
    assert not tab.run("document.querySelector('.panel img.map').checkVisibility()")
    tab.color_scheme("light" if dark else "dark")
    tab.settle()
    assert close_to(pixels(tab, "1.1.saliency"), shown_map.values, shown_map.scale, not dark)


def test_values_that_are_no_numbers_have_their_color(show):
    tab = show("bad", dark=True)
    assert (pixels(tab, "1.1.saliency-2")[..., :3] == 255).all()
    assert len(np.unique(pixels(tab, "1.1.saliency").reshape(-1, 4), axis=0)) == 1


def test_the_scale_is_switched_with_its_numbers(show):
    tab = show("photos")
    weak, strong = (Map.of(each) for each in sample(0)[:2])
    everything = [Map.of(each, picture=PHOTOS[0]).values for each in sample(0)]
    shared = Scale.of(everything, shared=True)
    own = scale_words(tab, "1.1.saliency")
    choose(tab, "scale", "shared")
    assert close_to(pixels(tab, "1.1.saliency"), weak.values, shared)
    assert close_to(pixels(tab, "1.1.gradientxinput"), strong.values, shared)
    words = scale_words(tab, "1.1.saliency")
    assert f"{shared.limit:.3g}" in words
    assert "shared" in words
    assert "shared" not in own
    assert f"{weak.scale.limit:.3g}" in own
    choose(tab, "scale", "own")
    assert scale_words(tab, "1.1.saliency") == own


@pytest.mark.parametrize(("sign", "left"), [("positive", 1), ("negative", -1)])
def test_one_sign_only(show, sign, left):
    tab = show("photos")
    choose(tab, "sign", sign)
    drawn = Map.of(sample(0)[0])
    kept = np.where(np.sign(drawn.values) == left, drawn.values, 0)
    assert close_to(pixels(tab, "1.1.saliency"), kept, drawn.scale)


def test_the_picture_beneath_and_its_opacity(show):
    tab = show("photos")
    assert (pixels(tab, "1.1.saliency")[..., 3] == 255).all()
    cam = pixels(tab, "1.1.gradcam")
    assert cam.shape[:2] == (SIDE, SIDE), "a smooth map is drawn as fine as its picture"
    assert 150 < cam[..., 3].max() <= 204
    choose(tab, "under", "all")
    choose(tab, "opacity", "50")
    scale = Map.of(sample(0)[0]).scale
    cover = 0.5 * np.sqrt(np.clip(np.abs(Map.of(sample(0)[0]).values) / scale.limit, 0, 1))
    drawn = pixels(tab, "1.1.saliency")[..., 3]
    assert np.abs(drawn - 255 * cover).max() < 5, "values near zero are sent in steps"
    assert "on the picture" in scale_words(tab, "1.1.saliency")
    choose(tab, "under", "none")
    coarse = Map.of(sample(0)[2])
    fine = Image.fromarray(coarse.values).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    cam = pixels(tab, "1.1.gradcam")
    assert close_to(cam, np.asarray(fine), coarse.scale)
    assert (cam[..., 3] == 255).all()
    assert "on the picture" not in scale_words(tab, "1.1.gradcam")


def test_the_class_is_switched_by_mouse_and_by_keys(show):
    tab = show("photos")
    first = [f"{s}.1.{m}" for s in (1, 2) for m in ("saliency", "gradientxinput", "gradcam")]
    assert shown(tab) == first
    tab.click(*tab.center("[name=class-1][value='2']"))
    tab.settle()
    assert shown(tab) == [f"1.2{each[3:]}" for each in first[:3]] + first[3:]
    assert close_to(
        pixels(tab, "1.2.saliency"), Map.of(sample(0)[3]).values, Map.of(sample(0)[3]).scale
    )
    tab.key("ArrowLeft")
    tab.settle()
    assert shown(tab) == first


def test_one_method_alone(show):
    tab = show("photos")
    choose(tab, "method", "gradcam")
    assert shown(tab) == ["1.1.gradcam", "2.1.gradcam"]


def test_a_map_is_opened_and_zoomed_by_keys(show):
    tab = show("photos")
    tab.run("document.querySelector('.open').focus()")
    tab.key("Enter", "\r")
    tab.until("document.querySelector('dialog').open")
    assert tab.run("document.activeElement.className") == "stage"
    assert tab.run("document.querySelector('dialog canvas').className") == "map crisp"
    tab.key("+", "+")
    tab.key("ArrowRight")
    assert tab.run("state.at") == "1.5,0.6,0.5"
    assert "scale(1.5)" in tab.run("document.querySelector('.view').style.transform")
    tab.key("0", "0")
    assert tab.run("state.at") == ""
    for _ in range(9):
        tab.key("Tab")
    assert tab.run("document.activeElement.closest('dialog, body').tagName") in ("DIALOG", "BODY")
    tab.key("Escape")
    tab.until("!document.querySelector('dialog').open")
    assert tab.run("document.activeElement.className") == "open", "back where it was"
    tab.until("location.hash === ''")


def test_a_map_is_opened_and_zoomed_by_mouse(show):
    tab = show("photos")
    tab.click(*tab.center("[id='1.1.gradcam'] .open"))
    tab.until("document.querySelector('dialog').open")
    x, y = tab.center(".stage")
    tab.mouse("mouseWheel", x, y, deltaX=0, deltaY=-400)
    tab.until("state.at !== ''")
    scale = tab.run("view().scale")
    assert scale > 2
    before = tab.run("view().x")
    tab.mouse("mousePressed", x, y, button="left", buttons=1, clickCount=1)
    tab.mouse("mouseMoved", x + 50, y, button="left", buttons=1)
    tab.mouse("mouseReleased", x + 50, y, button="left", clickCount=1)
    assert tab.run("view().x") < before, "the map follows the pointer"
    said = "document.querySelector('dialog .readout').textContent"
    tab.until(f"/^column \\d+, row \\d+: \u2212?[\\d.e\u2212]+$/.test({said})")
    tab.click(*tab.center("dialog [name=close]"))
    tab.until("!document.querySelector('dialog').open")


def test_what_is_under_the_wheel_stays_there(show):
    tab = show("photos")
    tab.run("change({zoom: '1.1.saliency'})")
    tab.until("document.querySelector('dialog').open")
    x, y = (spot - 60 for spot in tab.center(".stage"))
    box = "document.querySelector('.view').getBoundingClientRect()"
    under = f"[({x} - {box}.left) / {box}.width, ({y} - {box}.top) / {box}.height]"
    before = tab.run(under)
    tab.mouse("mouseWheel", x, y, deltaX=0, deltaY=-400)
    tab.until("state.at !== ''")
    assert tab.run(under) == pytest.approx(before, abs=0.002)


def test_a_signal_says_when_and_where(show):
    tab = show("signal")
    tab.run("change({zoom: '1.1.saliency'})")
    tab.until("document.querySelector('dialog').open")
    x, y = tab.center(".stage")
    tab.mouse("mouseMoved", x, y + 60)
    said = "document.querySelector('dialog .readout').textContent"
    tab.until(f"{said} !== ''")
    assert re.match(r"channel right, 1(\.\d+)? s: \u2212?[\d.e\u2212]+$", tab.run(said))


def test_a_link_restores_the_view(show, folder):
    tab = show("photos")
    choose(tab, "scale", "shared")
    choose(tab, "sign", "negative")
    choose(tab, "under", "all")
    choose(tab, "opacity", "35")
    choose(tab, "method", "gradcam")
    tab.click(*tab.center("[name=class-2][value='2']"))
    tab.run("change({zoom: '2.2.gradcam', at: '2,0.4,0.6'})")
    url = tab.run("location.href")
    again = show("single")
    again.go(url)
    again.until("document.querySelector('dialog').open")
    assert again.run("state") == tab.run("state")
    assert shown(again) == ["1.1.gradcam", "2.2.gradcam"]
    assert (pixels(again, "2.2.gradcam") == pixels(tab, "2.2.gradcam")).all()
    assert again.run("document.querySelector('[name=opacity]').value") == "35"
    assert again.run("document.querySelector('h2#zoom-title').textContent") == "GradCAM: dog"


BROKEN = [
    *("scale=none", "class=x", "zoom=nothing", "opacity=900", "at=a,b", "sample=99", "%", "a=b&&="),
    *("class=9.9", "zoom=controls", "__proto__=1", "nowhere", "sample-9", "sample-", "at=2,.,."),
    *("sample-1]", "at=1e999,0,0", "at=2,0.5", "class=99999999999999999999"),
]


def test_a_link_that_is_broken_shows_the_page(show):
    tab = show("photos")
    for bad in BROKEN:
        tab.run(f"location.hash = {json.dumps(bad)}")
        tab.settle()
        assert len(shown(tab)) == 6, bad
        assert not tab.run("document.querySelector('dialog').open"), bad


def test_a_broken_place_opens_the_map_whole(show):
    tab = show("photos")
    tab.run("location.hash = 'zoom=1.1.gradcam&at=2,.,.'")
    tab.until("document.querySelector('dialog').open")
    tab.settle()
    assert tab.run("state.at") == ""


def test_the_index_leads_to_a_sample_and_keeps_the_view(show):
    tab = show("photos")
    choose(tab, "sign", "negative")
    tab.click(*tab.center("nav a[href='#sample-2']"))
    tab.until("scrollY > 300")
    tab.until("location.hash === '#sample=2&sign=negative'")
    tab.run("document.querySelector('a[href=\"#index\"]').click()")
    tab.until("location.hash === '#sign=negative'")
    assert tab.run("document.querySelector('[name=sign]').value") == "negative"


def test_the_link_is_copied_or_pointed_at(show):
    tab = show("photos")
    tab.click(*tab.center("[name=copy]"))
    tab.until("document.querySelector('[role=status]').textContent !== ''")
    assert "sample=" in tab.run("location.hash")


def test_reset(show):
    tab = show("photos")
    choose(tab, "sign", "negative")
    choose(tab, "opacity", "10")
    tab.click(*tab.center("[name=reset]"))
    tab.settle()
    assert tab.run("state") == tab.run("DEFAULTS")
    assert tab.run("document.querySelector('[name=sign]').value") == "all"


def test_tokens_are_one_stop_of_the_tab_key(show):
    tab = show("text")
    assert tab.run("document.querySelectorAll('.token[tabindex=\"0\"]').length") == 1
    tab.run("document.querySelector('.token').focus()")
    readout = "document.querySelector('.panel .readout').textContent"
    assert tab.run(readout) == "[CLS]: +0.1"
    tab.key("ArrowRight")
    tab.key("ArrowRight")
    assert tab.run(readout) == "fine: +1"
    tab.key("End")
    assert tab.run(readout) == "[PAD]: 0"
    tab.key("Tab")
    assert not tab.run("document.activeElement.matches('.token')"), "no trap"


def test_tokens_and_bars_follow_scale_and_sign(show):
    tab = show("text")
    ground = "getComputedStyle(document.querySelectorAll('.token')[1]).backgroundColor"
    values = np.array([0.1, -0.2, 1.0, 0.3])
    color = colorize(values, ColorScale.of(np.append(values, [0.0] * 9)))[1]
    assert tab.run(ground) == f"rgb({color[0]}, {color[1]}, {color[2]})"
    choose(tab, "sign", "positive")
    neutral = colorize(np.zeros(1), ColorScale(limit=1.0))[0]
    assert tab.run(ground) == f"rgb({neutral[0]}, {neutral[1]}, {neutral[2]})"
    table = show("table")
    seen = (
        "[...document.querySelectorAll('.bars .mark')].filter(m => getComputedStyle(m).visibility"
    )
    assert table.run(f"{seen} === 'visible').length") == 20
    choose(table, "sign", "positive")
    assert 0 < table.run(f"{seen} === 'visible').length") < 20


def test_what_cannot_be_switched_is_not_offered(show):
    tab = show("single")
    names = tab.run("[...document.querySelectorAll('.controls select')].map(s => s.name)")
    assert names == ["sign", "under"]
    assert tab.run("document.querySelectorAll('.classes').length") == 0


def test_every_control_has_a_name_and_shows_its_focus(show):
    tab = show("photos")
    tree = tab.send("Accessibility.getFullAXTree")["nodes"]
    wanted = {"button", "combobox", "slider", "radio", "link", "img"}
    found = [n for n in tree if n.get("role", {}).get("value") in wanted and not n["ignored"]]
    assert {n["role"]["value"] for n in found} >= wanted - {"img"}
    assert [n for n in found if not n.get("name", {}).get("value")] == []
    seen = set()
    for _ in range(60):
        tab.key("Tab")
        outline = tab.run(
            "(() => { const e = document.activeElement; const l = e.matches('.classes input')"
            " ? e.nextElementSibling : e;"
            "return [e.outerHTML.slice(0, 80), getComputedStyle(l).outlineStyle]; })()"
        )
        if outline[0].startswith("<body"):
            break
        assert outline[1] != "none", outline[0]
        seen.add(outline[0])
    else:
        pytest.fail("the Tab key never leaves the page")
    assert len(seen) > 12


def test_the_page_is_printed_on_white_with_all_classes(show):
    tab = show("photos", dark=True)
    text = pdf_of(tab)
    assert text.count(b"/Type /Page\n") >= 2
    tab.color_scheme("dark", media="print")
    tab.run("onPaper(true)")
    tab.settle()
    assert len(shown(tab)) == 12
    assert not tab.run("document.querySelector('.controls').checkVisibility()")
    light = Map.of(sample(0)[3])
    assert close_to(pixels(tab, "1.2.saliency"), light.values, light.scale, dark=False)


def test_no_heading_is_printed_above_nothing(show):
    tab = show("tape", width=400)
    assert tab.run("document.documentElement.scrollWidth") <= 400, "a long title is broken"
    heading = "[...document.querySelectorAll('h2')].at(-2).checkVisibility()"
    assert tab.run(heading)
    tab.color_scheme("light", media="print")
    assert not tab.run(heading)
    tab.run("document.querySelector('main details').open = true")
    assert tab.run(heading)


def pdf_of(tab):
    """A printed page, unpacked."""
    raw = tab.pdf()
    assert raw.startswith(b"%PDF")
    return re.sub(rb"stream\r?\n(.*?)endstream", lambda m: _inflated(m[1]), raw, flags=re.S)


def _inflated(data):
    try:
        return zlib.decompress(data)
    except zlib.error:
        return b""


def test_a_picture_of_the_page_is_not_blank(show):
    tab = show("photos")
    seen = Image.open(io.BytesIO(tab.screenshot())).convert("RGB")
    assert len(seen.getcolors(seen.width * seen.height)) > 100


def test_a_script_error_would_be_found(tabs, folder):
    tab = tabs[0].open(folder / "single.html")
    tab.run("setTimeout(() => { throw new Error('planted') })")
    tab.run("fetch('https://example.org/').catch(() => 0)")
    tab.run("new Promise((done) => setTimeout(done, 50))")
    complaints = " ".join(tab.complaints())
    assert "planted" in complaints
    assert "Content Security Policy" in complaints


def test_the_parts_of_a_score_by_keys_and_by_mouse(show):
    tab = show("players")
    said = "document.querySelector('.forces .readout').textContent"
    tab.run("document.querySelector('.force .push').focus()")
    first = tab.run(said)
    assert re.search(r": [+\u2212][\d.e+\u2212]+", first)
    tab.key("ArrowRight")
    second = tab.run(said)
    assert second != first
    tab.key("Home")
    assert tab.run(said) == first
    x, y = tab.run(
        "(() => { const b = [...document.querySelectorAll('.force .push')].at(-1)"
        ".getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()"
    )
    tab.mouse("mouseMoved", x, y)
    tab.until(f"{said} !== {json.dumps(first)}")
    assert tab.run("document.querySelectorAll('.force .push[tabindex=\"0\"]').length") == 1


def test_the_parts_of_a_score_are_where_python_says(show):
    tab = show("players")
    tab.run("document.querySelector('details').open = true")
    code = """[...document.querySelectorAll('%s')].map(e => {
      const b = e.getBoundingClientRect(), p = e.parentElement.getBoundingClientRect();
      return [b.left - p.left, b.right - p.left, p.width]; })"""
    for selector in (".force .push", ".falls .push", ".bars .whisker", ".bars .mark"):
        for left, right, width in tab.run(code % selector):
            assert -1 <= left <= right <= width + 2, selector
    strip = tab.run(code % ".force .push")
    assert all(abs(a[1] - b[0]) < 1 for a, b in itertools.pairwise(strip)), "no gaps"
    marks, whiskers = tab.run(code % ".bars .mark"), tab.run(code % ".bars .whisker")
    for (left, right, width), (low, high, _) in zip(marks, whiskers, strict=True):
        end = right if abs(left - width / 2) < 1.5 else left
        assert abs((low + high) / 2 - end) < 3, "a whisker is about the end of its bar"


def test_the_borders_of_regions_go_with_the_map(show):
    tab = show("regions")
    assert tab.run("document.querySelectorAll('.frame svg.regions').length") == 1
    box = "(e => { const b = e.getBoundingClientRect(); return [b.width, b.height]; })"
    svg, canvas = (
        tab.run(f"{box}(document.querySelector('.frame:has(.regions) {each}'))")
        for each in ("svg", "canvas")
    )
    assert svg == pytest.approx(canvas, abs=1)
    tab.click(*tab.center(".panel .open"))
    tab.until("document.querySelector('dialog').open")
    assert tab.run("document.querySelectorAll('dialog svg.regions').length") == 1
    wide, high = tab.run(f"{box}(document.querySelector('dialog .view'))")
    assert wide == pytest.approx(high, abs=1), "in the proportions of the picture"
