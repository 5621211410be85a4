"""The script that sbatch gets: pinned as text, equal to what is really submitted, and closed to injection."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slurm.profiles import ProfileError, Resources
from slurm.submission import JobRequest, render_script, submit_array
from tests.slurm.nodework import work

_RECORD = Path(__file__).with_name("sbatch_record.txt")
# A wrong quote anywhere runs `touch x` or breaks the script.
_WEIRD = "a b'c\"d$(touch x)`touch x`;touch x #&|<>*?~!{e}"


def directives(script: str) -> dict[str, str]:
    """The #SBATCH options, unquoted as sbatch does it."""
    options = {}
    for line in script.splitlines():
        if line.startswith("#SBATCH "):
            [word] = shlex.split(line.removeprefix("#SBATCH "))
            key, _, value = word.removeprefix("--").partition("=")
            options[key] = value
    return options


def run_script(script: str, programs: Path, folder: Path) -> list[str]:
    """Run a script with bash and give the arguments that srun got."""
    srun = programs / "srun"
    srun.unlink(missing_ok=True)
    srun.write_text('#!/bin/sh\nprintf "%s\\0" "$@" > srun.args\n')
    srun.chmod(0o755)
    before = set(folder.iterdir())
    subprocess.run(["bash", "-c", script], cwd=folder, env={"PATH": str(programs)}, check=True, capture_output=True)
    args = folder / "srun.args"
    words = args.read_text().split("\0")[:-1]
    args.unlink()
    assert set(folder.iterdir()) == before
    return words


def test_the_script_is_as_recorded():
    resources = Resources(
        partition="gpu,preempt", account="lab", qos="normal", constraint="a100&nvlink", gres="tmp:10G",
        exclude="n[1-2]",
        nodes=2, tasks_per_node=3, cpus=4, gpus_per_node=2, memory="8G", time_min=90, throttle=16,
        max_array_size=1001, python="python3 -X dev", setup=("module load cuda/12.4", 'export A="$HOME/b c"'),
        srun_args=("--kill-on-bad-exit=1",), container="apptainer exec --nv '/images/my image.sif'", signal_lead_s=60,
    )  # fmt: skip
    request = JobRequest("run.3f2a.render", Path("/runs/a"), "/runs/a/logs/%A_%a.log", resources, "afterok:12")
    assert render_script(request, 200) == _RECORD.read_text()


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("throttle", [0, 1, 5])
def test_the_rendered_script_is_what_sbatch_gets(fake_slurm, tmp_path, count, throttle):
    folder = tmp_path / _WEIRD
    resources = Resources(throttle=throttle, max_array_size=3, container="a 'b c'", memory="1G")
    request = JobRequest("run.a", folder / "submission", f"{folder}/logs/%A_%a.log", resources, "afterok:3")
    rendered = render_script(request, count)
    assert not folder.exists()
    assert render_script(request, count) == rendered
    assert fake_slurm.calls("sbatch") == []
    submit_array(request, work, [("f", number) for number in range(count)])
    scripts = fake_slurm.scripts()
    expected = [
        script.replace("afterany:101", "afterany:ARRAY").replace("afterany:102", "afterany:ARRAY") for script in scripts
    ]
    shown = [line for line in rendered.splitlines() if not line.startswith("# array ")]
    assert shown == "\n".join(expected).splitlines()
    if count == 7:
        assert len(scripts) == 3
        assert "# array 3 of 3: elements 6 to 6\n" in rendered


def test_rendering_needs_no_slurm(fake_slurm, tmp_path):
    for program in ("sbatch", "srun", "scontrol"):
        fake_slurm.remove(program)
    script = render_script(JobRequest("a", tmp_path / "s", "/l/%A_%a", Resources()), 2000)
    assert "#SBATCH --array=0-1000\n" in script
    assert "#SBATCH --array=0-998\n" in script
    assert list(tmp_path.iterdir()) == []


def test_rendering_no_elements_is_refused(tmp_path):
    with pytest.raises(ValueError, match="num_elements is 0"):
        render_script(JobRequest("a", tmp_path, "/l/%A_%a", Resources()), 0)


def test_each_element_has_one_log_for_the_batch_script_and_for_srun(fake_slurm, tmp_path):
    log = f"{tmp_path}/{_WEIRD}/%A_%a.log"
    script = render_script(JobRequest("a", tmp_path / "s", log, Resources()), 3)
    assert directives(script)["output"] == log
    assert "error" not in directives(script)
    assert directives(script)["open-mode"] == "append"
    arguments = run_script(script, fake_slurm.programs, tmp_path)
    outputs = [
        word.removeprefix("--output=") if "=" in word else arguments[number + 1]
        for number, word in enumerate(arguments)
        if word.startswith("--output")
    ]
    assert outputs[-1] == log  # the last one counts
    assert "--open-mode=append" in arguments
    assert not [word for word in arguments if word.startswith("--error")]


