"""HTTP against the fake: what is sent, what is tried again, what an error becomes."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from hms_cli.answers import LISTING
from hms_cli.client import Body, Client
from hms_cli.errors import ClientError, LostError
from hms_cli.outcome import Code
from hms_cli.retry import ATTEMPTS, LONGEST_PAUSE, LONGEST_QUEUE

from .fake_mgt import DROP, Answer, FakeMgt, patch, problem, serving

HERE = "/api/patch"


@pytest.fixture
def mgt() -> Iterator[FakeMgt]:
    with serving() as fake:
        fake.patches[784] = [patch("QUEUED")]
        yield fake


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def client(mgt: FakeMgt, pauses: list[float]) -> Iterator[Client]:
    one = Client(mgt.url, "hms_token", pauses.append)
    yield one
    one.close()


def keys(mgt: FakeMgt) -> list[str]:
    return [seen.headers["idempotency-key"] for seen in mgt.seen]


def refused(answer: Answer, mgt: FakeMgt, client: Client) -> ClientError:
    mgt.next = [answer] * ATTEMPTS
    with pytest.raises(ClientError) as error:
        client.get(HERE)
    return error.value


def test_the_bytes_go_out_untouched_with_token_type_and_a_key(mgt: FakeMgt, client: Client) -> None:
    content = b"# comment\nservice:  X\r\n\xc3\xa9: 1"
    client.post(HERE, Body(content, "application/yaml"))
    [seen] = mgt.seen
    assert seen.body == content
    assert seen.headers["content-type"] == "application/yaml"
    assert seen.headers["authorization"] == "Bearer hms_token"
    assert len(seen.headers["idempotency-key"]) >= 32


def test_each_post_has_its_own_key_unless_one_is_given(mgt: FakeMgt, client: Client) -> None:
    client.post(HERE)
    client.post(HERE)
    client.post(HERE, key="release-7")
    assert len(set(keys(mgt))) == 3
    assert keys(mgt)[2] == "release-7"


@pytest.mark.parametrize("trouble", [429, 502, 503, 504, DROP])
def test_a_post_is_tried_again_with_the_same_key(trouble: int, mgt: FakeMgt, client: Client) -> None:
    mgt.next = [Answer(trouble, {}), Answer(trouble, {})]
    assert client.post(HERE, Body(b"a: 1"))["patch_id"] == 784
    assert len(mgt.seen) == 3
    assert len(set(keys(mgt))) == 1
    assert {seen.body for seen in mgt.seen} == {b"a: 1"}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 412, 413, 422, 500, 501])
def test_nothing_else_is_tried_again(status: int, mgt: FakeMgt, client: Client) -> None:
    mgt.next = [Answer(status, problem(status, "no"))]
    with pytest.raises(ClientError):
        client.post(HERE)
    assert len(mgt.seen) == 1


def test_tries_are_bounded_and_the_last_trouble_is_told(mgt: FakeMgt, client: Client, pauses: list[float]) -> None:
    error = refused(Answer(503, problem(503, "no database"), {"retry-after": "3600"}), mgt, client)
    assert (error.code, error.lines) == (Code.FAILED, ("no database", "request req-1"))
    assert len(mgt.seen) == ATTEMPTS
    assert pauses == [LONGEST_PAUSE] * (ATTEMPTS - 1)


def test_a_refused_connection_is_one_line_with_a_hint() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    client = Client(url, None, lambda _: None)
    with pytest.raises(LostError) as error:
        client.get(HERE)
    client.close()
    [line] = error.value.lines
    assert url in line
    assert "HMS_MGT_URL" in line
    assert error.value.code is Code.FAILED


def test_a_server_that_never_answers_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = Client(f"http://127.0.0.1:{silent.getsockname()[1]}", None)
        with pytest.raises(LostError, match="does not answer"):
            client.look(HERE, 0.05)
        client.close()


def test_each_mistake_is_a_line(mgt: FakeMgt, client: Client) -> None:
    fields = (("/changes/rate_limit_rps", "Exceeds platform cap 1000"), ("", "one service at a time"))
    error = refused(Answer(422, problem(422, "invalid", *fields)), mgt, client)
    assert error.lines == (
        "field /changes/rate_limit_rps: Exceeds platform cap 1000",
        "field /: one service at a time",
    )
    assert error.code is Code.REJECTED


def test_a_problem_without_fields_tells_its_detail(mgt: FakeMgt, client: Client) -> None:
    assert refused(Answer(409, problem(409, "it has ended")), mgt, client).lines == ("it has ended",)


def test_401_says_where_a_token_goes(mgt: FakeMgt, client: Client) -> None:
    error = refused(Answer(401, problem(401, "who are you?")), mgt, client)
    assert error.code is Code.NOT_ALLOWED
    assert "HMS_TOKEN" in error.lines[1]
    assert "hms_token" not in " ".join(error.lines)


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b"\xff", b"null", b"{}", b'{"items": []}', b'{"status": "ok"}'])
@pytest.mark.parametrize("status", [200, 302])
def test_what_is_not_our_server_is_told_so(status: int, answer: bytes, mgt: FakeMgt, client: Client) -> None:
    error = refused(Answer(status, answer), mgt, client)
    assert error.code is Code.FAILED
    assert "does not answer as HMS-MGT does" in error.lines[0]


@pytest.mark.parametrize(("status", "code"), [(404, Code.REJECTED), (500, Code.FAILED)])
def test_an_error_that_is_no_problem_document_tells_its_status(
    status: int, code: Code, mgt: FakeMgt, client: Client
) -> None:
    error = refused(Answer(status, b"<html>"), mgt, client)
    assert (error.code, error.lines) == (code, (f"HTTP {status}",))


def test_a_listing_is_read_to_its_end(mgt: FakeMgt, client: Client) -> None:
    mgt.patches = {number: [patch("APPLIED", number)] for number in range(1, 8)}
    mgt.page = 3
    found = client.pages(HERE, {"tenant": "IACB", "service": None})
    assert [one["patch_id"] for one in found] == [1, 2, 3, 4, 5, 6, 7]
    assert all(seen.query["tenant"] == ["IACB"] and "service" not in seen.query for seen in mgt.seen)


@pytest.mark.parametrize("url", ["", "mgt.hms", "ftp://mgt.hms", "http://", "http://[::1", "http://h:port"])
def test_a_url_that_is_none_is_a_usage_error(url: str) -> None:
    with pytest.raises(ClientError) as error:
        Client(url, None)
    assert error.value.code is Code.USAGE


@pytest.mark.parametrize("token", ["a\nb", "a\r\nx: y", "é", "a\0"])
def test_a_token_that_cannot_be_a_header_is_a_usage_error_and_not_repeated(token: str, mgt: FakeMgt) -> None:
    made: list[Any] = []
    with pytest.raises(ClientError) as error:
        made.append(Client(mgt.url, token))
    assert error.value.code is Code.USAGE
    assert token not in " ".join(error.value.lines)


def test_an_answer_lacks_a_member_that_was_asked_for(mgt: FakeMgt, client: Client) -> None:
    mgt.next = [Answer(200, {"items": 5}), Answer(200, {"status": "APPLIED", "patch_id": 784, "more": 1})]
    with pytest.raises(ClientError, match="does not answer as HMS-MGT does"):
        client.get(HERE, LISTING)
    assert client.get(HERE)["more"] == 1


def test_who_asks_too_often_waits_as_long_as_told(mgt: FakeMgt, client: Client, pauses: list[float]) -> None:
    mgt.next = [Answer(429, problem(429, "come again in 3 s"), {"retry-after": "3"})]
    assert client.get(f"{HERE}/784")["patch_id"] == 784
    [pause] = pauses
    assert 3 <= pause < 3.5


def test_who_is_told_to_wait_too_long_is_told_so_at_once(mgt: FakeMgt, client: Client, pauses: list[float]) -> None:
    asked = {"retry-after": str(int(LONGEST_QUEUE) + 1)}
    error = refused(Answer(429, problem(429, "come again in 11 s"), asked), mgt, client)
    assert (error.code, error.lines) == (Code.REJECTED, ("come again in 11 s",))
    assert pauses == []


FREEZE = "/api/freeze"
MADE = Answer(201, {"freeze_id": 3})


def once(mgt: FakeMgt, client: Client, trouble: Answer) -> dict[str, Any]:
    mgt.next = [trouble, MADE]
    return client.post_once(FREEZE, Body(b"{}"), frozenset({"freeze_id"}))


@pytest.mark.parametrize("trouble", [502, 503, 504, DROP])
def test_what_would_be_done_twice_is_not_sent_twice_and_that_is_told(
    trouble: int, mgt: FakeMgt, client: Client
) -> None:
    with pytest.raises(ClientError) as error:
        once(mgt, client, Answer(trouble, problem(trouble, "no")))
    assert "look before you repeat it" in error.value.lines[-1]
    assert error.value.code is Code.FAILED
    assert len(mgt.seen) == 1


def test_what_surely_was_not_done_is_sent_again(mgt: FakeMgt, client: Client) -> None:
    assert once(mgt, client, Answer(429, problem(429, "no"))) == {"freeze_id": 3}


QUOTA = "/api/tenant/IACB/quota"


def test_a_change_names_the_state_that_was_read(mgt: FakeMgt, client: Client) -> None:
    mgt.said["GET", QUOTA] = Answer(200, {"tenant": "IACB"}, {"ETag": '"v7"'})
    mgt.said["PUT", QUOTA] = Answer(200, {"tenant": "IACB"})
    shape = frozenset({"tenant"})
    seen = client.read(QUOTA, shape)
    client.put(QUOTA, shape, Body(b'{"replicas": 1}'), seen.etag)
    assert mgt.seen[-1].headers["if-match"] == '"v7"'
    assert mgt.seen[-1].body == b'{"replicas": 1}'


def test_what_has_no_name_for_its_state_cannot_be_replaced(mgt: FakeMgt, client: Client) -> None:
    mgt.said["GET", QUOTA] = Answer(200, {"tenant": "IACB"})
    with pytest.raises(ClientError, match="does not answer as HMS-MGT does"):
        client.read(QUOTA, frozenset({"tenant"}))


AUDIT, CSV = "/api/audit", {"content-type": "text/csv; charset=utf-8"}


def exported(client: Client) -> bytes:
    return b"".join(client.export(AUDIT, {"actor": "ada", "tenant": None}, "text/csv"))


def test_an_export_comes_as_it_is(mgt: FakeMgt, client: Client) -> None:
    mgt.next = [Answer(503, problem(503, "no")), Answer(200, b"id\r\n1\r\n", CSV)]
    assert exported(client) == b"id\r\n1\r\n"
    assert mgt.seen[-1].query == {"actor": ["ada"]}


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (Answer(403, problem(403, "role viewer may not read the audit")), Code.NOT_ALLOWED, "may not"),
        (Answer(200, b"<html>", {"content-type": "text/html"}), Code.FAILED, "does not answer as HMS-MGT"),
        (Answer(200, b"id\r\n1\r\n", {**CSV, "content-length": "99", "connection": "close"}), Code.FAILED, "not all"),
    ],
)
def test_an_export_that_cannot_be_is_an_error(
    answer: Answer, code: Code, said: str, mgt: FakeMgt, client: Client
) -> None:
    mgt.next = [answer]
    with pytest.raises(ClientError, match=said) as error:
        exported(client)
    assert error.value.code is code
