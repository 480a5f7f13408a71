"""The page of a survey is one file that needs nothing else, bounded, and says what is so."""

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid.errors import FileError, InputError
from pellucid.inspect import activations
from pellucid.inspect.layer_table import layers
from pellucid.report import write_survey
from pellucid.report.survey import ALONE, AMONG, around_gray
from pellucid.survey import ClassView, LayerView, Survey, UnitView
from tests.report.browser import CHROMIUM, Browser
from tests.report.test_document import HOSTILE, Page


def inverse(inputs):
    return (inputs.clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy()


@pytest.fixture(scope="module")
def found():
    draw = torch.Generator().manual_seed(0)
    patches = [torch.rand(3, 40, 30 + k, generator=draw) for k in range(4)]
    unit = UnitView(
        number=5,
        amounts=torch.tensor([9.0, 4.0, 2.5, 1.0]),
        index=torch.tensor([2, 0, 1, 3]),
        patches=patches,
        reconstructions=[each - 0.5 for each in patches],
        dream=torch.rand(3, 300, 300, generator=draw),
        filter=torch.randn(3, 5, 5, generator=draw),
        notes=(HOSTILE,),
    )
    layer = LayerView(layer="conv.1", channels=8, facts=[("Dead", "2 of 8")], units=[unit])
    one = ClassView(
        number=1,
        name=HOSTILE,
        samples=3,
        prototypes=[0, 2],
        criticisms=[1],
        heatmap=torch.randn(4, 4, generator=draw),
        example=torch.randn(20, 20, generator=draw),
        maps=3,
    )
    net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU())
    rows = layers(net, torch.tensor([[1.0, 0.0, 0.0]]))
    return Survey(layers=[layer], classes=[one], samples=4, by="labels", table=rows)


def page(tmp_path, found, **options):
    pixels = np.random.default_rng(0).integers(0, 255, (4, 20, 20, 3), dtype=np.uint8)
    given = {"inverse": inverse, "picture": pixels.__getitem__, "names": list("abcd")} | options
    return Page(write_survey(tmp_path / "r.html", found, **given).read_text("utf-8"))


def opened(uri):
    head, _, data = uri.partition(",")
    assert head in ("data:image/png;base64", "data:image/webp;base64")
    return Image.open(io.BytesIO(base64.b64decode(data)))


def named(read, start):
    return [each for each in read.all("img") if each["alt"].startswith(start)]


def test_the_page_says_what_the_survey_says(tmp_path, found):
    read = page(tmp_path, found, about="Model: mine.", credits="From here.")
    text = " ".join(read.text.split())
    for word in ("Model: mine.", "4 samples", "conv.1", "1 of 8 channels", "2 of 8", "labels",
                 "Channel 5", "Activation 9 to 1", HOSTILE, "3 samples", "From here."):  # fmt: skip
        assert word in text
    assert [each["alt"] for each in named(read, "Patch")] == [
        "Patch: c, activation 9", "Patch: a, activation 4",
        "Patch: b, activation 2.5", "Patch: d, activation 1",
    ]  # fmt: skip
    assert [each["alt"] for each in named(read, "Prototype")] == ["Prototype: a", "Prototype: c"]
    assert [each["alt"] for each in named(read, "Criticism")] == ["Criticism: b"]
    assert len(named(read, "What excites it")) == 4
    assert [cell for cell in ("Dead units", "Linear", "1 x 3") if cell not in text] == ["1 x 3"]
    assert read.all("script") == []
    assert all(each["src"].startswith("data:") for each in read.all("img"))


def test_pictures_are_shrunk_and_small_ones_stay_as_they_are(tmp_path, found):
    read = page(tmp_path, found)
    assert opened(named(read, "The dream")[0]["src"]).size == (ALONE, ALONE)
    assert max(opened(named(read, "Prototype")[0]["src"]).size) <= AMONG
    (shown,) = named(read, "The filter")
    np.testing.assert_array_equal(
        np.asarray(opened(shown["src"])), around_gray(found.layers[0].units[0].filter)
    )
    assert shown["class"] == "crisp"


def test_maps_have_colors_of_light_and_of_dark_pages(tmp_path, found):
    read = page(tmp_path, found)
    (shown,) = named(read, "The mean map")
    (dark, _) = [each["srcset"] for each in read.all("source")][::-1]
    assert dark != shown["src"]
    one = replace(found.classes[0], samples=1, maps=1)
    assert not named(page(tmp_path, replace(found, classes=[one])), "The mean map")


