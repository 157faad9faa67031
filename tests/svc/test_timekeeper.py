"""What time it is, whoever sets the clocks: stories for each rule, and properties for all sequences of them."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hms_svc.latches import Latches
from hms_svc.layers import is_open
from hms_svc.timekeeper import SKEW_LASTS_SECONDS, STEP_SECONDS, Seen, Timekeeper
from tests.svc.makers import patch

NOON = 1_790_000_000.0
HOUR = 3600.0


class World:
    """The true time, a wall clock that is set by hand, a control plane that tells the truth, and a timekeeper."""

    def __init__(self, *, boot: str = "b", wall: float = 0.0) -> None:
        self.now = 5000.0
        self.lead = NOON - self.now
        self.off = wall  # how wrong the wall clock is
        self.boot = boot
        self.keeper = Timekeeper(self.now, self.wall, boot)

    @property
    def true(self) -> float:
        return self.now + self.lead

    @property
    def wall(self) -> float:
        return self.true + self.off

    @property
    def error(self) -> float:
        return round(self.keeper.at(self.now) - self.true, 6)

    def wait(self, seconds: float) -> "World":
        end = self.now + seconds
        while self.now < end:
            self.now = min(self.now + 1.0, end)
            self.keeper.tick(self.now, self.wall)
        return self

    def set_wall(self, off: float) -> "World":
        self.off = off
        self.keeper.tick(self.now, self.wall)
        return self

    def word(self, late: float = 0.005) -> "World":
        self.keeper.hear(self.true - late, self.now)
        return self

    def restart(self, boot: str | None = None) -> "World":
        seen = self.keeper.seen(self.now)
        if boot is not None:
            self.boot, self.now, self.lead = boot, 30.0, self.true - 30.0
        self.keeper = Timekeeper(self.now, self.wall, self.boot, seen)
        self.keeper.tick(self.now, self.wall)
        return self

    @property
    def told(self) -> tuple[Any, ...]:
        report = self.keeper.report()
        return report.get("jumps"), report.get("last"), report.get("judge")


def test_a_steady_clock_is_followed_in_silence() -> None:
    world = World().wait(10).word().wait(100)
    assert world.error == 0
    assert world.keeper.report() == {}
    assert world.keeper.words(world.now) == ""


@pytest.mark.parametrize("off", [0.3, -0.3])
def test_a_small_step_is_followed_without_going_back(off: float) -> None:
    world = World().wait(10)
    before = world.keeper.at(world.now)
    world.set_wall(off)
    assert world.keeper.at(world.now) == max(before, before + off)
    assert world.wait(2).error == off
    assert world.keeper.jumps == 0


# The table of jumps: how far, with a word of the control plane or without, and what is believed then.
@pytest.mark.parametrize(
    ("off", "word", "judge", "error"),
    [
        (HOUR, False, "wall", HOUR),
        (2.0, False, "wall", 2.0),
        (-HOUR, False, "own", 0.0),
        (-2.0, False, "own", 0.0),
        (HOUR, True, "own", 0.0),
        (-HOUR, True, "own", 0.0),
    ],
)
def test_a_jump(off: float, word: bool, judge: str, error: float) -> None:  # noqa: FBT001 - a table
    world = World().wait(10)
    if word:
        world.word()
    world.set_wall(off)
    assert (world.error, world.told) == (error, (1, off, judge))
    world.wait(5)
    assert (world.error, world.told) == (error, (1, off, judge)), "decided once, told once"
    assert f"{off:+.1f} s" in world.keeper.words(world.now)
    assert world.wait(60).keeper.words(world.now) == ""


def test_a_wrong_clock_that_is_put_right_is_believed_with_a_word_that_agrees() -> None:
    world = World(wall=HOUR).wait(10).word().set_wall(0)
    assert (world.error, world.told) == (HOUR, (1, -HOUR, "own"))
    world.wait(3).word()
    assert (world.error, world.told) == (0, (1, -HOUR, "wall"))
    assert World(wall=20.0).wait(10).word().set_wall(0).error == 0


def test_a_clock_put_right_while_nobody_speaks_waits_for_a_word() -> None:
    world = World(wall=HOUR).wait(10).set_wall(0)
    assert world.error == HOUR
    world.wait(600)
    assert world.error == HOUR
    assert world.word().error == 0
    assert world.wait(10).error == 0


def test_back_and_forth_costs_nothing() -> None:
    world = World().wait(10).set_wall(-HOUR).wait(10).set_wall(0).wait(10)
    assert (world.error, world.told) == (0, (2, HOUR, "wall"))


def test_a_clock_set_forward_against_a_word_is_believed_once_words_stay_away() -> None:
    world = World().wait(10).word().set_wall(HOUR).wait(29)
    assert world.error == 0
    assert world.wait(3).error == HOUR


def test_a_clock_set_back_is_not_believed_however_long_nobody_speaks() -> None:
    assert World().wait(10).word().set_wall(-HOUR).wait(3 * HOUR).error == 0


def test_a_machine_that_was_paused_finds_its_time_with_the_next_word() -> None:
    """A paused guest's monotonic clock stands still: its time of day is right afterwards, and the last word is old."""
    world = World().wait(10).word()
    world.lead += HOUR
    world.keeper.tick(world.now, world.wall)
    assert world.error == -HOUR
    assert world.wait(1).word().error == 0


