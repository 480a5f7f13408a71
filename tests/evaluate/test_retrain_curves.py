"""What a run says of its numbers: means, intervals, verdicts, agreement and drawings."""

import math

import numpy as np
import pytest
from matplotlib.figure import Figure

import pellucid as pl
from pellucid.errors import InputError, UnknownNameError
from pellucid.evaluate.retrain.curves import RetrainCurves, Row, estimate

# The accuracy of three seeds after each fraction.
ACCURACIES = {
    "good": {0.5: (0.50, 0.52, 0.48), 0.9: (0.20, 0.24, 0.22)},
    "bad": {0.5: (0.90, 0.88, 0.91), 0.9: (0.60, 0.64, 0.62)},
    "alike": {0.5: (0.73, 0.66, 0.71), 0.9: (0.36, 0.45, 0.38)},
    "random": {0.5: (0.70, 0.70, 0.70), 0.9: (0.40, 0.41, 0.39)},
}
BEFORE = {"good": (0.3, 0.1), "bad": (0.2, 0.1), "alike": (0.4, 0.2), "random": (0.5, 0.3)}
CHEAP = {
    "flipping": {"good": 3.0, "alike": 2.0, "bad": 1.0},
    "turned": {"good": 3.0, "alike": 2.0, "bad": 1.0},
}


def curves(*, lost=(), **changed):
    rows = [Row(None, 0.0, seed, 0.95 + seed / 100) for seed in range(3)]
    for rival, found in ACCURACIES.items():
        for fraction, numbers in found.items():
            rows += [
                Row(rival, fraction, seed, error="no luck")
                if (rival, fraction, seed) in lost
                else Row(rival, fraction, seed, accuracy)
                for seed, accuracy in enumerate(numbers)
            ]
    before = [
        Row(rival, fraction, 0, accuracy)
        for rival, numbers in BEFORE.items()
        for fraction, accuracy in zip((0.5, 0.9), numbers, strict=True)
    ]
    proxies = [
        {"proxy": name, "rival": rival, "value": value, "error": ""}
        for name, found in CHEAP.items()
        for rival, value in found.items()
    ]
    usual = {
        "rivals": dict.fromkeys(ACCURACIES, pl.Saliency()),
        "rows": tuple(rows),
        "before": tuple(before),
        "percentages": (0.5, 0.9),
        "seeds": (0, 1, 2),
        "proxies": tuple(proxies),
        "better": {"flipping": "higher", "turned": "lower"},
    }
    return RetrainCurves(**(usual | changed))


def test_a_gain_is_the_mean_difference_to_the_random_ranking_of_the_same_seed():
    found = curves().gain("good")
    mine = (0.50 + 0.20, 0.52 + 0.24, 0.48 + 0.22)
    drops = [(1.1 + more - each) / 2 for each, more in zip(mine, (0, 0.01, -0.01), strict=True)]
    half = 4.302652729911275 * np.std(drops, ddof=1) / math.sqrt(3)  # t of two degrees of freedom
    assert found[:3] == pytest.approx(
        (np.mean(drops), np.mean(drops) - half, np.mean(drops) + half)
    )
    assert found.seeds == 3
    assert curves().gain("good", 0.9).mean == pytest.approx(0.18)
    assert curves(keep=True).gain("good").mean == pytest.approx(-np.mean(drops))


def test_verdicts_come_best_first_in_plain_words():
    first, second, third = curves().verdicts()
    assert first.startswith(
        "good: better than a random ranking (accuracy on average 19.0 points below"
    )
    assert second.startswith("alike: not told apart from a random ranking (accuracy on average")
    assert third == (
        "bad: worse than a random ranking (accuracy on average 20.8 points above random ranking, "
        "95 % interval 18.2 to 23.4, 3 seeds)."
    )
    kept = curves(keep=True).verdicts()
    assert kept[0].startswith(
        "bad: better than a random ranking (accuracy on average 20.8 points above"
    )
    assert kept[2].startswith(
        "good: worse than a random ranking (accuracy on average 19.0 points below"
    )


def test_seeds_that_failed_do_not_count():
    found = curves(lost={("good", 0.9, 1)})
    assert found.gain("good").seeds == 2
    assert found.gain("good", 0.5).seeds == 3
    alone = curves(lost={("good", 0.9, 1), ("good", 0.5, 0)})
    assert math.isnan(alone.gain("good").low)
    assert "one seed says not whether by chance" in " ".join(alone.verdicts())
    assert [row.error for row in found.failures] == ["no luck"]


def test_agreement_is_that_of_the_ranks_with_the_better_direction():
    table = curves().agreement().set_index("proxy")
    assert table.tau["flipping"] == pytest.approx(1.0)
    assert table.tau["turned"] == pytest.approx(-1.0)
    # Without retraining: bad falls by .25, good by .2, alike by .1; good, alike, bad in truth.
    assert table.tau["without retraining"] == pytest.approx(-1 / 3)
    assert table.methods.tolist() == [3, 3, 3]
    kept = curves(keep=True).agreement().set_index("proxy")
    assert kept.tau["without retraining"] == pytest.approx(-1 / 3)
    alone = curves(rivals=dict.fromkeys(["good", "random"], pl.Saliency()))
    assert alone.agreement().tau.isna().all()


