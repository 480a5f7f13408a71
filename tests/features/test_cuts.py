"""Every kind of features gives the labels that are written down here by hand."""

import pytest
import torch

from pellucid.errors import InputError
from pellucid.features import NOBODY, Features, Players
from pellucid.structure import Inputs
from pellucid.words import Grouping


def players(features: object, *tensors: torch.Tensor) -> Players:
    return Features.of(features).players(Inputs.of(tensors if len(tensors) > 1 else tensors[0]))


def labels(features: object, *tensors: torch.Tensor) -> object:
    found = [each.tolist() for each in players(features, *tensors).labels]
    return found[0] if len(found) == 1 else found


IMAGE = torch.rand(2, 3, 4, 6)
TABLE = torch.rand(3, 4)
SIGNAL = torch.rand(2, 2, 5)


def test_elements():
    assert labels(Features.elements(), torch.rand(5, 2, 3)) == [[[0, 1, 2], [3, 4, 5]]]


def test_patches_go_over_all_channels_and_may_be_ragged():
    assert labels(Features.patches((2, 4)), IMAGE) == [
        [[[0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 1, 1], [2, 2, 2, 2, 3, 3], [2, 2, 2, 2, 3, 3]]]
    ]


def test_patches_of_a_table_are_stretches_of_columns():
    assert labels(Features.patches(3), TABLE) == [[0, 0, 0, 1]]


def test_images_with_their_channels_last():
    last = torch.rand(2, 6, 6, 3)
    found = players(Features.patches(3), last)
    assert found.labels[0].shape == (1, 6, 6, 1)
    row = [0, 0, 0, 1, 1, 1]
    below = [2, 2, 2, 3, 3, 3]
    assert found.labels[0][0, :, :, 0].tolist() == [row] * 3 + [below] * 3
    assert labels(Features.channels(), last) == [[[[0, 1, 2]]]]
    assert Features.superpixels(4).players(Inputs.of(last)).labels[0].shape == (2, 6, 6, 1)


def test_a_grid_has_so_many_parts_on_each_axis():
    assert labels(Features.grid(2), torch.rand(1, 1, 2, 5)) == [
        [[[0, 0, 0, 1, 1], [2, 2, 2, 3, 3]]]
    ]
    assert labels(Features.grid((1, 3)), torch.rand(1, 1, 1, 4)) == [[[[0, 0, 1, 2]]]]


def test_windows_of_a_signal():
    found = players(Features.windows(2), SIGNAL)
    assert found.labels[0].tolist() == [[[0, 0, 1, 1, 2]]]
    assert found.names == (("0 to 1", "2 to 3", "4 to 4"),)


def test_windows_of_each_channel_apart():
    found = players(Features.windows(3, channels="apart"), SIGNAL)
    assert found.labels[0].tolist() == [[[0, 0, 0, 1, 1], [2, 2, 2, 3, 3]]]
    assert found.names[0] == tuple(
        f"channel {i}, {w}" for i in (0, 1) for w in ("0 to 2", "3 to 4")
    )


def test_channels():
    found = players(Features.channels(), IMAGE)
    assert found.labels[0].tolist() == [[[[0]], [[1]], [[2]]]]
    assert found.names == (("channel 0", "channel 1", "channel 2"),)


def test_tokens_have_their_features_with_them():
    assert labels(Features.tokens(), torch.rand(2, 3, 8)) == [[[0], [1], [2]]]
    assert labels(Features.tokens(), torch.ones(2, 3, dtype=torch.long)) == [[0, 1, 2]]


TOKENS = [
    ["[CLS]", "un", "##seen", "things", "[SEP]", "[PAD]"],
    ["[CLS]", "a", "dog", "bark", "##s", "[SEP]"],
]


def test_words_of_each_text():
    ids = torch.ones(2, 6, dtype=torch.long)
    found = players(Features.words(TOKENS), ids)
    assert found.labels[0].tolist() == [[-1, 0, 0, 1, -1, -1], [-1, 0, 1, 2, 2, -1]]
    assert found.names == (("unseen", "things"), ("a", "dog", "barks"))
    assert found.counts.tolist() == [2, 3]
    assert players(Features.words(Grouping.of(TOKENS)), ids).names == found.names


