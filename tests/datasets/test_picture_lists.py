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
    assert joined[1:4:2] == LIST[1:4:2]
    assert joined[::-1] == LIST[::-1]
    for wrong in (4, -1):
        with pytest.raises(IndexError):
            joined[wrong]


def test_there_may_be_none() -> None:
    assert [*JoinedPictures([])] == []
    assert len(JoinedPictures([])) == 0