def test_without_data_there_are_dreams_and_filters(tmp_path, found):
    unit = replace(
        found.layers[0].units[0], amounts=None, index=None, patches=(), reconstructions=()
    )
    bare = Survey(layers=[replace(found.layers[0], units=[unit])])
    read = page(tmp_path, bare, picture=None, names=())
    assert "Shown no data" in read.text
    assert len(read.all("img")) == 2
    assert bare.to_frame().empty
    assert "without samples" in repr(bare)


def test_a_survey_is_a_table_too(found):
    table = found.to_frame()
    assert table["sample"].tolist() == [2, 0, 1, 3]
    assert table["activation"].tolist() == [9.0, 4.0, 2.5, 1.0]
    assert repr(found) == "Survey of 1 channels of 1 layers, 1 classes, of 4 samples"


def test_zero_is_gray_and_signs_go_both_ways():
    drawn = around_gray(torch.tensor([[[0.0, 2.0, -2.0]]]))
    assert drawn[0, :, 0].tolist() == [128, 255, 0]
    assert around_gray(torch.zeros(2, 1, 1)).tolist() == [[[128, 128, 128]]]


def test_thin_lines_of_both_signs_do_not_fade_in_large_pictures():
    """A line of pixels of opposite signs, whose mean is zero."""
    values = torch.zeros(3, 200, 130)
    values[:, 100, ::2], values[:, 100, 1::2] = 1.0, -1.0
    drawn = around_gray(values)
    assert drawn.shape == (50, 33, 3)
    assert set(drawn[25].ravel().tolist()) <= {0, 255}
    assert (np.delete(drawn, 25, 0) == 128).all()


def test_classes_by_number_are_called_so_and_may_have_no_maps(tmp_path, found):
    one = replace(found.classes[0], name="1", heatmap=None, example=None)
    read = page(tmp_path, replace(found, classes=[one]))
    assert "Class 1" in read.text
    assert not [each for each in read.all("img") if "map of" in each["alt"]]
    assert "mean map" not in read.text


def test_what_is_not_looked_for_with_depth_is_said(tmp_path, found):
    images = torch.rand(2, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    maps = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU()).eval()
    rows = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(144, 3), torch.nn.ReLU()).eval()
    for net, missing in ((maps, False), (rows, True)):
        read = page(tmp_path, replace(found, depth=activations(net, images)))
        assert ("there are none for edges and the picture" in read.text) == missing


def test_names_of_samples_need_no_mouse(tmp_path, found):
    """They are in the text, and not only in what is shown where the mouse points."""
    text = " ".join(page(tmp_path, found).text.split())
    assert "Names of the samples c, activation 9 a, activation 4 b, activation 2.5" in text
    assert "Prototypes a c Criticisms b" in text


def test_a_page_that_would_be_too_large_is_refused(tmp_path, found):
    units = replace(found.layers[0], units=[found.layers[0].units[0]] * 401)
    classes = [found.classes[0]] * 571  # of seven pictures: maps have another for dark pages
    for more, count in (({"layers": [units]}, 4017), ({"classes": classes}, 4007)):
        with pytest.raises(InputError, match=f"at most 4000 pictures; got {count}. Ask for fewer"):
            page(tmp_path, replace(found, **more))
    assert not (tmp_path / "r.html").exists()


def test_what_is_no_survey_and_where_nothing_can_be_written(tmp_path, found):
    with pytest.raises(InputError, match="`found` must be what pellucid.survey.survey returns"):
        page(tmp_path, [found])
    with pytest.raises(FileError, match="The folder of .* must exist"):
        write_survey(tmp_path / "no" / "r.html", found, inverse=inverse)


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="needs a browser")
def test_nothing_is_wider_than_the_window(tmp_path, found):
    page(tmp_path, found)
    browser = Browser()
    tab = browser.tab()
    for width in (1200, 500):
        for scheme in ("light", "dark"):
            tab.resize(width)
            tab.color_scheme(scheme)
            tab.send("Page.navigate", url=f"file://{tmp_path / 'r.html'}")
            tab.until("document.readyState === 'complete' && location.href !== 'about:blank'")
            assert tab.run("document.documentElement.scrollWidth") <= width
            drawn = "[...document.images].every(each => each.naturalWidth > 0)"
            tab.until(drawn)
            small, large = (_width(tab, point) for point in (False, True))
            assert large > 3 * small  # of the picture that the mouse points at
            assert tab.run("document.documentElement.scrollWidth") <= width
    assert tab.complaints() == []
    browser.close()


def _width(tab, point):
    """How wide the first patch is, with the mouse on it or not."""
    x, y = tab.center(".tiles img") if point else (0, 0)
    tab.mouse("mouseMoved", x, y)
    return tab.run("document.querySelector('.tiles img').getBoundingClientRect().width")