def test_small_steps_back_do_not_add_up() -> None:
    world = World().wait(10)
    for step in range(1, 100):
        world.set_wall(-0.4 * step).wait(1)
    assert -STEP_SECONDS <= world.error <= 0


def test_small_steps_forth_and_back_do_not_add_up_either() -> None:
    assert World().wait(10).set_wall(0.4).wait(1).set_wall(-0.4).wait(2).error == 0.4


def test_small_steps_forward_do_not_add_up_against_a_word() -> None:
    world = World().wait(10)
    for step in range(1, 100):
        world.word().set_wall(0.4 * step).wait(1)
    assert 0 <= world.error <= 2 * STEP_SECONDS


def test_of_several_words_the_least_delayed_counts() -> None:
    world = World().wait(10).word(0.01).wait(1)
    world.word(0.9).set_wall(-0.8)
    assert world.error == 0


def test_a_word_from_the_past_says_nothing() -> None:
    world = World(wall=0).wait(10)
    world.keeper.hear(world.true - HOUR, world.now)
    assert world.set_wall(HOUR).error == HOUR


def test_a_replayed_word_says_nothing() -> None:
    world = World().wait(100).word()
    old = world.true - 1
    world.wait(12)
    world.keeper.hear(old, world.now)
    assert world.set_wall(-13.0).error == 0


def test_clocks_that_are_far_behind_every_signed_word_are_wrong() -> None:
    world = World(wall=-1_000_000.0).wait(2).word(0.2)
    assert (world.error, world.told) == (-0.2, (1, 1_000_000.0 - 0.2, "signed"))
    world.wait(5).word(0.01)
    assert world.error == -0.01
    assert world.keeper.jumps == 1
    assert world.set_wall(-0.5).error == -0.01, "it does not stand before what was said"
    assert world.wait(2).error == -0.5


@pytest.mark.parametrize("ahead", [60.0, HOUR, 70 * 365 * 24 * HOUR])
def test_a_word_from_the_future_is_over_when_the_control_planes_clock_is_right_again(ahead: float) -> None:
    """Somebody with MGT's key, or an MGT with a wrong clock, must not own the agent's time from then on."""
    world = World().wait(100).word().wait(5).word(-ahead).wait(5)
    assert world.error == ahead
    assert world.told[2] == "signed"
    world.word().wait(1)
    assert world.error == 0
    assert world.told[2] == "wall"
    world.wait(1).word(-ahead).wait(5).restart().wait(5).word().wait(1)
    assert world.error == 0


def test_the_right_time_is_better_than_a_late_word() -> None:
    assert World(wall=-1_000_000.0).wait(2).word(1.5).set_wall(0.0).error == 0


def test_a_lasting_skew_is_said_and_changes_nothing() -> None:
    world = World(wall=5.0)
    for _ in range(5):
        world.wait(5).word()
    assert world.keeper.report() == {}, "it may pass"
    for _ in range(int(SKEW_LASTS_SECONDS / 5)):
        world.wait(5).word()
    assert world.keeper.report() == {"skew": -5.0}
    assert world.error == 5.0
    world.set_wall(0.0)
    assert "skew" not in world.wait(5).word().keeper.report()


def test_a_clock_an_hour_ahead_of_every_word_is_said_too() -> None:
    world = World(wall=HOUR)
    for _ in range(10):
        world.wait(5).word()
    assert world.keeper.report() == {"skew": -HOUR}
    assert world.error == HOUR


@pytest.mark.parametrize(("off", "error"), [(-HOUR, 0.0), (HOUR, HOUR), (0.2, 0.2)])
def test_a_restart_goes_on_counting(off: float, error: float) -> None:
    world = World().wait(10)
    world.off = off
    world.now += 600  # it was away
    world.restart()
    assert world.error == error
    assert world.keeper.jumps == (abs(off) > STEP_SECONDS)


def test_after_a_reboot_it_cannot_be_earlier_than_it_was() -> None:
    world = World().wait(10)
    world.off = -HOUR
    assert world.restart(boot="c").error == 0
    assert World(wall=-HOUR).wait(10).restart(boot="c").error == -HOUR


def test_a_machine_with_more_uptime_is_no_jump() -> None:
    keeper = Timekeeper(90_000.0, NOON, "other", Seen(NOON - 60, 100.0, "b"))
    assert keeper.at(90_000.0) == NOON
    assert keeper.jumps == 0


# --- with patches: it begins once and ends once


class Watched:
    """A patch on one instance: when it was put in force and taken out, by the monotonic clock."""

    def __init__(self, world: World, start: float, end: float) -> None:
        self.world = world
        self.patch = patch(1, start=NOON + start, end=NOON + end)
        self.latches = Latches()
        self.edges: list[float] = []

    def look(self) -> None:
        holds = bool(self.latches.pass_through([self.patch], self.world.keeper.at(self.world.now)))
        if holds != bool(len(self.edges) % 2):
            self.edges.append(self.world.now)

    def wait(self, seconds: float) -> None:
        end = self.world.now + seconds
        while self.world.now < end:
            self.world.wait(min(1.0, end - self.world.now))
            self.look()


