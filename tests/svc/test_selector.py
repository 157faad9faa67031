"""Versions and selectors: the version rule, held by examples, and the order behind it, held by properties."""

from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hms_svc.selector import SelectorError, Version, VersionError, parse_selector

numbers = st.integers(0, 3)
suffixes = st.sampled_from(
    ["", "", "", "-rc.1", "-rc.2", "-rc", "-beta2", "-SNAPSHOT", "-cdc-boosters", "-hotfix.1", "+b7"]
)
versions = st.builds("{}.{}.{}{}".format, numbers, numbers, numbers, suffixes)
released = versions.filter(lambda text: not Version.parse(text).is_pre_release)
signs = st.sampled_from([">=", ">", "<=", "<", "=", "", "~", "^"])
terms = st.builds("{}{}".format, signs, versions) | st.sampled_from(["*", "1.x", "2.1.x", "~1", "^0", "<2"])
selectors = st.lists(st.lists(terms, min_size=1, max_size=3).map(",".join), min_size=1, max_size=2).map(" || ".join)


def matches(selector: str, version: str) -> bool:
    return parse_selector(selector).matches(version)


@pytest.mark.parametrize(
    ("selector", "yes", "no"),
    [
        (">=2.1.0", "2.1.0 2.1.0-cdc-boosters 2.1.1 10.0.0", "2.0.9 2.1.0-rc.1 2.2.0-rc.1"),
        (">=2.1", "2.1.0 2.1.5", "2.0.9"),
        (">2.1", "2.1.1", "2.1.0 2.1.0-cdc-boosters"),
        ("<3", "2.9.9 2.9.9-hotfix", "3.0.0 3.0.0-cdc 3.0.0-rc.1 2.9.9-rc.1"),
        ("<=2.1.0", "2.1.0 2.1.0-cdc 2.0.0", "2.1.1"),
        (">=2.1,<3", "2.1.0 2.99.0", "2.0.0 3.0.0"),
        (" >= 2.1 , < 3 ", "2.1.0", "3.0.0"),
        ("2.1.0", "2.1.0 2.1.0-cdc-boosters 2.1.0+b7", "2.1.1 2.1.0-rc.1"),
        ("=2.1", "2.1.0", "2.1.1"),
        ("2.1.0-cdc-boosters", "2.1.0-cdc-boosters", "2.1.0 2.1.0-cdc 2.1.0-CDC-boosters"),
        ("2.1.0-rc.1", "2.1.0-rc.1", "2.1.0 2.1.0-rc.2"),
        (">=2.1.0-cdc-boosters", "2.1.0 2.1.0-other 2.1.1", "2.0.9"),
        ("~2.1", "2.1.0 2.1.9", "2.2.0 2.0.9"),
        ("~2.1.3", "2.1.3 2.1.9", "2.1.2 2.2.0"),
        ("~2", "2.0.0 2.9.0", "3.0.0 1.9.9"),
        ("^2", "2.0.0 2.9.0", "3.0.0"),
        ("^2.1.3", "2.1.3 2.9.0", "2.1.2 3.0.0"),
        ("^0.2.3", "0.2.3 0.2.9", "0.3.0 0.2.2"),
        ("^0.0.3", "0.0.3", "0.0.4"),
        ("^0.0", "0.0.0 0.0.9", "0.1.0"),
        ("^0", "0.0.0 0.9.0", "1.0.0"),
        ("^0.0.0", "0.0.0", "0.0.1"),
        ("2.1.x", "2.1.0 2.1.9 2.1.0-cdc", "2.2.0 2.1.0-rc.1"),
        ("2.1.*", "2.1.0", "2.2.0"),
        ("2.x", "2.0.0 2.9.9", "3.0.0 1.9.9"),
        ("2.X.x", "2.0.0", "3.0.0"),
        ("*", "0.0.0 9.9.9 1.0.0-cdc", "1.0.0-rc.1"),
        ("1.0.0 || >=3", "1.0.0 3.1.0", "2.0.0"),
        (">=2.1.0-rc.1", "2.1.0-rc.1 2.1.0-rc.2 2.1.0 2.5.0", "2.1.0-beta.9 2.2.0-rc.1"),
        ("~2.1.0-rc.2", "2.1.0-rc.2 2.1.0 2.1.9", "2.1.0-rc.1 2.1.1-rc.1 2.2.0"),
        ("^2.1.0-rc.2", "2.1.0-rc.10 2.9.0", "2.2.0-rc.1 3.0.0"),
        (">=2.0.0-rc.1 || 2.1.0-rc.1", "2.0.0-rc.1 2.1.0-rc.1", "2.1.0-rc.2"),
        (">=2.0.0-rc.1,<2.1.0-rc.3", "2.0.0-rc.5 2.1.0-rc.1 2.0.5", "2.1.0-rc.3 2.1.0"),
    ],
)
def test_the_version_rule(selector: str, yes: str, no: str) -> None:
    assert [version for version in yes.split() if not matches(selector, version)] == []
    assert [version for version in no.split() if matches(selector, version)] == []


@pytest.mark.parametrize(
    "suffix",
    [
        "alpha",
        "beta",
        "rc",
        "dev",
        "pre",
        "preview",
        "snapshot",
        "rc1",
        "rc.1",
        "rc-1",
        "BETA",
        "SNAPSHOT",
        "alpha.x",
        "dev20",
        "Preview-3",
    ],
)
def test_these_suffixes_are_pre_releases(suffix: str) -> None:
    assert Version.parse(f"1.0.0-{suffix}").is_pre_release
    assert not Version.parse(f"1.0.0-{suffix}").variant


