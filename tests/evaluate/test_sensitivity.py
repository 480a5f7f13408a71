"""Class sensitivity: other classes, and the objects of several."""

from dataclasses import dataclass, replace

import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.errors import InputError, TargetError
from pellucid.evaluate import measure
from pellucid.evaluate.sensitivity import ClassSensitivity, ObjectSensitivity
from tests.zoo.network import normal, seeded


def network() -> nn.Module:
    return seeded(nn.Sequential(nn.Linear(7, 8), nn.Tanh(), nn.Linear(8, 5))).eval()


def follows_classes(metric, places):
    """Maps of the classes at these places of the others, the most probable first."""
    model, x = network(), normal(6, 7)
    for target in (None, 3):
        own = pl.explain(model, x, "gradient_x_input", target=target)
        scores, expected = model(x), []
        for row in range(6):
            explained = int(scores[row].argmax()) if target is None else target
            others = [k for k in scores[row].argsort(descending=True).tolist() if k != explained]
            numbers = []
            for place in places:
                there = pl.explain(
                    model, x[row : row + 1], "gradient_x_input", target=others[place]
                )
                numbers.append(stats.spearmanr(own.values[row], there.values[0]).statistic)
            expected.append(sum(numbers) / len(numbers))
        assert_close(metric(model, own).values, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize(
    ("against", "places"), [("runner_up", [0]), ("least_likely", [3]), ("both", [0, 3])]
)
def test_the_other_classes_are_those_of_the_scores(against, places):
    follows_classes(ClassSensitivity(against=against), places)


@pytest.mark.parametrize(("against", "places"), [("runner_up", [1]), ("both", [0])])
def test_another_class_is_seen(against, places):
    with pytest.raises(AssertionError):
        follows_classes(ClassSensitivity(against=against), places)


class Opposed(nn.Module):
    """Two classes whose scores are opposite, and a third that is a multiple of the first."""

    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Linear(6, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        score = self.score(x).square()
        return torch.cat([score, -score, 0.5 * score], 1)


def test_opposite_and_equal_classes():
    model, x = seeded(Opposed()), normal(4, 6)
    own = pl.explain(model, x, "saliency", target=0)
    found = ClassSensitivity(similarity=("spearman", "absolute_spearman"))(model, own)
    assert_close(found.curves["spearman"].y, torch.tensor([[1.0, -1.0]] * 4).double())
    assert_close(found.curves["absolute_spearman"].y, torch.ones(4, 2).double())
    assert found.curves["spearman"].ticks == ("runner-up", "least likely")
    assert_close(found.values, torch.zeros(4).double())


def test_all_classes_and_rivals_share_one_recording():
    model, x = network(), normal(4, 7)
    rivals = pl.compare(model, x, ["lrp", "gradient_x_input", "saliency"])
    together = measure(model, rivals, "class_sensitivity")
    spent = torch.tensor([each.evaluations for each in together]).sum(0)
    assert spent[0] == 4 + 4  # the scores, and one recording for both classes
    for one, rival in zip(together, rivals, strict=True):
        assert_close(ClassSensitivity()(model, rival).values, one.values)


def test_the_same_for_probabilities_and_batches():
    model, x = network(), normal(6, 7)
    own = pl.explain(model, x, "saliency", target=pl.Target.log_odds(1))
    found = ClassSensitivity(against="runner_up")(model, own)
    others = model(x).detach().clone()
    others[:, 1] = -torch.inf
    picked = others.argmax(1).tolist()
    there = [
        pl.explain(model, x[i : i + 1], "saliency", target=pl.Target.log_odds(k)).values[0]
        for i, k in enumerate(picked)
    ]
    expected = [stats.spearmanr(a, b).statistic for a, b in zip(own.values, there, strict=True)]
    assert_close(found.values, torch.tensor(expected, dtype=torch.float64))
    assert_close(
        ClassSensitivity(against="runner_up")(model, own, batch_size=2).values, found.values
    )


@pytest.mark.parametrize(
    "target", [pl.Target.contrast(0, 1), lambda out: out[:, 0]], ids=["contrast", "callable"]
)
def test_what_is_no_class(target):
    model, x = network(), normal(2, 7)
    with pytest.raises(TargetError, match="must be one of at least two classes .* to be explained"):
        ClassSensitivity()(model, pl.explain(model, x, "saliency", target=target))


def test_one_class_has_no_other():
    model, x = seeded(nn.Linear(7, 1)), normal(2, 7)
    with pytest.raises(TargetError, match="must be one of at least two classes"):
        ClassSensitivity()(model, pl.explain(model, x, "saliency", target=0))


def test_bad_options():
    with pytest.raises(InputError, match="`against` of class sensitivity must be one that exists"):
        ClassSensitivity(against="first")
    with pytest.raises(InputError, match="`similarity` must be one that exists"):
        ClassSensitivity(similarity="rank")


# ---------------------------------------------------------------------------- objects


class Halves(nn.Module):
    """Class 0 reads the left half of a picture, class 1 the right, class 2 all of it."""

    def forward(self, x: Tensor) -> Tensor:
        left, right = x[..., :3].flatten(1).sum(1), x[..., 3:].flatten(1).sum(1)
        return torch.stack([left, right, left + right], 1)


def halves(rows=3):
    masks = torch.zeros(rows, 2, 4, 6, dtype=torch.bool)
    masks[:, 0, :, :3], masks[:, 1, :, 3:] = True, True
    return normal(rows, 2, 4, 6).abs(), masks


def falls_on_objects(metric_of, classes, share):
    x, masks = halves()
    found = pl.explain(Halves(), x, "gradient_x_input", target=2)
    metric = metric_of(classes=torch.tensor([classes] * 3), masks=masks)
    expected = torch.full((3,), share, dtype=torch.float64)
    assert_close(metric(Halves(), found).values, expected)
    assert_close(metric(Halves(), found, batch_size=2).values, expected)


def test_maps_of_classes_fall_on_their_objects():
    falls_on_objects(ObjectSensitivity, [0, 1], 1.0)
    falls_on_objects(ObjectSensitivity, [1, 0], 0.0)
    falls_on_objects(ObjectSensitivity, [2, 2], 0.5)


@dataclass(frozen=True, kw_only=True, eq=False)
class OfTheExplained(ObjectSensitivity):
    """Looks at the map that is given for every object."""

    def judge(self, trial):
        explained = torch.full_like(self.classes, 2)
        return replace(ObjectSensitivity(classes=explained, masks=self.masks)).judge(trial)


def test_a_map_of_another_class_is_seen():
    with pytest.raises(AssertionError):
        falls_on_objects(OfTheExplained, [0, 1], 1.0)


def test_signs_and_shares_are_counted_by_hand():
    weights = torch.tensor([[1.0, -2.0, 3.0, 0.5, 9.0], [2.0, 1.0, 1.0, 4.0, 9.0]]).double()
    model = nn.Linear(5, 2, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(weights)
    masks = torch.tensor([[[1, 1, 0, 0, 0], [0, 0, 1, 1, 0]]])
    metric = ObjectSensitivity(classes=torch.tensor([[0, 1]]), masks=masks)
    x = torch.ones(1, 5).double()
    shares = pl.explain(model, x, "gradient_x_input", target=0)
    expected = (
        1 / 4.5 + 5 / 8
    ) / 2  # a negative value is none; what is on no object does not count
    assert float(metric(model, shares).values) == pytest.approx(expected)
    slopes = pl.explain(model, x, "saliency", target=0)
    assert float(metric(model, slopes).values) == pytest.approx((3 / 6.5 + 5 / 8) / 2)


def test_a_map_with_nothing_on_the_objects_is_said():
    x, masks = halves()
    masks[1] = False
    found = pl.explain(Halves(), x, "gradient_x_input", target=2)
    metric = ObjectSensitivity(classes=torch.tensor([[0, 1]] * 3), masks=masks)
    said = metric(Halves(), found)
    assert said.values.isnan().tolist() == [False, True, False]
    assert any("Maps of 1 of 3 samples have nothing on any of the objects" in n for n in said.notes)


def test_what_large_players_have_is_not_counted_for_each_of_their_pixels():
    x, masks = torch.ones(1, 1, 4, 6), torch.zeros(1, 2, 4, 6, dtype=torch.bool)
    masks[:, 0, :, :1], masks[:, 1, :, 1:] = True, True
    players = (~masks[0, 0]).long().reshape(1, 1, 4, 6)  # of 4 and of 20 pixels
    model = nn.Sequential(nn.Flatten(), nn.Linear(24, 2, bias=False))
    with torch.no_grad():
        model[1].weight.copy_(torch.where(masks[0, 0].flatten(), 5.0, 1.0).expand(2, -1))
    found = pl.explain(model, x, "exact_shapley", features=players, target=0)
    assert found.players.tolist() == [[20.0, 20.0]]
    # The third object has 12 pixels of the second's 20; each pixel counts a twentieth of a player.
    three = torch.stack([masks[:, 0], masks[:, 1], masks[:, 1] & (torch.arange(6) > 2)], 1)
    metric = ObjectSensitivity(classes=torch.tensor([[0, 1, 0]]), masks=three)
    expected = (20 / 40 + 20 / 40 + 12 / 40) / 3
    assert float(metric(model, found).values) == pytest.approx(expected)


def test_objects_are_those_of_one_input():
    x, masks = halves()
    found = pl.explain(lambda a, b: Halves()(a + b), (x, x), "saliency", target=2)
    metric = ObjectSensitivity(classes=torch.tensor([[0, 1]] * 3), masks=masks)
    with pytest.raises(InputError, match="Objects must be those of one input"):
        metric(lambda a, b: Halves()(a + b), found)


def test_bad_objects():
    x, masks = halves()
    classes = torch.tensor([[0, 1]] * 3)
    with pytest.raises(InputError, match=r"`classes` must be whole numbers of shape \(sample, obj"):
        ObjectSensitivity(classes=torch.tensor([0, 1, 0]), masks=masks)
    with pytest.raises(
        InputError, match=r"`masks` must be true or false, one for each of \[3, 2\]"
    ):
        ObjectSensitivity(classes=classes, masks=masks[:, :1])
    found = pl.explain(Halves(), x, "saliency", target=2)
    with pytest.raises(InputError, match=r"`masks` must be of the size of the map, \[4, 6\]"):
        ObjectSensitivity(classes=classes, masks=masks[..., :5])(Halves(), found)
    with pytest.raises(InputError, match="`classes` and `masks` must be those of all 3 samples"):
        ObjectSensitivity(classes=classes[:2], masks=masks[:2])(Halves(), found)
    contrast = pl.explain(Halves(), x, "saliency", target=pl.Target.contrast(0, 1))
    with pytest.raises(TargetError, match="must be a class where objects have one"):
        ObjectSensitivity(classes=classes, masks=masks)(Halves(), contrast)
