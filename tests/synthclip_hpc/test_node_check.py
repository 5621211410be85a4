"""An element looks at its node first: what counts as unfit, and who does the work instead."""

from __future__ import annotations

import errno
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sharding.journal import read_events
from slurm.attempt import Attempt
from slurm.signals import StopFlag
from synthclip_hpc import node_check, requeueing, worker
from synthclip_hpc.node_check import EXIT_UNFIT, Fault, NodeUnfit, gpu_fault, temp_fault, write_fault
from synthclip_hpc.submissions import update
from tests.synthclip_hpc.app import REPOSITORY, App, same_set
from tests.synthclip_hpc.test_slurm_submission import SMALL

WORDS = ("stage=captions", "concepts.limit=40", "captions.shard_items=10", "captions.batch_items=4", "workers=2")
BROKEN = [Fault("gpu", "1 of the 4 GPUs given do not answer (GPU 2: GPU is lost)")]


class NVMLError(Exception):
    pass


class LibraryNotFound(NVMLError):
    pass


class NoPermission(NVMLError):
    pass


class NotSupported(NVMLError):
    pass


def fake_nvml(there: dict[str, str | Exception | None], init: Exception | None = None) -> Any:
    """NVML of a node with these GPUs; a text (or an error) says why one does not answer."""

    def init_nvml() -> None:
        if init is not None:
            raise init

    def handle(name: object) -> str:
        if str(name) not in there:
            raise NVMLError("Invalid Argument")
        return str(name)

    def memory(name: str) -> None:
        if (reason := there[name]) is not None:
            raise reason if isinstance(reason, Exception) else NVMLError(reason)

    return SimpleNamespace(
        NVMLError=NVMLError,
        NVMLError_LibraryNotFound=LibraryNotFound,
        NVMLError_NoPermission=NoPermission,
        NVMLError_NotSupported=NotSupported,
        nvmlInit=init_nvml,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetHandleByIndex=handle,
        nvmlDeviceGetHandleByUUID=handle,
        nvmlDeviceGetMemoryInfo=memory,
    )


FOUR: dict[str, str | Exception | None] = {"0": None, "1": None, "2": None, "3": None}
GIVEN = {"SLURM_GPUS_ON_NODE": "4", "CUDA_VISIBLE_DEVICES": "0,1,2,3"}