def test_special_tokens_may_be_players_and_padding_is_none():
    found = players(Features.words(TOKENS, special=True), torch.ones(2, 6, dtype=torch.long))
    assert found.labels[0].tolist() == [[0, 1, 1, 2, 3, -1], [0, 1, 2, 3, 3, 4]]
    assert found.names[0] == ("[CLS]", "unseen", "things", "[SEP]")


def test_words_of_embeddings():
    found = players(Features.words(TOKENS[:1]), torch.rand(3, 6, 4))
    assert found.labels[0].shape == (1, 6, 1)


def test_columns_are_players():
    assert labels(Features.columns(), TABLE) == [[0, 1, 2, 3]]
    assert players(Features.columns(names=list("abcd")), TABLE).names == (tuple("abcd"),)


def test_a_group_of_columns_is_a_player_where_its_first_column_is():
    found = players(Features.columns({"place": ["d", "b"]}, names=list("abcd")), TABLE)
    assert found.labels[0].tolist() == [[0, 1, 2, 1]]
    assert found.names == (("a", "place", "c"),)
    assert labels(Features.columns({"x": [3, 0], "y": 1}), TABLE) == [[0, 1, 2, 0]]


def test_a_mask_may_have_gaps_which_are_closed_and_its_numbers_are_names():
    found = players(torch.tensor([7, 3, -5, 7]), TABLE)
    assert found.labels[0].tolist() == [[1, 0, NOBODY, 1]]
    assert found.names == (("3", "7"),)
    assert players(torch.tensor([1, 0, -1, 1]), TABLE).names == ()


def test_the_names_of_a_mask():
    named = Features.mask(torch.tensor([0, 0, 9, 4]), names={9: "sky", 0: "dog", 5: "cat"})
    assert players(named, TABLE).names == (("dog", "4", "sky"),)
    assert players(Features.mask(torch.tensor([1, 1, 0, 0]), names=["a", "b"]), TABLE).names == (
        ("a", "b"),
    )


def test_a_mask_of_the_batch_numbers_each_sample_by_itself():
    found = players(torch.tensor([[0, 2, 2, -1], [5, 5, 5, 5], [0, 1, 2, 3]]), TABLE)
    assert found.labels[0].tolist() == [[0, 1, 1, -1], [0, 0, 0, 0], [0, 1, 2, 3]]
    assert found.names == (("0", "2"), ("5",), ("0", "1", "2", "3"))
    assert found.count == 4
    assert found.counts.tolist() == [2, 1, 4]


def test_masks_of_images_may_leave_out_channels():
    mask = torch.tensor([[0] * 6] * 2 + [[1] * 6] * 2)
    for given in (mask, mask[None], mask.expand(3, 4, 6), mask.expand(2, 1, 4, 6), mask.numpy()):
        found = players(given, IMAGE)
        assert found.count == 2
        assert found.spread(torch.tensor([[5.0, 7.0]] * 2))[0].expand_as(IMAGE)[1, 2, 3, 0] == 7


def test_a_mask_of_the_batch_has_the_layout_of_the_inputs():
    inputs = Inputs.of(torch.rand(4, 3), batch_axis=1)
    mask = torch.tensor([[0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 1, 3]])
    assert Features.of(mask).players(inputs).labels[0].tolist() == mask.T.tolist()


@pytest.mark.parametrize(
    ("shape", "count"),
    [
        ((2, 5), 5),
        ((2,), 1),
        ((2, 3, 100), 15),  # windows of 7
        ((2, 3, 5), 5),
        ((2, 1, 28, 28), 49),
        ((2, 3, 5, 14), 35),
        ((1, 3, 64, 64), 49),
        ((2, 28, 28, 3), 49),
        ((1, 1, 8, 8, 8), 64),
    ],
)
def test_what_the_shape_says(shape, count):
    assert players(None, torch.rand(shape)).count == count


def test_large_images_have_superpixels_of_each():
    found = players(None, torch.rand(2, 3, 64, 70))
    assert found.labels[0].shape == (2, 1, 64, 70)
    assert not found.shared


