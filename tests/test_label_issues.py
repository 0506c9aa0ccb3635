import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fastnn.datasets import Dataset, load_dataset
from fastnn.errors import DataError, MissingExtraError
from fastnn.label_issues import Findings, Issue, apply_issues, find_issues, write_issues
from tests.helpers import blobs

WELL_KNOWN = (0, 3, 5, 6, 8)


@pytest.fixture(scope="module")
def found() -> tuple[Dataset, Findings]:
    """Return easy data with 20 wrong labels, a blank image 200 and some copies, and the issues found in it."""
    data = blobs(400)
    images, labels = data.images.copy(), data.labels.copy()
    labels[:20] = (labels[:20] + 3) % 10
    images[200] = 255
    images[300] = images[100]
    images[310], labels[310] = images[110], (labels[110] + 1) % 10
    for copy in (321, 322):
        images[copy], labels[copy] = images[120], 7
    made = replace(data, features=images, targets=labels, source="made")
    return made, find_issues(made, folds=3, repeats=1, threads=1)


def test_wrong_labels_are_found_and_corrected(found: tuple[Dataset, Findings]) -> None:
    wrong = {issue.index: issue for issue in found[1].issues if issue.kind == "wrong label"}
    assert len(set(range(20)) & set(wrong)) >= 18
    assert all(wrong[i].suggested == str(i % 10) for i in range(20) if i in wrong)
    assert all(wrong[i].label == str((i + 3) % 10) for i in range(20) if i in wrong)
    assert len(wrong) <= 26
    assert 0.9 < found[1].accuracy < 0.96


def test_a_blank_image_is_not_a_digit(found: tuple[Dataset, Findings]) -> None:
    issue = next(issue for issue in found[1].issues if issue.index == 200)
    assert (issue.kind, issue.suggested, issue.reason) == ("not a digit", "", "not a digit, nothing is drawn")
    assert found[1].count("not a digit") <= 3


def test_unlikely_classes_keep_their_differences(found: tuple[Dataset, Findings]) -> None:
    """Where label smoothing is undone, most of them get the same least probability."""
    rows = found[1].probabilities
    assert np.mean([len(set(row.tolist())) == len(row) for row in rows]) > 0.95


def test_a_drawing_unlike_all_others_is_not_a_digit() -> None:
    data = blobs(400)
    images = data.images.copy()
    images[250] = np.where(np.arange(784) % 28 < 14, 0, 255)
    images[251] = images[250].reshape(28, 28).T.reshape(784)
    issues = find_issues(replace(data, features=images), folds=3, repeats=1, threads=1).issues
    assert {250, 251} & {issue.index for issue in issues if issue.kind == "not a digit"}


def test_copies_are_found_and_outvote_the_first(found: tuple[Dataset, Findings]) -> None:
    issues = {issue.index: issue for issue in found[1].issues}
    assert issues[300].reason == "copy of 100"
    assert issues[310].reason == "copy of 110, with another label"
    assert issues[321].reason == issues[322].reason == "copy of 120, with another label"
    assert {issues[i].suggested for i in (300, 310, 321, 322)} == {""}
    # Two of three copies have label 7. Of image 110 and its only copy, the likelier label wins: that of 110.
    assert (issues[120].reason, issues[120].suggested) == ("wrong label, by its copies", "7")
    assert 110 not in issues


def test_each_image_has_one_issue_and_the_worst_of_each_kind_come_first(found: tuple[Dataset, Findings]) -> None:
    issues = found[1].issues
    assert len({issue.index for issue in issues}) == len(issues)
    kinds = ["wrong label", "not a digit", "copy"]
    order = [(kinds.index(issue.kind), issue.score) for issue in issues]
    assert order == sorted(order)
    assert all(0 <= issue.score <= 1 for issue in issues)
    assert sum(found[1].count(kind) for kind in kinds) == len(issues)  # type: ignore[arg-type]


