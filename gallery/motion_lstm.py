"""An LSTM on human motion: which moments does it still know at the end?

Shows relevance that goes back from the last state of a recurrent net through a hundred steps and
all of their gates. Most of it lies in the last three seconds, which are indeed about all that the
net needs; only the strokes of badminton are kept in mind for longer. The gradient, made small by
saturated gates, sees little but the last second. Integrated gradients, on their way from a signal
of zeros, find a third in the first two seconds, without which the net is as good.
Misleads about steps long ago: they count for nothing because the net has forgotten them, not
because they say nothing. Biases are left out here; else those of the gates keep most of the score.
"""

import torch
from _motion import CHANNELS, CLASSES, RATE, recordings
from _panels import save
from _training import accuracy, train
from matplotlib.figure import Figure
from torch import nn

import pellucid as pl

METHODS = {
    "LRP, gates pass": pl.LRP(composite="lstm"),
    "gradient x input": pl.GradientXInput(),
    "integrated gradients": pl.IntegratedGradients(),
}


class MotionLSTM(nn.Module):
    """A recurrent net; its last state is what it says."""

    def __init__(self, hidden=24):
        super().__init__()
        self.lstm = nn.LSTM(len(CHANNELS), hidden, batch_first=True, bias=False)
        self.head = nn.Linear(hidden, len(CLASSES), bias=False)

    def forward(self, signals):
        """Scores of shape (batch, class) for signals of shape (batch, channel, position)."""
        states, _ = self.lstm(signals.mT)
        return self.head(states[:, -1])


torch.manual_seed(1)
model = train(MotionLSTM(), *recordings("TRAIN"), epochs=60, rate=0.01, batch=10)
signals, classes = recordings("TEST")
print(f"{accuracy(model, signals, classes):.0%} of {len(signals)} held-out recordings right")
for seconds in (1, 2, 3, 5):
    late = signals.clone()
    late[..., : -seconds * RATE] = 0  # the mean of the training recordings
    print(f"  {accuracy(model, late, classes):.0%} by the last {seconds} s alone")

figure = Figure(figsize=(11, 8), dpi=100, layout="constrained")
found = METHODS["LRP, gates pass"](model, signals, target=classes.tolist())
for ax, k in zip(figure.subplots(2, 2).flat, range(4), strict=True):
    row = int((classes == k).nonzero()[0])
    pl.plot.draw(found, ax, row=row, names=CHANNELS, rate=RATE, title=CLASSES[k])
save(figure, "motion_lstm")

for name, method in METHODS.items():
    found = method(model, signals, target=classes.tolist(), on_incomplete="ignore")
    sizes = found.values.abs().sum(1).unflatten(1, (-1, RATE)).sum(2)
    shares = (sizes / sizes.sum(1, keepdim=True)).mean(0)
    told = ", ".join(f"{share:.0%}" for share in shares)
    print(f"{name}: of the sizes of the values, in each second: {told}")
law = METHODS["LRP, gates pass"](model, signals, target=classes.tolist()).completeness
print(f"LRP sums to the score but for {law.relative.median():.1%}, in the median of the recordings")
