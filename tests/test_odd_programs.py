"""Programs that are easy to get wrong without a word, one after another."""

import functools
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

import pellucid as pl
from pellucid.propagate.rules import Epsilon
from pellucid.structure import Inputs
from pellucid.tape.record import record_run
from pellucid.tape.walk import gradient
from pellucid.tape.walk import gradient as walked
from pellucid.target import Target
from tests import autograd, laws, zoo
from tests.fitted import ready

X = torch.tensor([[1.0, 2.0, 3.0], [0.5, -1.0, 2.0]], dtype=torch.float64)
W = torch.arange(9.0, dtype=torch.float64).reshape(3, 3)
ONE = torch.ones(3, dtype=torch.float64)


PROGRAMS = {
    "an integer factor": lambda x: x * x.int(),
    "a mask": lambda x: x * (x > 1) + 0 * x,
    "complex numbers inside": lambda x: x + torch.fft.fft(x).abs(),
    "weights that are signals": lambda x: F.batch_norm(x, 0 * ONE, ONE, weight=x[0], eps=0.0),
    "a rounding mode of none": lambda x: x + torch.div(x, 2, rounding_mode=None),
    "a difference from a constant": lambda x: 1 - 2 * x,
    "a mask as numbers": lambda x: x * (x > 1).double() + x.detach() * x,
    "a scaled product": lambda x: torch.addmm(torch.zeros(3).double(), x, W, alpha=0.5),
    "a constant input": lambda x: torch.addmm(x, x.detach() * 0 + 1, W),
    "a learned slope": lambda x: F.prelu(x - 1, ONE[:1] / 4),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_walk_is_the_gradient(name):
    tape = record_run(PROGRAMS[name], Inputs.of(X)).aim(Target.of(1))
    (found,) = gradient(tape)
    expected = autograd.gradient(lambda x: PROGRAMS[name](x)[:, 1], X)
    assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_a_tensor_that_becomes_a_view_of_itself():
    def model(x: Tensor, *, in_place: bool = True) -> Tensor:
        y = torch.sigmoid(x.t() @ (x + 1))
        y = y.t_() if in_place else y.t()
        return (y * W).sum(1).repeat(2).reshape(2, 3) * x

    (found,) = gradient(record_run(model, Inputs.of(X)).aim(Target.of(1)))
    expected = autograd.gradient(lambda x: model(x, in_place=False)[:, 1], X)
    assert_close(found, expected, rtol=1e-9, atol=1e-12)


class StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, signal):
        return signal


