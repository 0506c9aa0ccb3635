"""Sequences of pictures, each of which is made when it is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastnn.datasets.folders import DiskFolder
from fastnn.datasets.picture_lists import JoinedPictures, LabelledPictures, Picture, PicturesOfClass

FOLDER = DiskFolder(Path("nowhere"))
LIST = [Picture(FOLDER, *one) for one in (("a", "x"), ("b", "x"), ("c", "y"), ("a", "z"))]


def test_pictures_are_those_of_a_list() -> None:
    of_class = PicturesOfClass(FOLDER, ["a", "b"], "x")
    labelled = LabelledPictures(FOLDER, ["c", "a"], ("y", "z"))
    joined = JoinedPictures([of_class, PicturesOfClass(FOLDER, [], "none"), labelled])
    for pictures, expected in ((of_class, LIST[:2]), (labelled, LIST[2:]), (joined, LIST)):
        assert len(pictures) == len(expected)
        assert [*pictures] == [pictures[k] for k in range(len(pictures))] == expected
        for part in (slice(2), slice(1, 4, 2), slice(None, None, -1), slice(-2, None), slice(9, 12)):
            assert pictures[part] == expected[part]
        assert pictures[-1] == expected[-1]
        for wrong in (len(expected), -len(expected) - 1):
            with pytest.raises(IndexError):
                pictures[wrong]


def test_there_may_be_none() -> None:
    assert [*JoinedPictures([])] == []
    assert len(JoinedPictures([])) == 0
