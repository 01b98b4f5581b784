"""The page is for this machine and for whoever was told its address; what cannot be done is one line."""

import json
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

import batcache
from batcache.errors import ReviewError
from batcache.progress import Progress
from batcache.reviewing.review import ReviewReport, ReviewStarted
from batcache.reviewing.server import Content, Server, as_json
from tests.reviewing.made import SPECIES, write_folder

Ask = Callable[..., tuple[int, dict[str, str], bytes]]


class Running:
    """A review in a thread."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.address, self.reports = "", list[ReviewReport]()
        self._options = {"on_progress": self._hear, **options}
        self._thread = Thread(target=lambda: self.reports.append(batcache.review(folder, **self._options)))
        self._thread.start()
        while not self.address and self._thread.is_alive():
            self._thread.join(0.01)
        self.port, self.token = int(self.address.split("/")[2].split(":")[1]), self.address.split("/")[3]

    def _hear(self, progress: Progress) -> None:
        if isinstance(progress.result, ReviewStarted):
            self.address = progress.result.address

    def ask(
        self, path: str, body: object = None, method: str = "", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        sent = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        kind = {} if body is None else {"Content-Type": "application/json"}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method or ("GET" if body is None else "POST"), path, sent, kind | named)
        answer = connection.getresponse()
        said = answer.status, dict(answer.getheaders()), answer.read()
        connection.close()
        return said

    def json(self, name: str, body: object = None) -> dict[str, Any]:
        status, _, said = self.ask(f"/{self.token}/{name}", body)
        assert status == 200, said
        return dict(json.loads(said))

    def end(self) -> ReviewReport:
        self.json("end", {})
        self._thread.join(20)
        return self.reports[0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "pred", [[0.9 - 0.01 * i, 0.1, 0.1] for i in range(8)])


@pytest.fixture
def running(folder: Path) -> Iterator[Running]:
    review = Running(folder)
    yield review
    if not review.reports:
        review.end()


def test_a_wrong_or_missing_token_and_a_foreign_host_are_refused(running: Running) -> None:
    token = running.token
    assert running.ask(f"/{token}/")[0] == running.ask(f"/{token}/", Host=f"localhost:{running.port}")[0] == 200
    for path in ("/", "/state", f"/{token[:-1]}/", f"/{'x' * len(token)}/state", "/%00/", "/%C3%A9/"):
        status, _, said = running.ask(path)
        assert status == 403 and SPECIES[0].encode() not in said, path
    for host in ("evil.example", f"evil.example:{running.port}", "127.0.0.1", ""):
        assert running.ask(f"/{token}/state", Host=host)[0] == 403
    assert running.ask(f"/{token}/undo", {}, Origin="http://evil.example")[0] == 403


@pytest.mark.parametrize("path", ["../server.py", "page.html", "..%2f..%2fpyproject.toml", "nothing", "state/x"])
def test_what_is_not_offered_is_not_found(running: Running, path: str) -> None:
    assert running.ask(f"/{running.token}/{path}")[0] == 404
    assert running.ask(f"/{running.token}/{path}", {})[0] == 404


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"clip": 0}', b"x" * 70_000, b"\xff"])
def test_what_is_no_answer_is_refused_and_nothing_is_kept(running: Running, body: bytes) -> None:
    status, _, said = running.ask(f"/{running.token}/answer", body)
    assert status in (400, 422) and (status == 400 or json.loads(said)["error"])
    assert running.end().answers == 0


def test_every_answer_forbids_what_comes_from_elsewhere(running: Running) -> None:
    for path in ("/", f"/{running.token}/", f"/{running.token}/state", f"/{running.token}/nothing"):
        _, headers, _ = running.ask(path)
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'") and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store" and "Python" not in headers.get("Server", "")


def test_it_listens_on_this_machine_alone(running: Running) -> None:
    assert running.address.startswith("http://127.0.0.1:") and len(running.token) >= 32


def test_a_picture_of_a_recording_that_is_gone_says_so_and_answers_go_on(running: Running) -> None:
    question = running.json("state")["question"]
    status, _, said = running.ask(f"/{running.token}/span?clip={question['clip']}&at=0.1")
    assert status == 422 and "no such file" in json.loads(said)["error"]
    for query in ("clip=99&at=0", "clip=x&at=0", "clip=0", "clip=0&at=nan"):
        assert running.ask(f"/{running.token}/span?{query}")[0] in (400, 422)
    reply = {"clip": question["clip"], "key": question["key"], "answer": "right"}
    assert running.json("answer", reply)["standing"]["presence"].startswith("1 of 1")


def test_the_report_is_what_was_said_and_the_review_goes_on_from_there(folder: Path) -> None:
    first = Running(folder)
    for answer in ("right", "none", "skip"):
        question = first.json("next?part=random")["question"]
        reply = {"clip": question["clip"], "key": question["key"], "answer": answer, "whole": question["whole"]}
        first.json("answer", reply)
    report = first.end()
    assert (report.answers, report.new_answers, report.sample.checked, report.sample.wrong) == (3, 3, 3, 2)
    assert report.labels.tolist() == [[1, 0, 0], [0, 0, 0]] and report.species == SPECIES
    assert list(report.table()) == ["filename", *SPECIES] and report.most_wrong >= 2
    second = Running(folder)
    assert second.end().new_answers == 0 and second.reports[0].labels.tolist() == report.labels.tolist()


def test_two_reviews_of_one_folder_or_on_one_port_are_refused(running: Running, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ReviewError, match="another process reviews it"):
        batcache.review(folder)
    other = write_folder(tmp_path / "other", [[0.9, 0.1, 0.1]])
    with pytest.raises(ReviewError, match=f"port {running.port}: cannot be listened on"):
        batcache.review(other, port=running.port)


@pytest.mark.parametrize("missing", ["instances.npz", "predictions.csv", "thresholds.csv", "scored.jsonl"])
def test_a_folder_without_finished_predictions_is_one_line(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(ReviewError, match="holds no finished predictions, and is no run") as raised:
        batcache.review(folder)
    assert "\n" not in str(raised.value)


def test_what_is_being_answered_when_a_review_ends_is_answered_and_nothing_more_is_taken() -> None:
    begun, go = Event(), Event()

    def slow(query: object) -> Content:
        begun.set()
        go.wait(20)
        return as_json({"done": True})

    with Server({"slow": slow}, {}) as server:
        serving, finishing = Thread(target=server.serve_forever, args=(0.01,)), Thread(target=server.finish)
        serving.start()
        answers: list[bytes] = []
        asking = Thread(target=lambda: answers.append(urlopen(f"{server.address}slow", timeout=20).read()))
        asking.start()
        assert begun.wait(20)
        finishing.start()
        finishing.join(0.2)
        assert finishing.is_alive() and not answers
        with pytest.raises(HTTPError, match="503"):
            urlopen(f"{server.address}slow", timeout=20)
        go.set()
        for thread in (finishing, asking):
            thread.join(20)
        server.shutdown()
        serving.join(20)
    assert answers == [b'{"done": true}']
