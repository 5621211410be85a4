"""The one-machine cluster without starting it: configuration texts, directories, ports, processes, command line."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm.onemachine import Lab, LabUsageError, configuration, default_directory, down, find, packages, processes, up
from slurm.onemachine.commands import main
from slurm.onemachine.lab import MAX_SOCKET_PATH, checked_directory, free_base_port, new_lab, read_record, write_record
from tests import conftest

RECORD = Path(__file__).parent / "onemachine_record.txt"
LAB = Lab(Path("/tmp/lab"), nodes=2, gpus=2, base_port=17000, hostname="box", user="me", loopback_only=True)
SHAPE = {
    "nodes": 4,
    "cpus": 8,
    "gpus": 4,
    "memory_mb": 32000,
    "grace_s": 10,
    "kill_wait_s": 5,
    "slurmd_timeout_s": 30,
    "max_array_size": 1001,
}


def test_configuration_texts_are_the_recorded_ones() -> None:
    text = "".join(f"==> {path}\n{content}" for path, content in configuration.files(LAB).items())
    assert text == RECORD.read_text()


def test_every_parameter_reaches_the_configuration() -> None:
    lab = replace(
        LAB, nodes=3, cpus=6, gpus=1, memory_mb=777, grace_s=33, kill_wait_s=7, slurmd_timeout_s=21, max_array_size=50
    )
    text = configuration.slurm_conf(lab)
    assert text.count("NodeName=") == 3
    assert text.count("CPUs=6 RealMemory=777 Gres=gpu:1 ") == 3
    for line in ("KillWait=7", "SlurmdTimeout=21", "MaxArraySize=50"):
        assert text.splitlines().count(line) == 1
    assert "PartitionName=low-grace PriorityTier=1 PreemptMode=REQUEUE GraceTime=33\n" in text
    assert "PartitionName=low PriorityTier=1 PreemptMode=REQUEUE GraceTime=0\n" in text


def test_no_gpus_means_no_gres_lines() -> None:
    lab = replace(LAB, gpus=0)
    assert "Gres=" not in configuration.slurm_conf(lab)
    assert configuration.gres_conf(lab) == ""


def test_daemons_are_bound_to_loopback_only_where_the_host_name_leads_there() -> None:
    option = "CommunicationParameters=NoInAddrAny,NoCtldInAddrAny"
    assert option in configuration.slurm_conf(LAB)
    assert option not in configuration.slurm_conf(replace(LAB, loopback_only=False))


def test_ports_of_a_lab_are_distinct() -> None:
    ports = [LAB.controller_port, LAB.accounting_port, *(LAB.node_port(node) for node in LAB.node_names)]
    assert sorted(ports) == list(range(LAB.base_port, LAB.base_port + LAB.num_ports))


def test_longest_valid_directory_is_accepted_and_one_byte_more_refused() -> None:
    suffix = len("/spool/n4/n4_67108863.4294967295")
    valid = "/" + "d" * (MAX_SOCKET_PATH - suffix - 1)
    assert checked_directory(Path(valid), nodes=4) == Path(valid)
    with pytest.raises(LabUsageError) as caught:
        checked_directory(Path(valid + "d"), nodes=4)
    assert f"is {len(valid) + 1} bytes long" in str(caught.value)
    assert f"at most {len(valid)} are valid" in str(caught.value)
    assert "--dir" in str(caught.value)


def test_directory_length_counts_bytes_of_the_resolved_path(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    short = tmp_path / "s"
    short.symlink_to(deep)
    with pytest.raises(LabUsageError, match="bytes long"):
        checked_directory(short)


@pytest.mark.parametrize("name", ["a b", "a,b", "a#b", "a[1]", "a%n", "a\nb", "a'b", "ä", "a=b"])
def test_directory_that_slurm_conf_cannot_hold_is_refused(name: str) -> None:
    with pytest.raises(LabUsageError, match="valid are letters, digits"):
        checked_directory(Path("/tmp") / name)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("nodes", 0),
        ("nodes", 65),
        ("cpus", 0),
        ("gpus", -1),
        ("grace_s", -1),
        ("slurmd_timeout_s", 4),
        ("kill_wait_s", 0),
    ],
)
def test_number_out_of_range_is_refused_by_name(tmp_path: Path, name: str, value: int) -> None:
    with pytest.raises(LabUsageError, match=rf"^{name}: got {value}; valid is \d+ to \d+$"):
        new_lab(tmp_path, {**SHAPE, name: value})


def test_base_port_skips_a_port_that_is_taken() -> None:
    directory = Path("/tmp/some-lab")
    first = free_base_port(directory, 6)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first + 3))
        taken.listen()
        second = free_base_port(directory, 6)
    assert first + 3 not in range(second, second + 6)


def test_record_round_trips_and_a_torn_one_counts_as_none(tmp_path: Path) -> None:
    lab = replace(LAB, directory=tmp_path)
    write_record(lab)
    assert read_record(tmp_path) == lab
    record = tmp_path / "lab.json"
    record.write_text(record.read_text()[:40])
    assert read_record(tmp_path) is None


def test_another_users_lab_is_never_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_record(replace(LAB, directory=tmp_path))
    monkeypatch.setattr(Lab, "is_running", lambda self: True)
    assert find(tmp_path) == replace(LAB, directory=tmp_path)
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    monkeypatch.setattr(packages, "missing_programs", lambda: [])
    assert find(tmp_path) is None
    with pytest.raises(LabUsageError, match=f"belongs to user id {owner}, not to {owner + 1}"):
        up(tmp_path)


def test_files_of_a_dead_lab_are_not_a_running_lab(tmp_path: Path) -> None:
    (tmp_path / "pid").mkdir()
    write_record(replace(LAB, directory=tmp_path))
    assert find(tmp_path) is None


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder whose name leaves room for a socket's; that of `tmp_path` may not."""
    with tempfile.TemporaryDirectory(prefix="labs-") as folder:
        yield Path(folder)


