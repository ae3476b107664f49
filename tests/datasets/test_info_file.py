from __future__ import annotations

import pickle

import pytest

from bevdepth_plus.datasets.info_file import read_info_file
from bevdepth_plus.errors import DataError


def one_line(error: pytest.ExceptionInfo) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def test_a_good_file_is_returned_as_it_is(write_infos, infos):
    content = read_info_file(write_infos(infos))
    assert [info["token"] for info in content["data_list"]] == ["a", "b", "c"]


def test_a_missing_file_is_named_with_the_tool_that_makes_it(tmp_path):
    with pytest.raises(DataError, match="nothing.pkl does not exist; .*create_data") as error:
        read_info_file(tmp_path / "nothing.pkl")
    one_line(error)


@pytest.mark.parametrize("content", [b"", b"no pickle at all", pickle.dumps({"a": 1})[:-4]])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "bad.pkl").write_bytes(content)
    with pytest.raises(DataError, match="bad.pkl cannot be unpickled") as error:
        read_info_file(tmp_path / "bad.pkl")
    one_line(error)


def test_a_file_of_mmdet3d_before_1_1_is_named(tmp_path):
    (tmp_path / "old.pkl").write_bytes(pickle.dumps({"infos": [], "metadata": {}}))
    with pytest.raises(DataError, match="old.pkl is not an info file of version 1.1") as error:
        read_info_file(tmp_path / "old.pkl")
    assert "infos, metadata" in one_line(error)


def test_another_info_version_is_named(write_infos, infos):
    with pytest.raises(DataError, match="info_version is '2.0', expected '1.1'") as error:
        read_info_file(write_infos(infos, info_version="2.0"))
    one_line(error)


def test_an_empty_split_is_named(write_infos):
    with pytest.raises(DataError, match="infos.pkl holds no samples") as error:
        read_info_file(write_infos([]))
    one_line(error)


def test_a_sample_without_a_required_key_is_named(write_infos, infos):
    del infos[1]["ego2global"]
    with pytest.raises(DataError, match=r"data_list\[1\] lacks ego2global") as error:
        read_info_file(write_infos(infos))
    one_line(error)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ({"metainfo": None, "data_list": []}, "metainfo must be a dict, got None"),
        ({"metainfo": {}, "data_list": {}}, "data_list must be a list"),
        ({"metainfo": {"info_version": "1.1"}, "data_list": [{}]}, "metainfo.categories must be"),
        (
            {"metainfo": {"info_version": "1.1", "categories": {"a": 0, "b": 0}}, "data_list": [1]},
            "'a' and 'b' have the same label 0",
        ),
        (
            {"metainfo": {"info_version": "1.1", "categories": {"a": 0}}, "data_list": [None]},
            r"data_list\[0\] must be a dict, got None",
        ),
        ([1, 2], "is not an info file of version 1.1: .* got a list"),
    ],
)
def test_a_file_of_another_shape_is_named(tmp_path, content, complaint):
    path = tmp_path / "odd.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(DataError, match=f"odd.pkl.*{complaint}") as error:
        read_info_file(path)
    one_line(error)
