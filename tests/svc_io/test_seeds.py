"""Several hosts that know the same thing: who is asked, and what is said when nobody answers."""

import pytest

from hms_svc.resp import RedisError
from hms_svc.seeds import in_turn

HOSTS = (("a", 1), ("b", 2), ("c", 3))


def words(troubles: dict[str, str]) -> set[str]:
    """What is said, whichever host is asked first."""
    said = set()
    for _ in range(50):
        with pytest.raises(RedisError) as refused:
            in_turn(HOSTS, lambda host, _: _refuse(troubles[host]))
        said.add(str(refused.value))
    return said


def _refuse(trouble: str) -> None:
    raise RedisError(trouble)


def test_the_same_trouble_is_said_once_with_everybody_who_has_it() -> None:
    same = {host: f"rediss://{host}:1/0: signed by an unknown CA" for host, _ in HOSTS}
    assert words(same) == {"rediss://a:1/0, rediss://b:1/0, rediss://c:1/0: signed by an unknown CA"}


def test_other_troubles_stand_in_the_hosts_own_order() -> None:
    mixed = {
        "a": "redis://a:1/0: timed out",
        "b": "the sentinel b:2 knows no master 'm'",
        "c": "redis://c:3/0: timed out",
    }
    assert words(mixed) == {"redis://a:1/0, redis://c:3/0: timed out; the sentinel b:2 knows no master 'm'"}


def test_what_everybody_says_of_the_master_is_said_once() -> None:
    assert words(dict.fromkeys("abc", "redis://m:1/0, which a sentinel names, is no master now")) == {
        "redis://m:1/0, which a sentinel names, is no master now"
    }


def test_words_that_name_no_host_are_said_once() -> None:
    assert words(dict.fromkeys("abc", "no answer to AUTH: timed out")) == {"no answer to AUTH: timed out"}


def test_the_first_answer_counts_and_each_host_is_asked_first_at_times() -> None:
    assert {in_turn(HOSTS, lambda host, port: (host, port)) for _ in range(200)} == set(HOSTS)