@pytest.mark.parametrize(
    "suffix", ["cdc-boosters", "rcx", "dev-tools", "prerelease", "1", "hotfix.rc", "betamax", "alphabet", "x.alpha"]
)
def test_any_other_suffix_is_a_build_variant(suffix: str) -> None:
    assert not Version.parse(f"1.0.0-{suffix}").is_pre_release
    assert Version.parse(f"1.0.0-{suffix}").variant == suffix


def test_versions_sort_as_people_read_them() -> None:
    rising = "1.9.9 2.0.0-alpha 2.0.0-alpha.1 2.0.0-beta2 2.0.0-beta10 2.0.0-rc 2.0.0-rc.1 2.0.0-rc.10 2.0.0-rc.x 2.0.0"
    parsed = [Version.parse(text) for text in [*rising.split(), "2.0.1", "2.10.0"]]
    assert all(low.order < high.order for low, high in pairwise(parsed))


@given(versions, versions)
def test_each_comparison_says_what_the_order_says(left: str, right: str) -> None:
    low, high = Version.parse(left), Version.parse(right)
    assume(not low.is_pre_release or (high.is_pre_release and low.triple == high.triple))
    assert matches(f">={right}", left) == (low.order >= high.order)
    assert matches(f">{right}", left) == (low.order > high.order)
    assert matches(f"<={right}", left) == (low.order <= high.order)
    assert matches(f"<{right}", left) == (low.order < high.order)
    assert matches(f"={right}", left) == matches(right, left)


@given(released, released)
def test_exactly_one_of_less_equal_and_greater_holds(left: str, right: str) -> None:
    bare = right.partition("-")[0].partition("+")[0]
    assert sum(matches(f"{sign}{bare}", left) for sign in ("<", "=", ">")) == 1


@given(versions)
def test_a_version_selects_itself(version: str) -> None:
    assert matches(version, version)
    assert matches(f">={version}", version)
    assert not matches(f">{version}", version)


@given(selectors, released)
def test_a_build_variant_is_selected_wherever_its_release_is(selector: str, version: str) -> None:
    bare = version.partition("-")[0].partition("+")[0]
    if matches(selector, bare):
        assert matches(selector, f"{bare}-cdc-boosters")


@given(selectors, versions)
def test_a_pre_release_needs_a_selector_that_names_one_of_its_triple(selector: str, version: str) -> None:
    parsed = Version.parse(version)
    if parsed.is_pre_release and matches(selector, version):
        named = [bound.version for bounds in parse_selector(selector).alternatives for bound in bounds]
        assert any(other.is_pre_release and other.triple == parsed.triple for other in named)


@given(selectors, selectors, versions)
def test_alternatives_are_a_union(left: str, right: str, version: str) -> None:
    assert matches(f"{left}||{right}", version) == (matches(left, version) or matches(right, version))


@given(terms, terms, released)
def test_a_comma_is_an_intersection(left: str, right: str, version: str) -> None:
    assert matches(f"{left},{right}", version) == (matches(left, version) and matches(right, version))


@given(numbers, numbers, released)
def test_the_short_forms_are_ranges(major: int, minor: int, version: str) -> None:
    one_minor = f">={major}.{minor}.0,<{major}.{minor + 1}.0"
    one_major = f">={major}.0.0,<{major + 1}.0.0"
    assert matches(f"{major}.{minor}.x", version) == matches(f"~{major}.{minor}", version)
    assert matches(f"{major}.{minor}.x", version) == matches(one_minor, version)
    assert matches(f"{major}.x", version) == matches(f"^{major}", version) == matches(one_major, version)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "want three numbers"),
        ("latest", "names a moment"),
        ("LATEST", "names a moment"),
        (">=latest", "names a moment"),
        ("v2.1.0", "without the v"),
        ("02.1", "leading zeros"),
        ("2.01.0", "leading zeros"),
        ("2.1.0-rc.01", "leading zero"),
        ("2.1.0-", "want three numbers"),
        ("2.1-rc.1", "want three numbers"),
        ("2.1.0.0", "want three numbers"),
        (">=2 <3", "want three numbers"),
        (">= =2", "want three numbers"),
        ("==2", "want three numbers"),
        ("!2", "want three numbers"),
        (">=2,", "want three numbers"),
        ("2||", "want three numbers"),
        ("2|3", "want three numbers"),
        (">=2.x", ">= and a wildcard"),
        ("^*", "a wildcard"),
        ("x.1", "want three numbers"),
        ("2.1.x.x", "want three numbers"),
        ("2.1.0-é", "want three numbers"),
        ("٢.1.0", "want three numbers"),
        ("1" * 257, "at most 256"),
    ],
)
def test_what_is_no_selector_says_why(text: str, words: str) -> None:
    with pytest.raises(SelectorError, match=words):
        parse_selector(text)


@pytest.mark.parametrize(
    "text", ["2.1", "2", "*", "2.1.x", "latest", "v1.0.0", "1.0.0 ", "1.0.0\n", "1.0." + "1" * 256]
)
def test_a_version_is_written_out(text: str) -> None:
    with pytest.raises(VersionError):
        Version.parse(text)
    with pytest.raises(VersionError):
        parse_selector("*").matches(text)


@given(st.text(max_size=30) | st.text("0123456789.x*<>=~^,| -rc", max_size=20))
def test_reading_a_selector_fails_in_one_way_only(text: str) -> None:
    try:
        assert parse_selector(text).matches("1.0.0") in {True, False}
    except SelectorError:
        return
