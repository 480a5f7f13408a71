"""Depth: edges come first, then abstraction and sparsity grow.

Shows, over the activation functions of MobileNetV2 on photographs, the three observations of every
introduction to convolutional networks as numbers: the first layers have units that are detectors of
edges, and the picture can be read from them almost whole; deeper, less and less of the picture is
left to be read, and more activations are zero.
Misleads if what cannot be read linearly is taken for lost, or a sparse layer for an idle one: the
rest of the network reads it differently, and a unit that is silent here answers other pictures.
That less of the picture is left is no sign of learning: the same network with random weights loses
it as well, by its strides, while its edges are weak and its sparsity does not grow. The number of
photographs is small, so that "dead" is dead on these.
"""

from copy import deepcopy

import torch
from _panels import PHOTOS, save

import pellucid as pl

entry = pl.zoo.load("mobilenet_v2")
photos = torch.cat([entry.preprocess(path) for path in sorted(PHOTOS.glob("*.png"))])
random = deepcopy(entry.model)
torch.manual_seed(0)
for module in random.modules():
    if hasattr(module, "reset_parameters"):
        module.reset_parameters()
for said, net in (("random weights", random), ("trained", entry.model)):
    found = pl.inspect.activations(net, photos)
    table = found.by_depth()
    thirds = [table.iloc[i : i + 12] for i in (0, 12, 23)]
    for name, part in zip(("first", "middle", "last"), thirds, strict=True):
        print(
            f"{said}, {name} third: edges {part['edges'].mean():.2f}, "
            f"picture {part['picture'].mean():.2f}, zeros {part['zeros'].mean():.2f}, "
            f"blank units {part['blank'].mean():.2f}"
        )
save(found.plot_depth().figure, "depth")
