from __future__ import annotations

import os

import pytest

from bevdepth_plus.errors import DataError
from bevdepth_plus.writable import require_writable


def test_a_folder_that_can_be_written_is_made_and_left_empty(tmp_path):
    folder = require_writable(tmp_path / "a" / "b", "--out")
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused_with_the_option_that_helps(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(DataError, match="cannot write into .*; choose another folder with --out"):
        require_writable(tmp_path, "--out")


def test_a_folder_below_a_file_is_refused_with_the_option_that_helps(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write into .*file/x .Not a directory.; .*--out"):
        require_writable(tmp_path / "file" / "x", "--out")