HIDDEN = {
    "a backward of its own": lambda x: StraightThrough.apply(x) * x,
    "a part without gradients": lambda x: x * torch.no_grad()(lambda: x * 2)(),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_what_only_autograd_sees_is_seen_when_methods_are_compared(name):
    alone = pl.explain(HIDDEN[name], X, "saliency", target=1)
    beside, _ = pl.compare(HIDDEN[name], X, ["saliency", "gradient_x_input"], target=1)
    assert_close(beside.values, alone.values)


def test_a_program_that_autograd_refuses_is_walked_on_the_tape():
    found = pl.explain(lambda x: torch.sigmoid(x).mul_(2), X, "saliency", target=1)
    expected = pl.explain(lambda x: torch.sigmoid(x) * 2, X, "saliency", target=1)
    assert_close(found.values, expected.values)
    assert any("refuses this program" in note for note in found.notes)


def test_a_softmax_that_is_written_to_is_part_of_the_score():
    def model(x: Tensor) -> Tensor:
        p = torch.softmax(x @ W, 1)
        p[:, 0] = 0
        return p

    for found in pl.compare(model, X, ["saliency", "gradient_x_input"], target=0):
        assert_close(found.score, torch.zeros(2).double())
        assert not any("softmax" in note for note in found.notes)


def test_the_softmax_of_another_head_is_not_mentioned():
    def model(x: Tensor) -> dict[str, Tensor]:
        return {"logits": x @ W, "attention": torch.softmax(x, 1)}

    found = pl.explain(model, X, "saliency", target=("logits", 0))
    assert found.notes == ()


class Buffered(nn.Module):
    """Writes a mask into a buffer of its own, counts its runs, and returns its own memory."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.zeros(2, 3, dtype=torch.float64))
        self.register_buffer("runs", torch.zeros(()))
        self.cache: list[Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.runs += 1
        self.cache = [x]
        self.fresh = True
        with torch.no_grad():
            self.mask.copy_(x > 1.5)
        return x * self.mask


def test_a_buffer_that_every_run_writes_to():
    model = Buffered()
    beside = pl.compare(model, X, [pl.IntegratedGradients(steps=1), "lrp"], target=2)[1]
    assert_close(beside.values, pl.explain(Buffered(), X, "lrp", target=2).values)
    assert model.runs == 0
    assert model.cache is None
    assert not hasattr(model, "fresh")
    assert not model.mask.any()


def test_an_output_that_the_next_run_writes_over():
    memory = torch.zeros(2, 3, dtype=torch.float64)

    def model(x: Tensor) -> Tensor:
        with torch.no_grad():
            memory.copy_(x)
        return memory + 0 * x if x.requires_grad else memory

    found = pl.explain(model, X, "smoothgrad", samples=2, target=0, batch_size=2)
    assert_close(found.output[:, 0], found.score)


def lrp(model: object, **options: object) -> pl.Explanation:
    return pl.explain(model, X, pl.LRP(rules=Epsilon(epsilon=1e-12)), target=0, **options)


@pytest.mark.parametrize(
    "model",
    [
        lambda x: x * (x > 0.6),
        lambda x: torch.addmm(torch.zeros(3).double(), x, W, alpha=0.5),
        lambda x: F.linear(ONE.expand(2, 3), x[:1].expand(3, 3)),
        lambda x: (x * 2).index_put(
            (torch.tensor([0]), torch.tensor([0])), x[:1, 1] * 3, accumulate=True
        ),
        lambda x: F.prelu(x, ONE[:1] / 4),
    ],
    ids=["mask", "alpha", "weight", "accumulate", "prelu"],
)
def test_relevance_is_neither_lost_nor_doubled(model):
    found = lrp(model)
    assert_close(found.completeness.explained.sum(), found.score.sum(), rtol=1e-6, atol=1e-6)


def test_two_signals_in_one_function_have_no_rule():
    with pytest.raises(pl.errors.MissingRuleError, match=r"must have a relevance rule; got `"):
        lrp(lambda x: (x + 9) ** (x + 2))


def test_all_relevance_of_a_maximum_goes_to_the_first_winner():
    found = pl.explain(lambda x: x.amax(1, keepdim=True), torch.ones(1, 4), "lrp")
    assert_close(found.values, torch.tensor([[1.0, 0.0, 0.0, 0.0]]))


@pytest.mark.parametrize("name", [m for m in pl.methods() if laws.has_maps(m, zoo.load("linear"))])
def test_one_number_a_sample(name):
    x, model = torch.tensor([1.0, -2.0, 3.0]), lambda x: x.unsqueeze(1) * 2
    found = pl.explain(model, x, ready(name, model, x))
    assert found.values.shape == (3,)


@pytest.mark.parametrize("name", ["smoothgrad", "integrated_gradients", "saliency", "lrp"])
def test_a_mask_among_the_inputs(name):
    found = pl.explain(lambda x, m: (x * m) @ W, (X, X > 0), name, target=0)
    assert found.values[1].dtype == torch.bool
    assert not found.values[1].any()


def test_a_score_that_does_not_change_needs_no_steps():
    weights = torch.tensor([0.1, 0.2, -0.3])
    found = pl.explain(
        lambda x: (x * weights).sum(1, keepdim=True), torch.ones(1, 3), "integrated_gradients"
    )
    assert found.evaluations.backward == 27


class Checkpointed(nn.Module):
    def __init__(self, *, reentrant: bool) -> None:
        super().__init__()
        self.body, self.head, self.reentrant = nn.Linear(4, 4), nn.Linear(4, 3), reentrant

    def forward(self, x):
        def run(given):
            return torch.relu(self.body(given))

        return self.head(checkpoint(run, x, use_reentrant=self.reentrant))


class Within(nn.Module):
    """Runs its layers in a context of its own."""

    def __init__(self, context) -> None:
        super().__init__()
        self.body, self.head, self.context = nn.Linear(4, 4), nn.Linear(4, 3), context

    def forward(self, x):
        with self.context():
            return self.head(torch.relu(self.body(x)))


@pytest.mark.parametrize(
    ("build", "note"),
    [
        (lambda: Checkpointed(reentrant=False), ""),
        (lambda: Checkpointed(reentrant=True), "refuses this program"),
        (lambda: Within(torch.no_grad), "switches gradients off"),
        (lambda: Within(torch.inference_mode), "switches gradients off"),
    ],
    ids=["checkpoint", "reentrant checkpoint", "no_grad", "inference_mode"],
)
@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad:UserWarning")
def test_a_model_that_hides_from_autograd_gets_its_gradient_all_the_same(build, note):
    torch.manual_seed(0)
    model, x = build().eval(), torch.randn(2, 4)
    plain = nn.Sequential(model.body, nn.ReLU(), model.head)
    expected = pl.explain(plain, x, "saliency", target=1)
    found = pl.explain(model, x, "saliency", target=1)
    torch.testing.assert_close(found.values, expected.values)
    assert [note in given for given in found.notes] == ([True] if note else [])


def _restrided(x):
    """A slice that is read again beyond its own elements, and written there."""
    whole = x.view(3, 4) * 1.0
    part = whole[:, 1:3]
    window = part.as_strided((2, 1), (1, 1), 1)
    window.tanh_()
    return (window * window).sum().reshape(1, 1) + part.sum() * 2


def _restrided_apart(x):
    whole = x.view(3, 4) * 1.0
    part = whole[:, :1]
    part.as_strided((3, 1), (4, 1), 0).add_(0.1)
    return (part * part).sum().reshape(1, 1)


@pytest.mark.parametrize("function", [_restrided, _restrided_apart])
def test_a_slice_of_a_slice_is_one_of_the_whole_memory(function):
    x = torch.arange(12.0, dtype=torch.float64).reshape(1, 12) / 10
    given = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(function(given).sum(), given)
    found = walked(pl.record(function, x).aim(pl.Target.of(0)))[0]
    torch.testing.assert_close(found, expected)


def test_a_function_around_a_module_leaves_the_module_alone():
    """Found in closures, methods and partial functions; a training mode is seen there too."""
    norm = nn.BatchNorm1d(4).train()
    before = norm.running_mean.clone()
    for around in (lambda x: norm(x), norm.forward, functools.partial(norm)):
        with pytest.warns(pl.errors.TrainingModeWarning):
            pl.explain(around, torch.randn(5, 4), "saliency", target=0)
    assert torch.equal(norm.running_mean, before)


def test_an_embedding_that_shrinks_its_rows_keeps_them():
    table = nn.Embedding(9, 4, max_norm=0.5)
    before = table.weight.detach().clone()
    found = pl.explain(
        lambda ids: table(ids).mean(1), torch.tensor([[1, 2, 3]]), "gradient_x_input", target=0
    )
    assert found.values.any()
    assert torch.equal(table.weight, before)


def test_a_model_that_takes_a_gradient_itself_is_run_with_gradients():
    """Forces are the gradient of an energy; the model switches requires_grad on by itself."""
    energy = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1)).double()

    def forces(x):
        x.requires_grad_(True)
        return -torch.autograd.grad(energy(x).sum(), x, create_graph=True)[0]

    x = torch.randn(2, 3, dtype=torch.float64)
    given = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(forces(given)[:, 0].sum(), given)
    torch.testing.assert_close(pl.explain(forces, x, "saliency", target=0).values, expected)


ENDINGS = {
    "in double precision": lambda scores: scores.softmax(1).double(),
    "copied": lambda scores: scores.softmax(1).clone(),
    "reshaped": lambda scores: scores.log_softmax(1).view(-1, 1, 3).squeeze(1),
}


@pytest.mark.parametrize("method", ["saliency", "gradient_x_input", "lrp"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_softmax_that_is_only_moved_is_still_the_end(ending, method):
    torch.manual_seed(0)
    model, x = nn.Linear(4, 3), torch.randn(2, 4)
    expected = pl.explain(model, x, method, target=1)
    found = pl.explain(lambda x: ENDINGS[ending](model(x)), x, method, target=1)
    torch.testing.assert_close(found.score, expected.score, check_dtype=False)
    torch.testing.assert_close(found.values, expected.values)
    assert "The model ends in a softmax; the score before it is explained." in found.notes
    probability = pl.explain(
        lambda x: ENDINGS[ending](model(x)), x, method, target=pl.Target.probability(1)
    ) if method == "saliency" else None  # fmt: skip
    if probability is not None:
        chance = model(x).softmax(1)[:, 1].detach()
        torch.testing.assert_close(probability.score, chance, check_dtype=False)


def test_a_probability_is_not_made_of_probabilities():
    model = nn.Linear(4, 3)
    with pytest.raises(pl.errors.TargetError, match="probabilities already"):
        pl.explain(
            lambda x: model(x).softmax(1).clamp(1e-7, 1),
            torch.randn(2, 4),
            "saliency",
            target=pl.Target.probability(1),
        )
    with pytest.raises(pl.errors.TargetError, match="one of several classes"):
        pl.explain(nn.Linear(4, 1), torch.randn(2, 4), "saliency", target=pl.Target.margin(0))


class Remembering(nn.Module):
    """Carries its state from one run to the next."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.RNNCell(3, 4).double(), nn.Linear(4, 2).double()
        self.state = torch.zeros(1, 4, dtype=torch.float64)

    def forward(self, x):
        state = self.state.mean(0, keepdim=True).expand(len(x), -1)
        self.state = self.cell(x, state)
        return self.head(self.state)


@pytest.mark.parametrize("method", ["integrated_gradients", "gradient_x_input", "smoothgrad"])
def test_every_run_begins_with_the_same_state(method):
    torch.manual_seed(0)
    model, x = Remembering().eval(), torch.randn(2, 3, dtype=torch.float64)
    begin = model.state

    def fresh(x):
        model.state = begin
        return model(x)

    expected = pl.explain(fresh, x, method, target=0)
    model.state = begin
    found = pl.explain(model, x, method, target=0)
    torch.testing.assert_close(found.values, expected.values)
    assert model.state is begin


# Slopes and scores that are infinite or no number at the first of these samples.
EDGES = torch.tensor([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0]], dtype=torch.float64)
UNKNOWN = {
    "a slope": (lambda x: x.sqrt() @ W, "those of 1 of 2 samples are not, though the score is"),
    "a score": (lambda x: (x / x) @ W, "those of 1 of 2 samples are not, for the score itself is"),
}
SLOPES = ["saliency", "gradient_x_input", "guided_backprop", "deconvnet"]


