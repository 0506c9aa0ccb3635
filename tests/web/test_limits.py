import itertools

import pytest

from fastnn.web.limits import MAX_ADDRESSES, RateLimiter
from fastnn.web.messages import clean_name


class Clock:
    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


def test_a_bucket_empties_and_fills() -> None:
    clock = Clock()
    limiter = RateLimiter(2, clock)
    assert [limiter.try_spend("10.0.0.1", 1) for _ in range(20)] == [0.0] * 20
    assert limiter.try_spend("10.0.0.1", 1) == pytest.approx(0.5)
    assert limiter.try_spend("10.0.0.2", 1) == 0.0  # each address has its own bucket
    clock.time += 1.0
    assert [limiter.try_spend("10.0.0.1", 1) == 0.0 for _ in range(3)] == [True, True, False]
    clock.time += 1e6
    assert limiter.try_spend("10.0.0.1", 20) == 0.0
    assert limiter.try_spend("10.0.0.1", 1) > 0


def test_a_cost_above_the_bucket_size_takes_a_whole_bucket() -> None:
    limiter = RateLimiter(1, Clock())
    assert limiter.try_spend("10.0.0.1", 500) == 0.0
    assert limiter.try_spend("10.0.0.1", 500) == pytest.approx(10.0)


def test_a_charge_may_leave_a_debt_of_at_most_one_bucket() -> None:
    clock = Clock()
    limiter = RateLimiter(2, clock)
    limiter.try_spend("10.0.0.1", 15)
    for _ in range(9):
        limiter.charge("10.0.0.1", 15)
    assert limiter.try_spend("10.0.0.1", 0) == pytest.approx(10.5)
    clock.time += 10.5
    assert limiter.try_spend("10.0.0.1", 0) == 0.0
    RateLimiter(0).charge("10.0.0.1", 15)


def test_a_bucket_smaller_than_one_unit_can_be_spent() -> None:
    clock = Clock()
    limiter = RateLimiter(0.05, clock)
    assert limiter.try_spend("10.0.0.1", 1) == 0.0
    assert limiter.try_spend("10.0.0.1", 1) == pytest.approx(10.0)
    clock.time += 10.0
    assert limiter.try_spend("10.0.0.1", 1) == 0.0


def test_asking_costs_nothing() -> None:
    limiter = RateLimiter(1, Clock())
    assert [limiter.try_spend("10.0.0.1", 0) for _ in range(50)] == [0.0] * 50
    limiter.try_spend("10.0.0.1", 10)
    assert limiter.try_spend("10.0.0.1", 0) > 0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("no address", "no address", True),
    ],
)
def test_which_addresses_share_a_bucket(one: str, other: str, same: bool) -> None:
    limiter = RateLimiter(1, Clock())
    limiter.try_spend(one, 10)
    assert (limiter.try_spend(other, 1) > 0) == same


def test_memory_is_bounded_and_idle_addresses_are_forgotten_first() -> None:
    limiter = RateLimiter(1, Clock())
    limiter.try_spend("10.0.0.1", 10)
    for number in range(MAX_ADDRESSES + 500):
        limiter.try_spend(f"172.{number >> 16}.{number >> 8 & 255}.{number & 255}", 1)
        if number % 1000 == 0:
            limiter.try_spend("10.0.0.1", 1)
    assert len(limiter) == MAX_ADDRESSES
    assert limiter.try_spend("10.0.0.1", 1) > 0  # was active all the time, so it is remembered


def test_a_rate_of_0_sets_no_limit() -> None:
    limiter = RateLimiter(0)
    assert not any(limiter.try_spend("10.0.0.1", 1e9) for _ in itertools.repeat(None, 100))
    assert len(limiter) == 0


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("  Ann\t\nBee  ", "Ann Bee"),
        ("a\u202eb\u0000c\u200b", "a b c"),
        ("<b>x</b>", "<b>x</b>"),
        ("Zoe\u0308", "Zoë"),
        ("\ud7ff\u2028", "\ud7ff".strip() if "\ud7ff".isprintable() else ""),
        ("日本", "日本"),
        ("หนึ่ง ปู่", "หนึ่ง ปู่"),
        ("Trần Thị Hồng", "Trần Thị Hồng"),
        ("7b", "7b"),
        ("Z\u0303\u0304\u0305\u0306y", "Z\u0303\u0304y"),
        ("Z" + "\u0310" * 55, "Z\u0310\u0310"),
        ("\u0310\u0310Ann \u0310Bee", "Ann Bee"),
        ("\u3164", ""),
        ("\u2800 \u2800", ""),
        ("A\u115f\u1160\uffa0B", "A B"),
        ("?!", ""),
        ("\u0310\u20dd", ""),
        ("", ""),
    ],
)
def test_names_are_cleaned_of_invisible_characters(name: str, clean: str) -> None:
    assert clean_name(name) == clean
