"""Shapley values: what each measurement adds to a diagnosis, exactly, by samples, and in pairs.

Shows four ways to the same numbers for one tumor and a background of fifty others: every coalition
of ten measurements, random orders, a regression on some coalitions, and a tree of measurements that
go together. The intervals hold two standard errors; the regression needs fewest runs of the model.
The pairs say how much of it two measurements only tell together.
Misleads where measurements go together: radius without area is a tumor that does not exist, and the
model is asked about many of those. A tree that keeps them together gives other values.
"""

import torch
from _panels import save
from matplotlib.figure import Figure
from sklearn.datasets import load_breast_cancer

import pellucid as pl

data = load_breast_cancer()
names = [name.removeprefix("mean ") for name in data.feature_names[:10]]
rows = torch.tensor(data.data[:, :10], dtype=torch.float32)
rows = (rows - rows.mean(0)) / rows.std(0)
labels = torch.tensor(data.target)

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(10, 16), torch.nn.Tanh(), torch.nn.Linear(16, 2))
optimizer = torch.optim.Adam(model.parameters(), 0.02)
for _ in range(200):
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(rows[50:]), labels[50:]).backward()
    optimizer.step()

tumor, background = rows[:1], rows[100:150]
# Size; how uneven it is; how it is curved.
tree = ((("radius", "perimeter"), "area"), ("texture", "smoothness", "symmetry"),
        (("compactness", "concavity"), "concave points", "fractal dimension"))  # fmt: skip
features = pl.Features.columns(names=names)
methods = {
    "exact": pl.ExactShapley(baseline=background, features=features),
    "orders": pl.ShapleySampling(samples=40, baseline=background, features=features),
    "regression": pl.KernelSHAP(samples=200, baseline=background, features=features),
    "tree": pl.PartitionShapley(tree=tree, baseline=background, features=features),
}
found = {name: each(model, tumor, target=0) for name, each in methods.items()}
pairs = pl.shapley_interactions(model, tumor, target=0, baseline=background, features=features)

figure = Figure(figsize=(10, 4.2), dpi=100, facecolor="white", layout="constrained")
left, right = figure.subplots(1, 2, width_ratios=(3, 2))
for number, (name, each) in enumerate(found.items()):
    error = None if each.player_error is None else 2 * each.player_error[0].numpy()
    places = torch.arange(10) + 0.2 * (number - 1.5)
    left.barh(places, each.players[0].numpy(), 0.2, xerr=error, label=name)
left.set_yticks(range(10), names)
left.invert_yaxis()
left.axvline(0, color="black", linewidth=0.8)
left.set_xlabel("score of malignant, less its mean over the background")
left.legend(frameon=False)
most = float(pairs.values.abs().max())
picture = right.imshow(pairs.values[0], cmap="RdBu_r", vmin=-most, vmax=most)
right.set_xticks(range(10), names, rotation=90)
right.set_yticks([])
right.set_title("in pairs")
figure.colorbar(picture, ax=right)
save(figure, "shapley_values")

for name, each in found.items():
    off = (each.players - found["exact"].players).abs().max()
    print(f"{name}: {each.evaluations.forward} evaluations, at most {off:.3f} from exact")
values, matrix = found["exact"].completeness, pairs.values[0].triu(1).abs()
row, column = divmod(int(matrix.argmax()), 10)
print(f"all sum to {values.explained.item():.3f} of {values.expected.item():.3f}")
print(
    f"the strongest pair: {names[row]} and {names[column]}, {2 * pairs.values[0, row, column]:.3f}"
)
