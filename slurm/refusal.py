"""What to do about an sbatch that says no."""

from __future__ import annotations

import re

# What Slurm says, and what helps. The first that fits counts: a refusal by limits also speaks of accounts and QOS.
_ASSOCIATIONS = "see `sacctmgr show assoc user=$USER format=account,partition,qos`, and set "
_HINTS = [
    (
        r"res_nsearch|configuration source|fetch_config|cannot stat file|s_p_parse_file",
        "no Slurm is set up for this shell: use cluster=local, or start one with `python -m slurm.onemachine up` and "
        "use cluster=onemachine; if SLURM_CONF names a cluster that is gone, `unset SLURM_CONF`",
    ),
    (
        r"QOS\w*Submit|Assoc\w*Submit|MaxSubmit|accounting/QOS policy|submit limit|job count limit",
        "a limit on submitted jobs is reached: lower slurm.elements, or wait until jobs of yours have ended",
    ),
    (r"time limit|MaxWall", "lower slurm.time_min; `sinfo -o '%P %l'` shows each partition's limit"),
    (r"array", "set slurm.max_array_size to the cluster's MaxArraySize, or lower slurm.elements"),
    (r"\baccount\b", f"{_ASSOCIATIONS}slurm.account"),
    (r"\bqos\b", f"{_ASSOCIATIONS}slurm.qos"),
    (r"partition", "see `sinfo -s` for the partitions, and set slurm.partition"),
    (r"generic resource|gres", "see `sinfo -o '%P %G'`, and set slurm.gres or slurm.gpus_per_node"),
    (r"feature", "see `sinfo -o '%P %f'`, and set slurm.constraint"),
    (r"memory specification", "lower slurm.memory; `sinfo -o '%P %m'` shows what nodes have (MB)"),
    (
        r"node configuration|more processors|node count|CPU count",
        "no node of the partition is like that: compare slurm.nodes, .cpus, .gpus_per_node and .memory "
        "with `sinfo -o '%P %D %c %m %G'`",
    ),
    (r"dependency", "the job it should wait for is gone from the queue; submit again"),
    (r"make sense of sbatch", "the job may have been accepted: look for its name in `squeue --me`, and scancel it"),
    (
        r"unable to contact|timed out|connection refused|temporarily",
        "the controller cannot be reached: try again in a minute",
    ),
    (r"not on the PATH", "submit from a login node of the cluster (`module load slurm`?), or use cluster=local"),
]
_DEFAULT_HINT = "`--dry-run` shows the script; `sbatch --test-only` on it may say more"


_UNCERTAIN = r"make sense of sbatch|unable to contact|timed out|communication|zero bytes|connection"


class SubmissionRefused(Exception):
    """sbatch accepted nothing, or what it accepted was taken back. Nothing that the call wrote is left behind then.

    `words` is what sbatch said, `hint` what may help, `left_running` the job ids that could not be cancelled again.
    `uncertain` says that sbatch got no clear answer: the job may be there all the same, and its files are left for it.
    """

    def __init__(self, words: str, left_running: tuple[str, ...] = ()) -> None:
        self.words = " ".join(words.split()) or "sbatch said nothing"
        self.hint = hint_for(self.words)
        self.left_running = left_running
        self.uncertain = re.search(_UNCERTAIN, self.words, re.IGNORECASE) is not None
        text = f"Slurm refused the job: {self.words}. Hint: {self.hint}"
        if left_running:
            text += f". Still submitted, and could not be cancelled: run `scancel {' '.join(left_running)}`"
        super().__init__(text)


def hint_for(words: str) -> str:
    """What may help against sbatch's words."""
    for pattern, hint in _HINTS:
        if re.search(pattern, words, re.IGNORECASE):
            return hint
    return _DEFAULT_HINT
