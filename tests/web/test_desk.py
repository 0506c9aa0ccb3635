"""The review desk: what is lent to whom, several verdicts at once, and looking back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from fastnn.datasets.database import import_dataset
from fastnn.web.desk import LEASE_SECONDS, AlreadyReviewedError, ReviewDesk, Selection, UnknownDigitError, Verdict
from fastnn.web.store import Store, StoreError
from tests.helpers import TIMEOUT
from tests.web.servers import new_digit, new_id

if TYPE_CHECKING:
    from fastnn.datasets import Dataset

ANN, BOB = new_id(), new_id()


def ids(found: list[dict[str, object]]) -> list[object]:
    return [one["id"] for one in found]


def filled(store: Store, n: int, contributor: str = "", **values: int) -> list[str]:
    """Store n pending digits; return their ids, the most uncertain first."""
    new = [new_digit(k, uncertainty=1 - k / 1000, **values) for k in range(n)]
    store.add(new, contributor, "m")
    return [one.id for one in new]


def test_two_reviewers_do_not_get_the_same_digits(store: Store) -> None:
    known = filled(store, 50)
    first, second = store.desk.queue(20, session=ANN), store.desk.queue(20, session=BOB)
    assert (ids(first), ids(second)) == (known[:20], known[20:40])
    # Asking again gives the same ones, and what is left.
    assert ids(store.desk.queue(20, session=ANN)) == known[:20]
    assert ids(store.desk.queue(50, session=ANN)) == known[:20] + known[40:]
    # A page without a session gets what is lent to nobody.
    assert store.desk.queue(20) == []


def test_reviewers_who_ask_at_the_same_time_get_different_digits(store: Store) -> None:
    filled(store, 100)
    with ThreadPoolExecutor(8) as pool:
        pages = list(pool.map(lambda _: ids(store.desk.queue(10, session=new_id())), range(8), timeout=TIMEOUT))
    given = [one for page in pages for one in page]
    assert len(given) == len(set(given)) == 80


def test_a_lease_ends_after_a_while_unless_the_page_asks_again(store: Store) -> None:
    known, clock = filled(store, 30), [1_000_000]
    desk = ReviewDesk(store, clock=lambda: clock[0])
    assert ids(desk.queue(10, session=ANN)) == known[:10]
    clock[0] += 1000 * LEASE_SECONDS - 1
    assert ids(desk.queue(10, session=BOB)) == known[10:20]
    assert ids(desk.queue(10, session=ANN)) == known[:10]  # extended
    clock[0] += 1000 * LEASE_SECONDS - 1
    assert ids(desk.queue(30, session=BOB)) == known[10:]
    clock[0] += 2
    assert ids(desk.queue(10, session=BOB)) == known[:10]


def test_a_reviewed_digit_is_free_again_when_it_is_put_back(store: Store) -> None:
    (one,) = filled(store, 1)
    store.desk.queue(5, session=ANN)
    store.desk.review(one, "accept", None, "")
    store.desk.review(one, "undo", None, "")
    assert ids(store.desk.queue(5, session=BOB)) == [one]


def test_the_queue_of_one_class_is_sorted_by_uncertainty(store: Store) -> None:
    threes, fours = filled(store, 12, label=3), filled(store, 8, label=4)
    assert ids(store.desk.queue(100, label=4)) == fours
    assert ids(store.desk.queue(10, label=3, session=ANN)) == threes[:10]
    assert ids(store.desk.queue(10, label=3, session=BOB)) == threes[10:]
    assert store.desk.counts() == {
        "pending": 20,
        "accepted": 0,
        "rejected": 0,
        "waiting": {str(k): {3: 12, 4: 8}.get(k, 0) for k in range(10)},
    }


def test_several_verdicts_are_applied_in_order_each_with_its_own_result(store: Store) -> None:
    known = filled(store, 5, label=4)
    store.desk.review(known[3], "reject", None, "Paul")
    revision, missing = store.revision(), new_id()
    results = store.desk.review_all(
        [
            Verdict(known[0], "accept"),
            Verdict(missing, "accept"),
            Verdict(known[1], "relabel", 7),
            Verdict(known[3], "accept"),
            Verdict(known[0], "undo", expected=("accepted", 4)),
            Verdict(known[0], "reject"),
            Verdict(known[2], "accept"),
        ],
        "Rita",
    )
    assert [type(one) if isinstance(one, Exception) else (one["state"], one["label"]) for one in results] == [
        ("accepted", 4),
        UnknownDigitError,
        ("accepted", 7),
        AlreadyReviewedError,
        ("pending", None),
        ("rejected", None),
        ("accepted", 4),
    ]
    assert store.states() == {"pending": 1, "accepted": 2, "rejected": 2}
    assert store.revision() > revision
    assert [one["action"] for one in store.desk.history(5)] == ["accept", "reject", "undo", "relabel", "accept"]


def test_reviewers_who_decide_on_the_same_digits_at_the_same_time_do_not_block_each_other(store: Store) -> None:
    known = filled(store, 40, "Ann")
    verdicts = [Verdict(one, "accept") for one in known]

    def work(n: int) -> int:
        if n % 4 == 3:
            return store.desk.review_contributor("Ann", "pending", "accept", str(n))
        results = store.desk.review_all(verdicts if n % 2 else verdicts[::-1], str(n))
        return sum(isinstance(one, dict) and one["state"] == "accepted" for one in results)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(work, range(16), timeout=TIMEOUT))
    assert {found[n] for n in range(16) if n % 4 != 3} == {40}
    assert store.states()["accepted"] == len(store.desk.history(100)) == 40


@pytest.mark.parametrize(("action", "state"), [("accept", "accepted"), ("reject", "rejected")])
def test_all_digits_of_one_contributor(store: Store, action: str, state: str) -> None:
    troll, other = filled(store, 30, "Troll", label=4), filled(store, 3, "Troll 2")
    store.desk.review(troll[5], "relabel", 9, "")
    store.desk.queue(100, session=ANN)
    assert store.desk.review_contributor("Troll", "pending", action, "Rita") == 29  # type: ignore[arg-type]
    assert store.states() == {"pending": 3, "accepted": 1, "rejected": 0} | {state: 29 + (state == "accepted")}
    assert ids(store.desk.queue(100, session=ANN)) == other
    history = store.desk.history(29)
    label = 4 if action == "accept" else None
    assert {(one["action"], one["reviewer"], one["label"]) for one in history} == {(action, "Rita", label)}
    # Repeated, it changes nothing; and it can be taken back.
    assert store.desk.review_contributor("Troll", "pending", action, "Rita") == 0  # type: ignore[arg-type]
    back = store.desk.review_contributor("Troll", state, "undo", "Rita")  # type: ignore[arg-type]
    assert back == 29 + (state == "accepted")
    assert store.states()[state] == 0
    assert len(store.desk.queue(100, session=BOB)) == back  # no longer lent


def test_verdicts_that_do_not_fit_the_state_change_nothing(store: Store) -> None:
    filled(store, 2, "Troll")
    for state, action in (("pending", "undo"), ("accepted", "reject"), ("rejected", "accept")):
        assert store.desk.review_contributor("Troll", state, action, "") == 0  # type: ignore[arg-type]
    assert store.desk.review_contributor("", "pending", "reject", "") == 0
    assert store.states()["pending"] == 2


def test_a_struck_name_disappears_and_the_digits_stay(store: Store) -> None:
    rude, kept = filled(store, 3, "Rude"), filled(store, 1, "Kept")
    store.desk.review(rude[0], "accept", None, "Rude")
    store.desk.review(rude[1], "reject", None, "Rita")
    store.desk.review(kept[0], "accept", None, "Rita")
    before = store.states()
    assert store.desk.strike_name("Rude") == 3
    assert store.states() == before
    assert store.credits(9) == [{"name": "Kept", "digits": 1}]
    assert [one["reviewer"] for one in store.desk.history(9)] == ["Rita", "Rita", ""]
    for state in ("pending", "accepted", "rejected"):
        assert "Rude" not in {one["contributor"] for one in store.desk.browse(Selection(state), 9)}  # type: ignore[arg-type]
    assert store.desk.strike_name("Rude") == store.desk.strike_name("") == 0
    # It does not come back, however it is written.
    late = [new_digit(position) for position in (40, 41)]
    store.add(late[:1], "RUDE", "")
    store.add(late[1:], "Ruth", "")
    known = {one["id"]: one["contributor"] for one in store.desk.queue(100)}
    assert (known[late[0].id], known[late[1].id]) == ("", "Ruth")


def test_reviewed_digits_are_listed_page_by_page(store: Store) -> None:
    known = filled(store, 9, "Ann", label=4) + filled(store, 3, "Bob", label=5)
    for one in known[:7]:
        store.desk.review(one, "accept", None, "")
    store.desk.review(known[7], "relabel", 5, "")
    store.desk.review(known[8], "reject", None, "")
    store.desk.review(known[9], "accept", None, "")

    def listed(limit: int = 100, before: int | None = None, **selection: object) -> list[object]:
        return ids(store.desk.browse(Selection(**selection), limit, before))  # type: ignore[arg-type]

    assert listed() == [known[9], *reversed(known[:8])]
    assert listed(state="rejected") == listed(state="rejected", label=4) == [known[8]]
    assert listed(state="pending", contributor="Bob") == [known[11], known[10]]
    # Accepted digits are found by the label that the reviewer gave.
    assert listed(label=5) == [known[9], known[7]]
    assert listed(label=5, contributor="Ann") == [known[7]]
    assert listed(contributor="ann") == []
    first = store.desk.browse(Selection(), 4)
    assert ids(first) + listed(4, before=first[-1]["number"]) == listed(8)
    assert (first[1]["given"], first[1]["label"], first[1]["state"]) == (4, 5, "accepted")
    assert len(first[0]["image"]) == 784


def test_the_history_has_pictures_and_pages(store: Store) -> None:
    given = [new_digit(k, label=k) for k in range(4)]
    store.add(given, "", "m")
    for one in given:
        store.desk.review(one.id, "accept", None, "Rita")
    store.desk.review(given[0].id, "undo", None, "")
    first = store.desk.history(3, images=True)
    rest = store.desk.history(3, before=first[-1]["number"], images=True)
    assert ids(first) + ids(rest) == [given[k].id for k in (0, 3, 2, 1, 0)]
    assert [bytes(one["image"]) for one in rest] == [given[1].pixels, given[0].pixels]
    assert (rest[1]["state"], rest[1]["label"], rest[1]["given"]) == ("pending", 0, 0)
    assert "image" not in store.desk.history(1)[0]


def test_classes_of_ones_own(url: str) -> None:
    names = ("circle", "square", "7")
    store = Store(url, names)
    assert store.classes == names
    one, two = new_digit(1, label=2), new_digit(2, label=0)
    store.add([one, two], "", "")
    store.desk.review(one.id, "accept", None, "")
    store.desk.review(two.id, "relabel", 1, "")
    assert store.class_counts() == {"circle": 0, "square": 1, "7": 1}
    dataset = store.dataset()
    assert (dataset.classes, dataset.labels.tolist()) == (names, [2, 1])
    store.close()
    again = Store(url)
    assert again.classes == names
    again.close()


def test_counts_are_right_whoever_changes_the_digits(store: Store, url: str, drawn: Dataset) -> None:
    """They are kept in memory and moved, so compare them with those of a store that has just been opened."""

    def check() -> None:
        fresh = Store(url)
        assert store.desk.counts() == fresh.desk.counts()
        fresh.close()

    given = [new_digit(k, label=k % 3) for k in range(12)]
    check()
    store.add(given[:6], "Ann", "m")
    check()
    store.add(given[4:9], "Ann", "m")  # two are known
    check()
    store.add(given[9:], "Bob", "m")
    store.desk.review(given[0].id, "relabel", 9, "")
    store.desk.review(given[0].id, "undo", None, "")
    check()
    store.desk.review_all(
        [Verdict(given[0].id, "accept"), Verdict(given[1].id, "reject"), Verdict(new_id(), "reject")], ""
    )
    check()
    other = Store(url)
    other.desk.review(given[2].id, "accept", None, "")
    store.desk.review(given[3].id, "accept", None, "")
    check()
    other.add([new_digit(50, label=7)], "", "m")
    check()
    other.close()
    import_dataset(drawn.take(range(5)), url)
    check()
    store.desk.review_contributor("Ann", "pending", "reject", "")
    check()
    assert sum(store.desk.counts()["waiting"].values()) == store.states()["pending"] == 4


def test_counts_are_not_kept_when_a_transaction_fails(store: Store) -> None:
    (one,) = filled(store, 1)
    before = store.desk.counts()

    def fail() -> None:
        with store.desk.counting() as (_, moves):
            moves.append(("pending", 0, 5))
            raise ValueError

    with pytest.raises(StoreError):
        fail()
    assert store.desk.counts() == before
    store.desk.review(one, "accept", None, "")
    assert store.desk.counts()["accepted"] == 1