def test_integers_are_tokens_and_masks_are_always_there():
    ids = torch.ones(2, 4, dtype=torch.long)
    inputs = {"input_ids": ids, "attention_mask": ids, "token_type_ids": ids, "keep": ids.bool()}
    found = Features().players(Inputs.of(inputs))
    assert found.count == 4
    assert [bool((each >= 0).any()) for each in found.labels] == [True, False, False, False]


def test_several_inputs_are_counted_through():
    found = players((Features.patches((4, 3)), torch.tensor([1, 1, -1, 0])), IMAGE, TABLE[:2])
    assert found.labels[0][0, 0, 0].tolist() == [0, 0, 0, 1, 1, 1]
    assert found.labels[1].tolist() == [[3, 3, -1, 2]]
    assert found.names == ()


def test_each_sample_is_counted_through_by_itself():
    first = torch.tensor([[0, 0, 0, 0], [0, 1, 2, 3]])
    found = players((first, Features.columns(names=["a", "b"])), TABLE[:2], torch.rand(2, 2))
    assert found.labels[0].tolist() == first.tolist()
    assert found.labels[1].tolist() == [[1, 2], [4, 5]]
    assert found.count == 6
    assert found.names == (
        ("inputs[0]: 0", "inputs[1]: a", "inputs[1]: b"),
        (*(f"inputs[0]: {i}" for i in range(4)), "inputs[1]: a", "inputs[1]: b"),
    )


def test_players_are_on_the_device_of_the_inputs():
    meta = torch.empty(2, 4, device="meta")
    found = Features.columns().players(Inputs(leaves=(meta,), tree=meta))
    assert found.labels[0].device.type == "meta"


