"""Parts of a few photographs, cut out at random: more pictures than there are photographs."""

import random

import torch
from _panels import PHOTOS
from PIL import Image
from sklearn.datasets import load_sample_image

import pellucid as pl


def crops(entry, each):
    """Parts of the photographs as the model takes them, (photo times part, channel, ...)."""
    photos = [pl.zoo.open_photo(PHOTOS / f"{name}.png") for name in ("chelsea", "coffee")]
    photos += [Image.fromarray(load_sample_image(name)) for name in ("china.jpg", "flower.jpg")]
    draw, found = random.Random(0), []
    for photo in photos:
        for _ in range(each):
            side = int(min(photo.size) * draw.uniform(0.6, 1))
            x, y = (draw.randint(0, size - side) for size in photo.size)
            found.append(entry.preprocess(photo.crop((x, y, x + side, y + side))))
    return torch.cat(found)
