"""Composites: which rule every operation gets, before anything runs, and what goes wrong."""

import pytest
import torch
from torch import Tensor, nn

import pellucid as pl
from pellucid.errors import InputError, MissingRuleError, UnknownNameError
from pellucid.propagate.composites import COMPOSITES
from pellucid.propagate.where import places
from tests.zoo.network import normal, seeded

rules = pl.rules


class Gated(nn.Module):
    """A sum of two ways, one of which is gated; functions and modules."""

    def __init__(self, bias: bool = False) -> None:
        super().__init__()
        self.enter = nn.Linear(4, 6, bias=bias)
        self.way = nn.Linear(6, 6, bias=bias)
        self.gate = nn.Linear(6, 6, bias=bias)
        self.head = nn.Linear(6, 3, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.enter(x))
        return self.head(x + self.way(x) * torch.sigmoid(self.gate(x)))


def conv_net() -> nn.Sequential:
    return seeded(
        nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3),
            nn.ReLU(), nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 5),
        )
    )  # fmt: skip


def named(net: nn.Module, x: Tensor, composite: "str | pl.Composite") -> dict[str, str]:
    """The rule of every layer with weights, and of operations without."""
    rows = pl.record(net, x).plan(composite).rows
    return {f"{row.layer}:{row.operation}": row.rule for row in rows if row.rule != "Route"}


def made(*entries: tuple) -> pl.Composite:
    return pl.Composite(name="mine", entries=entries)


def test_the_plan_is_known_before_anything_runs():
    net, x = conv_net(), normal(1, 3, 8, 8)
    plan = pl.record(net, x).plan("epsilon-gamma-box")
    found = [row.rule for row in plan.rows]
    assert found == [
        "ZBox", "Pass", "Gamma", "Pass", "Gamma", "Pass", "Route", "Epsilon", "Pass", "Epsilon",
    ]  # fmt: skip
    assert "4x4x4" in str(plan)
    assert list(plan.to_frame().columns) == ["number", "operation", "layer", "output", "rule"]
    assert len(plan) == len(plan.to_frame()) == 10


def test_the_plan_is_what_the_walk_does():
    net, x = conv_net(), normal(2, 3, 8, 8)
    for name in COMPOSITES:
        plan = {(row.number, row.rule) for row in pl.record(net, x).plan(name).rows}
        with_score = pl.explain(net, x, "lrp", composite=name, on_incomplete="ignore").ledger
        walked = {(row.number, row.rule) for row in with_score.rows if row.path != "<target>"}
        assert walked == plan, name


def test_depth_counts_operations_with_weights():
    net, x = conv_net(), normal(1, 3, 8, 8)
    found = named(net, x, "lrp-0-epsilon-gamma")
    assert [found[f"{i}:convolution"] for i in (0, 2, 4)] == ["Gamma", "Gamma", "Epsilon"]
    assert found["7:addmm"] == found["9:addmm"] == "Zero"
    depths = [place.depth for place in places(pl.record(net, x)).values() if place.weighted]
    assert depths == [0.0, 0.25, 0.5, 0.75, 1.0]
    last = made((pl.Where(depth=(0.75, 1)), rules.ZPlus()), ("any", rules.Epsilon()))
    found = named(net, x, last)
    assert (found["4:convolution"], found["7:addmm"], found["9:addmm"]) == (
        "Epsilon", "ZPlus", "ZPlus",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("where", "layers"),
    [
        ("any", {"enter", "way", "gate", "head"}),
        ("dense", {"enter", "way", "gate", "head"}),
        ("first", {"enter"}),
        ("last", {"head"}),
        (pl.Where(layer="[wg]a*"), {"way", "gate"}),
        (pl.Where(layer="gate", place="dense"), {"gate"}),
        (pl.Where(layer="gate", place="last"), set()),
        (pl.Where(operation="mm"), {"enter", "way", "gate", "head"}),
        (pl.Where(when=lambda operation: operation.path.endswith("e")), {"gate"}),
        (lambda operation: operation.path == "way", {"way"}),
    ],
    ids=map(str, range(10)),  # functions have no names that stay
)
def test_a_rule_goes_where_the_condition_holds(where, layers):
    net, x = seeded(Gated()), normal(1, 4)
    found = named(net, x, made((where, rules.ZPlus()), ("any", rules.Epsilon())))
    assert {name.split(":")[0] for name, rule in found.items() if rule == "ZPlus"} == layers


