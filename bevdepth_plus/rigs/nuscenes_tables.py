"""nuScenes' tables, read as JSON without the devkit."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from bevdepth_plus.errors import DataError
from bevdepth_plus.rigs.yaml_fields import Fields

_CHUNK = 1 << 20  # characters read at a time


def linked(path: Path, records: Mapping[str, dict], record: Mapping, kind: str) -> dict:
    """The record of a table that another one names.

    Raises:
        DataError: the table lacks it.
    """
    token = str(record.get(f"{kind}_token"))
    if token not in records:
        raise DataError(f"{path} lacks {token}, which another table names; fetch the tables again")
    return records[token]


def table(path: Path) -> Iterator[dict]:
    """The records of a table, one after the other: sample_data.json takes a gigabyte whole.

    Raises:
        DataError: the file is missing, cut, or no table.
    """
    decoder = json.JSONDecoder()
    try:
        with path.open(encoding="utf-8") as file:
            buffer, at = file.read(_CHUNK), 0
            while True:
                while at < len(buffer) and buffer[at] in "[, \n\r\t":
                    at += 1
                if buffer.startswith("]", at):
                    return
                try:
                    record, at = decoder.raw_decode(buffer, at)
                except ValueError:
                    more = file.read(_CHUNK)
                    if not more:
                        raise DataError(f"{path} is cut or no table; fetch it again") from None
                    buffer, at = buffer[at:] + more, 0
                    continue
                yield Fields(path, "record", record).entry
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot read the table ({error})") from None