def test_the_tables():
    frame = curves().to_frame()
    assert len(frame) == 3 + 4 * 2 * 3 + 8
    assert frame.query("method == 'nothing removed'").accuracy.tolist() == [0.95, 0.96, 0.97]
    assert frame.query("not retrained").fraction.tolist() == [0.5, 0.9] * 4
    table = curves().table()
    assert table.method.tolist() == ["good", "alike", "bad"]
    assert table["gain without retraining"].tolist() == pytest.approx([0.2, 0.1, 0.25])
    assert table.flipping.tolist() == [3.0, 2.0, 1.0]
    assert "by the pattern alone" not in table
    leaky = curves(leaks=(Row("good", 0.5, 0, 0.7), Row("good", 0.9, 0, 0.8), Row("bad", 0.5, 0)))
    assert leaky.table()["by the pattern alone"].tolist()[0] == pytest.approx(0.75)
    assert math.isnan(leaky.leak("bad"))


def test_curves_start_where_nothing_is_removed():
    x, found = curves().curve("bad")
    assert x == [0.0, 0.5, 0.9]
    assert [each.mean for each in found] == pytest.approx([0.96, 0.8966667, 0.62])
    assert curves().curve_before("bad")[1] == [0.95, 0.2, 0.1]
    with pytest.raises(
        UnknownNameError, match=r"method of this run .*; got 'god'\. Did you mean 'good'"
    ):
        curves().curve("god")


def test_differences_that_agree_by_chance_are_rounded_as_their_accuracies_are():
    """Two seeds, 80 samples: 0.5 - 0.4 is 0.6 - 0.5, and no interval of no width."""
    rows = [
        Row(rival, x, seed, accuracy + seed / 10)
        for rival, accuracy in (("good", 0.4), ("random", 0.5))
        for x in (0.5, 0.9)
        for seed in range(2)
    ]
    usual = {"rows": tuple(rows), "seeds": (0, 1)}
    blind, rounded = curves(**usual).gain("good"), curves(**usual, samples=80).gain("good")
    assert blind.low == pytest.approx(blind.high)
    half = 12.706204736174698 * (1 / 80 / math.sqrt(6) / math.sqrt(2)) / math.sqrt(2)
    assert rounded[:3] == pytest.approx((0.1, 0.1 - half, 0.1 + half))
    one = curves(**usual, samples=80).gain("good", 0.5)
    assert one.high - one.low == pytest.approx(2 * half * math.sqrt(2))
    many = curves(samples=10**6)
    assert many.gain("good") == curves().gain("good")


def test_an_estimate_of_one_or_none():
    assert estimate([0.5])[0] == 0.5
    assert math.isnan(estimate([0.5]).low)
    assert math.isnan(estimate([]).mean)
    assert estimate([0.4, 0.4]).sign == 1  # and an interval of no width
    assert estimate([-1.0, 1.0]).sign == 0


def test_the_drawing_shows_bands_the_random_line_and_the_first_model():
    ax = curves().plot()
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == ["good", "bad", "alike", "random"]
    assert len(ax.get_lines()) == 8
    assert len(ax.collections) == 4
    assert ax.get_xlabel() == "most relevant features removed (%)"
    random = ax.get_lines()[names.index("random") * 2]
    assert random.get_ydata() == pytest.approx([0.96, 0.7, 0.4])
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert band.max() == pytest.approx(curves().curve("good")[1][0].high)
    own = Figure().add_subplot()
    kept = curves(keep=True).plot(own, before=False, dark=True)
    assert kept is own
    assert kept.get_xlabel() == "least relevant features removed (%)"
    assert len(kept.get_lines()) == 4
    with pytest.raises(InputError, match=r"`ax` must be axes of matplotlib; got 3"):
        curves().plot(3)


def test_bands_that_leave_what_accuracies_can_be_do_not_stretch_the_axis():
    rows = [Row("good", 0.5, 0, 0.9), Row("good", 0.5, 1, 0.1)]
    low, high = curves(rows=tuple(rows), before=()).plot().get_ylim()
    assert -0.02 <= low < high <= 1.02


def test_seeds_that_change_nothing_count_as_one():
    rows = [
        Row(rival, fraction, seed, accuracy)
        for rival, fraction, accuracy in (
            (None, 0.0, 0.9),
            ("good", 0.5, 0.4),
            ("random", 0.5, 0.7),
        )
        for seed in range(3)
    ]
    usual = {"rivals": dict.fromkeys(["good", "random"], pl.Saliency()), "percentages": (0.5,)}
    same = curves(rows=tuple(rows), **usual)
    assert not same.varies
    assert same.gain("good").seeds == 1
    assert math.isnan(same.curve("good")[1][1].low)
    assert same.verdicts() == (
        "good: accuracy on average 30.0 points below random ranking; seeds that change nothing say "
        "not whether by chance.",
    )
    other = curves(rows=(*rows[:-1], rows[-1]._replace(accuracy=0.69)), **usual)
    assert other.varies
    assert other.gain("good").sign == 1
    assert curves(
        rows=tuple(rows[::3]), seeds=(0,), **usual
    ).varies  # of one seed that is not known


def test_what_failed_beside_is_said_once():
    proxies = [
        {"proxy": "road", "rival": rival, "value": None, "error": "no picture"}
        for rival in ("good", "bad", "alike")
    ]
    before = (Row("good", 0.5, 0, error="no answer"), Row("bad", 0.5, 0, 0.5))
    found = curves(proxies=tuple(proxies), before=before, better={"road": "higher"})
    lines = [line for line in repr(found).splitlines() if "  failed" in line]
    assert lines == ["  failed  road: no picture", "  failed  without retraining: no answer"]
    assert math.isnan(found.curve_before("good")[1][1])
    assert found.table().road.isna().all()


def test_a_run_in_which_all_failed_is_drawn_and_said():
    lost = {(rival, x, n) for rival in ACCURACIES for x in (0.5, 0.9) for n in range(3)}
    found = curves(lost=lost, proxies=(), before=())
    assert not found.plot().get_lines()
    assert "no accuracy to compare (no luck)" in repr(found)
    assert found.agreement().tau.isna().all()