def test_operations_without_weights_can_have_other_rules():
    net, x = seeded(Gated()), normal(1, 4)
    assert named(net, x, "epsilon")["-:mul"] == "Gate"
    assert named(net, x, "attnlrp")["-:mul"] == "Uniform"
    mine = made(("product", rules.Uniform()), ("any", rules.Epsilon()))
    assert named(net, x, mine)["-:mul"] == "Uniform"


def test_the_first_entry_counts():
    net, x = seeded(Gated()), normal(1, 4)
    found = named(net, x, made(("any", rules.Epsilon()), ("first", rules.Flat())))
    assert found["enter:mm"] == "Epsilon"


def test_what_no_entry_gives_a_rule_is_an_error():
    net, x = seeded(Gated()), normal(1, 4)
    with pytest.raises(MissingRuleError, match=r"`mine` must give a rule to every.*Add a last en"):
        named(net, x, made(("first", rules.Flat())))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            ("firts", rules.Flat()),
            r"place in a composite must be one that exists; got 'firts'.*fir",
        ),
        (("softmax", rules.Flat()), r"rule Flat must be given to .* made for.*`softmax`.*convol"),
        (("dense", rules.Uniform()), r"rule Uniform must be given .*`dense`.*matmul, product"),
        ((3, rules.Flat()), r"place in a composite must be a name, a Where, or a function.*got 3"),
        (("any", "flat"), r"entry of a composite must be \(where, rule\).*Flat\(\)"),
        ("any", r"entry of a composite must be \(where, rule\)"),
    ],
    ids=repr,
)
def test_wrong_entries_are_told_at_once(entry, message):
    with pytest.raises((InputError, UnknownNameError), match=rf"(?i)(?s){message}"):
        made(entry)


@pytest.mark.parametrize("depth", [(0.5, 0.2), (-1, 0.5), (0, 2), 0.5, ("a", "b"), (0, 0.1, 0.2)])
def test_depth_must_be_a_span(depth):
    with pytest.raises(InputError, match="`depth` must be two numbers from 0, the input, to 1"):
        pl.Where(depth=depth)


def test_a_layer_that_matches_nothing_is_an_error_with_the_nearest():
    net, x = seeded(Gated()), normal(1, 4)
    wrong = made((pl.Where(layer="gates"), rules.ZPlus()), ("any", rules.Epsilon()))
    with pytest.raises(UnknownNameError, match=r"`layer` of a place.*got 'gates'.*gate.*record"):
        pl.explain(net, x, "lrp", composite=wrong)
    wrong = made((pl.Where(operation="addmn"), rules.ZPlus()), ("any", rules.Epsilon()))
    with pytest.raises(UnknownNameError, match=r"`operation` of a place.*got 'addmn'"):
        pl.record(net, x).plan(wrong)


@pytest.mark.parametrize(
    ("where", "rule", "message"),
    [
        (pl.Where(layer="1"), rules.Flat(),
         r"rule Flat must be given to .* made for; got `layer` '1', where there is only `relu` "
         r"\(activation\)\. It is made for convolution, dense, first, last\..*lists what ran"),
        (pl.Where(layer="0"), rules.Uniform(), r"`layer` '0'.*only `convolution` \(convolution\)"),
        (pl.Where(operation="relu", layer="0"), rules.Uniform(),
         r"got `operation` 'relu' and `layer` '0', which no operation fits together"),
    ],
    ids=["weights", "signals", "both"],
)  # fmt: skip
def test_an_entry_whose_rule_can_never_apply_is_an_error(where, rule, message):
    wrong = made((where, rule), ("any", rules.Epsilon()))
    with pytest.raises(InputError, match=message):
        pl.record(conv_net(), normal(1, 3, 8, 8)).plan(wrong)


def fails(operation: object) -> bool:
    raise AttributeError("no such thing")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: pl.Where(layer=2), r"`layer` of a place must be a pattern.*got 2\..*is \"2\""),
        (lambda: pl.Where(operation=None), r"`operation` of a place must be a pattern of names"),
        (lambda: pl.Where(when=3), r"`when` of a place must be a function of an operation; got 3"),
        (lambda: pl.Where(place=3), r"place in a composite must be one that exists; got 3"),
        (lambda: pl.Where(depth=(False, True)), r"`depth` must be two numbers"),
        (lambda: pl.LRP(composite=["epsilon"]), r"`composite` must be a name or a Composite; got"),
        (lambda: pl.Composite(name="m", entries=None), r"entries of a composite must be a tuple"),
        (lambda: pl.Composite(name=3, entries=()), r"name of a composite must be a string; got 3"),
        (lambda: pl.LRP(composite="epsilon-plus", rules=rules.Flat()),
         r"`rules` and `composite` must not be given together.*got rules=Flat.*epsilon-plus"),
    ],
)  # fmt: skip
def test_plausible_mistakes_are_told_at_once(make, message):
    with pytest.raises(InputError, match=rf"(?s){message}"):
        make()


