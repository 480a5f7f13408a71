"""What a command writes: names that end as they must, and nothing of the user's is overwritten."""

from pathlib import Path

from pellucid.errors import FileError, InputError


def keep_photos(
    photos: tuple[str, ...], written: tuple[Path, ...], other: str = "explanation.html"
) -> None:
    """Raise if a photo would be overwritten by what is written about it; `other` is free."""
    for photo in photos:
        for path in written:
            if path.exists() and Path(photo).exists() and path.samefile(photo):
                raise InputError(
                    "What is written must not overwrite a photo",
                    got=str(path),
                    hint=f"Choose another name: --out {other}.",
                )


def keep_picture(path: Path, other: str = "explanation.html") -> None:
    """Raise if a picture that pellucid did not draw would be lost; `other` is a free name."""
    from pellucid.report import is_ours

    if path.exists() and not is_ours(path):
        raise FileError(
            f"{path}, where the picture goes, must not hold another picture",
            got="a file that pellucid did not draw",
            hint=f"Move it, or choose another name: --out {other}.",
        )


def page_path(out: str) -> Path:
    """The path of a page."""
    return path_ending(out, ".html", ".htm")


def path_ending(out: str, ending: str, *others: str) -> Path:
    """The path of a file that ends as it must."""
    path = Path(out)
    if path.suffix.lower() not in (ending, *others):
        raise InputError(
            f"`--out` must end in {ending}",
            got=out,
            hint=f"For example {path.with_suffix(ending)}.",
        )
    return path