@pytest.mark.parametrize(
    ("given", "tensors", "message"),
    [
        (
            "patches",
            [TABLE],
            r"must be a Features or a tensor of whole numbers.*; got 'patches'\..*",
        ),
        (torch.rand(4), [TABLE], r"by a whole number; got float32\[4\].*mask\.long\(\)"),
        (torch.ones(4) > 0, [TABLE], r"by a whole number; got bool\[4\]"),
        (torch.full((4,), -1), [TABLE], r"at least one player, from 0 on; got int64\[4\]"),
        (
            torch.zeros(5).long(),
            [TABLE],
            r"one sample of `inputs`, \[4\], or of the batch, \[3, 4\]",
        ),
        (torch.zeros(2, 4).long(), [TABLE], r"or of the batch, \[3, 4\].*; got int64\[2, 4\]"),
        (torch.zeros(6, 4).long(), [IMAGE], r"shape of one sample of `inputs`, \[3, 4, 6\]"),
        (Features.patches(5), [IMAGE], r"patches must be at most that of `inputs`, \[4, 6\]; got"),
        (Features.patches((1, 2, 3)), [IMAGE], r"one for each of the 2 spatial axes of `inputs`"),
        (Features.grid(5), [IMAGE], r"at most as many parts as `inputs` has elements.*\[4, 6\]"),
        (Features.windows(6), [SIGNAL], r"at most as long as `inputs`, 5 positions; got 6"),
        (
            Features.windows(2),
            [IMAGE],
            r"Windows must be of signals: .*; got float32\[2, 3, 4, 6\]",
        ),
        (
            Features.channels(),
            [TABLE],
            r"Channels must be .*columns of a table are Features.columns",
        ),
        (Features.tokens(), [TABLE[:, 0]], r"Tokens must be those of texts"),
        (Features.superpixels(), [SIGNAL], r"Superpixels must be of images.*Features\.windows"),
        (Features.columns(), [IMAGE], r"Columns must be those of a table.*; got float32\[2, 3, 4"),
        (Features.columns(names=["a"]), [TABLE], r"one name for each of the 4 columns.*; got 1: "),
        (
            Features.columns({"g": ["a"]}),
            [TABLE],
            r"without names must be given by number; got 'a'",
        ),
        (Features.columns({"g": [4]}), [TABLE], r"group must be from 0 to 3; got 4"),
        (
            Features.columns({"g": ["agee"]}, names=["age", "sex", "c", "d"]),
            [TABLE],
            r"column of a group must be one that exists; got 'agee'\. Did you mean 'age'\?",
        ),
        (
            Features.columns({"g": ["a", "b"], "h": [1]}, names=list("abcd")),
            [TABLE],
            r"in one group at most; got 'b' in 'g' and 'h'",
        ),
        (
            Features.words(TOKENS),
            [TABLE],
            r"every token of `inputs`, \[4\] of 3 samples; got \[6\] t",
        ),
        (
            (Features.tokens(),),
            [TABLE, TABLE],
            r"one for each of `inputs\[0\]`, `inputs\[1\]`; got `inputs\[0\]`: tokens\(\)",
        ),
        (Features.nobody(), [TABLE], r"must have at least one player; got Features\.nobody\(\)"),
    ],
    ids=range(24),
)
def test_what_does_not_fit_is_an_error(given, tensors, message):
    with pytest.raises(InputError, match=message):
        players(given, *tensors)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Features.patches(0), r"`size` must be a whole number, at least 1; got 0"),
        (lambda: Features.grid(()), r"`count` must be one number, or one for each spatial axis"),
        (lambda: Features.superpixels(1), r"`count` must be a whole number, at least 2; got 1"),
        (lambda: Features.superpixels(compactness=0), r"`compactness` must be a number above 0"),
        (lambda: Features.superpixels(method="slick"), r"Known: own, skimage|Did you mean"),
        (lambda: Features.windows(2.5), r"`length` must be a whole number"),
        (lambda: Features.windows(2, channels="each"), r"`channels` of windows must be one that"),
        (lambda: Features.columns({"g": []}), r"at least one column; got none in 'g'"),
        (lambda: Features.columns({"g": [1.5]}), r"must be numbers or names; got 1\.5"),
        (
            lambda: Features.columns([[0, 1]]),
            r"`groups` must be a dict of names.*; got \[\[0, 1\]\]",
        ),
        (lambda: Features.columns(names="abc"), r"`names` must be a list of the names"),
        (lambda: Features.mask(torch.tensor([0, 3]), names=["a"]), r"up to 3; got 1 names"),
        (lambda: Features.words([["[PAD]", "[SEP]"]]), r"at least one word; got only"),
    ],
    ids=range(13),
)
def test_what_cannot_be_meant_is_an_error(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_checking_finds_the_same_errors_without_cutting():
    for given in (Features.windows(6), Features.superpixels(), torch.zeros(3).long()):
        with pytest.raises(InputError):
            Features.of(given).check(Inputs.of(SIGNAL))
    Features.superpixels().check(Inputs.of(IMAGE))


def test_features_are_equal_by_what_they_say():
    mask = torch.tensor([0, 1])
    assert Features.mask(mask) == Features.mask(mask.clone())
    assert Features.mask(mask) != Features.mask(mask.flip(0))
    assert Features.patches(2) == Features.patches((2,)) != Features.grid(2)
    assert Features.of((None, mask)) != Features.of((mask, None))
    assert len({Features.columns({"a": [0]}), Features.columns({"a": [0]}), Features()}) == 2
    assert Features() != 3


@pytest.mark.parametrize(
    ("features", "text"),
    [
        (Features(), "Features.auto()"),
        (Features.patches(16), "Features.patches(size=(16,))"),
        (Features.mask(torch.zeros(2, 8).long()), "Features.mask([2, 8])"),
        (Features.columns({"a": [0]}, names=["x"]), "Features.columns(['a'])"),
        (Features.words(TOKENS), "Features.words(2 texts)"),
        (
            Features.of({"x": Features.tokens(), "y": None}),
            "Features.of(`x`: tokens(), `y`: auto())",
        ),
    ],
)
def test_features_are_written_short(features, text):
    assert repr(features) == text


def test_a_mask_of_an_image_with_its_channels_last():
    labels = torch.arange(64).reshape(8, 8) // 16
    images = Inputs.of(torch.rand(2, 8, 8, 3))
    assert Features.of(labels).players(images).labels[0].shape == (1, 8, 8, 1)
    assert Features.of(labels).players(images).count == 4
