"""The one-machine cluster, started: what a job sees, what priority does, what a crash leaves, what `down` removes."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from slurm.onemachine import Lab, LabError, down, faults, find, processes, up
from slurm.onemachine.client import ask, node_states
from slurm.onemachine.commands import main
from slurm.onemachine.membership import lab_processes
from tests.conftest import require_slurm_programs

pytestmark = pytest.mark.slurm
ROOT = Path(__file__).parents[2]


@pytest.fixture
def directory() -> Iterator[Path]:
    """Where a test may start a lab of its own."""
    require_slurm_programs()
    with tempfile.TemporaryDirectory(prefix=f"slurm-lab-{os.getpid()}-") as base:
        path = Path(base) / "lab"
        try:
            yield path
        finally:
            down(path)


def submit(lab: Lab, *options: str, script: str) -> str:
    """Submit a one-line batch job; its id."""
    return ask(lab, "sbatch", "--parsable", "--output=/dev/null", *options, "--wrap", script).strip()


def states(lab: Lab, job: str) -> list[str]:
    """First word of the state of every incarnation of a job, or of every element of an array, oldest first."""
    text = ask(lab, "sacct", "-D", "-X", "-n", "-P", "-S", "now-1day", "-o", "State", "-j", job)
    return [line.split()[0] for line in text.splitlines()]


def wait_for_states(lab: Lab, job: str, expected: list[str], timeout_s: float = 90.0) -> None:
    processes.wait_until(lambda: states(lab, job) == expected, timeout_s, poll_s=0.2)
    assert states(lab, job) == expected


def wait_for_running(lab: Lab, job: str) -> None:
    def running() -> bool:
        return ask(lab, "squeue", "-h", "-j", job, "-o", "%T").strip() == "RUNNING"

    assert processes.wait_until(running, 30, poll_s=0.1), ask(lab, "scontrol", "show", "job", job)


def test_step_on_two_nodes_sees_two_nodes_and_its_own_gpus(slurm_lab: Lab) -> None:
    output = ask(
        slurm_lab,
        "srun",
        "-N2",
        "--gpus-per-node=2",
        "sh",
        "-c",
        "echo $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES",
        timeout_s=60,
    )
    lines = sorted(output.splitlines())
    assert len({line.split()[0] for line in lines}) == 2
    assert [line.split()[1] for line in lines] == ["0,1", "0,1"]


def test_every_element_of_an_array_is_accounted_for(slurm_lab: Lab) -> None:
    job = submit(slurm_lab, "--array=0-5%3", script="true")
    wait_for_states(slurm_lab, job, ["COMPLETED"] * 6)


def test_requeued_job_runs_again_and_accounting_shows_both_lives(slurm_lab: Lab, tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = f'echo ${{SLURM_RESTART_COUNT:-0}} >> {log}; [ -n "$SLURM_RESTART_COUNT" ] || sleep 300'
    job = submit(slurm_lab, "--requeue", script=script)
    wait_for_running(slurm_lab, job)
    assert processes.wait_until(log.exists, 30)
    ask(slurm_lab, "scontrol", "requeue", job)
    wait_for_states(slurm_lab, job, ["REQUEUED", "COMPLETED"])
    assert log.read_text().split() == ["0", "1"]


def test_high_preempts_both_low_partitions_which_then_run_again(slurm_lab: Lab) -> None:
    script = '[ -n "$SLURM_RESTART_COUNT" ] || sleep 300'
    low = submit(slurm_lab, "-p", "low", "-w", "n1", "-c8", script=script)
    low_grace = submit(slurm_lab, "-p", "low-grace", "-w", "n2", "-c8", script=script)
    wait_for_running(slurm_lab, low)
    wait_for_running(slurm_lab, low_grace)
    high = [submit(slurm_lab, "-p", "high", "-w", node, "-c8", script="true") for node in ("n1", "n2")]
    for job in high:
        wait_for_states(slurm_lab, job, ["COMPLETED"])
    wait_for_states(slurm_lab, low, ["PREEMPTED", "COMPLETED"])
    wait_for_states(slurm_lab, low_grace, ["PREEMPTED", "COMPLETED"])


def test_job_of_a_node_that_lost_power_runs_again_when_it_is_back(slurm_lab: Lab) -> None:
    job = submit(slurm_lab, "-w", "n3", script='[ -n "$SLURM_RESTART_COUNT" ] || sleep 300')
    wait_for_running(slurm_lab, job)
    faults.kill_node(slurm_lab, "n3")
    faults.start_slurmd(slurm_lab, "n3")
    wait_for_states(slurm_lab, job, ["NODE_FAIL", "COMPLETED"])


def test_job_lives_on_while_its_slurmd_is_away(slurm_lab: Lab, tmp_path: Path) -> None:
    release = tmp_path / "release"
    job = submit(slurm_lab, "-w", "n4", script=f"while [ ! -e {release} ]; do sleep 0.1; done")
    wait_for_running(slurm_lab, job)
    faults.kill_slurmd(slurm_lab, "n4")
    assert (
        len([process for process in lab_processes(slurm_lab.directory) if _command(process.pid) == "slurmstepd"]) == 1
    )
    faults.start_slurmd(slurm_lab, "n4")
    release.touch()
    wait_for_states(slurm_lab, job, ["COMPLETED"])


def test_fault_on_an_unknown_node_names_the_valid_ones(slurm_lab: Lab) -> None:
    for fault in (faults.kill_slurmd, faults.kill_node, faults.start_slurmd):
        with pytest.raises(ValueError, match=r"^node: got 'n5'; valid are n1, n2, n3, n4$"):
            fault(slurm_lab, "n5")


def test_doctor_names_the_line_for_a_drained_node_and_fix_mends_what_is_broken(
    slurm_lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    option = ["--dir", str(slurm_lab.directory)]
    assert main(["doctor", *option]) == 0
    ask(slurm_lab, "scontrol", "update", "nodename=n2", "state=drain", "reason=Kill task failed")
    faults.kill_slurmd(slurm_lab, "n4")
    capsys.readouterr()
    assert main(["doctor", *option]) == 1
    output = capsys.readouterr().out
    assert "BAD n2: drained (Kill task failed)" in output
    assert f"SLURM_CONF={slurm_lab.conf} scontrol update nodename=n2 state=resume" in output
    assert "BAD n4: idle; its slurmd is dead" in output
    assert output.count("BAD") == 2
    assert main(["doctor", "--fix", *option]) == 0
    assert node_states(slurm_lab) == dict.fromkeys(slurm_lab.node_names, "idle")


def test_up_on_a_running_lab_says_so_and_changes_nothing(slurm_lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    before = lab_processes(slurm_lab.directory)
    assert main(["up", "--dir", str(slurm_lab.directory), "--nodes", "1"]) == 0
    assert "already running: 4 nodes" in capsys.readouterr().out
    assert up(slurm_lab.directory, nodes=1) == slurm_lab
    assert lab_processes(slurm_lab.directory) == before


def test_env_is_what_a_shell_needs(slurm_lab: Lab) -> None:
    line = subprocess.run(
        [sys.executable, "-m", "slurm.onemachine", "env", "--dir", str(slurm_lab.directory)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    bare = {"PATH": os.environ["PATH"]}
    shown = subprocess.run(
        ["sh", "-c", f"{line}\nsinfo -h -p main -o %D"], env=bare, capture_output=True, text=True, check=True
    ).stdout
    assert shown.split() == ["4"]


def test_down_ends_every_process_of_the_lab_and_spares_the_users_own(directory: Path) -> None:
    lab = up(directory, nodes=1)
    mine = subprocess.Popen(["sleep", "300"], env={**os.environ, **lab.environment(), "SLURM_JOB_ID": "1"})
    try:
        job = submit(lab, "-n2", script="setsid -f sleep 301; env -i sleep 302 & srun sleep 303")
        wait_for_running(lab, job)
        ended = {"sleep 301", "sleep 302", "sleep 303"}
        assert processes.wait_until(lambda: ended <= _command_lines(lab_processes(directory)), 30, poll_s=0.1)
        before = lab_processes(directory)
        down(lab)
        assert [process for process in before if process.is_alive()] == []
        assert lab_processes(directory) == set()
        assert not directory.exists()
        assert mine.poll() is None
    finally:
        mine.kill()
        mine.wait()


def test_queue_and_accounting_go_on_after_down_and_up_with_keep(directory: Path) -> None:
    lab = up(directory, nodes=1)
    done = submit(lab, script="true")
    wait_for_states(lab, done, ["COMPLETED"])
    running = submit(lab, script="sleep 300")
    wait_for_running(lab, running)
    down(lab, keep=True)
    assert lab_processes(directory) == set()
    assert find(directory) is None
    lab = up(directory, nodes=1, keep=True)
    assert processes.wait_until(lambda: states(lab, running)[:1] == ["NODE_FAIL"], 30, poll_s=0.1)
    assert ask(lab, "squeue", "-h", "-o", "%i").split() == [running]
    assert states(lab, done) == ["COMPLETED"]


def test_crashed_lab_is_found_and_replaced(directory: Path) -> None:
    lab = up(directory, nodes=1)
    job = submit(lab, script="sleep 300")
    wait_for_running(lab, job)
    old = lab_processes(directory)
    killed = [processes.recorded(directory, name) for name in ("slurmctld", "mariadbd")]
    processes.kill([process for process in killed if process is not None])
    assert (directory / "mysql" / "s").is_socket()
    assert find(directory) is None
    said: list[str] = []
    lab = up(directory, nodes=1, say=said.append)
    assert said[:2] == ["stopped what a crashed lab had left running", "removed the files of an earlier lab"]
    assert [process for process in old if process.is_alive()] == []
    assert ask(lab, "squeue", "-h") == ""
    assert node_states(lab) == {"n1": "idle"}


def test_up_killed_half_way_is_cleaned_by_the_next_up(directory: Path) -> None:
    command = [sys.executable, "-m", "slurm.onemachine", "up", "--nodes", "1", "--dir", str(directory)]
    half = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        assert processes.wait_until(lambda: processes.recorded(directory, "slurmdbd") is not None, 60)
    finally:
        half.send_signal(signal.SIGKILL)
        half.wait()
    assert find(directory) is None
    left = lab_processes(directory)
    assert left
    lab = up(directory, nodes=1)
    assert [process for process in left if process.is_alive()] == []
    assert ask(lab, "srun", "hostname", timeout_s=60) != ""


def test_daemon_that_fails_stops_the_others_and_shows_its_log(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "slurmctld"
    broken.write_text("#!/bin/sh\necho the disk is on fire >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(LabError, match="slurmctld ended while it was starting") as caught:
        up(directory, nodes=1)
    assert f"--- {directory}/log/slurmctld.out\nthe disk is on fire" in str(caught.value)
    assert lab_processes(directory) == set()
    assert find(directory) is None


@pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can become somebody else; other users run every test unprivileged"
)
def test_user_without_privileges_runs_a_lab_beside_roots(slurm_lab: Lab) -> None:
    nobody = pwd.getpwnam("nobody")
    python = _python_for_everybody(nobody)
    with tempfile.TemporaryDirectory(prefix="nb-") as base:
        # A copy: what lies in root's home or checkout may be closed to others.
        shutil.copytree(ROOT / "slurm", Path(base) / "slurm", ignore=shutil.ignore_patterns("__pycache__"))
        os.chown(base, nobody.pw_uid, nobody.pw_gid)
        directory = Path(base) / "lab"

        def run(*arguments: str) -> str:
            done = subprocess.run(
                ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups", *arguments],
                cwd=base, env={"PATH": "/usr/bin:/bin", "USER": "root"}, capture_output=True, text=True, timeout=120,
            )  # fmt: skip
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        lab_command = [python, "-B", "-m", "slurm.onemachine"]
        try:
            run(*lab_command, "up", "--nodes", "2", "--dir", str(directory))
            conf = f"SLURM_CONF={directory}/etc/slurm.conf"
            output = run(
                "env", conf, "srun", "-N2", "--gpus-per-node=1", "sh", "-c", "echo $(id -un) $CUDA_VISIBLE_DEVICES"
            )
            assert output.split("\n")[:2] == ["nobody 0", "nobody 0"]
            assert slurm_lab.is_running()
        finally:
            run(*lab_command, "down", "--dir", str(directory))
        assert lab_processes(directory) == set()
        assert not directory.exists()


def _python_for_everybody(user: pwd.struct_passwd) -> str:
    for python in (sys.executable, shutil.which("python3", path="/usr/local/bin:/usr/bin")):
        command = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", str(python)]
        check = "import sys; sys.exit(sys.version_info < (3, 11))"
        if python and subprocess.run([*command, "-c", check], capture_output=True, cwd="/").returncode == 0:
            return python
    pytest.skip("no Python 3.11 or later that other users may execute")


def _command(pid: int) -> str:
    status = processes.read_status(pid)
    return "" if status is None else status.command


def _command_lines(members: set[processes.Process]) -> set[str]:
    lines = set()
    for member in members:
        try:
            program, *arguments = Path(f"/proc/{member.pid}/cmdline").read_text().rstrip("\0").split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        lines.add(" ".join([Path(program).name, *arguments]))
    return lines
