"""Features as the option of a method: in batches, in slices, in files and in tables."""

import math

import pandas as pd
import pytest
import torch
from torch import nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.baseline import Baseline
from pellucid.errors import InputError
from pellucid.features import Features, cuts

IMAGES = torch.rand(3, 3, 12, 10, generator=torch.Generator().manual_seed(0))
MASK = torch.randint(-1, 5, (3, 1, 12, 10), generator=torch.Generator().manual_seed(1))
CNN = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(480, 2))

KINDS = [
    Features.patches(5),
    Features.grid(2),
    Features.superpixels(6),
    Features.channels(),
    Features.mask(MASK * 2, names={0: "sky", 8: "dog"}),
]


@pytest.mark.parametrize("features", KINDS, ids=repr)
def test_batches_slices_and_files(features, tmp_path):
    whole = pl.explain(CNN, IMAGES, "occlusion", features=features, target=0)
    single = pl.explain(CNN, IMAGES, "occlusion", features=features, target=0, batch_size=1)
    assert_close(whole.players, single.players, atol=1e-6, rtol=0)
    assert torch.equal(whole.features.labels[0], single.features.labels[0])
    assert all(whole.features.named(row) == single.features.named(row) for row in range(3))
    assert pl.load(whole.save(tmp_path / "whole.safetensors")) == whole
    for row, one in enumerate(whole):
        count = int(one.features.counts)
        assert torch.equal(one.players[0, :count], whole.players[row, :count])
        assert one.features.named(0) == whole.features.named(row)
        assert one.by_player()["player"].nunique() == count
        (values,) = one.features.spread(one.players)
        assert_close(values.expand_as(one.values), one.values.double(), check_dtype=False)


def test_players_are_listed_by_the_size_of_their_value():
    model = nn.Linear(3, 1, bias=False)
    nn.init.constant_(model.weight, 1.0)
    found = pl.explain(
        model,
        torch.tensor([[1.0, -3.0, 2.0], [0.0, 5.0, -7.0]]),
        "occlusion",
        features=Features.columns(names=["a", "b", "c"]),
    )
    frame = found.by_player()
    assert frame["name"].tolist() == ["b", "c", "a", "c", "b", "a"]
    assert frame["value"].tolist() == [-3, 2, 1, -7, 5, 0]
    assert frame["sample"].tolist() == [0, 0, 0, 1, 1, 1]
    assert list(frame) == ["sample", "player", "name", "value", "error"]
    assert all(map(math.isnan, frame["error"]))


def test_elements_are_not_listed_by_player():
    found = pl.explain(nn.Linear(3, 1), torch.ones(1, 3), "saliency")
    with pytest.raises(InputError, match=r"must be one of players .*; got one of elements.*to_fra"):
        found.by_player()


class Reader(nn.Module):
    """Sums what an embedding says of ids, where a mask lets it."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 2)
        with torch.no_grad():
            self.table.weight[:, 0] = torch.arange(10.0)

    def forward(self, input_ids, attention_mask):
        return (self.table(input_ids) * attention_mask.unsqueeze(-1)).sum(1)


def test_words_of_ids_that_a_mask_token_replaces(tmp_path):
    inputs = {
        "input_ids": torch.tensor([[1, 4, 5, 6, 2, 0], [1, 7, 8, 9, 9, 2]]),
        "attention_mask": torch.tensor([[1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1]]),
    }
    tokens = [
        ["[CLS]", "un", "##seen", "things", "[SEP]", "[PAD]"],
        ["[CLS]", "a", "dog", "bark", "##s", "[SEP]"],
    ]
    found = pl.explain(
        Reader(),
        inputs,
        "exact_shapley",
        features={"input_ids": Features.words(tokens), "attention_mask": Features.nobody()},
        baseline=Baseline.token(3),
        target=0,
    )
    frame = found.by_player().set_index(["sample", "name"])["value"]
    assert frame[0].to_dict() == {"unseen": 3.0, "things": 3.0}
    assert frame[1].to_dict() == {"a": 4.0, "dog": 5.0, "barks": 12.0}
    assert pl.load(found.save(tmp_path / "words.safetensors")) == found


def test_features_that_do_not_fit_are_told_before_the_model_runs():
    def never(x: torch.Tensor) -> torch.Tensor:
        raise AssertionError

    with pytest.raises(InputError, match=r"A mask must have the shape of one sample of `inputs`"):
        pl.KernelSHAP(features=torch.zeros(5).long())(never, torch.ones(2, 3))


def test_columns_of_a_frame_are_grouped_by_their_names():
    frame = pd.DataFrame({"age": [1.0, 2.0], "street": [3.0, 4.0], "city": [5.0, 6.0]})
    found = pl.explain(
        lambda data: data["age"] + data["street"] * data["city"],
        frame,
        "exact_shapley",
        features=Features.columns({"place": ["city", "street"]}),
    )
    assert found.features.names == (("age", "place"),)
    assert_close(found.players, torch.tensor([[1.0, 15.0], [2.0, 24.0]]), check_dtype=False)
    with pytest.raises(InputError, match=r"got 'town'\. Known: age, street, city"):
        pl.explain(
            lambda data: data["age"],
            frame,
            "exact_shapley",
            features=Features.columns({"place": ["town"]}),
        )


@pytest.mark.parametrize("kind", [torch.Tensor, torch.Tensor.numpy], ids=["tensor", "array"])
def test_compared_methods_share_their_superpixels(kind, monkeypatch):
    images, found = IMAGES[:2], []
    cut = cuts.superpixels
    monkeypatch.setattr(cuts, "superpixels", lambda *given: found.append(given) or cut(*given))

    def model(pictures):
        return CNN(torch.as_tensor(pictures)).detach()

    features = Features.superpixels(6)
    names = ["kernel_shap", "lime", "occlusion", "shapley_sampling"]
    chosen = [pl.methods()[name](features=features) for name in names]
    given = kind(images) if kind is torch.Tensor.numpy else images
    together = pl.compare(model, given, chosen, targets=[0, 1])
    assert len(found) == len(images)
    other = pl.KernelSHAP(features=Features.superpixels(4))
    pl.compare(model, given, [*chosen, other], target=0, batch_size=1)
    assert len(found) == 3 * len(images)
    alone = pl.explain(model, given, "lime", features=features, target=1)
    assert torch.equal(together[5].players, alone.players)
    assert all(torch.equal(each.features.labels[0], alone.features.labels[0]) for each in together)
