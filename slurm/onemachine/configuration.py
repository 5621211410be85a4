"""The lab's configuration files as text: pure functions of a `Lab`.

Checked on Slurm 22.05. One unknown key in slurm.conf is fatal to every daemon and every client command, so there are no
keys here that only repeat a default: later releases rename and drop them.
"""

from __future__ import annotations

from pathlib import Path

from slurm.onemachine.lab import Lab

CLUSTER = "onemachine"
REQUEUE_DELAY_S = 5
"""Slurm keeps a requeued job waiting for as long as its old credential lives; its own default is 120."""


def files(lab: Lab) -> dict[Path, str]:
    """Every configuration file of the lab: path -> text. slurmdbd refuses a slurmdbd.conf that others can read."""
    etc = lab.conf.parent
    return {
        etc / "slurm.conf": slurm_conf(lab),
        etc / "gres.conf": gres_conf(lab),
        etc / "cgroup.conf": "CgroupPlugin=cgroup/v1\n",
        etc / "plugstack.conf": "",
        etc / "slurmdbd.conf": slurmdbd_conf(lab),
        lab.directory / "mysql" / "init.sql": database_sql(),
    }


def slurm_conf(lab: Lab) -> str:
    """The text of slurm.conf."""
    directory = lab.directory
    listening = "CommunicationParameters=NoInAddrAny,NoCtldInAddrAny\n" if lab.loopback_only else ""
    gpus = f" Gres=gpu:{lab.gpus}" if lab.gpus else ""
    nodes = "".join(
        f"NodeName={node} NodeHostname={lab.hostname} NodeAddr=127.0.0.1 Port={lab.node_port(node)}"
        f" CPUs={lab.cpus} RealMemory={lab.memory_mb}{gpus} State=UNKNOWN\n"
        for node in lab.node_names
    )
    return f"""\
ClusterName={CLUSTER}
SlurmctldHost={lab.hostname}(127.0.0.1)
SlurmctldPort={lab.controller_port}
SlurmUser={lab.user}
SlurmdUser={lab.user}
{listening}
# cred_expire also sets how long a requeued job waits before it may start again.
AuthType=auth/munge
AuthInfo=socket={lab.munge_socket},cred_expire={REQUEUE_DELAY_S}

StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool/%n
SlurmctldPidFile={directory}/pid/slurmctld.pid
SlurmdPidFile={directory}/pid/slurmd.%n.pid
SlurmctldLogFile={directory}/log/slurmctld.log
SlurmdLogFile={directory}/log/slurmd.%n.log
PlugStackConfig={directory}/etc/plugstack.conf

# No cgroups: a process that leaves its step's process tree is neither tracked nor killed.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=5

# Nodes claim more CPUs and memory than the machine has.
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
GresTypes=gpu
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=2,batch_sched_delay=0
PriorityType=priority/basic
MaxArraySize={lab.max_array_size}
MaxJobCount={max(20000, 2 * lab.max_array_size)}

# A higher PriorityTier preempts a lower one; preempt_send_user_signal sends a job's own --signal as its grace begins.
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
JobRequeue=1

KillWait={lab.kill_wait_s}
SlurmctldTimeout=10
SlurmdTimeout={lab.slurmd_timeout_s}
ReturnToService=2
BatchStartTimeout=10
MessageTimeout=10
TCPTimeout=2
UnkillableStepTimeout=30

# Clients of slurmdbd take the munge socket from AccountingStoragePass and not from AuthInfo.
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={lab.accounting_port}
AccountingStoragePass={lab.munge_socket}
AccountingStorageTRES=gres/gpu
AccountingStoreFlags=job_comment

{nodes}
PartitionName=DEFAULT Nodes=ALL State=UP MaxTime=INFINITE DefaultTime=60 DefMemPerCPU=100 PreemptMode=OFF
PartitionName=main PriorityTier=10 Default=YES
PartitionName=low PriorityTier=1 PreemptMode=REQUEUE GraceTime=0
PartitionName=low-grace PriorityTier=1 PreemptMode=REQUEUE GraceTime={lab.grace_s}
PartitionName=high PriorityTier=20
"""


def gres_conf(lab: Lab) -> str:
    """The text of gres.conf: each GPU is a link to /dev/null, as Slurm wants a character device but never opens it."""
    return "".join(f"NodeName={','.join(lab.node_names)} Name=gpu File={path}\n" for path in gpu_devices(lab))


def gpu_devices(lab: Lab) -> list[Path]:
    """Where the fake GPUs' device links lie."""
    return [lab.directory / "gpu" / f"nvidia{number}" for number in range(lab.gpus)]


def slurmdbd_conf(lab: Lab) -> str:
    """The text of slurmdbd.conf. The password guards nothing: the database's socket lies in a directory of mode 700."""
    directory = lab.directory
    return f"""\
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={lab.accounting_port}
SlurmUser={lab.user}
AuthType=auth/munge
AuthInfo=socket={lab.munge_socket}
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct
LogFile={directory}/log/slurmdbd.log
PidFile={directory}/pid/slurmdbd.pid
"""


def database_sql() -> str:
    """What mariadbd runs at each start, in place of a client that would have to wait for it."""
    return (
        "CREATE DATABASE IF NOT EXISTS slurm_acct;\n"
        "CREATE USER IF NOT EXISTS slurm@localhost IDENTIFIED BY 'slurm';\n"
        "GRANT ALL ON slurm_acct.* TO slurm@localhost;\n"
    )
