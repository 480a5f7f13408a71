"""Photographs in folders: which there are, the classes of those in them, and their masks."""

from collections import Counter
from pathlib import Path

import numpy as np
import torch

from pellucid.errors import FileError, nearest
from pellucid.zoo import Entry


def kind_at(place: Path) -> str:
    """What is at a path that is no folder, in words."""
    return "a file of another kind" if place.exists() else "nothing at that path"


def photos_in(place: Path) -> list[Path]:
    """The photographs in a folder and the folders in it, by the ends of their names."""
    from PIL import Image

    endings = Image.registered_extensions()
    return sorted(
        file
        for file in (*place.glob("*"), *place.glob("*/*"))
        if file.is_file() and not file.name.startswith(".") and file.suffix.lower() in endings
    )


def labels_of(
    place: Path, files: list[Path], entry: Entry
) -> tuple[torch.Tensor | None, list[str]]:
    """The classes that folders are named after; none unless all are classes of the model."""
    folders = ["" if file.parent == place else _folded(file.parent.name) for file in files]
    names = [_folded(each) for each in entry.classes]
    numbers = range(len(names)) or [int(each) for each in folders if each.isdecimal()]
    known = {str(number): number for number in numbers}
    known |= {name: number for number, name in enumerate(names)}
    if strange := sorted({each for each in folders if each and each not in known}):
        said = f"labels: none, for {strange[0]!r} is no class of {entry.name}"
        close = nearest(strange[0], entry.classes, most=3)
        return None, [f"{said}. {close}" if close else said]
    if shared := sorted(
        set(folders) & {name for name, times in Counter(names).items() if times > 1}
    ):
        places = ", ".join(str(number) for number, name in enumerate(names) if name == shared[0])
        said = f"labels: none, for {shared[0]!r} is the name of classes {places} of {entry.name}"
        return None, [f"{said}. Name the folder by a number"]
    if not all(folders):
        said = "labels: none, for some photographs are in no folder of a class"
        return None, [said] if any(folders) else []
    counts = Counter(folders)
    few, many = min(counts.values()), max(counts.values())
    several = f"{few} to {many}" if few < many else str(many)
    photographs = f"{several} photograph{'s' * (many > 1)} each"
    labels = torch.tensor([known[each] for each in folders])
    return labels, [f"labels: {len(counts)} classes, of {photographs}"]


def _folded(name: str) -> str:
    """The name of a folder or a class, whatever the case, and with spaces for underscores."""
    return name.casefold().replace("_", " ")


def masks_of(masks: Path, place: Path, files: list[Path], entry: Entry) -> torch.Tensor:
    """The picture of the same name for each photograph, white at what is important."""
    if not masks.is_dir():
        raise FileError(f"{str(masks)!r} must be a folder of masks", got=kind_at(masks))
    found = []
    for file in files:
        inner = file.relative_to(place)
        wanted = [masks / inner, *sorted((masks / inner.parent).glob(f"{file.stem}.*"))]
        mask = next((each for each in wanted if each.is_file()), None)
        if mask is None:
            raise FileError(
                f"{str(masks)!r} must hold a mask for each photograph",
                got=f"none for {inner}",
                hint="A mask has the name of its photograph, and is white at what is important.",
            )
        found.append(entry.picture(mask).mean(2) > 127)
    return torch.from_numpy(np.stack(found))
