"""The elements of a JSON array one at a time, so that memory does not depend on how many there are."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fastnn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ITEM_LIMIT = 1 << 18
"""Longest element in bytes; a digit has 1,600 to 4,700 with blanks between its numbers."""

_LONGEST_IMAGE = 1 << 13

_BLANK = re.compile(rb"[ \t\r\n]*+")
_SCALAR = re.compile(rb'[^\s,\[\]{}"]++')
_STRUCTURE = re.compile(rb'["\[\]{}]')
_REST_OF_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)


def array_items(pieces: Iterable[bytes], name: str, wanted: str) -> Iterator[bytes]:
    """Yield the text of each element of a JSON array.

    What is in an element is not checked: the caller decodes it.

    Parameters
    ----------
    pieces : iterable of bytes
        The JSON text.
    name : str
        What error messages call the file.
    wanted : str
        What it should hold, for error messages.

    Raises
    ------
    DataError
        If the text is not an array, is truncated, or an element has more than 256 KiB.
    """
    text = _Text(pieces, name)
    first = text.next_byte()
    if first != b"[":
        fault = f"Expected array; {wanted}" if re.match(rb'["{\dtfn-]', first) else "not valid JSON"
        raise DataError(f"{name}: {fault if first else 'the file is empty'}")
    text.skip(1)
    number = 0
    if text.next_byte() == b"]":
        text.skip(1)
    else:
        while True:
            yield text.item(number)
            number += 1
            after = text.next_byte()
            text.skip(1)
            if after == b"]":
                break
            if after != b",":
                fault = "is truncated" if not after else "expected ',' or ']'"
                raise DataError(f"{name}: not valid JSON ({fault} after item {number - 1})")
            if text.next_byte() == b"]":
                raise DataError(f"{name}: not valid JSON (trailing comma in array)")
    if text.next_byte():
        raise DataError(f"{name}: not valid JSON (trailing characters after the array)")


class _Text:
    """A JSON text, of which only a piece and an element are in memory."""

    def __init__(self, pieces: Iterable[bytes], name: str) -> None:
        self._pieces, self._name = iter(pieces), name
        self._buffer, self._at = b"", 0

    def _more(self) -> bool:
        """Add a piece to the buffer; return False at the end of the text."""
        piece = next(self._pieces, b"")
        self._buffer, self._at = self._buffer[self._at :] + piece, 0
        return bool(piece)

    def next_byte(self) -> bytes:
        """Skip blanks; return the next byte without taking it, or nothing at the end."""
        while True:
            found = _BLANK.match(self._buffer, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._buffer):
                return self._buffer[self._at : self._at + 1]
            if not self._more():
                return b""

    def skip(self, count: int) -> None:
        self._at += count

    def item(self, number: int) -> bytes:
        """Take and return the next value, which begins at the current byte."""
        while True:
            length = self._length()
            if max(length, 0 if length else len(self._buffer) - self._at) > ITEM_LIMIT:
                raise DataError(f"{self._name}: item {number}: more than {ITEM_LIMIT >> 10} KiB are too long")
            if length:
                start, self._at = self._at, self._at + length
                return self._buffer[start : self._at]
            if not self._more():
                raise DataError(f"{self._name}: not valid JSON (item {number} is truncated)")

    def _length(self) -> int:
        """Return the length of the value at the current byte, 0 if its end is not in the buffer."""
        text, start = self._buffer, self._at
        if text[start : start + 1] not in (b"[", b"{", b'"'):
            found = _SCALAR.match(text, start)
            # A number may go on in the next piece.
            return 1 if found is None else found.end() - start if found.end() < len(text) else 0
        depth, at = 0, start
        while found := _STRUCTURE.search(text, at):
            at = found.end()
            kind = found[0]
            if kind == b'"':
                string = _REST_OF_STRING.match(text, at)
                if string is None:
                    return 0
                at = string.end()
            else:
                depth += 1 if kind in b"[{" else -1
            if depth <= 0:
                return at - start
            if kind == b"[" and depth <= 2:
                # Skips the pixels of an image, ten times as fast as the search.
                end = text.find(b"]", at, at + _LONGEST_IMAGE)
                if end >= 0 and not any(text.find(other, at, end) >= 0 for other in (b"[", b"{", b"}", b'"')):
                    at = end
        return 0
