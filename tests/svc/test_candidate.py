"""A candidate: the files one fold makes, and that nothing is read twice on the way."""

import pytest

from hms_svc import yaml_tree
from hms_svc.candidate import KEPT_LETTERS, Candidate, conf_document, make, mapping
from hms_svc.yaml_tree import load
from tests.svc.makers import patch

BASE = "# top\na: 1  # one\nm:\n  x: 1  # x\n"


def test_a_fold_reads_the_base_once_and_the_result_once(monkeypatch: pytest.MonkeyPatch) -> None:
    base = BASE + "fold: once\n"
    texts: list[str] = []
    parse = yaml_tree.parse

    def counted(text: str, limit: int = yaml_tree.MAX_BYTES) -> yaml_tree.Node:
        texts.append(text)
        return parse(text, limit)

    monkeypatch.setattr(yaml_tree, "parse", counted)
    for value in (2, 3):
        made = make(base, [patch(7, changes={"m": {"x": value}})], "/conf.yml", {})
        assert made.document["m"] == {"x": value}
    assert texts == [base, base.replace("x: 1 ", "x: 2 "), base.replace("x: 1 ", "x: 3 ")]


def test_the_document_is_what_the_text_says() -> None:
    made = make(BASE, [patch(7, changes={"m": {"x": None}, "n": [1]})], "/conf.yml", {})
    assert made.document == load(made.texts["/conf.yml"]) == {"a": 1, "m": {}, "n": [1]}
    assert "document" not in made._asdict(), "the journal keeps texts, not what they say"
    again = Candidate(**made._asdict())
    assert (again, again.document) == (made, made.document)


def test_folding_leaves_the_kept_base_as_it_was() -> None:
    kept = conf_document(BASE)
    make(BASE, [patch(7, changes={"m": {"y": 2}, "a": None})], "/conf.yml", {})
    assert conf_document(BASE) is kept
    assert kept.value == load(BASE)


def test_what_is_too_large_to_keep_is_read_again() -> None:
    large = BASE + "# " + "x" * KEPT_LETTERS + "\n"
    assert conf_document(large) is not conf_document(large)
    assert "document" not in vars(make(large, (), "/conf.yml", {}))


@pytest.mark.parametrize("text", ["- a\n", "text\n", "a: [\n"])
def test_a_base_without_a_mapping_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"mapping at the top|did not find"):
        mapping(text)
