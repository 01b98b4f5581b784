"""What turns a loss into changed weights: Adam, its learning rate's schedule, half precision where it is fast."""

import math
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from batcache.config.settings import TrainingConfig
from batcache.model.heads import MILHeads
from batcache.model.pretrained import PretrainedMILModel
from batcache.training.ranks import average_gradients

TRUNK_RATE = 0.1
"""A trunk that was taught elsewhere moves so much more slowly than the heads on it."""


class Optimiser:
    """Adam with a schedule and, where the device is fast at it, mixed precision.

    On a trunk that was taught elsewhere weight decay is decoupled from the gradient (AdamW), and the trunk's rate is
    ``TRUNK_RATE`` of the heads'.
    """

    def __init__(self, model: nn.Module, settings: TrainingConfig, device: torch.device, steps_an_epoch: int) -> None:
        self.model, self.settings, self.device = model, settings, device
        rate, decay = settings.learning_rate, settings.weight_decay
        fused = device.type == "cuda" or isinstance(model, MILHeads)  # many small tensors: a fifth of the time on a CPU
        if isinstance(model, PretrainedMILModel):
            groups: list[dict[str, Any]] = [
                {"params": list(model.heads.parameters()), "lr": rate},
                {"params": list(model.trunk.parameters()), "lr": TRUNK_RATE * rate},
            ]
            self.groups: tuple[str, ...] = ("heads", "trunk")
            self.adam: torch.optim.Adam = torch.optim.AdamW(groups, rate, weight_decay=decay, fused=fused)
        elif isinstance(model, MILHeads):
            self.groups = ("heads",)
            self.adam = torch.optim.AdamW(model.heads.parameters(), rate, weight_decay=decay, fused=fused)
        else:
            self.groups = ("model",)
            self.adam = torch.optim.Adam(model.parameters(), rate, weight_decay=decay, fused=fused)
        self.norms: list[Tensor] = []
        self.scheduler = make_scheduler(settings, self.adam, steps_an_epoch)
        self.half = None if isinstance(model, MILHeads) else _half_precision(device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.half is torch.float16)

    @property
    def learning_rate(self) -> float:
        """The rate of the next step; of several, that of the heads."""
        return float(self.adam.param_groups[0]["lr"])

    @property
    def learning_rates(self) -> dict[str, float]:
        """The rate of the next step for each part that has one of its own: ``heads`` and ``trunk``, or ``model``."""
        return {name: float(group["lr"]) for name, group in zip(self.groups, self.adam.param_groups, strict=True)}

    def take_gradient_norm(self) -> float | None:
        """The mean norm of the gradients before clipping, of the steps since the last call.

        Steps that half precision skips, as their gradients are too large for it, do not count; None where none does.
        """
        norms = torch.stack(self.norms).float().cpu()
        self.norms.clear()
        finite = norms[norms.isfinite()]
        return float(finite.mean()) if len(finite) else None

    def autocast(self) -> AbstractContextManager[Any]:
        """Within it the model computes in half precision, where the device has it."""
        return torch.autocast(self.device.type, self.half, enabled=self.half is not None)

    def step(self, loss: Tensor) -> None:
        """Move the weights against the gradient of a batch's loss, clipped to ``training.grad_clip``; all ranks alike.

        Heads that learn alone are clipped each by itself, so that no head's step depends on the others.
        """
        self.adam.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        average_gradients(self.model)
        self.scaler.unscale_(self.adam)
        parts = self.model.heads if isinstance(self.model, MILHeads) else [self.model]
        norms = [nn.utils.clip_grad_norm_(part.parameters(), self.settings.grad_clip) for part in parts]
        self.norms.append(torch.stack(norms).detach().norm())
        self.scaler.step(self.adam)
        self.scaler.update()
        if isinstance(self.scheduler, torch.optim.lr_scheduler.OneCycleLR):
            self.scheduler.step()

    def end_epoch(self, best_epoch: int) -> None:
        """Let ``plateau`` lower the rate after epochs that were no better: the best epoch's number stands still."""
        if isinstance(self.scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            self.scheduler.step(best_epoch)

    def to_plain(self) -> dict[str, Any]:
        """The state as mappings and tensors, for ``last.pt``."""
        return {
            "optimizer": self.adam.state_dict(),
            "scheduler": self.scheduler.state_dict() if self.scheduler else {},
            "scaler": self.scaler.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what ``to_plain`` gave.

        Raises:
            LookupError, TypeError, ValueError, RuntimeError: it is of another model, or none.
        """
        self.adam.load_state_dict(state["optimizer"])
        for weight, kept in self.adam.state.items():
            if any(value.ndim and value.shape != weight.shape for value in kept.values()):
                raise ValueError("an optimizer's state of another model")
        if not all(0 <= float(group["lr"]) < math.inf for group in self.adam.param_groups):
            raise ValueError("a learning rate that cannot be")
        if self.scheduler:
            self.scheduler.load_state_dict(state["scheduler"])
        self.scaler.load_state_dict(state["scaler"])


def make_scheduler(settings: TrainingConfig, optimizer: torch.optim.Optimizer, steps_an_epoch: int) -> Any:
    """The schedule that ``training.scheduler`` names, None for ``none``."""
    if settings.scheduler == "plateau":
        return torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, mode="max", factor=0.5, patience=max(1, settings.patience // 3), threshold_mode="abs"
        )
    if settings.scheduler == "one_cycle":
        rates = [group["lr"] for group in optimizer.param_groups]
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, settings.epochs * steps_an_epoch)
    return None


def _half_precision(device: torch.device) -> torch.dtype | None:
    """The half precision that a device is fast at: bfloat16, which needs no loss scaling, where it has it.

    Convolutions are twice as fast in it on CPUs with AVX-512 BF16 (Zen 4, Cooper Lake and later).
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    is_fast = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)  # torch has no public name for it
    return torch.bfloat16 if device.type == "cpu" and is_fast() else None
