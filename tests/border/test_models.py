"""Models of other kinds than torch's, and what is said of those that cannot be asked."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from torch.testing import assert_close

import pellucid as pl
from pellucid.errors import InputError, ModelError, PellucidError, TargetError
from pellucid.report import wording
from tests.border.made import Drop, people, pipeline

IRIS = load_iris()
DATA, LABEL = IRIS.data, IRIS.target
ROWS = DATA[[0, 60, 120]]
NAMED = LogisticRegression(max_iter=500).fit(DATA, IRIS.target_names[LABEL])
FRAME, ANSWER = people()
MODEL = pipeline(FRAME, ANSWER)


def test_decisions_where_there_are_no_probabilities():
    model = LinearSVC().fit(DATA, LABEL)
    found = Drop()(model, ROWS, target=2)
    assert_close(found.score, torch.from_numpy(model.decision_function(ROWS)[:, 2]))


def test_a_decision_between_two_classes_is_for_and_against():
    model = SVC().fit(DATA[:100], LABEL[:100])
    decision = torch.from_numpy(model.decision_function(ROWS[:2]))
    found = Drop()(model, ROWS[:2])
    assert found.target.classes == tuple(model.predict(ROWS[:2]))
    assert_close(found.score, torch.stack([-decision[0], decision[1]]))
    assert_close(Drop()(model, ROWS[:2], target=1).score, decision)


def test_predictions_where_there_is_nothing_else():
    voters = [("a", GaussianNB()), ("b", RandomForestClassifier(3, random_state=0))]
    model = VotingClassifier(voters).fit(DATA, IRIS.target_names[LABEL])
    found = Drop()(model, ROWS)
    assert found.score.tolist() == [1, 1, 1]
    assert [model.classes_[k] for k in found.target.classes] == model.predict(ROWS).tolist()
    assert Drop()(model, ROWS, target="setosa").score.tolist() == [1, 0, 0]


def test_classes_by_their_labels():
    table = torch.from_numpy(NAMED.predict_proba(ROWS))
    assert_close(Drop()(NAMED, ROWS, target="virginica").score, table[:, 2])
    assert_close(Drop()(NAMED, ROWS, target=2).score, table[:, 2])
    each = Drop()(NAMED, ROWS, target=["setosa", "virginica", "setosa"])
    assert_close(each.score, table[[0, 1, 2], [0, 2, 0]])
    contrast = Drop()(NAMED, ROWS, target=("virginica", "setosa"))
    assert_close(contrast.score, table[:, 2] - table[:, 0])


def test_many_targets_and_methods_at_once():
    asked = [Drop(), Drop(baseline=DATA[:3])]
    found = pl.compare(NAMED, ROWS, asked, targets=["setosa", 1])
    alone = [method(NAMED, ROWS, target=k) for k in (0, 1) for method in asked]
    for one, other in zip(found, alone, strict=True):
        assert_close(one.players, other.players, rtol=0, atol=0)
        assert one.target == other.target


def test_several_models_at_once():
    models = [NAMED, GaussianNB().fit(DATA, LABEL)]
    found = pl.compare(models, ROWS, [Drop()], target=1)
    for model, each in zip(models, found, strict=True):
        assert_close(each.score, torch.from_numpy(model.predict_proba(ROWS)[:, 1]))


def test_one_of_several_outputs():
    labels = np.stack([LABEL, LABEL % 2], axis=1)
    model = MultiOutputClassifier(GaussianNB()).fit(DATA, labels)
    found = Drop()(model, ROWS, target=pl.Target.path(1, target=1))
    assert_close(found.score, torch.from_numpy(model.predict_proba(ROWS)[1][:, 1]))


@pytest.mark.parametrize(
    "answer",
    [
        lambda rows: rows[:, 0].tolist(),
        lambda rows: rows[:, :1].tolist(),
        lambda rows: rows[:, :1].astype("float32"),
        lambda rows: pd.Series(rows[:, 0]),
        lambda rows: pd.DataFrame(rows[:, :1]),
        lambda rows: {"score": torch.from_numpy(rows[:, 0].copy())},
        lambda rows: np.round(rows[:, 0] * 10).astype(int) / 10,
    ],
)
def test_what_callables_return(answer):
    aim = ("score",) if isinstance(answer(ROWS), dict) else None
    found = Drop()(answer, ROWS, target=aim)
    expected = torch.zeros(3, 4, dtype=torch.float64)
    expected[:, 0] = torch.from_numpy(ROWS[:, 0])
    assert_close(found.players, expected, rtol=1e-6, atol=1e-6)


def test_a_torch_net_behind_a_function_of_frames_is_left_alone():
    net = torch.nn.Sequential(torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2)).eval()
    before = {name: each.clone() for name, each in net.state_dict().items()}
    data = pd.DataFrame(DATA, columns=IRIS.feature_names)

    def model(frame: pd.DataFrame) -> np.ndarray:
        with torch.no_grad():
            return net(torch.tensor(frame.to_numpy("float32"))).numpy()

    found = Drop()(model, data.iloc[:3], target=0)
    same = Drop()(net, torch.tensor(DATA[:3], dtype=torch.float32), target=0)
    assert_close(found.players, same.players, rtol=1e-5, atol=1e-5)
    for name, each in net.state_dict().items():
        assert torch.equal(each, before[name])


def test_the_users_data_stay_as_they_are():
    data, frame = DATA[:3].copy(), FRAME.iloc[:3].copy()

    def spoils(rows: np.ndarray) -> np.ndarray:
        rows *= 0
        return rows[:, :2]

    def spoils_frames(rows: pd.DataFrame) -> np.ndarray:
        rows["age"] = 0
        return np.zeros((len(rows), 2))

    Drop()(spoils, data)
    Drop(baseline=frame)(spoils_frames, frame)
    assert (data == DATA[:3]).all()
    pd.testing.assert_frame_equal(frame, FRAME.iloc[:3])


def test_one_row_is_enough():
    found = Drop(baseline=FRAME.iloc[[5]])(MODEL, FRAME.iloc[[3]], target="yes")
    assert found.players.shape == (1, 7)
    assert found.evaluations.forward == 8


BACKGROUND = "^Background data must have the columns of the inputs, and at least one row; got "
PICKLE = (
    r"^A model must not be read from a pickled file, which runs the code that it holds; got "
    r"'{}'\. Write a factory that makes the model and loads its numbers \(safetensors, or a state "
    r"dict .* --model package\.module:factory\."
)
BAD: list[tuple] = [
    (lambda: Drop()("model.pkl", DATA), PICKLE.format(r"model\.pkl")),
    (lambda: Drop()(Path("a/model.joblib"), DATA), PICKLE.format(r"a/model\.joblib")),
    (lambda: Drop()("model.pt", torch.ones(1, 2)), PICKLE.format(r"model\.pt")),
    (
        lambda: Drop()(LogisticRegression, DATA),
        r"^`model` must be a fitted estimator; got LogisticRegression\. Make one and fit it: Log",
    ),
    (
        lambda: Drop()("model", DATA),
        r"^`model` must be an estimator that predicts, or a callable on .*; got 'model'\.",
    ),
    (
        lambda: Drop()(StandardScaler(), DATA),
        r"^`model` must be an estimator that predicts, .*; got StandardScaler\(\)\. Of a transfo",
    ),
    (
        lambda: Drop()(LogisticRegression(), DATA),
        r"^An estimator must be fitted before it is explained; got LogisticRegression\. Call its f",
    ),
    (
        lambda: Drop()(make_pipeline(LogisticRegression()), DATA),
        r"^An estimator must be fitted before it is explained; got Pipeline\.",
    ),
    (
        lambda: Drop()(NAMED, DATA[0]),
        r"^`inputs` must have a first axis of samples, .*; got float64\[4\].*inputs\[None\]",
    ),
    (
        lambda: Drop(baseline=DATA)(NAMED, DATA[0]),
        r"^`inputs` must have a first axis of samples, .*; got float64\[4\].*inputs\[None\]",
    ),
    (
        lambda: Drop(baseline=FRAME)(MODEL, FRAME.iloc[3]),
        r"^`inputs` must be a data frame, also for one row; got a Series of 7 values\. Take it by ",
    ),
    (
        lambda: Drop()(MODEL, FRAME.iloc[:0]),
        r"^`inputs` must have at least one row and one column; got \(0, 7\)\.$",
    ),
    (
        lambda: Drop()(NAMED, {"x": torch.ones(2)}),
        r"^`inputs` of an estimator must be a data frame, an array, a tensor or a list of texts",
    ),
    (
        lambda: Drop()(NAMED, sparse.csr_matrix(DATA)),
        r"^`inputs` must be dense; got .*Explain the pipeline from its texts",
    ),
    (
        lambda: Drop()(MODEL, FRAME.iloc[:2]),
        r"^A baseline of a table with categories must be rows of data; got Baseline\.value\(0\.0\) "
        r"for column 'sex'\. Pass a data frame of the same columns: baseline=background\.$",
    ),
    (
        lambda: Drop(baseline=FRAME.assign(town="Ullm"))(MODEL, FRAME.iloc[:2]),
        r"^A category of column 'town' in `baseline` must be one that exists; got 'Ullm'\. Did you "
        r"mean 'Ulm'\?$",
    ),
    (
        lambda: Drop(baseline=FRAME.assign(job=pd.Categorical(["smith"] * 60)))(MODEL, FRAME),
        r"^A category of column 'job' in `baseline` must be one that exists; got 'smith'\. Known: ",
    ),
    (
        lambda: Drop(baseline=FRAME.rename(columns={"age": "ages"}))(MODEL, FRAME),
        BACKGROUND
        + r"a data frame of 60 rows without \['age'\] and with \['ages'\]\. Did you mean "
        r"'ages'\?$",
    ),
    (
        lambda: Drop(baseline=FRAME.drop(columns=["age", "sex"]))(MODEL, FRAME),
        BACKGROUND + r"a data frame of 60 rows without \['age', 'sex'\]\. Select them: ",
    ),
    (
        lambda: Drop(baseline=FRAME.assign(age="old"))(MODEL, FRAME),
        r"^Column 'age' of `baseline` must hold numbers, as it does in the inputs; got str\.",
    ),
    (
        lambda: Drop(baseline=FRAME.to_numpy())(MODEL, FRAME),
        r"^`baseline` must be a data frame of the columns of the inputs, which are one; got obj",
    ),
    (
        lambda: Drop(baseline=DATA[:, :3])(NAMED, DATA),
        r"^`baseline` must have the columns of the inputs, and be of shape \[150, 4\]; got "
        r"float64\[150, 3\] on cpu\.$",
    ),
    (
        lambda: Drop(baseline=DATA)(torch.nn.Linear(4, 2), torch.ones(1, 4)),
        r"^`baseline` must be a number, a tensor or a Baseline; got float64\[150, 4\] on cpu\.",
    ),
    (
        lambda: Drop()(NAMED, DATA, target="virginia"),
        r"^A class must be one that exists; got 'virginia'\. Did you mean 'virginica'\?$",
    ),
    (
        lambda: Drop()(LinearRegression().fit(DATA, LABEL), DATA, target="one"),
        r"^`target` may be a label where the model is a classifier with classes; got 'one' for Lin",
    ),
    (
        lambda: Drop()(NAMED, np.where(DATA > 5, np.inf, DATA)),
        r"^`inputs` must be finite; got \d+ infinite values\. Clean the data first",
    ),
    (
        lambda: Drop(baseline=FRAME)(MODEL, FRAME.assign(born=pd.Timestamp("2000-01-01"))),
        BACKGROUND,
    ),
    (
        lambda: Drop()(MODEL, FRAME.assign(born=pd.Timestamp("2000-01-01"))),
        r"^Column 'born' must hold numbers, strings, categories or true and false; got datetime64",
    ),
    (
        lambda: Drop()(MODEL, pd.concat([FRAME, FRAME[["age"]]], axis=1)),
        r"^The columns of `inputs` must have names of their own; got \['age'\]\.$",
    ),
    (
        lambda: Drop()(torch.nn.Linear(4, 2), pd.DataFrame(DATA)),
        r"^`inputs` of a torch module must be tensors; got a data frame for Linear\.",
    ),
    (
        lambda: pl.explain(NAMED, DATA, "saliency"),
        r"^saliency must have a model that torch can follow; got the estimator LogisticRegression",
    ),
    (
        lambda: pl.explain(NAMED, torch.ones(2, 4), "lrp"),
        r"^lrp must have a model that torch can follow; got the estimator LogisticRegression\.",
    ),
]


@pytest.mark.parametrize(("make", "message"), BAD)
def test_bad_input(make, message):
    with pytest.raises(InputError, match=message):
        make()


def gaps() -> pd.DataFrame:
    found = FRAME[["age", "income"]].copy()
    found.loc[1, "income"] = np.nan
    return found


UNKNOWN = ColumnTransformer([("n", "passthrough", ["age", "income"])])
WRONG: list[tuple] = [
    (
        lambda: Drop(baseline=gaps())(
            make_pipeline(UNKNOWN, LogisticRegression()).fit(FRAME, ANSWER), gaps().iloc[:3]
        ),
        r"^The model must take missing values, where there are some; got missing values in column "
        r"'income'\. Fill them in before, or in a pipeline \(SimpleImputer\)\. It raised ValueE",
    ),
    (
        lambda: Drop()(lambda rows: np.full(len(rows), np.nan), DATA[:2]),
        r"^The model must return finite numbers; got NaN or infinity in 2 of 2 rows, from <lambda>",
    ),
    (
        lambda: Drop()(lambda rows: 1.0, DATA[:2]),
        r"^A model must return one row for each row that it is given; got .* for 2 rows, from <la",
    ),
    (
        lambda: Drop()(lambda rows: ["yes"] * len(rows), DATA[:2]),
        r"^A model must return numbers; got \['yes', 'yes'\], from <lambda>\. Explain what it says",
    ),
    (
        lambda: Drop()(lambda rows: rows.nothing, DATA[:2]),
        r"^The model must run on the inputs, .*; got an array of shape \[2, 4\]\. It raised "
        r"AttributeError: .*'nothing'\.$",
    ),
]


@pytest.mark.parametrize(("make", "message"), WRONG)
def test_models_that_fail(make, message):
    with pytest.raises(PellucidError, match=message) as caught:
        make()
    assert isinstance(caught.value, InputError | ModelError)


def test_memory_that_runs_out_halves_the_batch():
    sizes = []

    def model(rows: np.ndarray) -> np.ndarray:
        sizes.append(len(rows))
        if len(rows) > 5:
            raise MemoryError
        return rows[:, 0]

    found = Drop()(model, DATA[:10])
    assert found.players.shape == (10, 4)
    assert max(sizes[2:]) <= 5


def test_a_mixture_of_categories_is_refused():
    from pellucid.border.tables import of_frames

    schema = of_frames([FRAME])
    with pytest.raises(InputError, match=r"^The categories of column 'sex' must be there or abse"):
        schema.decode(torch.full((1, 7), 0.5, dtype=torch.float64))


NUMBERS = np.random.default_rng(0).normal(size=(60, 3))
SIGNS = (NUMBERS > 0).astype(int)


@pytest.mark.parametrize("target", [None, 1, "1", (0, 1), [1, 0]])
def test_which_output_of_several_is_asked_for(target):
    forest = RandomForestClassifier(5, random_state=0).fit(NUMBERS, SIGNS)
    said = r"say which of the 3 outputs of RandomForestClassifier .*Target.path\(0, target=1\)"
    with pytest.raises(TargetError, match=said):
        pl.explain(forest, NUMBERS[:2], "kernel_shap", target=target)
    aim = pl.Target.path(2, target=1)
    found = pl.explain(forest, NUMBERS[:2], "kernel_shap", target=aim)
    assert found.score.tolist() == forest.predict_proba(NUMBERS[:2])[2][:, 1].tolist()
    assert wording.target(found) == "the score of “class 1” in output 2"


def test_whole_numbers_that_label_classes():
    labels = np.array([3, 7, 9])[np.arange(60) % 3]
    model = LogisticRegression().fit(NUMBERS, labels)
    with pytest.raises(
        TargetError, match=r'got 7, the label.* is column 1: target="7" or target=1'
    ):
        pl.explain(model, NUMBERS[:2], "kernel_shap", target=7)
    found = pl.explain(model, NUMBERS[:2], "kernel_shap", target="7")
    assert found.target.classes == (1,)
    assert "0 is class 3, 1 is class 7, 2 is class 9." in " ".join(found[1].notes)
    assert pl.plot.waterfall(found).get_title() == "KernelSHAP: class 7"
    usual = LogisticRegression().fit(NUMBERS, np.arange(60) % 3)
    assert not any("class" in note for note in usual_notes(usual))
    many = LogisticRegression().fit(NUMBERS, np.arange(60) % 9 + 1)
    assert "3 is class 4, ..., 8 is class 9." in " ".join(usual_notes(many))


def usual_notes(model):
    return pl.explain(model, NUMBERS[:2], "exact_shapley", target=1).notes


def test_classes_are_called_by_their_labels(tmp_path):
    labels = np.array(["cat", "dog", "eel"])[np.arange(60) % 3]
    model = LogisticRegression().fit(NUMBERS, labels)
    found = pl.explain(model, NUMBERS[:2], "kernel_shap", target="dog")
    stored = pl.load(found.save(tmp_path / "dog.safetensors"))
    assert stored == found
    for each in (found, stored, found[1]):
        assert wording.target(each) == "the score of “dog”"
        for draw in (pl.plot.waterfall, pl.plot.force, pl.plot.bar):
            assert draw(each, row=0).get_title() == "KernelSHAP: dog"
    each_its_own = pl.explain(model, NUMBERS[:9], "exact_shapley")
    assert len(set(each_its_own.target.classes)) > 1
    assert pl.plot.beeswarm(each_its_own).get_title() == "ExactShapley"
    own = model.predict(NUMBERS[4:5])[0]
    assert pl.plot.waterfall(each_its_own, 4).get_title() == f"ExactShapley: {own}"
    against = pl.explain(model, NUMBERS[:2], "exact_shapley", target=("eel", "cat"))
    assert pl.plot.waterfall(against).get_title() == "ExactShapley: eel less cat"
    assert pl.plot.waterfall(found, title="").get_title() == ""
