"""A SLURM cluster on this machine: real daemons on loopback, nodes with fake GPUs, a partition that
preempts. No accounting. It needs root, and Debian's packages slurm-wlm and munge."""

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Self

import psutil

ETC = Path("/etc/slurm")  # where SLURM's commands look that have lost SLURM_CONF, as a job step's
NAME = "clipgrid-test-slurm.conf"
PATH = f"{os.environ['PATH']}:/usr/sbin"  # the daemons' place, which not every PATH has
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol")

CONF = """
ClusterName={name}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/run/munge.socket
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/log/completed
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=2,sched_min_interval=0,bf_interval=2,batch_sched_delay=0,requeue_delay=0
ReturnToService=2
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmdTimeout=10
KillWait=5
SlurmdParameters=config_overrides
GresTypes=gpu
PartitionName=low Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=1 PreemptMode=REQUEUE
PartitionName=high Nodes=ALL Default=NO MaxTime=INFINITE PriorityTier=10 PreemptMode=OFF
"""
NODE = (
    "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} Boards=1"
    " SocketsPerBoard=1 CoresPerSocket={cpus} ThreadsPerCore=1 RealMemory=8000 Gres=gpu:fake:2\n"
)


def missing() -> str:
    """Why there can be no cluster on this machine; empty where there can."""
    if absent := [program for program in PROGRAMS if not shutil.which(program, path=PATH)]:
        return f"no {', '.join(absent)} here; on Debian: apt install slurm-wlm munge"
    if os.geteuid() != 0:
        return "SLURM's daemons need root"
    conf = ETC / "slurm.conf"
    ours = conf.is_symlink() and conf.readlink().name == NAME  # left by a cluster that was killed
    if conf.exists() and not ours:
        return f"this machine has a SLURM of its own ({ETC}/slurm.conf)"
    return ""


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(what: str, condition: Callable[[], object], seconds: float = 120) -> None:
    """Until `condition` holds; TimeoutError where it doesn't within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.1)


def kill_all(**environment: str) -> None:
    """Every process that was started with these variables, and SLURM's daemons that started it."""
    for process in psutil.process_iter(["environ"]):
        given = process.info["environ"] or {}
        if environment.items() <= given.items():
            with suppress(psutil.NoSuchProcess):
                parents = [p for p in process.parents() if p.name().startswith("slurmstepd")]
                for p in (*parents, process):
                    p.kill()


class Cluster:
    """Up within its context. `nodes` are called n1, n2, ...; each has `cpus` CPUs and two GPUs."""

    def __init__(self, folder: Path, nodes: int = 2, cpus: int = 2) -> None:
        self.folder, self.cpus = folder, cpus
        self.nodes = [f"n{number}" for number in range(1, nodes + 1)]
        self.name = f"clipgrid{os.getpid()}"
        self.daemons: dict[str, subprocess.Popen] = {}
        self.conf = folder / "etc" / NAME

    def __enter__(self) -> Self:
        for part in ("etc", "state", "log", "run", "spool"):
            (self.folder / part).mkdir(parents=True)
        self.folder.chmod(0o755)
        self.configure()
        for name, path in (
            ("slurm.conf", self.conf),
            ("gres.conf", self.conf.with_name("gres.conf")),
        ):
            (ETC / name).unlink(missing_ok=True)
            (ETC / name).symlink_to(path)
        run = self.folder / "run"
        munge = [f"--socket={run}/munge.socket", f"--pid-file={run}/munged.pid"]
        munge += [f"--key-file={self.folder}/etc/munge.key", f"--seed-file={run}/munged.seed"]
        munge += [f"--log-file={self.folder}/log/munged.log", "--force"]
        try:
            self.start("munged", "munged", "--foreground", *munge)
            wait_for("munge", (run / "munge.socket").exists)
            self.start("slurmctld", "slurmctld", "-D", "-f", self.conf)
            for node in self.nodes:
                self.start_node(node)
            wait_for("nodes", lambda: len(self.idle()) == len(self.nodes))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        kill_all(SLURM_CLUSTER_NAME=self.name)
        for daemon in reversed(self.daemons.values()):
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:  # it waits for a job's end
                daemon.kill()
                daemon.wait()
        for name in ("slurm.conf", "gres.conf"):
            (ETC / name).unlink(missing_ok=True)

    def configure(self) -> None:
        host, gres = socket.gethostname().partition(".")[0], ""
        conf = CONF.format(name=self.name, host=host, port=free_port(), folder=self.folder)
        for node in self.nodes:
            conf += NODE.format(name=node, host=host, port=free_port(), cpus=self.cpus)
            (self.folder / "spool" / node).mkdir()
            gres += f"NodeName={node} Name=gpu Type=fake File={self.folder}/etc/gpu[0-1]\n"
        for gpu in range(2):  # SLURM wants device nodes: these are /dev/null's
            os.mknod(self.folder / f"etc/gpu{gpu}", 0o20666, os.makedev(1, 3))
        key = self.folder / "etc" / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        # Partitions come after their nodes.
        nodes = "".join(line for line in conf.splitlines(True) if line.startswith("NodeName"))
        rest = "".join(line for line in conf.splitlines(True) if not line.startswith("NodeName"))
        settings, _, partitions = rest.partition("PartitionName")
        self.conf.write_text(f"{settings}{nodes}PartitionName{partitions}")
        self.conf.with_name("gres.conf").write_text(gres)

    def start(self, name: str, *command: object) -> None:
        log = (self.folder / "log" / f"{name}.out").open("a")
        self.daemons[name] = subprocess.Popen(
            list(map(str, command)), stdout=log, stderr=log, env=self.environment
        )

    def start_node(self, node: str) -> None:
        self.start(node, "slurmd", "-D", "-f", self.conf, "-N", node)

    def cut_off(self, node: str) -> None:
        """The node's daemon dies; what runs there runs on, out of SLURM's reach."""
        self.daemons.pop(node).kill()

    def crash(self, node: str) -> None:
        """The node's daemon dies, with all that runs there."""
        self.cut_off(node)
        kill_all(SLURMD_NODENAME=node, SLURM_CLUSTER_NAME=self.name)

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "PATH": PATH, "SLURM_CONF": str(self.conf)}

    def command(self, *command: object) -> str:
        """What a command of SLURM's prints."""
        done = subprocess.run(
            list(map(str, command)),
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        return done.stdout

    def idle(self) -> list[str]:
        return self.command("sinfo", "-h", "-N", "-p", "low", "-t", "idle", "-o", "%N").split()

    def jobs(self) -> dict[str, tuple[str, str, str]]:
        """{job: (state, node, comment)} of those that SLURM still knows; Snakemake writes rule and
        wildcards into the comment."""
        lines = self.command("squeue", "-h", "-t", "all", "-o", "%i|%T|%N|%k").splitlines()
        return {job: tuple(rest) for job, *rest in (line.split("|") for line in lines)}  # type: ignore[misc]

    def completed(self) -> list[float]:
        """Seconds of each job that has ended, in that order."""
        pattern = re.compile(r"StartTime=(\S+) EndTime=(\S+)")
        times = pattern.findall((self.folder / "log" / "completed").read_text())
        parse = datetime.fromisoformat
        return [(parse(end) - parse(start)).total_seconds() for start, end in times]
