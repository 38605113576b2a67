"""Measurements: each made once, whatever ends midway; kept in a file that shows when it is damaged."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from distributed import LocalCluster

from evenstep_boards.measure import Store, digest, read_records, run_jobs, unfinished
from tests.boards.measured_jobs import Doing, Job

ROOT = Path(__file__).parents[2]


@pytest.fixture
def doing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Doing:
    """Jobs that leave their marks in a folder; other processes find their module."""
    monkeypatch.syspath_prepend(ROOT)
    (tmp_path / "marks").mkdir()
    return Doing(tmp_path / "marks")


def test_digest() -> None:
    """Depends on content alone, not on the order of names; and on all of it."""
    assert digest({"a": 1, "b": [2]}, "x") == digest({"b": [2], "a": 1}, "x")
    different = [digest("a", "b"), digest("ab"), digest(["a", "b"]), digest("a", "b", 1), digest({"a": "b"})]
    assert len(set(different)) == len(different)


def test_store_keeps(tmp_path: Path) -> None:
    """What was put is there when the file is opened again, and readers need no lock."""
    path = tmp_path / "new" / "results.jsonl"
    with Store(path) as store:
        store.put("a", {"x": 1})
        store.put("b", {"x": 2})
        store.put("a", {"x": 3})
        assert read_records(path) == {"a": {"x": 3}, "b": {"x": 2}}
    with Store(path) as store:
        assert (len(store), store.get("a"), store.get("c")) == (2, {"x": 3}, None)
    assert read_records(tmp_path / "none") == {}


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_store_cut(cut: int, tmp_path: Path) -> None:
    """A last line that was cut is dropped, and what comes next is not glued to it."""
    path = tmp_path / "results.jsonl"
    with Store(path) as store:
        store.put("a", {"x": 1})
        store.put("b", {"x": 2})
    path.write_bytes(path.read_bytes()[:-cut])
    with Store(path) as store:
        assert store.get("b") is None
        store.put("c", {"x": 3})
    assert read_records(path) == {"a": {"x": 1}, "c": {"x": 3}}


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b'{"key": "a", "record": {}}\nnonsense\n{"key": "b", "record": {}}\n', 2),
        (b'{"key": "a", "record": {}}\n{"key": "b", "record": 3}\n', 2),
        (b'{"key": "a"}\n', 1),
        (b"[]\n", 1),
        (b"\xff\xfe\n", 1),
        (b"one line that somebody wrote, without an end", 1),
    ],
)
def test_store_damaged(content: bytes, line: int, tmp_path: Path) -> None:
    """A file that is damaged elsewhere, or none of results, is refused and stays as it is."""
    path = tmp_path / "results.jsonl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"results.jsonl, line {line}: must be a result"):
        Store(path)
    assert path.read_bytes() == content


def test_store_shared(tmp_path: Path) -> None:
    """Two at once are refused; after the first has ended, the file is free."""
    path = tmp_path / "results.jsonl"
    with Store(path) as store:
        with pytest.raises(RuntimeError, match="another process adds results to it"):
            Store(path)
        store.put("a", {})
    with Store(path) as store:
        assert store.get("a") == {}


def test_local(doing: Doing, tmp_path: Path) -> None:
    """Processes run each job once; failures and killed processes stop no other, and only failures run again."""
    jobs = {str(number): Job(number) for number in range(5)}
    jobs |= {"bad": Job(5, fails="5 is\ntoo much"), "killed": Job(6, kills=1), "deadly": Job(7, kills=9)}
    told: dict[str, dict] = {}
    with Store(tmp_path / "results.jsonl") as store:
        store.put("0", {"square": "known"})
        records = run_jobs(doing, jobs, store, workers=2, progress=told.__setitem__)
        assert list(records) == list(jobs)
        assert records["0"] == {"square": "known"}
        assert [records[str(number)] for number in range(1, 5)] == [{"square": n * n} for n in range(1, 5)]
        assert records["bad"] == {"error": "5 is too much"}
        assert records["killed"] == {"square": 36}
        assert records["deadly"] == {"error": "Its process ended 3 times, the last time with status -9"}
        assert told == {key: record for key, record in records.items() if key != "0"}
        assert [len(doing.runs(number)) for number in range(8)] == [0, 1, 1, 1, 1, 1, 2, 3]
        assert set(unfinished(jobs, store)) == {"bad", "deadly"}
        again = run_jobs(doing, jobs | {"bad": Job(5)}, store, workers=1)
        assert again["bad"] == {"square": 25}
        assert [len(doing.runs(number)) for number in range(7)] == [0, 1, 1, 1, 1, 2, 2]
    assert read_records(tmp_path / "results.jsonl") == again


SCRIPT = """
import sys
from pathlib import Path
from evenstep_boards.measure import Store, run_jobs
from evenstep.cli import signal
from tests.boards.measured_jobs import Doing, Job
for number in (signal.SIGINT, signal.SIGTERM):  # in the background, shells have Ctrl-C ignored
    signal.signal(number, signal.default_int_handler)
