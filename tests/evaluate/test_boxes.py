"""Boxes cut from maps, boxes given for objects, and how well they meet."""

import pytest
import torch
from scipy import ndimage
from scipy.ndimage import gaussian_filter
from torch.testing import assert_close

import pellucid as pl
from pellucid.errors import InputError
from pellucid.evaluate.localization import EnergyInside, boxes
from pellucid.evaluate.localization.boxes import BoxIoU, around, cut, objects
from pellucid.evaluate.localization.masks import boxes_to_masks


def total(x):
    return x.flatten(1).sum(1, keepdim=True)


def explained(values):
    return pl.explain(total, values, "gradient_x_input")


def flood(mask):
    """The largest part of a mask (height, width), by filling from each of its pixels."""
    left = {tuple(each) for each in mask.nonzero().tolist()}
    best = set()
    while left:
        part, front = set(), {min(left)}
        while front:
            part |= front
            near = {(y + dy, x + dx) for y, x in front for dy in (-1, 0, 1) for dx in (-1, 0, 1)}
            front = (near & left) - part
        left -= part
        best = part if len(part) > len(best) else best
    return best


def overlap(a, b, size=24):
    """IoU of two boxes of whole pixels, by counting pixels."""

    def pixels(box):
        return {(x, y) for x in range(size) for y in range(size)
                if box[0] <= x < box[2] and box[1] <= y < box[3]}  # fmt: skip

    one, other = pixels(a), pixels(b)
    return len(one & other) / len(one | other)


def maps(count=6, seed=0, smooth=1.5):
    generator = torch.Generator().manual_seed(seed)
    rough = torch.randn(count, 2, 9, 11, generator=generator, dtype=torch.float64)
    return torch.from_numpy(gaussian_filter(rough.numpy(), (0, 0, smooth, smooth)))


@pytest.mark.parametrize(("threshold", "smooth"), [(0.2, 0.0), (0.5, 0.0), (1.0, 0.0), (0.3, 1.5)])
def test_a_box_is_that_of_the_textbook(threshold, smooth):
    values = maps(smooth=smooth)
    found = explained(values).boxes(threshold)
    assert found.corners.shape == (6, 4)
    for row, each in enumerate(values.sum(1)):
        part = flood(each >= threshold * each.max())
        ys, xs = zip(*part, strict=True)
        assert {tuple(p) for p in found.masks[row].nonzero().tolist()} == part
        assert found.corners[row].tolist() == [min(xs), min(ys), max(xs) + 1, max(ys) + 1]


def test_all_parts_may_be_kept_and_the_grain_smoothed():
    values = maps()
    found = explained(values).boxes(0.6, keep="all", blur=1.5)
    for row, each in enumerate(values.sum(1)):
        smooth = torch.from_numpy(gaussian_filter(each.numpy(), 1.5))
        assert torch.equal(found.masks[row], smooth >= 0.6 * smooth.max())
    assert torch.equal(found.corners, around(found.masks))


def test_boxes_of_signals_texts_and_maps_with_channels_last():
    values = maps()
    images = explained(values).boxes()
    last = explained(maps().repeat(1, 2, 1, 1)[:, :3].movedim(1, -1).contiguous()).boxes()
    assert last.masks.shape == images.masks.shape
    signal = torch.zeros(1, 2, 8)
    signal[:, :, 2:5] = 1
    assert explained(signal).boxes().corners.tolist() == [[2, 5]]
    assert explained(signal).boxes().to_frame().columns.tolist() == ["sample", "x0", "x1", "pixels"]


def test_nothing_positive_is_no_box():
    found = explained(-torch.ones(2, 1, 4, 4)).boxes()
    assert not found.masks.any()
    assert found.corners.tolist() == [[0] * 4] * 2
    assert found.iou([[0, 0, 2, 2]] * 2).tolist() == [0, 0]


def test_iou_counts_pixels():
    found = explained(maps()).boxes(0.5)
    generator = torch.Generator().manual_seed(1)
    low = torch.randint(0, 6, (6, 3, 2), generator=generator)
    given = torch.cat([low, low + torch.randint(1, 5, (6, 3, 2), generator=generator)], 2)
    expected = [
        max(overlap(box, each) for each in row)
        for box, row in zip(found.corners.tolist(), given.tolist(), strict=True)
    ]
    assert max(expected) > min(expected)
    assert found.iou(given).tolist() == pytest.approx(expected, abs=1e-12)
    assert found.iou(given[:, 0]).tolist() == pytest.approx(
        [overlap(a, b) for a, b in zip(found.corners.tolist(), given[:, 0].tolist(), strict=True)]
    )
    masks = maps(seed=4).sum(1) > 0
    both, either = (found.masks & masks).sum((1, 2)), (found.masks | masks).sum((1, 2))
    assert torch.equal(found.iou(masks), both.double() / either)


