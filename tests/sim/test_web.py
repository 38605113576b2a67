"""The demo page's server: values, refusals, engines that go away, and many at once. No browser."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evenstep.compiler import compile_network
from evenstep.host import LinkError
from evenstep.spec import Dense, Encoding, Geometry, Network
from evenstep_golden.sample import sample_images, sample_network
from evenstep_sim.web import Api, Classifier, DemoServer
from tests.sim.web import Boards, build_small_engine, serving_page, small_program

SAMPLE = sample_images()
GOOD = json.dumps({"pixels": SAMPLE.flat[0].tolist()}).encode()
JSON_TYPE = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def executable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_small_engine(tmp_path_factory.mktemp("engine"))


@pytest.fixture(scope="module")
def server(executable: Path) -> Iterator[DemoServer]:
    with serving_page(Boards(executable).open, small_program()) as (server, _):
        yield server


def ask(
    server: DemoServer, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


def classify(server: DemoServer, pixels: np.ndarray) -> tuple[int, dict[str, Any]]:
    body = json.dumps({"pixels": pixels.tolist()}).encode()
    answer, content = ask(server, "POST", "/api/classify", body, JSON_TYPE)
    return answer.status, json.loads(content)


def check_right(result: dict[str, Any], pixels: np.ndarray) -> None:
    program = small_program()
    codes, logits = (boundary.tolist() for boundary in program.boundaries(pixels))
    assert result["layers"] == [
        {"name": "fc1", "codes": codes, "differences": []},
        {"name": "last", "codes": logits, "differences": []},
    ]
    assert result["logits"] == logits
    assert result["prediction"] == int(np.argmax(logits))
    assert result["cycles"] == program.cycles
    assert result["equal"] is True
    assert result["milliseconds"] > 0


def check_error(answer: http.client.HTTPResponse, content: bytes, status: int) -> str:
    assert answer.status == status
    assert answer.getheader("Content-Type") == "application/json"
    values = json.loads(content)
    assert list(values) == ["error"]
    assert values["error"] and len(values["error"].splitlines()) == 1 and len(values["error"]) < 200
    return values["error"]


def test_network(server: DemoServer) -> None:
    answer, content = ask(server, "GET", "/api/network")
    program = small_program()
    assert (answer.status, answer.getheader("Content-Type")) == (200, "application/json")
    values = json.loads(content)
    assert values["name"] == "small"
    assert values["labels"] == [str(number) for number in range(10)]
    assert (values["width"], values["height"], values["multiply_accumulates"]) == (28, 28, 784 * 12 + 12 * 10)
    assert (values["cycles"], values["useful"]) == (program.cycles, program.useful)
    assert values["layers"] == [
        {"name": "fc1", "outputs": 12, "bits": 2, "readable": True},
        {"name": "last", "outputs": 10, "bits": None, "readable": True},
    ]
    assert values["engine"] == {
        "name": "a small engine",
        "rows": 1,
        "columns": 2,
        "lanes": 8,
        "weight_bits": 2,
        "act_bits": 2,
        "hash": program.geometry.hash.hex(),
    }


def test_samples_are_two_of_each_class(server: DemoServer) -> None:
    _, content = ask(server, "GET", "/api/samples")
    samples = json.loads(content)["samples"]
    assert [sample["label"] for sample in samples] == [*range(10), *range(10)]
    places = [np.flatnonzero((SAMPLE.flat == sample["pixels"]).all(axis=1)) for sample in samples]
    assert len({int(place) for (place,) in places}) == len(samples)
    assert [int(SAMPLE.labels[place]) for (place,) in places] == [sample["label"] for sample in samples]


def test_page_is_whole_and_asks_nobody_else(server: DemoServer) -> None:
    for path, kind in (("/", "text/html"), ("/style.css", "text/css"), ("/demo.js", "text/javascript")):
        answer, content = ask(server, "GET", f"{path}?x=1")
        assert (answer.status, answer.getheader("Content-Type")) == (200, f"{kind}; charset=utf-8")
        # Addresses of namespaces are names, and nothing is fetched from them.
        assert b"//" not in content.replace(b"http://www.w3.org/2000/svg", b"").replace(b"// ", b"").replace(
            b"\n//", b""
        )
        assert "default-src 'none'" in str(answer.getheader("Content-Security-Policy"))


def test_classify(server: DemoServer) -> None:
    pictures = [*SAMPLE.flat[:6].astype(np.int64), np.zeros(784, np.int64), np.full(784, 255)]
    predictions = set()
    for pixels in pictures:
        status, result = classify(server, pixels)
        assert status == 200
        check_right(result, pixels)
        predictions.add(result["prediction"])
    assert len(predictions) > 1, "Pictures must be told apart"


def test_many_at_once(server: DemoServer) -> None:
    with ThreadPoolExecutor(12) as pool:
        for pixels, (status, result) in zip(
            SAMPLE.flat[:48], pool.map(lambda pixels: classify(server, pixels), SAMPLE.flat[:48]), strict=True
        ):
            assert status == 200
            check_right(result, pixels.astype(np.int64))


def changed(index: int, text: str) -> bytes:
    values = ["0"] * 784
    values[index] = text
    return f'{{"pixels": [{",".join(values)}]}}'.encode()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "must be JSON"),
        (b"{", "must be JSON"),
        (b"\xff\xfe", "must be JSON"),
        (b"[" * 16000, "must be JSON"),
        (b"1" * 16000, "must be JSON"),
        (b"[]", '"pixels" alone'),
        (b"{}", '"pixels" alone'),
        (b"null", '"pixels" alone'),
        (b'{"pixels": [], "more": 1}', '"pixels" alone'),
        (b'{"pixels": 7}', "must be a list"),
        (b'{"pixels": "0"}', "must be a list"),
        (b'{"pixels": []}', "not of 0"),
        (changed(0, "0,0"), "not of 785"),
        (changed(0, "256"), "number 0 is not"),
        (changed(783, "-1"), "number 783 is not"),
        (changed(5, "1.0"), "number 5 is not"),
        (changed(5, "true"), "number 5 is not"),
        (changed(5, '"1"'), "number 5 is not"),
        (changed(5, "null"), "number 5 is not"),
        (changed(5, "NaN"), "number 5 is not"),
        (changed(5, "9" * 4000), "number 5 is not"),
        (changed(5, "[0]"), "number 5 is not"),
    ],
)
def test_bad_pictures_are_refused(server: DemoServer, body: bytes, message: str) -> None:
    assert message in check_error(*ask(server, "POST", "/api/classify", body, JSON_TYPE), 400)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 411),
        ({"Content-Length": "16385"}, 413),
        ({"Content-Length": "9" * 18}, 413),
        ({"Content-Length": "9" * 19}, 400),
        ({"Content-Length": "-1"}, 400),
        ({"Content-Length": "1_0"}, 400),
        ({"Content-Length": "2", "Transfer-Encoding": "chunked"}, 411),
        ({"Content-Length": "2", "Content-Type": "text/plain"}, 415),
        ({"Content-Length": "2", "Content-Type": "application/x-www-form-urlencoded"}, 415),
    ],
)
def test_bad_requests_are_refused_unread(server: DemoServer, headers: dict[str, str], status: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.putrequest("POST", "/api/classify")
    for name, value in ({"Content-Type": "application/json"} | headers).items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    check_error(answer, answer.read(), status)
    assert answer.getheader("Connection") == "close", "What follows must not be taken for a request"
    connection.close()


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "BREW"])
@pytest.mark.parametrize(("path", "right"), [("/", "GET"), ("/api/samples", "GET"), ("/api/classify", "POST")])
def test_wrong_methods(server: DemoServer, method: str, path: str, right: str) -> None:
    answer, content = ask(server, method, path, headers={"Origin": server.url.rstrip("/")})
    assert answer.status == (501 if method == "BREW" else 405)
    if method != "HEAD":
        check_error(answer, content, answer.status)
    if method != "BREW":
        assert answer.getheader("Allow") == right
    assert not [name for name, _ in answer.getheaders() if name.lower().startswith("access-control")]


def test_other_half_of_methods(server: DemoServer) -> None:
    check_error(*ask(server, "POST", "/api/network", b"{}", JSON_TYPE), 405)
    check_error(*ask(server, "GET", "/api/classify"), 405)


@pytest.mark.parametrize("path", ["/api", "/api/", "/index.html", "/../web/server.py", "/%2e%2e/"])
def test_nothing_else_is_there(server: DemoServer, path: str) -> None:
    check_error(*ask(server, "GET", path), 404)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST:1", "[::1]:8765", "127.0.0.1:65535"])
def test_names_of_this_machine(server: DemoServer, host: str) -> None:
    headers = JSON_TYPE | {"Host": host, "Origin": f"http://{host.lower()}"}
    assert ask(server, "POST", "/api/classify", GOOD, headers)[0].status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "localhost@evil.example"},
        {"Host": "127.0.0.2"},
        {"Host": ""},
        {"Host": "localhost:1:2"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Host": "localhost:8765", "Origin": "http://localhost:8766"},
        {"Host": "localhost:8765", "Origin": "https://localhost:8765"},
    ],
    ids=str,
)
def test_foreign_pages_are_refused(server: DemoServer, headers: dict[str, str]) -> None:
    """Pages whose name was made to point here, and pages that send to this one."""
    check_error(*ask(server, "GET", "/api/network", headers=headers), 403)
    check_error(*ask(server, "POST", "/api/classify", GOOD, JSON_TYPE | headers), 403)


@pytest.mark.parametrize(
    "first", [b"GET /\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\0\xff\r\n\r\n", b"GET / HTTP/9\r\n\r\n"]
)
def test_no_http(server: DemoServer, first: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.server_port), 30) as connection:
        connection.sendall(first)
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert b'{"error":' in answer


def test_browser_that_leaves_is_no_news(server: DemoServer, capfd: pytest.CaptureFixture[str]) -> None:
    head = b"POST /api/classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", server.server_port), 30) as connection:
        connection.sendall(head + b"Content-Length: 999\r\n\r\n{")
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(4096) == b""
    check_right(classify(server, SAMPLE.flat[3])[1], SAMPLE.flat[3].astype(np.int64))
    assert capfd.readouterr() == ("", "")


def test_engine_that_goes_away_is_opened_again(executable: Path) -> None:
    boards = Boards(executable)
    with serving_page(boards.open, small_program()) as (server, _):
        for opened in (1, 2):
            status, result = classify(server, SAMPLE.flat[0])
            assert (status, boards.opened) == (200, opened)
            check_right(result, SAMPLE.flat[0].astype(np.int64))
            boards.unplug()
            message = check_error(*ask(server, "POST", "/api/classify", GOOD, JSON_TYPE), 503)
            assert message == "The simulated engine ended with status -9"


def test_engine_that_is_not_there(executable: Path) -> None:
    boards, there = Boards(executable), threading.Event()

    def open_engine():
        if not there.is_set():
            raise LinkError("No board is\nplugged in")
        return boards.open()

    with serving_page(open_engine, small_program()) as (server, _):
        for _ in range(2):
            assert check_error(*ask(server, "POST", "/api/classify", GOOD, JSON_TYPE), 503) == "No board is plugged in"
        there.set()
        assert classify(server, SAMPLE.flat[0])[0] == 200


def test_busy_engine(executable: Path) -> None:
    boards, busy, free = Boards(executable), threading.Event(), threading.Event()

    def open_engine():
        busy.set()
        assert free.wait(30)
        return boards.open()

    with serving_page(open_engine, small_program(), patience=0.2) as (server, _), ThreadPoolExecutor(1) as pool:
        first = pool.submit(classify, server, SAMPLE.flat[0])
        assert busy.wait(30)
        assert "busy" in check_error(*ask(server, "POST", "/api/classify", GOOD, JSON_TYPE), 503)
        free.set()
        assert first.result()[0] == 200


def test_differences_are_told(executable: Path) -> None:
    boards = Boards(executable)
    boards.flip = (7, 2)
    expected = int(small_program().boundaries(SAMPLE.flat[0])[0][7])
    with serving_page(boards.open, small_program()) as (server, _):
        _, result = classify(server, SAMPLE.flat[0])
    assert result["equal"] is False
    assert result["layers"][0]["differences"] == [{"channel": 7, "expected": expected, "got": expected ^ 2}]
    assert result["layers"][1]["differences"] == []


def test_layers_that_cannot_be_read(executable: Path) -> None:
    with serving_page(Boards(executable).open, small_program(hidden=True)) as (server, _):
        described = json.loads(ask(server, "GET", "/api/network")[1])
        _, result = classify(server, SAMPLE.flat[0])
    assert [layer["readable"] for layer in described["layers"]] == [False, True]
    assert [layer["name"] for layer in result["layers"]] == ["last"]
    assert result["equal"] is True


def test_samples_of_other_classes_are_not_offered() -> None:
    def offered(labels: tuple[str, ...]) -> int:
        classifier = Classifier(lambda: pytest.fail("must not open"), small_program(labels=labels))
        return len(Api(classifier, SAMPLE, "none").samples()["samples"])

    assert offered(tuple("0123456789")) == 0
    assert offered(SAMPLE.classes) == 20


def test_networks_of_other_inputs_are_refused() -> None:
    two = Encoding("twos-complement", 2)
    geometry = Geometry()
    for inputs, bits in ((783, 8), (784, 4)):
        network = Network((Dense("only", np.zeros((10, inputs), np.int64), two, bits),))
        classifier = Classifier(lambda: pytest.fail("must not open"), compile_network(network, geometry))
        with pytest.raises(ValueError, match=f"784 pixels of 8 bits, not {inputs} codes of {bits} bits"):
            Api(classifier, SAMPLE, "none")
    assert Api(
        Classifier(lambda: pytest.fail("must not open"), compile_network(sample_network(), geometry)), SAMPLE, "none"
    ).samples()["samples"]
