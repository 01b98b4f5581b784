"""Processes that train one model together: which of them this one is, and what they tell each other.

``torchrun`` starts them, one a device; torch calls the number of each its rank. A process that trains by itself is the
first of one, and for it all of this does nothing.

Every call but ``count``, ``rank`` and ``is_first`` is one that all ranks make, in the same order: each waits there for
the others.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from batcache.errors import ConfigError, RanksError, brief

Value = TypeVar("Value")


def count() -> int:
    """How many processes train together."""
    return dist.get_world_size() if _is_joined() else 1


def rank() -> int:
    """The number of this one, from 0."""
    return dist.get_rank() if _is_joined() else 0


def _is_joined() -> bool:
    return bool(dist.is_available() and dist.is_initialized())


def is_first() -> bool:
    """Whether this is the one that writes."""
    return rank() == 0


@contextmanager
def joined(device: torch.device) -> Iterator[tuple[torch.device, Callable[[], bool]]]:
    """Train together with the others that ``torchrun`` has started, over gloo on CPUs and nccl on GPUs, one a rank.

    Gives the device of this rank, and a call that is true once, for the first of all ranks that makes it, as long as
    ``torchrun`` runs. A process that leaves the block by an error is to end.

    Raises:
        ConfigError: fewer GPUs than ranks on this machine.
        RanksError: another has ended.
    """
    if device.type == "cuda":
        local, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local >= there:
            asked = os.environ["LOCAL_WORLD_SIZE"]
            finding = f"{asked} processes on a machine with {there} usable CUDA devices"
            raise ConfigError("torchrun --nproc-per-node", finding, f"Start {there}, or pass --device cpu")
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    from torch.distributed.rendezvous import rendezvous  # which not every build of torch has

    with _others_needed():
        store, number, of = next(rendezvous("env://"))
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", store=store, rank=number, world_size=of)

    def claim() -> bool:
        try:
            return int(store.add("batcache/told", 1)) == 1
        except RuntimeError:  # the store went with torchrun
            return bool(number == 0)

    yield device, claim
    leave()  # not where an error ends the block: others would hear that this one has gone before it can tell why


def leave() -> None:
    """Go on alone: what is asked afterwards is answered as to one process. The others must do so too."""
    if _is_joined():
        dist.destroy_process_group()


def from_first(make: Callable[[], Value]) -> Value:
    """What the first rank makes, on all of them."""
    if count() == 1:
        return make()
    made: list[Any] = [make() if is_first() else None]
    with _others_needed():
        dist.broadcast_object_list(made)
    value: Value = made[0]
    return value


def wait() -> None:
    """Wait until all are here."""
    from_first(lambda: None)


def add_up(values: Tensor) -> Tensor:
    """Replace values by their sum over all ranks, the same bits on each of them."""
    if count() > 1:
        with _others_needed():
            dist.all_reduce(values)
    return values


def join_rows(own: Tensor, first: int, rows: int) -> Tensor:
    """What the ranks hold of so many rows, put together; this one's begin at ``first``. Shape: ``[k, D] -> [rows, D]``.

    Each rank then computes with all rows, and the same: of the gradient it takes the part of its own rows, ``count``
    times, as ``average_gradients`` shares it out again.
    """
    if count() == 1:
        return own
    joined_rows: Tensor = _JoinRows.apply(own, first, rows)
    return joined_rows


class _JoinRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor, first: int, rows: int) -> Tensor:
        ctx.own = slice(first, first + len(own))
        whole = own.new_zeros(rows, *own.shape[1:], dtype=torch.float32)
        whole[ctx.own] = own
        return add_up(whole).to(own.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient[ctx.own] * count(), None, None


def average_gradients(model: nn.Module) -> None:
    """Give all ranks the mean of their gradients."""
    if count() == 1:
        return
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    flat = add_up(torch.cat([gradient.flatten() for gradient in gradients])) / count()
    for gradient, mean in zip(gradients, torch.split(flat, [gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def take_weights_of_first(model: nn.Module) -> None:
    """Give all ranks the weights and statistics of the first."""
    if count() > 1:
        with torch.no_grad():
            for value in model.state_dict().values():
                value.copy_(add_up(value if is_first() else torch.zeros_like(value)))


@contextmanager
def _others_needed() -> Iterator[None]:
    """Turn what torch says of a rank that has ended into an error of ours.

    Raises:
        RanksError: another has ended.
    """
    try:
        yield
    except RuntimeError as error:
        finding = f"its processes have lost each other ({brief(error)})"
        raise RanksError("torchrun", finding, "Run the same command again") from error