def test_boxes_are_masks_of_the_pixels_whose_middle_is_inside():
    given = torch.tensor([[[1, 2, 4, 3], [0, 0, 1, 1]], [[0.6, 0, 2.4, 5], [float("nan")] * 4]])
    made = boxes_to_masks(given.double(), 5, 6)
    assert made[0].nonzero().tolist() == [[0, 0], [2, 1], [2, 2], [2, 3]]
    assert made[1].nonzero().tolist() == [[y, 1] for y in range(5)]


def test_objects_are_the_parts_of_masks():
    masks = boxes_to_masks(torch.tensor([[[0, 0, 2, 3], [4, 4, 6, 5]], [[1, 1, 2, 2]] * 2]), 6, 7)
    found = objects(masks)
    assert found[0].tolist() == [[0, 0, 2, 3], [4, 4, 6, 5]]
    assert found[1, 0].tolist() == [1, 1, 2, 2]
    assert found[1, 1].isnan().all()


@pytest.mark.parametrize("batch", [1, 2, "auto"])
def test_the_metric_is_that_of_the_boxes(batch):
    values = maps()
    found = explained(values)
    given = [[[0, 0, 4, 5], [5, 5, 9, 9]], [[2, 2, 8, 8]], [[0, 0, 11, 9]]] * 2
    expected = [
        max(overlap(box, each) for each in row)
        for box, row in zip(found.boxes(0.4).corners.tolist(), given, strict=True)
    ]
    [measured] = pl.evaluate.measure(
        total, found, BoxIoU(threshold=0.4), masks=given, batch_size=batch
    )
    assert measured.values.tolist() == pytest.approx(expected, abs=1e-12)
    hits = BoxIoU(threshold=0.4, hit=0.3)(total, found, masks=given).values
    assert hits.tolist() == [float(each >= 0.3) for each in expected]
    assert 0 < hits.mean() < 1


def test_masks_give_the_boxes_of_their_parts():
    """The same whether objects come as boxes or as masks, as long as they do not touch."""
    given = torch.tensor([[[0, 0, 3, 3], [5, 5, 9, 9]]] * 6)
    masks = boxes_to_masks(given.double(), 9, 11)
    found = explained(maps())
    by_box = BoxIoU()(total, found, masks=given).values
    assert torch.equal(BoxIoU()(total, found, masks=masks).values, by_box)
    assert torch.equal(BoxIoU()(total, found, masks=masks.unsqueeze(1)).values, by_box)
    inside = [EnergyInside()(total, found, masks=each).values for each in (given, masks)]
    assert torch.equal(*inside)


def test_a_sample_without_an_object():
    masks = torch.zeros(6, 9, 11, dtype=torch.bool)
    masks[1:, 2:4, 2:4] = True
    found = BoxIoU()(total, explained(maps()), masks=masks)
    assert found.values.isnan().tolist() == [True] + [False] * 5
    assert found.notes == ("1 of 6 samples have an empty mask, for which it is not defined.",)
    listed = [torch.empty(0, 4)] + [torch.tensor([[2, 2, 4, 4]])] * 5
    same = BoxIoU()(total, explained(maps()), masks=listed)
    assert torch.equal(same.values.nan_to_num(-1), found.values.nan_to_num(-1))
    for form in (list(masks), [each.numpy() for each in masks], tuple(masks.int())):
        again = BoxIoU()(total, explained(maps()), masks=form)
        assert torch.equal(again.values.nan_to_num(-1), found.values.nan_to_num(-1))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([[0, 0, 12, 2]] * 6, "lie in a picture 11 wide and 9 high; got [0.0, 0.0, 12.0, 2.0] for"),
        ([[3, 0, 3, 2]] * 6, "A box must have an area"),
        ([[0, 0, 2, float("nan")]] * 6, "A box must have an area"),
        ([[0, 0, 2, 2]] * 5, "Boxes must be given for each of the 6 samples; got those of 5."),
        (torch.rand(6, 9, 11), "`masks` must be true or false, of shape [6, 9, 11]; got float32"),
        (torch.ones(6, 9, 10), "Boxes have shape [sample, 4] or [sample, object, 4]."),
        ("everywhere", "`masks` must be masks or boxes; got 'everywhere'."),
    ],
)
def test_boxes_that_cannot_be(given, message):
    with pytest.raises(pl.errors.InputError) as caught:
        pl.evaluate.measure(total, explained(maps()), EnergyInside(), masks=given)
    assert message in str(caught.value)