jobs = {str(n): Job(n, seconds=60 * (n > 0)) for n in range(3)}
try:
    with Store(sys.argv[1]) as store:
        run_jobs(Doing(Path(sys.argv[2])), jobs, store, workers=2)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=["int", "term", "kill"])
def test_interrupted(how: signal.Signals, doing: Doing, tmp_path: Path) -> None:
    """What was finished stays, and no process goes on, however it ends: all of a terminal's get Ctrl-C."""
    results = tmp_path / "results.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(results), str(doing.folder)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not (doing.runs(1) and doing.runs(2)):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    if how == signal.SIGINT:
        os.killpg(process.pid, how)
    else:
        process.send_signal(how)
    _, said = process.communicate(timeout=120)
    assert process.returncode == (-9 if how == signal.SIGKILL else 130)
    assert said.decode() == ""
    assert read_records(results) == {"0": {"square": 0}}
    for number in range(3):
        for pid in doing.runs(number):
            while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]:
                assert time.monotonic() < deadline
                time.sleep(0.05)


def test_no_process_sees_interrupts() -> None:
    """The first one neither, with which multiprocessing starts another one that undoes what holds them."""
    script = (
        "from evenstep_boards.measure.local import run_locally\n"
        "from tests.boards.measured_jobs import interrupts\n"
        "run_locally(interrupts, {'a': 1, 'b': 2}, 2, print)"
    )
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert sorted(result.stdout.splitlines()) == ["a {'held': True}", "b {'held': True}"]


def test_cluster(doing: Doing, tmp_path: Path) -> None:
    """A real cluster of two workers, one of which is killed midway: nothing is lost."""
    jobs = {str(number): Job(number, seconds=0.02) for number in range(12)}
    jobs |= {"bad": Job(12, fails="12 is too much"), "killed": Job(13, kills=1)}
    cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0")
    with closing(cluster), Store(tmp_path / "results.jsonl") as store:
        store.put("0", {"square": "known"})
        records = run_jobs(doing, jobs, store, scheduler=cluster.scheduler_address)
        assert records["0"] == {"square": "known"}
        assert [records[str(number)] for number in range(1, 12)] == [{"square": n * n} for n in range(1, 12)]
        assert records["bad"] == {"error": "12 is too much"}
        assert records["killed"] == {"square": 169}
    assert len(doing.runs(13)) == 2
    workers = {pid for number in range(14) for pid in doing.runs(number)}
    assert len(workers) >= 2 and not doing.runs(0)
    lines = (tmp_path / "results.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["key"] for line in lines) == sorted(jobs)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nothing://here", "not an address"])
def test_no_scheduler(address: str, doing: Doing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheduler that does not answer is an error that names it, and no job is counted as failed."""
    monkeypatch.setattr("evenstep_boards.measure.cluster._TIMEOUT", 0.5)
    with Store(tmp_path / "results.jsonl") as store:
        with pytest.raises(RuntimeError, match="Scheduler must be the address of a Dask scheduler that answers"):
            run_jobs(doing, {"0": Job(0)}, store, scheduler=address)
        assert len(store) == 0


def test_no_dask(doing: Doing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Dask, the message is the command that installs it."""
    monkeypatch.setitem(sys.modules, "evenstep_boards.measure.cluster", None)
    with Store(tmp_path / "results.jsonl") as store:
        with pytest.raises(RuntimeError, match=r"pip install 'evenstep\[explore\]'"):
            run_jobs(doing, {"0": Job(0)}, store, scheduler="tcp://127.0.0.1:1")
