"""The processes of a job: how many, which one this is, and how they tell each other things.

MPI is only imported where a launcher has started more than one process, so a run by itself needs
none of it. The odd thing: which launcher it was is read from the environment, for importing MPI is
what would start it.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

Value = TypeVar("Value")

SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_SIZE", "MV2_COMM_WORLD_SIZE")
"""Variables that Open MPI, MPICH and its kin set to the number of processes."""


class DistributedError(RuntimeError):
    """Several processes were started, but they cannot work together; the message says why."""


def launched_processes(environment: Mapping[str, str] = os.environ) -> int:
    """How many processes the launcher started; 1 where there is none.

    Example:
        >>> launched_processes({"PMI_SIZE": "4"})
        4
        >>> launched_processes({})
        1
    """
    for name in SIZES:
        if environment.get(name, "").isdigit():
            return int(environment[name])
    # Slurm sets its number for every command of an allocation; only srun sets the step's too.
    if "SLURM_STEP_ID" in environment and environment.get("SLURM_STEP_NUM_TASKS", "").isdigit():
        return int(environment["SLURM_STEP_NUM_TASKS"])
    return 1


class World:
    """All ranks of a job, over MPI's world communicator.

    Attributes:
        rank: number of this process, 0 … size − 1.
        size: how many there are.
        local_rank: number of this process on its machine: the GPU it takes.
        local_size: how many are on this machine.
        host: name of this machine.
        mpi: the communicator.

    Raises:
        DistributedError: mpi4py or MPI is not there.
    """

    def __init__(self) -> None:
        if importlib.util.find_spec("mpi4py") is None:
            raise DistributedError(
                f"{launched_processes()} processes were started together, but mpi4py is not "
                'installed; install it with: pip install "hipgpt-cli[distributed]"'
            )
        try:
            from mpi4py import MPI
        except (ImportError, RuntimeError) as error:
            raise DistributedError(
                f"mpi4py is installed, but finds no MPI library ({error}); install the cluster's "
                "own, or one by pip install mpich"
            ) from error
        self._mpi = MPI
        self.mpi = MPI.COMM_WORLD
        self.rank: int = self.mpi.Get_rank()
        self.size: int = self.mpi.Get_size()
        if self.size == 1 and launched_processes() > 1:
            raise DistributedError(
                f"the launcher started {launched_processes()} processes, but mpi4py was built for "
                "another MPI and sees each alone; use the mpirun that belongs to it"
            )
        local = self.mpi.Split_type(MPI.COMM_TYPE_SHARED)
        self.local_rank: int = local.Get_rank()
        self.local_size: int = local.Get_size()
        local.Free()
        self.host: str = MPI.Get_processor_name()

    @property
    def leads(self) -> bool:
        """Is this rank 0, which alone speaks and writes what is written once?"""
        return self.rank == 0

    def barrier(self) -> None:
        """Wait for all ranks."""
        self.mpi.Barrier()

    def share(self, value: Any) -> Any:
        """Rank 0's value, on every rank."""
        return self.mpi.bcast(value, root=0)

    def gather(self, value: Value) -> list[Value]:
        """Every rank's value, in order, on every rank."""
        return self.mpi.allgather(value)

    def sum(self, values: list[float]) -> list[float]:
        """The sums over all ranks, added in the order of the ranks, so equal on all of them."""
        return [sum(column) for column in zip(*self.mpi.allgather(values), strict=True)]

    def lost_contact(self, error: BaseException) -> bool:
        """Whether an error is MPI's own: most often another rank is gone."""
        return isinstance(error, self._mpi.Exception)

    def abort(self, code: int = 1) -> None:
        """End every process of the job at once."""
        sys.stdout.flush()
        sys.stderr.flush()
        self.mpi.Abort(code)

    def chunked(self, send: Any, counts: list[int], receive: Any, received: list[int]) -> None:
        """Give counts[r] numbers of `send` to rank r, and get received[r] from it: `Alltoallv`."""
        self.mpi.Alltoallv([send, counts], [receive, received])

    def gathered(self, send: Any, receive: Any, counts: list[int]) -> None:
        """Every rank's `send`, counts[r] numbers of rank r, one behind the other: `Allgatherv`."""
        self.mpi.Allgatherv(send, [receive, counts])


def find_world() -> World | None:
    """The job's processes; None where this one is alone.

    Raises:
        DistributedError: there are several, and they cannot work together.
    """
    return World() if launched_processes() > 1 else None
