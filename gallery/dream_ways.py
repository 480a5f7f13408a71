"""What is a typical digit? Four ways to ask a classifier, each of which knows more of the data.

Shows activation maximization as the lectures compare it: from the mean of all digits, from the mean
of each class, with a density of the digits as an expert, and in the code space of a generator. Left
alone, the ascent finds noise that the net is surer of than of any digit; with the density it finds
soft digits, and the generator, a small autoencoder trained here, finds sharp ones. Distances are to
the nearest real digit of the class; no real digit of 400 scores higher than the real score.
Misleads if the sharp digits are taken for what the net looks for: density and generator know what
digits are, the net need not. That it is as sure of the noise of the first line is what they hide.
"""

from _digits import digits, reader
from _panels import save
from _training import accuracy

import pellucid as pl

model, (inputs, classes) = reader(), digits("train")
found = pl.inspect.compare_dreams(model, inputs, classes)
save(found.plot(), "dream_ways")

print(f"the net reads {accuracy(model, *digits('test')):.1%} of 1,000 digits")
print(found.density)
print(found.generator)
for way, row in found.to_frame().iterrows():
    least = found.quality.loc[found.quality["run"] == way, "probability"].min()
    print(
        f"{way}: score {row.score:.1f} (real {row.real_score:.1f}), probability {least:.3f} or "
        f"more, {row.distance:.1f} away (real {row.real_distance:.1f}), "
        f"spectrum {row.spectrum:.0f} dB off (real {row.real_spectrum:.0f} dB)"
    )
