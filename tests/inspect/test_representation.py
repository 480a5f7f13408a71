"""Samples as features: what a layer returned, pooled by hand."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from torch import nn

from pellucid.errors import InputError, ModelError, UnknownNameError
from pellucid.inspect import represent
from pellucid.inspect.labels import label_list
from pellucid.inspect.representation import known_labels, predicted_labels, represented
from pellucid.inspect.shown import is_shuffled, taken
from pellucid.run.samples import Samples

X3 = np.random.default_rng(0).normal(size=(30, 2))
Y3 = (X3[:, 0] > 0).astype(int) + (X3[:, 1] > 0.5)


def conv():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(27, 4))


class Reader(nn.Module):
    """Tokens with a mask, as text models take them."""

    def __init__(self):
        super().__init__()
        self.table, self.head = nn.Embedding(9, 5), nn.Linear(5, 2)

    def forward(self, input_ids, attention_mask):
        found = self.table(input_ids)
        return {"logits": self.head((found * attention_mask[..., None]).mean(1)), "hidden": found}


def test_maps_by_channel():
    net, x = conv(), torch.rand(7, 2, 5, 5)
    with torch.no_grad():
        maps = net[:2](x)
    torch.testing.assert_close(represent(net, x, "1"), maps.mean((2, 3)))
    torch.testing.assert_close(represent(net, x, "1", "max"), maps.amax((2, 3)))
    torch.testing.assert_close(represent(net, x, "1", "flatten", batch_size=2), maps.flatten(1))
    by_hand = represent(net, x, "1", lambda v: v[:, 0, 0])
    torch.testing.assert_close(by_hand, maps[:, 0, 0])
    torch.testing.assert_close(represent(net, x), net(x).detach())
    assert not represent(net, x).requires_grad


def test_tokens_without_padding():
    torch.manual_seed(0)
    model, ids = Reader(), torch.randint(9, (4, 6))
    mask = (torch.arange(6) < torch.tensor([[2], [6], [3], [1]])).long()
    data = {"input_ids": ids, "attention_mask": mask}
    rows = model.table(ids).detach()
    wanted = torch.stack([row[: int(m.sum())].mean(0) for row, m in zip(rows, mask, strict=True)])
    torch.testing.assert_close(represent(model, data, "table", batch_size=3), wanted)
    torch.testing.assert_close(represent(model, data, "table", "first"), rows[:, 0])
    scores = represented(model, data, "table", "auto").scores
    torch.testing.assert_close(scores, model(ids, mask)["logits"].detach())


def test_padding_by_any_name_and_at_any_place():
    torch.manual_seed(0)
    ids, padding = torch.randint(9, (4, 6)), torch.arange(6) >= torch.tensor([[2], [6], [3], [1]])
    table = nn.Embedding(9, 5)
    rows = table(ids).detach()
    wanted = torch.stack([row[~gone].mean(0) for row, gone in zip(rows, padding, strict=True)])

    class Torch(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.mix = table, nn.TransformerEncoderLayer(5, 1, 8, batch_first=True)

        def forward(self, tokens, src_key_padding_mask):
            return self.mix(self.table(tokens), src_key_padding_mask=src_key_padding_mask)[:, 0]

    model = Torch().eval()
    for data in ((ids, padding), {"tokens": ids, "src_key_padding_mask": padding}):
        torch.testing.assert_close(represent(model, data, "table"), wanted)
    reader = Reader()
    reader.table = table
    torch.testing.assert_close(represent(reader, (ids, (~padding).long()), "table"), wanted)


class Steps(nn.Module):
    """A recurrent layer as torch has them by default: steps first, samples second."""

    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.lstm(x.transpose(0, 1))[0][-1])


@pytest.mark.parametrize("steps", [5, 7])
def test_samples_on_the_second_axis(steps):
    """As many steps as samples would be taken for them."""
    torch.manual_seed(0)
    net, x = Steps(), torch.randn(5, steps, 3)
    wanted = net.lstm(x.transpose(0, 1))[0].mean(0).detach()
    for pool in ("auto", "tokens"):
        torch.testing.assert_close(represent(net, x, "lstm", pool, batch_size=5), wanted)


class Turned(nn.Module):
    """A net whose maps have the channels at their end, as those of Swin and ConvNeXt."""

    def __init__(self):
        super().__init__()
        self.cut, self.norm, self.same = nn.Conv2d(3, 8, 4, 4), nn.LayerNorm(8), nn.Identity()

    def forward(self, x):
        return self.same(self.norm(self.cut(x).permute(0, 2, 3, 1))).mean((1, 2))


def test_channels_at_the_end():
    torch.manual_seed(0)
    net = Turned()
    for size in ((16, 16), (13, 23), (4, 4)):
        x = torch.rand(5, 3, *size)
        torch.testing.assert_close(represent(net, x, "same"), net(x).detach())
        torch.testing.assert_close(represent(net, x, "cut"), net.cut(x).mean((2, 3)).detach())
    x = torch.rand(5, 3, 32, 32)  # of which the maps are as high and wide as deep
    torch.testing.assert_close(represent(net, x, "norm"), net(x).detach())
    last = lambda x: net.cut(x.movedim(3, 1)).permute(0, 2, 3, 1)  # noqa: E731
    x = torch.rand(5, 16, 24, 3)  # and so may those of the images be
    torch.testing.assert_close(represent(last, x), last(x).mean((1, 2)).detach())


def test_of_several_outputs_the_logits():
    net, x = nn.Linear(3, 2), torch.rand(4, 3)
    two = lambda x: {"loss": x.sum(), "aux": x.sum(1), "logits": net(x)}  # noqa: E731
    torch.testing.assert_close(represent(two, x), net(x).detach())
    rest = lambda x: {"loss": x.sum(), "aux": x.sum(1)}  # noqa: E731
    torch.testing.assert_close(represent(rest, x), x.sum(1, keepdim=True))
    with pytest.raises(ModelError, match="a row for each sample to have features; got float32"):
        represent(lambda x: x.sum(), x)


def test_signals_and_sequences_are_not_guessed():
    net = nn.Conv1d(2, 3, 3)
    x = torch.rand(4, 2, 8)
    with pytest.raises(
        InputError, match='`pool` must say .* pool="mean" where channels are the second'
    ):
        represent(nn.Sequential(net), x, "0")
    found = represent(nn.Sequential(net), x, "0", "mean")
    torch.testing.assert_close(found, net(x).mean(2).detach())
    torch.testing.assert_close(
        represent(nn.Sequential(net), x, "0", "tokens"), net(x).mean(1).detach()
    )


def test_data_in_every_form():
    net, x, labels = conv(), torch.rand(5, 2, 5, 5), torch.tensor([1, 0, 1, 1, 0])
    wanted = represent(net, x, "1")
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, labels), batch_size=2)
    found = represented(net, loader, "1", "auto")
    torch.testing.assert_close(found.features, wanted)
    assert found.labels == labels.tolist()
    torch.testing.assert_close(found.predicted, net(x).argmax(1))
    parts = Samples(rows=5, mark="x", read=lambda a, b: x[a:b])
    torch.testing.assert_close(represent(net, parts, "1", batch_size=3), wanted)
    frame = pd.DataFrame({"a": [1.0, 2, 3], "b": [0, 1, 0]})
    assert represent(None, frame).tolist() == frame.to_numpy().tolist()
    assert represent(None, frame.to_numpy(np.float32)).dtype is torch.float32
    assert represent(None, (x, labels)).shape == (5, 50), "labels are no features"


def test_estimators_are_represented_by_their_answers():
    x = np.random.default_rng(0).normal(size=(30, 2))
    model = LogisticRegression().fit(x, (x[:, 0] > 0).astype(int))
    np.testing.assert_allclose(represent(model, x).numpy(), model.predict_proba(x))
    with pytest.raises(InputError, match="`layer` must be one of a torch model"):
        represent(model, x, "1")


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_features_follow_the_model(dtype):
    net, x = conv().to(dtype), torch.rand(3, 2, 5, 5).to(dtype)
    wide = torch.float64 if dtype is torch.float64 else torch.float32
    assert represent(net, x, "1").dtype is wide


def test_the_model_is_left_as_it_was():
    net, x = conv().append(nn.BatchNorm1d(4)), torch.rand(3, 2, 5, 5)
    before, state = {k: v.clone() for k, v in net.state_dict().items()}, torch.get_rng_state()
    with pytest.warns(match="training mode"):
        represent(net, x, "1")
    with pytest.warns(match="training mode"), pytest.raises(ZeroDivisionError):
        represent(net, x, "1", lambda v: 1 / 0)
    assert net.training
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_what_cannot_be_used():
    net, x = conv(), torch.rand(3, 2, 5, 5)
    with pytest.raises(UnknownNameError, match="Did you mean 'mean'"):
        represent(net, x, "1", "meen")
    with pytest.raises(
        InputError, match=r"`pool` must make \(sample, feature\) .*; got float32\[3\]"
    ):
        represent(net, x, "1", lambda v: v.sum((1, 2, 3)))
    with pytest.raises(UnknownNameError, match="'9'"):
        represent(net, x, "9")
    with pytest.raises(InputError, match="must return one row for each sample"):
        represent(nn.Sequential(nn.Flatten(0), nn.Linear(150, 2)), x, "0")
    with pytest.raises(InputError, match="Data without a model must be numbers to have features"):
        represent(None, pd.DataFrame({"town": ["a", "b"]}))


def test_some_of_the_data_to_be_shown():
    x, rows = torch.rand(5, 2), torch.tensor([3, 0])
    assert torch.equal(taken(x, rows), x[rows])
    assert torch.equal(taken((x, torch.arange(5)), rows), x[rows])
    assert taken(["a", "b", "c", "d"], rows) == ["d", "a"]
    assert taken(pd.DataFrame({"a": range(5)}), rows)["a"].tolist() == [3, 0]
    assert torch.equal(taken([x[:2], (x[2:], torch.arange(3))], rows), x[rows])
    assert taken(iter([x[:2], x[2:]]), rows) is None, "what came once is not there again"
    pair = taken({"a": x, "b": x * 2}, rows)
    assert torch.equal(pair["b"], 2 * x[rows])
    assert taken((x.numpy(), [0] * 5), rows).tolist() == x[rows].tolist()


def test_data_sets_and_loaders_are_read_again_unless_they_shuffle():
    x, y = torch.rand(5, 2), torch.arange(5)
    rows, data = torch.tensor([3, 0]), torch.utils.data.TensorDataset(x, y)
    loader = partial(torch.utils.data.DataLoader, data)
    for known in (data, loader(), loader(batch_size=2)):
        assert torch.equal(taken(known, rows), x[rows])
        assert not is_shuffled(known)
    assert taken(loader(shuffle=True), rows) is None
    assert taken(loader(batch_size=None), rows) is None
    sampler = torch.utils.data.BatchSampler(torch.utils.data.RandomSampler(data), 2, drop_last=True)
    assert is_shuffled(loader(batch_sampler=sampler))
    mixed = loader(shuffle=True)
    seen = represented(None, mixed, None, "auto")
    assert known_labels(None, seen, mixed) == seen.labels
    with pytest.raises(InputError, match="must be in the order in which the data come; got a load"):
        known_labels(y, seen, mixed)


def logits(end):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 1), *end).double()


@pytest.mark.parametrize("end", [[nn.Sigmoid()], [nn.Sigmoid(), nn.Flatten(0)]])
def test_a_sigmoid_at_the_end_changes_no_answer(end):
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(1)).double()
    plain, ended = (represented(logits(each), x, None, "auto") for each in ([], end))
    torch.testing.assert_close(ended.scores, plain.scores)
    assert torch.equal(ended.predicted, (logits([])(x) > 0).long().flatten())
    assert 0 < int(ended.predicted.sum()) < 20
    shares = lambda rows: 1 / (1 + np.exp(-rows[:, 0]))  # noqa: E731
    of_table = represented(shares, x.numpy(), None, "auto")
    assert torch.equal(of_table.predicted, (x[:, 0] > 0).long())


def test_small_scores_that_no_sigmoid_made_stay():
    net, x = nn.Sequential(nn.Linear(2, 1), nn.ReLU()), torch.rand(9, 2)
    nn.init.constant_(net[0].weight, 0.4)
    nn.init.zeros_(net[0].bias)
    torch.testing.assert_close(represented(net, x, None, "auto").scores, net(x).detach())


@pytest.mark.parametrize("names", [[1, 2, 3], ["b", "a", "c"], [False, True, True]])
def test_predictions_are_in_the_words_of_the_labels(names):
    x, y = X3, [names[i] for i in Y3]
    model = LogisticRegression().fit(x, y)
    found = predicted_labels(represented(model, x, None, "auto"), y)
    assert list(found) == model.predict(x).tolist()


def test_places_of_columns_where_labels_are_none():
    net = nn.Linear(2, 3).double()
    seen = represented(net, torch.from_numpy(X3), None, "auto")
    places = seen.predicted.tolist()
    assert predicted_labels(seen, [0, 2] * 15) == tuple(places)
    assert predicted_labels(seen, [1, 2, 3] * 10) == tuple(i + 1 for i in places)
    assert predicted_labels(seen, [1, 2, 7, 9, 11] * 6) is None
    fit = Ridge().fit(X3, Y3)
    assert represented(fit, X3, None, "auto").predicted is None, "a regression has no classes"


def test_labels_that_are_missing_and_numbers_that_are_too_large():
    with pytest.raises(InputError, match="`labels` must be known of each sample; got 2 of 4"):
        label_list(np.array([1, None, float("nan"), "a"], dtype=object), 4)
    assert label_list(["a", "b"], 2) == ["a", "b"]
    with pytest.raises(InputError, match="smaller than 1e.100; got NaN, infinity or larger numb"):
        represent(None, torch.full((3, 2), 1e200, dtype=torch.float64))


def test_whole_numbers_without_a_model():
    x = torch.arange(12, dtype=torch.uint8).reshape(3, 1, 2, 2)
    assert represent(None, x).tolist() == x.flatten(1).tolist()
