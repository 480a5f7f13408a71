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
    ids=repr,
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