def test_applying_the_list_cleans_the_data(found: tuple[Dataset, Findings], tmp_path: Path) -> None:
    data, findings = found
    before = data.content_hash
    write_issues(findings.issues, tmp_path / "list.csv")
    cleaned, relabelled, left_out = apply_issues(data, tmp_path / "list.csv")
    assert data.content_hash == before
    assert len(cleaned) == len(data) - left_out
    assert left_out == sum(not issue.suggested for issue in findings.issues)
    assert relabelled == sum(bool(issue.suggested) for issue in findings.issues)
    gone = {issue.index for issue in findings.issues if not issue.suggested}
    remaining = np.asarray([i for i in range(len(data)) if i not in gone])
    assert np.array_equal(cleaned.images, data.images[remaining])
    truth = np.arange(400) % 10
    truth[120] = 7
    assert np.mean(cleaned.labels == truth[remaining]) > 0.99


def test_flipped_labels_of_the_real_digits_are_found(shared: Path) -> None:
    data = load_dataset(shared / "digits" / "dataset.json")
    rng = np.random.default_rng(1)
    known = np.flatnonzero(np.isin(data.labels, WELL_KNOWN))
    flipped = rng.choice(known, round(0.03 * len(known)), replace=False)
    labels = data.labels.copy()
    labels[flipped] = (labels[flipped] + rng.integers(1, 10, len(flipped))) % 10
    issues = find_issues(replace(data, targets=labels)).issues
    # Copies are reported as such with any label, so they do not count here.
    flagged = {issue.index for issue in issues if issue.kind != "copy"}
    hits = flagged & set(flipped.tolist())
    assert len(hits) >= 0.85 * len(flipped)
    assert len(hits) >= 0.60 * len(flagged)
    truth = {issue.index: issue.suggested for issue in issues if issue.suggested}
    corrected = [truth[i] == data.classes[data.labels[i]] for i in hits if i in truth]
    assert np.mean(corrected) > 0.95