@pytest.mark.parametrize("batch_size", [1, "auto"])
@pytest.mark.parametrize("name", SLOPES)
@pytest.mark.parametrize("what", UNKNOWN)
def test_values_that_are_not_finite_are_announced(what, name, batch_size):
    model, said = UNKNOWN[what]
    with pytest.warns(pl.errors.IncompleteWarning, match=said):
        found = pl.explain(model, EDGES, name, target=0, batch_size=batch_size)
    assert not found.values[0].isfinite().all()
    assert found.values[1].isfinite().all()
    assert [said in note for note in found.notes] == [True]


@pytest.mark.parametrize("name", ["integrated_gradients", "gradient_shap", "smoothgrad"])
def test_nor_does_a_mean_hide_them(name):
    options = {"noise": 0.0} if name == "gradient_shap" else {}
    with pytest.raises(pl.errors.IncompleteError, match=UNKNOWN["a slope"][1]):
        pl.explain(UNKNOWN["a slope"][0], EDGES, name, target=0, on_incomplete="raise", **options)


@pytest.mark.parametrize("name", ["occlusion", "exact_shapley"])
def test_a_score_of_what_is_left_that_is_no_number_is_announced(name):
    with pytest.raises(pl.errors.IncompleteError, match="1 of 2 samples are not, for the score"):
        pl.explain(UNKNOWN["a score"][0], EDGES, name, target=0, on_incomplete="raise")


def test_values_that_are_finite_are_no_news():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = pl.explain(UNKNOWN["a slope"][0], EDGES + 1, "saliency", target=0)
    assert found.notes == ()
