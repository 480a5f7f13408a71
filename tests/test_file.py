"""A file is written whole or not at all, and what cannot be written is known before."""

import os

import pytest

from pellucid.errors import FileError, InputError
from pellucid.file import check_writable, write_bytes, write_whole


def test_a_check_leaves_nothing_behind(tmp_path):
    assert check_writable(tmp_path / "report.html") == tmp_path / "report.html"
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_keeps_its_content(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    check_writable(path)
    assert path.read_text() == "old"


def test_what_cannot_be_written(tmp_path):
    with pytest.raises(
        FileError, match=r"^'\S+' must be a file that can be written; got 'a folder'\. Add the name"
    ):
        check_writable(tmp_path)
    with pytest.raises(
        FileError, match=r"^The folder of .*must exist; got .*nowhere'. Make it: mkdir"
    ):
        check_writable(tmp_path / "nowhere" / "report.html")
    with pytest.raises(FileError, match=r"got 'a device'"):
        check_writable("/dev/null")
    with pytest.raises(FileError, match=r"got OSError: .*name too long"):
        check_writable(tmp_path / ("a" * 300))
    with pytest.raises(InputError, match=r"`path` must be a path; got 3"):
        check_writable(3)


def test_a_folder_that_refuses(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with pytest.raises(FileError, match=r"can be written; got .*No space left.* name another path"):
        check_writable(tmp_path / "report.html")


def test_a_file_that_is_read_only(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.touch()
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(FileError, match="got PermissionError: the file is read-only"):
        check_writable(path)


def half_then_full(part):
    part.write_bytes(b"half")
    raise OSError(28, "No space left on device")


def test_an_interrupted_write_leaves_the_old_file_and_no_part(tmp_path, monkeypatch):
    path = write_bytes(tmp_path / "report.html", b"old")
    with pytest.raises(FileError, match=r"No space left.* Free the disk\."):
        write_whole(path, half_then_full, hint="Free the disk.")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]

    def fail(*_):
        raise OSError("the disk went away")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(FileError, match="the disk went away. Make room, or name another path"):
        write_bytes(path, b"new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_that_is_no_matter_of_files_goes_through(tmp_path):
    with pytest.raises(ZeroDivisionError):
        write_whole(tmp_path / "a", lambda part: part.write_text(str(1 // 0)))
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_replaced(tmp_path):
    path = write_bytes(tmp_path / "report.html", b"old")
    assert write_bytes(path, b"new").read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_followed(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert write_bytes(tmp_path / "link", b"x") == tmp_path / "link"
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "x"


def test_a_name_as_long_as_the_system_takes(tmp_path):
    path = check_writable(tmp_path / ("a" * 255))
    assert write_bytes(path, b"x").read_text() == "x"