@pytest.mark.parametrize(
    ("environ", "nvml"),
    [
        (GIVEN, fake_nvml(FOUR)),
        (GIVEN | {"CUDA_VISIBLE_DEVICES": "0"}, fake_nvml({"0": None})),  # one for each task
        (GIVEN | {"CUDA_VISIBLE_DEVICES": "GPU-5a, MIG-7b"}, fake_nvml({"GPU-5a": None, "MIG-7b": None})),
        ({"SLURM_GPUS_ON_NODE": "4"}, fake_nvml(FOUR)),
        (GIVEN | {"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, fake_nvml({})),
        ({"CUDA_VISIBLE_DEVICES": "0,1"}, fake_nvml({})),  # no job of Slurm's
        (GIVEN, None),
        (GIVEN, fake_nvml(FOUR | {"0": NoPermission("Insufficient Permissions"), "1": NotSupported("Not Supported")})),
        (GIVEN, fake_nvml({}, init=LibraryNotFound("NVML Shared Library Not Found"))),
    ],
)
def test_gpus_that_answer_or_of_which_nothing_is_known_are_no_fault(environ, nvml):
    assert gpu_fault(environ, nvml) is None


@pytest.mark.parametrize(
    ("environ", "nvml", "words"),
    [
        (GIVEN, fake_nvml(FOUR | {"2": "GPU is lost"}), "1 of the 4 GPUs given do not answer (GPU 2: GPU is lost)"),
        (GIVEN, fake_nvml({"0": None, "1": None}), "2 of the 4 GPUs given do not answer"),
        ({"SLURM_GPUS_ON_NODE": "4"}, fake_nvml({"0": None}), "3 of the 4 GPUs given do not answer"),
        (GIVEN, fake_nvml({}, init=NVMLError("Driver Not Loaded")), "their driver does not answer: Driver Not Loaded"),
    ],
)
def test_a_gpu_that_was_given_and_does_not_answer_is_a_fault(environ, nvml, words):
    fault = gpu_fault(environ, nvml)
    assert fault is not None
    assert fault.part == "gpu"
    assert words in fault.message


def test_a_folder_that_can_be_written_is_no_fault_and_nothing_is_left_in_it(tmp_path):
    assert write_fault(tmp_path, 30) is None
    assert list(tmp_path.iterdir()) == []


def failing(number: int):
    def probe(path: Path) -> None:
        raise OSError(number, "the kernel's words")

    return probe


def test_a_mount_that_fails_is_a_fault_and_a_full_disk_is_none_of_the_node_s(tmp_path):
    assert write_fault(tmp_path, 30, failing(errno.EROFS)) == Fault(
        "files", f"cannot write to {tmp_path}: the kernel's words"
    )
    for full in (errno.ENOSPC, errno.EDQUOT):
        with pytest.raises(OSError, match="the kernel's words") as found:
            write_fault(tmp_path, 30, failing(full))
        assert found.value.errno == full


def test_what_is_read_back_must_be_what_was_written(tmp_path, monkeypatch):
    monkeypatch.setattr("synthclip_hpc.node_check.os.pread", lambda *_: b"other")
    fault = write_fault(tmp_path, 30)
    assert fault is not None
    assert "4096 bytes written, 5 others read back" in fault.message
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_hangs_is_a_fault_after_the_time_out(tmp_path):
    answer = threading.Event()

    def hang(path: Path) -> None:
        answer.wait()

    try:
        fault = write_fault(tmp_path, 0.05, hang)
    finally:
        answer.set()
    assert fault == Fault("files", f"writing to {tmp_path} takes more than 0.05 s")


def test_a_temporary_folder_needs_room(tmp_path):
    assert temp_fault(1, lambda: str(tmp_path)) is None
    fault = temp_fault(1 << 60, lambda: str(tmp_path))
    assert fault is not None and "MiB free" in fault.message and str(tmp_path) in fault.message

    def nowhere() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    assert temp_fault(1, nowhere) == Fault("temp", "no folder for temporary files: No usable temporary directory found")


def test_looking_imports_no_torch():
    script = (
        "import sys, pathlib; from synthclip_hpc.node_check import look_at_node; "
        "assert look_at_node(pathlib.Path('.'), 4) == []; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert done.stdout == "False\n"


@pytest.fixture
def planned(app, monkeypatch):
    """A run whose captions are submitted in two elements, and nobody works on them."""
    monkeypatch.setattr("synthclip_hpc.launch.local.start_supervisor", lambda run, ones: ones)
    assert app("submit", *WORDS).code == 0
    return app


def attempt(app: App, index: int, node: str, faults: list[Fault], restart: int = 0) -> str:
    [one] = app.submissions()
    looked: list[tuple[Path, int]] = []

    def look(folder: Path, num_gpus: int) -> list[Fault]:
        looked.append((folder, num_gpus))
        return faults

    reason = worker.run_attempt(app.run, one, Attempt("77", index, restart, node), index, StopFlag(), look=look)
    assert looked in ([(app.path / "captions/write", 0)], [])
    return reason


def events(app: App, name: str) -> list[dict]:
    return read_events(app.run.phase("captions", "write").journal_path(name))[0]


def test_an_attempt_on_an_unfit_node_does_nothing_and_says_why(planned):
    assert attempt(planned, 0, "n3", BROKEN) == "node_unfit"
    [start, end] = events(planned, "77_0_0")
    assert (start["event"], start["node"]) == ("start", "n3")
    assert (end["event"], end["reason"], end["node"]) == ("end", "node_unfit", "n3")
    assert end["message"] == f"node n3 is unfit: {BROKEN[0].message}"
    assert end["faults"] == [{"part": "gpu", "message": BROKEN[0].message}]
    assert planned.run.phase("captions", "write").is_untouched()


def test_status_counts_unfit_nodes_apart_and_names_the_node(planned):
    attempt(planned, 0, "n3", BROKEN)
    [one] = planned.submissions()
    update(one, state="ended")
    captions = planned.status()["stages"]["captions"]
    assert (captions["unfit_nodes"], captions["failures"], captions["unknown"]) == (1, 0, 0)
    assert (captions["state"], captions["running"]) == ("partial", 0)
    assert "node n3 is unfit" in captions["message"]
    assert "1 unfit node" in planned("status", "--once").words


def test_the_share_of_an_unfit_node_is_done_by_others_and_the_result_is_the_same(planned, at_once, tmp_path):
    calm = App(tmp_path / "calm")
    assert calm("submit", *WORDS).code == 0
    assert attempt(planned, 0, "n3", BROKEN) == "node_unfit"
    assert attempt(planned, 1, "n1", []) == "completed"
    assert planned.run.phase("captions", "write").marked_shards() == {1, 3}
    [one] = planned.submissions()
    update(one, state="ended")
    assert planned("resume", "wait=true").code == 0
    assert same_set(planned.path) == same_set(calm.path)


def test_nodes_are_not_looked_at_when_nobody_wants_to_know(app, monkeypatch):
    monkeypatch.setattr("synthclip_hpc.launch.local.start_supervisor", lambda run, ones: ones)
    assert app("submit", *WORDS, "retries.check_nodes=false").code == 0
    assert attempt(app, 0, "n3", BROKEN) == "completed"


def test_an_unfit_node_is_no_matter_where_nothing_is_left_to_do(planned):
    assert attempt(planned, 0, "n1", []) == "completed"
    assert attempt(planned, 0, "n3", BROKEN, restart=1) == "completed"


def test_a_local_worker_tells_by_its_exit_code_and_is_not_started_again(planned, monkeypatch):
    monkeypatch.setattr(worker, "StopFlag", lambda: SimpleNamespace(install=lambda **_: None, signal_name=None))

    def refuse(*_: object) -> None:
        raise NodeUnfit("here", BROKEN)

    monkeypatch.setattr(worker, "_check_node", refuse)
    [one] = planned.submissions()
    assert worker.run_local(str(planned.path), one.name, 0, 0, 1) == EXIT_UNFIT
    from synthclip_hpc.launch.supervisor import Supervisor, Worker

    supervisor = Supervisor(planned.run, one)
    process: Any = SimpleNamespace()
    assert supervisor._after(Worker(0, 0, process), EXIT_UNFIT) is None


class Lives:
    """Lives of element 101_1, each on a node, all unfit."""

    def __init__(self, app: App, fake_slurm: Any, *limits: str) -> None:
        assert app("submit", *SMALL, "slurm.elements=2", *limits).code == 0
        self.app, self.slurm, self.restart = app, fake_slurm, 0

    def on(self, node: str) -> bool:
        """Whether the life on this node puts the element back into the queue."""
        [one] = self.app.submissions()
        mine = Attempt("101", 1, self.restart, node)
        assert worker.run_attempt(self.app.run, one, mine, 1, StopFlag(), look=lambda *_: BROKEN) == "node_unfit"
        self.restart += 1
        return requeueing.after_unfit(self.app.run, one, mine)


def test_an_element_looks_for_another_node_until_its_limit(app, fake_slurm, capsys):
    lives = Lives(app, fake_slurm, "retries.unfit_nodes=2")
    assert [lives.on(node) for node in ("n1", "n2", "n3")] == [True, True, False]
    assert [words for words in fake_slurm.arguments("scontrol") if words[0] == "requeue"] == [["requeue", "101_1"]] * 2
    assert events(app, "101_1_2")[-1] | {"time": 0} == {
        "event": "left_open", "time": 0, "cause": "node_unfit", "count": 3, "limit": 2, "nodes": ["n1", "n2", "n3"]
    }  # fmt: skip
    assert f"resume run={app.path} exclude=n1,n2,n3" in capsys.readouterr().err


def test_an_element_that_slurm_sends_back_to_the_same_node_stays_away(app, fake_slurm):
    lives = Lives(app, fake_slurm)
    assert [lives.on(node) for node in ("n1", "n1")] == [True, False]
    assert [words[0] for words in fake_slurm.arguments("scontrol")].count("requeue") == 1


def test_the_command_that_is_proposed_is_taken(app, fake_slurm, capsys):
    lives = Lives(app, fake_slurm, "retries.unfit_nodes=0")
    assert not lives.on("n1")
    told = capsys.readouterr().err.strip().splitlines()[-1]
    words = told.partition("synthclip_hpc.resume ")[2].split()
    fake_slurm.answer("squeue", {"stdout": ""})
    assert app("resume", *words, "dry-run=true", "cluster=slurm").code == 0


def test_another_node_of_a_gang_that_is_unfit_puts_the_whole_job_back(app, fake_slurm, monkeypatch):
    assert app("submit", *SMALL).code == 0
    [one] = app.submissions()
    accompanied: list[object] = []
    monkeypatch.setattr("synthclip_hpc.stages.train.fit.accompany_on_slurm", lambda *words: accompanied.append(words))
    mine = Attempt("101", 0, 0, "n2", is_array=False)
    monkeypatch.setattr(worker, "look_at_node", lambda *_: [])
    worker._accompany(app.run, one, mine, StopFlag())
    assert len(accompanied) == 1
    monkeypatch.setattr(worker, "look_at_node", lambda *_: BROKEN)
    with pytest.raises(SystemExit) as end:
        worker._accompany(app.run, one, mine, StopFlag())
    assert end.value.code == EXIT_UNFIT
    assert len(accompanied) == 1
    assert ["requeue", "101"] in fake_slurm.arguments("scontrol")
    told = events(app, "101_0_0")
    assert [event["event"] for event in told[:2]] == ["node_unfit", "requeue"]
    assert told[0]["node"] == "n2"


def test_an_element_on_slurm_tells_requeues_and_leaves_with_its_own_exit_code(app, fake_slurm, monkeypatch):
    assert app("submit", *SMALL, "slurm.elements=2").code == 0
    [one] = app.submissions()
    words = {"SLURM_JOB_ID": "103", "SLURM_ARRAY_JOB_ID": "101", "SLURM_ARRAY_TASK_ID": "1", "SLURMD_NODENAME": "n2"}
    for key, value in words.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr(worker, "StopFlag", lambda: SimpleNamespace(install=lambda **_: None, signal_name=None))
    monkeypatch.setattr(node_check, "temp_fault", lambda *_: Fault("temp", "/tmp has 0 MiB free, wanted 16"))
    with pytest.raises(SystemExit) as end:
        worker.run_on_slurm(str(app.path), one.name, 1)
    assert end.value.code == EXIT_UNFIT
    assert ["requeue", "101_1"] in fake_slurm.arguments("scontrol")
    told = events(app, "101_1_0")
    assert told[1]["message"] == "node n2 is unfit: /tmp has 0 MiB free, wanted 16"
    assert {"event": "requeue", "cause": "node_unfit"}.items() <= told[3].items()
