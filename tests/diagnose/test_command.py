"""`pellucid noise`: what it prints and writes, and how it fails."""

import sys

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from pellucid.cli import main

MODULE = """
import torch
from pellucid.zoo import Entry, Preprocessing

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, stride=4), torch.nn.ReLU(),
                            torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
                            torch.nn.Linear(4, 3)).eval()

def entry():
    return Entry(name="mine", model=model, classes=("cat", "dog", "owl"), source="me",
                 preprocess=Preprocessing(resize=16, size=16))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    (tmp_path / "noisy_models.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    yield tmp_path
    sys.modules.pop("noisy_models", None)


def run(*arguments, code=0):
    given = ["noise", *arguments, "--model", "noisy_models:entry"]
    result = CliRunner().invoke(main, given)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.output


def test_it_says_what_it_found_and_draws_it(folder):
    text = run("photo.png", "--target", "owl")
    assert "NoiseDiagnosis of saliency, lrp: Target.index(2)" in text
    assert "Do the maps jump?" in text
    assert "picture  noise.png" in text
    assert (folder / "noise.png").read_bytes().startswith(b"\x89PNG")
    run("photo.png", "--method", "saliency", "--out", "noise.png")  # over its own picture


def test_what_cannot_be_is_said_before_any_work(folder):
    assert "`--out` must end in .png; got 'noise.jpg'" in run(
        "photo.png", "--out", "noise.jpg", code=2
    )
    said = run("photo.png", "--out", "photo.png", code=2)
    assert "must not overwrite a photo" in said
    assert "--out why.png" in said
    assert "A method must be one that exists; got 'lpr'" in run(
        "photo.png", "--method", "lpr", code=2
    )
    assert not (folder / "noise.png").exists()
    (folder / "mine.png").write_bytes((folder / "photo.png").read_bytes())
    said = run("photo.png", "--out", "mine.png", code=2)
    assert "mine.png, where the picture goes, must not hold another picture" in said
    assert "Move it, or choose another name: --out why.png." in said
