"""The processes that train one network together: who is first, whose device is which, and what all of them hold alike.

torchrun starts them and says by environment variables who is who; a process that it did not start trains alone. Gradients are
averaged by DistributedDataParallel, over NCCL on GPUs and gloo on CPUs.
"""

import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from infra.errors import SetupError

CPU = torch.device("cpu")
PATIENCE = timedelta(minutes=60)  # the others wait while the first one measures and saves


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together."""

    rank: int = 0
    size: int = 1
    device: torch.device = CPU

    @property
    def first(self) -> bool:
        """Whether this is the one that saves, logs and measures."""
        return self.rank == 0

    def agreed(self, value: float) -> float:
        """The first process's value, in all of them: clocks differ, and what hangs on them must not."""
        if self.size == 1:
            return value
        told = torch.tensor(value, dtype=torch.float64, device=self.device)
        distributed.broadcast(told, src=0)
        return float(told)

    def share(self, batch: int) -> int:
        """Items a step in this process of a batch of all of them, rounded up: gradients are plain means over processes."""
        return math.ceil(batch / self.size)

    def follow_first(self, module: nn.Module) -> None:
        """Let a module hold what the first process's does, where something else than a gradient changed it."""
        if self.size > 1:
            for value in module.state_dict().values():
                distributed.broadcast(value, src=0)

    def spread(self, module: nn.Module, *, in_part: bool = False) -> nn.Module:
        """A module whose backward pass averages gradients over processes, and whose buffers are the first one's.

        in_part: some steps use only some of its parameters, in all processes the same; the others then have no gradient.
        On GPUs its batch norms count all processes' batches as one; on CPUs torch has no such norm, and each counts its own.
        """
        if self.size == 1:
            return module
        if self.device.type == "cuda":
            module = nn.SyncBatchNorm.convert_sync_batchnorm(module)
            return DistributedDataParallel(module, device_ids=[self.device.index], find_unused_parameters=in_part)
        return DistributedDataParallel(module, find_unused_parameters=in_part)

    def drift(self, modules: Iterable[nn.Module]) -> float:
        """How far any parameter's sum or sum of squares is from the first process's: 0 where all hold the same."""
        sums = [s for m in modules for p in m.parameters() for s in (p.detach().double().sum(), p.detach().double().square().sum())]
        own = torch.stack(sums)
        if self.size == 1:
            return 0.0
        held = own.clone()
        distributed.broadcast(held, src=0)
        apart = (own - held).abs().max()
        distributed.all_reduce(apart, distributed.ReduceOp.MAX)
        return float(apart)


@contextmanager
def joined() -> Iterator[Ranks]:
    """This process's place among those that torchrun started, or alone; the group is left when the block ends.

    Raises SetupError where a machine with GPUs has fewer of them than processes.
    """
    gpus = torch.cuda.device_count()
    if "RANK" not in os.environ:
        yield Ranks(device=torch.device("cuda", 0) if gpus else torch.device("cpu"))
        return
    local, here = int(os.environ["LOCAL_RANK"]), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if 0 < gpus < here:
        step = f"Start at most {gpus} a machine, or hide the GPUs (CUDA_VISIBLE_DEVICES=) to train on the CPU."
        raise SetupError(f"{here} processes, but {gpus} GPU(s)", code="setup.gpus", next_step=step)
    device = torch.device("cuda", local) if gpus else torch.device("cpu")
    if gpus:
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if gpus else "gloo", timeout=PATIENCE)
    try:
        yield Ranks(distributed.get_rank(), distributed.get_world_size(), device)
    finally:
        distributed.destroy_process_group()