def test_no_value_but_a_setup_line_is_seen_by_a_shell(fake_slurm, tmp_path):
    resources = Resources(
        partition=_WEIRD, account=_WEIRD, qos=_WEIRD, constraint=_WEIRD, gres=_WEIRD, exclude=_WEIRD, memory=_WEIRD,
        python=shlex.quote(_WEIRD), container=f"run {shlex.quote(_WEIRD)}", srun_args=(_WEIRD,),
    )  # fmt: skip
    folder = Path("/runs") / _WEIRD
    script = render_script(JobRequest("a", folder, f"/{_WEIRD}/%A_%a", resources), 3)
    options = directives(script)
    for key in ("partition", "account", "qos", "constraint", "gres", "exclude", "mem"):
        assert options[key] == _WEIRD
    words = run_script(script, fake_slurm.programs, tmp_path)
    assert words[-7:] == ["run", _WEIRD, _WEIRD, "-u", "-m", "submitit.core._submit", str(folder)]
    assert _WEIRD in words[:-7]
    assert not (tmp_path / "x").exists()


def test_python_and_container_are_words_and_expand_nothing(fake_slurm, tmp_path):
    resources = Resources(python="$(touch x) `touch x`; touch x", container="$HOME/run > x")
    script = render_script(JobRequest("a", tmp_path / "s", "/l/%A_%a", resources), 2)
    words = run_script(script, fake_slurm.programs, tmp_path)
    expected = ["$HOME/run", ">", "x", "$(touch", "x)", "`touch", "x`;", "touch", "x"]
    start = words.index("$HOME/run")
    assert words[start : start + len(expected)] == expected


def test_setup_lines_are_shell_and_run_before_the_work(fake_slurm, tmp_path):
    resources = Resources(setup=("export GREETING=hello", 'export TWICE="$GREETING$GREETING"'), srun_args=("$TWICE",))
    script = render_script(JobRequest("a", tmp_path / "s", "/l/%A_%a", resources), 2)
    lines = script.splitlines()
    assert lines.index("export GREETING=hello") < next(i for i, line in enumerate(lines) if line.startswith("srun "))
    assert "$TWICE" in run_script(script, fake_slurm.programs, tmp_path)


def test_a_setup_line_cannot_pass_for_a_directive():
    script = render_script(JobRequest("a", Path("/s"), "/l/%A_%a", Resources(setup=("#SBATCH --uid=0",))), 2)
    lines = script.splitlines()
    # sbatch reads directives up to the first command.
    first_command = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    assert lines.index("#SBATCH --uid=0") > first_command


_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=30)


@settings(max_examples=30, deadline=None)
@given(_TEXT, _TEXT, _TEXT)
def test_any_printable_text_arrives_as_it_was_given(partition, folder, word):
    try:
        resources = Resources(partition=partition, srun_args=(word,), python="python3")
        request = JobRequest("a", Path("/runs") / folder.replace("/", "_"), "/l/%A_%a", resources)
    except ProfileError:
        return
    script = render_script(request, 2)
    plain = render_script(JobRequest("a", Path("/runs"), "/l/%A_%a", Resources(partition="p", srun_args=("w",))), 2)
    assert len(script.split("\n")) == len(plain.split("\n")) - (resources.partition is None)
    assert directives(script).get("partition", "") == partition.strip()
    [command] = [line for line in script.split("\n") if line.startswith("srun ")]
    words = shlex.split(command)
    assert words[-1] == str(request.folder)
    assert word in words


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "a b"}, ["job name 'a b'", "letters, digits"]),
        ({"name": "a\n#SBATCH --uid=0"}, ["job name"]),
        ({"name": "$(touch x)"}, ["job name"]),
        ({"name": ""}, ["job name ''"]),
        ({"name": "a,b"}, ["job name 'a,b'"]),
        ({"name": "ä"}, ["job name"]),
        ({"folder": Path("/runs/a\nb")}, ["submission folder", "'\\n' is not allowed"]),
        ({"folder": Path("/runs/100%j")}, ["submission folder", "'%'", "another run directory"]),
        ({"folder": Path("/runs/\udcff")}, ["submission folder", "printable"]),
        ({"log": "/logs/a\nb.%a"}, ["log file", "'\\n' is not allowed"]),
        ({"log": "logs/%A_%a.log"}, ["log file", "absolute"]),
        ({"log": "/logs/50%/%A_%a.log"}, ["log file", "only %A, %a and %j"]),
        ({"log": "/logs/%N_%a.log"}, ["log file", "only %A, %a and %j"]),
        ({"log": "/logs\\/%A_%a.log"}, ["log file", "'\\'"]),
        ({"dependency": "afterok:1 --uid=0"}, ["dependency", "afterok:12:13"]),
        ({"dependency": "afterok:1\nx"}, ["dependency"]),
        ({"dependency": ""}, ["dependency ''"]),
    ],
)
def test_a_request_that_slurm_would_misread_is_refused(change, words):
    parameters = {"name": "a", "folder": Path("/s"), "log": "/l/%A_%a", "resources": Resources()} | change
    with pytest.raises(ProfileError) as caught:
        JobRequest(**parameters)
    for word in words:
        assert word in str(caught.value)
