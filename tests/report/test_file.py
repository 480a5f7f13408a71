"""A file is written whole or not at all, and what cannot be written is known before."""

import os

import pytest

from pellucid.errors import FileError
from pellucid.report import check_writable, write_whole


def test_a_check_leaves_nothing_behind(tmp_path):
    assert check_writable(tmp_path / "report.html") == tmp_path / "report.html"
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_keeps_its_content(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    check_writable(path)
    assert path.read_text() == "old"


def test_what_cannot_be_written(tmp_path):
    with pytest.raises(FileError, match=r"must be a file to write; got 'a folder'\. For example"):
        check_writable(tmp_path)
    with pytest.raises(FileError, match=r"folder of .*must exist; got .*nowhere'. Make it: mkdir"):
        check_writable(tmp_path / "nowhere" / "report.html")


def test_a_folder_that_refuses(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with pytest.raises(FileError, match=r"can be written to; got .*No space left.* another place"):
        check_writable(tmp_path / "report.html")


def test_a_file_that_is_read_only(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.touch()
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(FileError, match="got PermissionError: the file is read-only"):
        check_writable(path)


def test_an_interrupted_write_leaves_the_old_file_and_no_part(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")

    def fail(*_):
        raise OSError("the disk went away")

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(FileError, match="the disk went away"):
        write_whole(path, b"new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_replaced(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    assert write_whole(path, b"new").read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]
