"""Comma-separated rows of a label and 784 pixels."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from fastnn.datasets.dataset import PIXELS, Dataset
from fastnn.datasets.digits_json import parse_pixels
from fastnn.datasets.labels import encode_labels
from fastnn.datasets.safe_read import Unpacked
from fastnn.errors import DataError
from fastnn.reading import text_lines

if TYPE_CHECKING:
    from typing import BinaryIO


_FORM = f"rows of a label and {PIXELS} pixels"


def parse_csv(content: bytes | bytearray, source: str) -> Dataset:
    """Return the data set in rows of a label and 784 integers from 0 to 255 (255 = paper).

    A first row of column names is skipped.

    Parameters
    ----------
    content : bytes
        As :func:`fastnn.datasets.safe_read.read_packed` returns it: compressed if `source` ends with ``.gz``.
    source : str
        Path of the file.

    Raises
    ------
    DataError
        If a row has another form; the message names the file and the line.
    """
    pixels, labels = bytearray(), list[int | str]()
    first = True
    for number, line in enumerate(text_lines(Unpacked(content, source), source, what=_FORM), start=1):
        row = line.strip()
        if not row:
            continue
        if not (first and _is_header(row)):
            label, image = _parse_row(row, f"{source}: line {number}")
            labels.append(label)
            pixels += image
        first = False
    if not labels:
        raise DataError(f"{source}: holds no images")
    indices, classes = encode_labels(labels, source)
    return Dataset(np.frombuffer(pixels, np.uint8).reshape(-1, PIXELS), indices, classes, source)


def _parse_row(row: bytes, where: str) -> tuple[str, bytes]:
    label, comma, values = row.partition(b",")
    try:
        if b'"' in row:
            fields = next(csv.reader([row.decode()], strict=True))
            return fields[0], parse_pixels(f"[{','.join(fields[1:])}]".encode(), where)
        if not comma:
            raise DataError(f"{where}: a row must be a label and {PIXELS} values, separated by commas")
        return label.decode().strip(), parse_pixels(b"[%b]" % values, where)
    except UnicodeDecodeError:
        raise DataError(f"{where}: not UTF-8 text") from None
    except csv.Error as error:
        raise DataError(f"{where}: {error}") from None


def _is_header(row: bytes) -> bool:
    """Return whether the first row holds column names: its first field is "label", or no field is a number."""
    # One field that is not a number is not enough, since a damaged first row of pixels must not be skipped.
    fields = [field.strip(b' "') for field in row.split(b",")]
    return fields[0].lower() == b"label" or (len(fields) > 1 and not any(field.isdigit() for field in fields))


def write_csv(dataset: Dataset, file: BinaryIO) -> None:
    """Write a data set as rows of label and pixels below a row of column names, without its test set."""
    text = io.StringIO()
    names = csv.writer(text, lineterminator="")
    starts = []
    for name in dataset.classes:
        text.seek(text.truncate(0))
        names.writerow([name])
        # csv adds the quotes that are needed, except around names with blanks at the ends, which a reader would strip.
        quoted = text.getvalue() if name == name.strip() else f'"{name.replace(chr(34), chr(34) * 2)}"'
        starts.append(quoted.encode())
    header = ["label", *(f"pixel{position}" for position in range(PIXELS))]
    file.write(",".join(header).encode() + b"\n")
    file.writelines(
        starts[label] + b"," + msgspec.json.encode(image.tolist())[1:-1] + b"\n"
        for image, label in zip(dataset.images, dataset.labels.tolist(), strict=True)
    )