def test_forward_and_back_begins_and_ends_a_patch_once() -> None:
    watched = Watched(World(), 10, 100)
    watched.wait(20)
    watched.world.set_wall(HOUR)
    watched.look()
    assert len(watched.edges) == 2
    watched.world.set_wall(0).word()
    assert watched.world.error == 0
    watched.wait(200)
    assert len(watched.edges) == 2
    assert watched.latches.over == {1}


def test_a_window_that_had_not_begun_is_not_used_up_by_a_wrong_clock() -> None:
    watched = Watched(World(), 10, 100)
    watched.world.set_wall(HOUR)
    watched.look()
    watched.world.set_wall(0).word()
    watched.wait(200)
    begin, end = watched.edges
    assert (round(end - begin), watched.latches.over) == (90, {1})


def test_what_began_too_early_is_not_taken_back() -> None:
    watched = Watched(World(), 100, 200)
    watched.world.set_wall(150)
    watched.look()
    watched.world.set_wall(0).word()
    watched.wait(300)
    assert [round(edge - 5000) for edge in watched.edges] == [0, 200]


def test_the_stream_bounds_the_latches() -> None:
    latches = Latches()
    latches.pass_through([patch(1, end=50.0), patch(2)], 10.0)
    latches.pass_through([patch(1, end=50.0), patch(2)], 60.0)
    assert (latches.begun, latches.over) == ({2}, {1})
    latches.forget([2, 3])
    assert (latches.begun, latches.over) == ({2}, set())


ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.floats(0.1, 40)),
        st.tuples(
            st.just("wall"), st.floats(-0.45, 0.45) | st.sampled_from([-HOUR, -30.0, -3.0, 3.0, 30.0, HOUR, 0.0])
        ),
        st.tuples(st.just("word"), st.floats(0, 2)),
        st.tuples(st.just("restart"), st.sampled_from([0.0, 5.0, 100.0])),
    ),
    max_size=30,
)


def play(watched: Watched, acts: list[tuple[str, float]]) -> list[float]:
    """Carry out the acts; the judged time after each, where -1 marks a put-back by a word."""
    world, times = watched.world, []
    for act, size in acts:
        if act == "wait":
            watched.wait(size)
        elif act == "wall":
            world.set_wall(size)
        elif act == "word":
            world.word(size)
        else:
            world.now += size
            world.restart()
        watched.look()
        times.append(world.keeper.at(world.now))
    return times


@settings(max_examples=400, deadline=None)
@given(ACTS, st.floats(0, 10), st.sampled_from([5.0, 50.0, 300.0]))
def test_whatever_happens_a_patch_begins_and_ends_at_most_once(
    acts: list[tuple[str, float]], start: float, length: float
) -> None:
    watched = Watched(World(), start, start + length)
    play(watched, acts)
    watched.wait(400)
    assert len(watched.edges) <= 2


@settings(max_examples=400, deadline=None)
@given(ACTS, st.floats(0, 60), st.floats(1, 200))
def test_without_words_time_never_goes_back_and_no_window_grows(
    acts: list[tuple[str, float]], start: float, length: float
) -> None:
    silent = [act for act in acts if act[0] != "word"]
    watched = Watched(World(), start, start + length)
    times = play(watched, silent)
    assert times == sorted(times)
    watched.wait(400)
    if len(watched.edges) == 2:
        away = sum(size for act, size in silent if act == "restart")
        assert watched.edges[1] - watched.edges[0] <= length + 1 + STEP_SECONDS + away


@settings(max_examples=400, deadline=None)
@given(ACTS)
def test_with_words_the_judged_time_stays_near_the_truth(acts: list[tuple[str, float]]) -> None:
    """A clock that was right, words every five seconds: nobody who sets the time of day moves a window by much."""
    world = World().wait(10).word()
    worst = 0.0
    for act, size in acts:
        if act == "wall":
            world.set_wall(size)
        elif act == "wait":
            for _ in range(int(size / 5) + 1):
                world.wait(5).word(0.005)
                worst = max(worst, abs(world.error))
    assert worst <= 2 * STEP_SECONDS + 0.05


@settings(max_examples=200, deadline=None)
@given(ACTS)
def test_a_right_clock_and_a_word_are_always_believed_again(acts: list[tuple[str, float]]) -> None:
    watched = Watched(World(), 0, 1)
    play(watched, acts)
    watched.world.wait(11).set_wall(0).word(0.001).wait(5).word(0.001).wait(11).word(0.001).wait(2)
    assert abs(watched.world.error) <= 0.01


def test_a_window_is_open_by_the_judged_time_where_no_clock_lies() -> None:
    world = World()
    watched = Watched(world, 5, 15)
    for _ in range(30):
        world.wait(1)
        watched.look()
        assert is_open(watched.patch, world.true) == bool(len(watched.edges) % 2)