@pytest.mark.parametrize(
    ("when", "message"),
    [
        (fails, r"got AttributeError: no such thing, at `convolution` \(operation 0\)"),
        (lambda operation: operation.output.tensor > 0, r"got .*at `convolution`.*bool\(x\.any"),
    ],
    ids=["raises", "tensor"],
)
def test_a_function_of_a_place_that_does_not_decide_is_an_error(when, message):
    wrong = made((when, rules.Flat()), ("any", rules.Epsilon()))
    with pytest.raises(
        InputError, match=rf"must return True or False for any operation; {message}"
    ):
        pl.record(conv_net(), normal(1, 3, 8, 8)).plan(wrong)


def test_entries_may_be_a_list_and_stabilizers_tensors_of_one_number():
    listed = pl.Composite(name="mine", entries=[("any", rules.Epsilon())])
    assert listed == made(("any", rules.Epsilon()))
    assert hash(pl.LRP(composite=listed)) == hash(pl.LRP(composite=made(*listed.entries)))
    given = rules.Epsilon(epsilon=torch.tensor(0.5))
    assert given == rules.Epsilon(epsilon=0.5)
    assert type(given.epsilon) is float


def test_an_unknown_composite_is_an_error_with_the_nearest():
    with pytest.raises(UnknownNameError, match=r"got 'epsilon-gama-box'.*epsilon-gamma-box"):
        pl.record(conv_net(), normal(1, 3, 8, 8)).plan("epsilon-gama-box")


@pytest.mark.parametrize("name", COMPOSITES)
def test_a_composite_that_claims_so_loses_nothing_without_biases(name):
    net, x = seeded(Gated()), normal(3, 4, seed=2)
    found = pl.explain(net, x, "lrp", composite=name, target=1, on_incomplete="ignore")
    law = found.completeness
    if COMPOSITES[name].conserves and name != "deep-taylor":
        assert float(law.residual.abs().max()) < 1e-4 * found.ledger.largest
    assert abs(found.ledger.residual) < 1e-4 * found.ledger.largest


def test_a_rule_that_leaks_does_not_pass_for_one_that_conserves():
    net, x = seeded(Gated(bias=True)), normal(3, 4, seed=2)
    found = pl.explain(net, x, "lrp", composite="epsilon", target=1, on_incomplete="ignore")
    assert float(found.completeness.residual.abs().max()) > 1e-4 * found.ledger.largest


class Turning(nn.Module):
    """An operation that no rule is known for, between two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.head = nn.Linear(4, 9, bias=False), nn.Linear(9, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.linalg.inv(self.enter(x).reshape(-1, 3, 3)).flatten(1))


def test_an_operation_without_rule_may_share_by_gradient_times_input():
    net, x = seeded(Turning()), normal(2, 4)
    with pytest.raises(MissingRuleError, match=r"linalg_inv_ex.*LRP\(unknown=\"gradient\"\)"):
        pl.explain(net, x, "lrp", target=0)
    found = pl.explain(net, x, "lrp", target=0, unknown="gradient", composite="epsilon")
    plain = pl.explain(net, x, "gradient_x_input", target=0)
    torch.testing.assert_close(found.values, plain.values, rtol=1e-4, atol=1e-6)
    row = next(row for row in found.ledger.rows if row.name == "linalg_inv_ex")
    assert row.rule == "Gradient"
    assert abs(row.stopped) > 0
    assert abs(found.ledger.residual) < 1e-5 * found.ledger.largest


def test_unknown_must_be_a_known_word():
    with pytest.raises(
        UnknownNameError, match=r"`unknown` must be one that exists; got 'gradeint'"
    ):
        pl.LRP(unknown="gradeint")


class Patches(nn.Module):
    """Patches as tokens, and attention."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(self.patches(x).flatten(2).transpose(1, 2)).mean(1))