def test_a_lab_is_found_by_the_shells_slurm_conf_before_the_users_own(
    short_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    labs = {name: replace(LAB, directory=short_path / name) for name in ("own", "other", "dead")}
    for lab in labs.values():
        lab.conf.parent.mkdir(parents=True)
        write_record(lab)
    monkeypatch.setattr("slurm.onemachine.lab.default_directory", lambda: labs["own"].directory)
    monkeypatch.setattr(Lab, "is_running", lambda self: self.directory.name != "dead")
    another_file = labs["other"].directory / "etc" / "another.conf"
    for conf, found in (
        (str(labs["other"].conf), "other"),
        (str(labs["dead"].conf), "own"),
        (str(another_file), "own"),
        ("/etc/slurm/slurm.conf", "own"),
        ("slurm.conf", "own"),
        ("", "own"),
    ):
        monkeypatch.setenv("SLURM_CONF", conf)
        assert find() == labs[found], conf
    # Commands about a lab mean the one in their --dir, whatever the shell talks to.
    monkeypatch.setenv("SLURM_CONF", str(labs["other"].conf))
    assert main(["env"]) == 0
    assert capsys.readouterr().out == f"export SLURM_CONF={labs['own'].conf}\n"


@pytest.mark.parametrize("command", [["up"], ["down"]])
def test_directory_with_somebodys_files_is_left_alone(
    tmp_path: Path, command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(packages, "missing_programs", lambda: [])
    short = Path("/tmp") / f"lab-test-{os.getpid()}"
    short.mkdir()
    (short / "log").mkdir()
    (short / "log" / "thesis.txt").write_text("years of work")
    try:
        code = main([*command, "--dir", str(short)])
        assert (short / "log" / "thesis.txt").read_text() == "years of work"
        assert sorted(path.name for path in short.iterdir()) == ["log"]
        captured = capsys.readouterr()
        if command == ["up"]:
            assert code == 2
            assert "holds files that are not a lab's" in captured.err
        else:
            assert code == 0
            assert "no lab in" in captured.out
    finally:
        (short / "log" / "thesis.txt").unlink()
        (short / "log").rmdir()
        short.rmdir()


def test_missing_programs_are_named_with_the_line_that_installs_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    present = packages.program
    monkeypatch.setattr(packages, "program", lambda name: None if name in ("slurmdbd", "munged") else present("true"))
    assert packages.missing_programs() == ["munged", "slurmdbd"]
    assert main(["up"]) == 2
    text = capsys.readouterr().err
    assert "not installed: munged, slurmdbd" in text
    assert "apt-get install -y --no-install-recommends slurmdbd munge" in text
    assert "policy-rc.d" in text


def test_packages_named_to_the_user_are_those_that_continuous_integration_installs() -> None:
    listed = (Path(__file__).parents[2] / ".ci" / "debian-packages.txt").read_text().split()
    for_other_tests = ["tmux"]
    assert sorted(listed) == sorted([*packages.DEBIAN_PACKAGES, *for_other_tests])
    assert (
        packages.install_advice(list(packages._PROGRAMS)).splitlines()[1].endswith(" ".join(packages.DEBIAN_PACKAGES))
    )


def test_env_without_a_lab_exits_2_with_the_command_that_starts_one(capsys: pytest.CaptureFixture[str]) -> None:
    directory = f"/tmp/none-{os.getpid()}"
    assert main(["env", "--dir", directory]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"python -m slurm.onemachine up --dir {directory}" in captured.err


def test_down_without_a_lab_says_so_and_makes_no_directory(capsys: pytest.CaptureFixture[str]) -> None:
    directory = Path(f"/tmp/none-{os.getpid()}")
    assert down(directory) is False
    assert main(["down", "--dir", str(directory)]) == 0
    assert "no lab in" in capsys.readouterr().out
    assert not directory.exists()


def test_default_directory_differs_by_user_and_fits() -> None:
    assert str(os.geteuid()) in default_directory().name
    assert checked_directory(None, nodes=64) == default_directory()


def test_up_refuses_a_bad_shape_before_it_touches_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "missing_programs", lambda: [])
    directory = Path(f"/tmp/none-{os.getpid()}")
    with pytest.raises(LabUsageError, match=r"^nodes: got 0"):
        up(directory, nodes=0)
    assert not directory.exists()


def test_process_with_another_start_time_is_not_signalled() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        real = processes.identify(child.pid)
        assert real is not None
        earlier = replace(real, start_ticks=real.start_ticks - 1)
        processes.stop([earlier])
        processes.kill([earlier])
        assert child.poll() is None
        processes.kill([real])
        assert child.wait(timeout=30) == -9
    finally:
        child.kill()
        child.wait()


def test_zombie_counts_as_ended_and_keeps_its_exit_status_for_its_parent() -> None:
    child = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    assert processes.wait_until(lambda: processes.identify(child.pid) is None, 30)
    processes.process_table()
    assert child.wait(timeout=30) == 3


@given(st.text(alphabet=st.characters(codec="ascii", exclude_characters="\0\n"), min_size=1, max_size=15))
def test_process_status_is_read_whatever_the_command_is_called(name: str) -> None:
    status = processes.parse_status(f"7 ({name}) S 5 " + " ".join(str(number) for number in range(5, 30)) + "\n")
    assert status == processes.Status(processes.Process(7, 22), 5, name)


@pytest.mark.parametrize(("ci", "outcome"), [("", pytest.skip.Exception), ("1", pytest.fail.Exception)])
def test_lab_fixture_skips_without_slurm_but_fails_where_ci_promised_it(
    monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setattr(conftest, "missing_programs", lambda: ["slurmd"])
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="apt-get install -y --no-install-recommends slurm-wlm"):
        conftest.require_slurm_programs()


def test_atomic_write_leaves_nothing_beside_the_file(tmp_path: Path) -> None:
    processes.write_atomically(tmp_path / "f", "one")
    processes.write_atomically(tmp_path / "f", "two")
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    assert (tmp_path / "f").read_text() == "two"
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o600
