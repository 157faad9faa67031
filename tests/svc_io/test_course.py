"""Which patches are tried next: pure, so every story is a few lines."""

import random

from hms_svc.course import RETRY_LONGEST_SECONDS, Course, Failure
from hms_svc.messages import Patch

from .makers import patch

NO = Failure("checked", "no")
LATE = Failure("effective", "still old")
FULL = Failure("written", "disk full", surroundings=True)


def ids(patches: list[Patch]) -> list[int]:
    return [one.id for one in patches]


def trouble(course: Course) -> Failure | None:
    return course.trouble


def test_new_patches_are_tried_together() -> None:
    course = Course([1], {})
    assert ids(course.choose([patch(1), patch(2), patch(3)])) == [1, 2, 3]


def test_the_only_new_patch_is_to_blame() -> None:
    course = Course([1], {})
    assert course.failed([1, 2], NO, 0) == [2]
    assert ids(course.choose([patch(1), patch(2)])) == [1]
    assert course.blocked == {2: ("checked", "no")}


def test_after_a_failure_what_worked_comes_back_before_anything_is_tried() -> None:
    course = Course([1], {})
    wanted = [patch(1), patch(2), patch(3)]
    assert course.failed([1, 2, 3], LATE, 0) == []
    assert ids(course.choose(wanted)) == [1]
    course.succeeded([1])
    assert ids(course.choose(wanted)) == [1, 2]


def test_any_set_of_poison_is_found_and_only_that() -> None:
    rng = random.Random(7)  # noqa: S311 - not a secret
    for _ in range(200):
        wanted = [patch(number) for number in range(1, 9)]
        poison = {number for number in range(1, 9) if rng.random() < 0.3}
        course = Course([], {})
        for _attempt in range(60):
            chosen = ids(course.choose(wanted))
            if poison.intersection(chosen):
                course.failed(chosen, rng.choice([NO, LATE]), 0)
            else:
                course.succeeded(chosen)
                if not set(range(1, 9)) - set(chosen) - set(course.blocked):
                    break
        assert set(course.blocked) == poison
        assert set(ids(course.choose(wanted))) == set(range(1, 9)) - poison


def test_remaining_patches_that_cannot_stand_alone_are_found_too() -> None:
    """2 needs what 1 brought; 1 has ended. The base comes first, then one after another: 3 stays, 2 is blocked."""
    course = Course([1, 2, 3], {})
    wanted = [patch(2), patch(3)]
    assert course.failed([2, 3], NO, 0) == []
    assert ids(course.choose(wanted)) == []
    course.succeeded([])
    assert ids(course.choose(wanted)) == [2]
    assert course.failed([2], NO, 0) == [2]
    course.succeeded([])
    assert ids(course.choose(wanted)) == [3]
    course.succeeded([3])
    assert course.trouble is None


def test_a_base_that_fails_is_trouble_tried_ever_more_seldom() -> None:
    course, now, pauses = Course([], {}), 0.0, []
    for _ in range(8):
        assert course.failed([], NO, now) == []
        pauses.append(course.retry_at - now)
        now = course.retry_at
    assert pauses == [1, 2, 4, 8, 16, 30, 30, RETRY_LONGEST_SECONDS]
    assert trouble(course) == NO
    course.succeeded([])
    assert trouble(course) is None
    assert course.retry_at == 0


def test_a_full_disk_blames_nobody_for_good() -> None:
    course = Course([1], {})
    assert course.failed([1, 2], FULL, 0) == [2]
    assert course.blocked == {}
    assert ids(course.choose([patch(1), patch(2)])) == [1, 2]
    assert course.retry_at == 1


def test_a_hasty_failure_lets_the_ending_go_first() -> None:
    course = Course([1], {})
    assert course.failed([2], Failure("checked", "slow", hasty=True), 0) == []
    assert ids(course.choose([patch(2)])) == []
    course.succeeded([])
    assert ids(course.choose([patch(2)])) == [2]


def test_what_does_not_work_late_is_not_stripped() -> None:
    """A process that is slow to show the fold of trusted patches is no reason to take them away."""
    course = Course([1, 2], {})
    assert course.failed([1], LATE, 0) == []
    assert ids(course.choose([patch(1)])) == [1]
    assert course.trouble == LATE


def test_a_block_ends_when_the_stream_drops_the_patch() -> None:
    course = Course([], {5: ("checked", "no")})
    course.forget([1, 5])
    assert ids(course.choose([patch(1), patch(5)])) == [1]
    course.forget([1])
    assert ids(course.choose([patch(1), patch(5)])) == [1, 5]


def test_something_new_is_not_kept_waiting_by_old_trouble() -> None:
    course = Course([], {})
    course.failed([], NO, 10)
    course.hurry()
    assert course.retry_at == 0


def test_trouble_of_two_seconds_is_not_paid_for_with_half_a_minute() -> None:
    """New patches are tried at once. That they fail, too, says nothing about how long the disk will."""
    course = Course([], {})
    for tenth in range(20):
        course.hurry()
        course.failed([], NO, 10 + tenth / 10)
    assert 12 < course.retry_at <= 14