@pytest.mark.parametrize(
    ("net", "shape", "expected"),
    [
        (conv_net(), (1, 3, 8, 8), "epsilon-gamma"),
        (nn.Sequential(nn.Conv1d(3, 2, 3), nn.Flatten(), nn.Linear(12, 2)), (1, 3, 8),
         "epsilon-gamma"),
        (seeded(Gated()), (1, 4), "epsilon"),
        (seeded(Patches()).eval(), (1, 3, 8, 8), "epsilon"),
    ],
    ids=["convolutional", "shallow", "gated", "patches"],
)  # fmt: skip
def test_auto_picks_among_those_that_conserve_and_says_so(net, shape, expected):
    found = pl.explain(seeded(net), normal(*shape), "lrp", on_incomplete="ignore")
    chosen = COMPOSITES[expected]
    assert chosen.conserves
    assert found.notes[0] == f"Composite `{expected}` was chosen: {chosen.why}."
    assert pl.record(net, normal(*shape)).plan().note == found.notes[0]


def linear_in_two_steps() -> dict[str, object]:
    """One network of two linear layers, and other ways to write it."""
    net = seeded(nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)))
    w, b, v, c = (p.detach() for p in (net[0].weight, net[0].bias, net[2].weight, net[2].bias))

    def by_tokens(x: Tensor) -> Tensor:
        hidden = torch.relu((x.reshape(-1, 1, 4) @ w.T) + b)
        return (hidden @ v.T + c).reshape(-1, 3)

    return {
        "layers": net,
        "functions": lambda x: (x @ w.T + b).relu() @ v.T + c,
        "in place": lambda x: torch.relu_(b + x @ w.T) @ v.T + c,
        "tokens": by_tokens,
    }


@pytest.mark.parametrize("name", COMPOSITES)
def test_a_bias_that_is_added_in_a_step_of_its_own_is_a_bias(name):
    ways, x = linear_in_two_steps(), normal(6, 4)
    found = {
        way: pl.explain(model, x, "lrp", composite=name, target=1, on_incomplete="ignore")
        for way, model in ways.items()
    }
    for way, each in found.items():
        torch.testing.assert_close(each.values, found["layers"].values, msg=way)
        assert each.ledger.bias == pytest.approx(found["layers"].ledger.bias, abs=1e-9)


def test_a_constant_that_others_read_before_is_no_bias():
    net = seeded(nn.Linear(4, 5, bias=False))
    read_twice = lambda x: torch.relu(net(x) + torch.ones(5).double()) + net(x)  # noqa: E731
    rows = pl.record(read_twice, normal(2, 4)).plan("epsilon").rows
    assert [row.rule for row in rows if row.operation == "add"] == ["Folded", "Epsilon"]
    shared = lambda x: (y := net(x)).relu() + (y + torch.ones(5).double()).relu()  # noqa: E731
    rows = pl.record(shared, normal(2, 4)).plan("epsilon").rows
    assert [row.rule for row in rows if row.operation == "add"] == ["Epsilon", "Epsilon"]


EVERY_RULE = {
    "Flat": rules.Flat(), "WSquare": rules.WSquare(bias=True), "ZBox": rules.ZBox(low=-5, high=5),
    "ZPlus": rules.ZPlus(), "Gamma": rules.Gamma(), "AlphaBeta": rules.AlphaBeta(),
    "Epsilon": rules.Epsilon(), "no bias": rules.Epsilon(bias=False), "Zero": rules.Zero(),
}  # fmt: skip
every_rule = pytest.mark.parametrize("rule", EVERY_RULE.values(), ids=EVERY_RULE)


def relevance(model: object, x: Tensor, rule: pl.rules.Rule) -> pl.Explanation:
    return pl.explain(model, x, "lrp", rules=rule, target=1, on_incomplete="ignore")


def one_layer_of_tokens() -> dict[str, object]:
    """A layer that all tokens share, read through a sum of two rectified parts, in many ways."""
    conv = seeded(nn.Conv1d(4, 5, 1))
    w, b = conv.weight.detach()[:, :, 0], conv.bias.detach()
    v = normal(5, 3, seed=4)
    read = lambda h: h.relu().mean(2) @ v  # noqa: E731
    return {
        "convolution": lambda x: read(conv(x)),
        "W x + b": lambda x: read(w @ x + b[:, None]),
        "b + W x, in place": lambda x: read((w @ x).add_(b[:, None]).relu_()),
        "x W + b": lambda x: read((x.mT @ w.T + b).mT),
        "x W - b": lambda x: read((x.mT @ w.T - (-b)).mT),
        "b - x W": lambda x: read((b - x.mT @ (-w.T)).mT),
        "b - W x": lambda x: read(b[:, None] - (-w) @ x),
        "of a batch": lambda x: read(torch.bmm(w.expand(len(x), 5, 4), x) + b[:, None]),
        "of a batch, left": lambda x: read((torch.bmm(x.mT, w.T.expand(len(x), 4, 5)) + b).mT),
        "of an einsum": lambda x: read(torch.einsum("oi,bit->bot", w, x) + b[:, None]),
    }