def test_boxes_of_a_table_are_refused():
    found = explained(torch.ones(2, 5))
    with pytest.raises(pl.errors.InputError, match="`masks` must be true or false, of shape"):
        EnergyInside()(total, found, masks=[[0, 0, 1, 1]] * 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.2}, "`threshold` must be a share of the maximum, above 0 and at most 1"),
        ({"keep": "largets"}, "`keep` must be one that exists; got 'largets'. Did you mean"),
        ({"blur": -1}, "`blur` must be a number of pixels, 0 or more; got -1."),
    ],
)
def test_cuts_that_make_no_sense(options, message):
    found = explained(maps())
    for ask in (lambda: found.boxes(**options), lambda: BoxIoU(**options)(total, found, masks=M)):
        with pytest.raises(pl.errors.InputError) as caught:
            ask()
        assert message in str(caught.value)
    with pytest.raises(pl.errors.InputError, match="`hit` must be an IoU above 0 and at most 1"):
        BoxIoU(hit=2)(total, found, masks=M)


M = torch.ones(6, 9, 11)


def test_boxes_of_what_has_no_place():
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Flatten(), torch.nn.Linear(8, 2))
    found = pl.explain(model, torch.ones(1, 1, 4, 4), "saliency", at="0")
    with pytest.raises(pl.errors.InputError, match="Explain without `at`"):
        found.boxes()
    two = pl.explain(lambda a, b: total(a) + total(b), (maps(2), maps(2)), "gradient_x_input")
    with pytest.raises(pl.errors.InputError, match="Values must be those of one input"):
        two.boxes()
    with pytest.raises(pl.errors.InputError, match=r"Boxes must be of shape \[6, 4\]"):
        explained(maps()).boxes().iou(torch.ones(6, 3))


# What is broken -> what, how, and the test that must fail, with its arguments.
MUTANTS = {
    "a part by its edges only": (
        "_parts", lambda mask: ndimage.label(mask.numpy()),
        test_a_box_is_that_of_the_textbook, (0.2, 0.0),
    ),
    "every part": (
        "_part", lambda v, t, k, b: boxes.above(v.unsqueeze(0), t)[0],
        test_a_box_is_that_of_the_textbook, (0.2, 0.0),
    ),
    "the ends are pixels": (
        "around", lambda masks: _AROUND(masks) - torch.tensor([0, 0, 1, 1]),
        test_a_box_is_that_of_the_textbook, (0.2, 0.0),
    ),
    "the worst object": (
        "best_iou", lambda corners, given: torch.stack(
            [_BEST(corners, given[:, [i]]) for i in range(given.shape[1])]).amin(0),
        test_iou_counts_pixels, (),
    ),
    "one object": (
        "objects", lambda masks: _OBJECTS(masks)[:, :1],
        test_masks_give_the_boxes_of_their_parts, (),
    ),
}  # fmt: skip
_AROUND, _BEST, _OBJECTS = boxes.around, boxes.best_iou, boxes.objects


@pytest.mark.parametrize("name", MUTANTS)
def test_what_is_wrong_is_noticed(name, monkeypatch):
    attribute, mutant, test, given = MUTANTS[name]
    test(*given)
    monkeypatch.setattr(boxes, attribute, mutant)
    with pytest.raises(AssertionError):
        test(*given)


def test_cut_is_the_method():
    assert torch.equal(cut(explained(maps())).corners, explained(maps()).boxes().corners)


def test_samples_may_have_different_numbers_of_boxes_or_none():
    x = torch.zeros(3, 1, 6, 6)
    x[..., 2:5, 1:3] = 1
    found = pl.explain(lambda x: x.sum((1, 2, 3))[:, None], x, "gradient_x_input", target=0)
    given = [[[1, 2, 3, 5]], [], [[0, 0, 1, 1], [1, 2, 3, 4]]]
    expected = torch.tensor([1, 0, 2 / 3], dtype=torch.float64)
    assert_close(found.boxes().iou(given), expected)
    assert_close(found.boxes().iou([torch.tensor(g).reshape(-1, 4) for g in given]), expected)
    judged = BoxIoU()(lambda x: x.sum((1, 2, 3))[:, None], found, masks=given)
    assert_close(judged.values[[0, 2]], expected[[0, 2]])
    assert judged.values[1].isnan()
    assert any("1 of 3 samples have an empty mask" in note for note in judged.notes)
    with pytest.raises(InputError, match="`masks` must be masks or boxes"):
        found.boxes().iou("here")