def small_parts(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """Let all that is done in parts be done in many, and all large arrays be files."""
    monkeypatch.setenv("FASTNN_CACHE_DIR", str(cache))
    monkeypatch.setattr("fastnn.large_arrays.LARGE", 1)
    monkeypatch.setattr("fastnn.large_arrays.ROWS_IN_PART", 37)
    monkeypatch.setattr("fastnn.label_issues._IMAGES_AT_ONCE", 3)


def test_a_large_data_set_has_the_same_issues(
    found: tuple[Dataset, Findings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_parts(monkeypatch, tmp_path / "cache")
    again = find_issues(found[0], folds=3, repeats=1, threads=2)
    assert again.issues == found[1].issues
    assert again.accuracy == found[1].accuracy
    assert np.array_equal(again.probabilities, found[1].probabilities)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.name.endswith(".tmp")]


def random_probabilities(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, int]:
    """Return labels, of which many are wrong and some classes may have none, probabilities, and how many classes."""
    k, n = int(rng.integers(2, 12)), int(rng.integers(12, 200))
    probabilities = rng.dirichlet(np.full(k, rng.choice([0.3, 1.0])), n)
    labels = probabilities.argmax(axis=1)
    flipped = rng.random(n) < 0.6 * rng.random()
    labels[flipped] = rng.integers(0, k, int(flipped.sum()))
    if rng.random() < 0.3:
        labels = np.minimum(labels, int(rng.integers(1, k)))
    if rng.random() < 0.2:
        labels[:], labels[: int(rng.integers(1, 4))] = 0, k - 1
    if rng.random() < 0.2:
        probabilities[rng.random(n) < 0.3] = 1 / k
    return labels, probabilities, k


@pytest.mark.parametrize("parts", [False, True])
def test_wrong_labels_are_those_of_cleanlab(parts: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cleanlab.filter import find_label_issues

    if parts:
        small_parts(monkeypatch, tmp_path / "cache")
    rng = np.random.default_rng(5)
    for _ in range(40):
        labels, probabilities, k = random_probabilities(rng)
        if len(present := np.unique(labels)) < 2:
            continue
        monkeypatch.setattr("fastnn.crossval.cross_val_predict_proba", lambda *_, found=probabilities, **__: found)
        data = Dataset(rng.random((len(labels), 2)), labels, tuple(map(str, range(k))), source="made")
        issues = find_issues(data).issues
        shares = np.ascontiguousarray(probabilities[:, present])
        shares /= shares.sum(axis=1, keepdims=True)
        with warnings.catch_warnings(action="ignore"):  # of classes with few labels
            wrong = find_label_issues(np.searchsorted(present, labels), shares, filter_by="prune_by_class", n_jobs=1)
        assert sorted(issue.index for issue in issues) == np.flatnonzero(wrong).tolist()
        assert [issue.score for issue in issues] == sorted(issue.score for issue in issues)


def test_one_class_has_no_wrong_labels() -> None:
    with pytest.raises(DataError, match="two classes"):
        find_issues(replace(blobs(20), targets=np.zeros(20, dtype=np.int64)))


def test_without_cleanlab_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    with pytest.raises(MissingExtraError, match=r"\[clean\]"):
        find_issues(blobs(20))


GOOD = "index,label,suggested,score,reason\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a list of issues"),
        (b"index,label\n1,1\n", "not a list of issues"),
        (GOOD.encode() + b"1,1\n", "line 2: not 5 cells"),
        (GOOD.encode() + b"-1,1,2,0,\n", "line 2: not 5 cells"),
        (GOOD.encode() + b"99999999999999999999,1,2,0,\n", "line 2: not 5 cells"),
        (GOOD.encode() + b"20,1,2,0,\n", "there is no image 20"),
        (GOOD.encode() + b"1,2,3,0,\n", "the list is for other data"),
        (GOOD.encode() + b"1,1,x,0,\n", "'x' is not one of the classes"),
        (GOOD.encode() + b"1,1,2,0,\n1,1,3,0,\n", "line 3: image 1 is listed twice"),
        (GOOD.encode() + b'"', "not a list of issues"),
        (GOOD.encode() + b"\xff\xfe\x00", "not a list of issues"),
        (GOOD.encode() + b"".join(b"%d,%d,,0,\n" % (i, i % 10) for i in range(20)), "leaves out every image"),
    ],
)
def test_invalid_lists_are_refused(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        apply_issues(blobs(20), tmp_path / "list.csv")
    assert str(caught.value).startswith(str(tmp_path / "list.csv"))
    assert "\n" not in str(caught.value)


def test_a_missing_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        apply_issues(blobs(20), tmp_path / "no.csv")


def test_a_list_edited_in_a_spreadsheet_is_read(tmp_path: Path) -> None:
    # As a spreadsheet saves it: a byte order mark, carriage returns, columns in another order, an empty line.
    text = "\ufeffreason,suggested,label,index\r\nmine,4,3,13\r\n\r\n, ,5,15\r\nright as it is,6,6,16\r\n"
    (tmp_path / "list.csv").write_bytes(text.encode())
    cleaned, relabelled, left_out = apply_issues(blobs(20), tmp_path / "list.csv")
    assert (len(cleaned), relabelled, left_out) == (19, 1, 1)
    assert cleaned.labels.tolist() == [*range(10), 0, 1, 2, 4, 4, 6, 7, 8, 9]


def test_the_list_is_plain_csv(tmp_path: Path) -> None:
    issues = (Issue(3, "a,b", "c", 0.25, "wrong label", "wrong label"), Issue(4, "c", "", 0.5, "copy", "copy of 1"))
    write_issues(issues, tmp_path / "list.csv")
    assert (tmp_path / "list.csv").read_text().splitlines() == [
        "index,label,suggested,score,reason",
        '3,"a,b",c,0.25,wrong label',
        "4,c,,0.5,copy of 1",
    ]
    with pytest.raises(DataError, match="cannot be written"):
        write_issues(issues, tmp_path / "no" / "list.csv")