@every_rule
@pytest.mark.parametrize("batch", [1, 3])
def test_a_bias_is_one_however_the_product_is_written(rule, batch):
    ways, x = one_layer_of_tokens(), normal(batch, 4, 6, seed=3)
    expected = relevance(ways["convolution"], x, rule)
    for way, model in ways.items():
        found = relevance(model, x, rule)
        torch.testing.assert_close(found.score, expected.score, msg=way)
        torch.testing.assert_close(found.values, expected.values, msg=way, rtol=1e-6, atol=1e-9)
        assert found.ledger.bias == pytest.approx(expected.ledger.bias, abs=1e-8), way
        assert abs(found.ledger.residual) < 1e-9 * max(1, found.ledger.largest), way
        assert not any(row.rule == "Epsilon" and row.name in ("add", "sub")
                       for row in found.ledger.rows), way  # fmt: skip


@pytest.mark.parametrize(
    "model",
    [
        lambda h, b: h + b[:5, None] + h.new_ones(5, 6),
        lambda h, b: h + b[:6],
        lambda h, b: h.mT.reshape(-1, 6, 5).mT + b.new_ones(6),
        lambda h, b: torch.add(h, b[:5, None], alpha=3.0),
    ],
    ids=["for each place", "along places", "along places, moved", "times a number"],
)
def test_what_is_added_for_other_than_each_output_is_no_bias(model):
    w, b = normal(5, 4), normal(6, seed=1)
    found = pl.record(lambda x: model(w @ x, b), normal(2, 4, 6)).plan("epsilon").rows
    assert [row.rule for row in found if row.operation == "add"][-1] == "Epsilon"


class Padded(nn.Module):
    """A convolution with zeros around what it reads, which it or another step puts there."""

    def __init__(self, pads: tuple[int, ...], own: bool, groups: int = 1) -> None:
        super().__init__()
        axes = len(pads) // 2
        make = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]
        padding = tuple(reversed(pads[::2])) if own else 0
        self.conv = seeded(make(2, 4, 3, stride=2, padding=padding, groups=groups))
        self.pads = None if own else pads

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.pads is None else nn.functional.pad(x, self.pads)
        h = self.conv(x).relu().flatten(1)
        return torch.stack([h[:, ::2].sum(1), h[:, 1::2].sum(1)], 1)


@every_rule
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("pads", [(1, 1), (1, 1, 2, 2), (1, 1, 0, 0, 1, 1)], ids=str)
def test_it_does_not_matter_who_pads_with_zeros(rule, pads, groups):
    x = normal(2, 2, *[5] * (len(pads) // 2), seed=2, shift=0.5)
    own, other = (relevance(Padded(pads, own, groups), x, rule) for own in (True, False))
    torch.testing.assert_close(other.values, own.values, rtol=1e-8, atol=1e-10)
    for amount in ("bias", "stabilizer", "stopped", "explained"):
        expected = getattr(own.ledger, amount)
        assert getattr(other.ledger, amount) == pytest.approx(expected, abs=1e-8), amount
    assert abs(other.ledger.residual) < 1e-9 * max(1, other.ledger.largest)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_flat_gives_uneven_padding_nothing():
    net = seeded(nn.Sequential(nn.Conv2d(2, 3, 2, padding="same"), nn.ReLU(), nn.Flatten()))
    found = relevance(net, normal(2, 2, 4, 4), rules.Flat())
    torch.testing.assert_close(found.values.flatten(1).sum(1), found.score)
    assert found.ledger.bias == pytest.approx(0)


def test_padding_that_is_read_twice_or_is_no_zero_is_no_part_of_a_convolution():
    conv = seeded(nn.Conv1d(1, 2, 3))
    pad = nn.functional.pad
    twice = lambda x: (lambda h: conv(h)[..., 0] + h[:, :, 1])(pad(x, (1, 1)))  # noqa: E731
    ones = lambda x: conv(pad(x, (1, 1), value=1.0))[..., 0]  # noqa: E731
    for model in (twice, ones):
        found = relevance(model, normal(1, 1, 4), rules.Flat())
        padding = next(row for row in found.ledger.rows if row.name == "constant_pad_nd")
        assert abs(padding.bias) > 1e-6
