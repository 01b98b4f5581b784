"""What turns a loss into changed weights: Adam, its learning rate's schedule, half precision on a GPU."""

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from batcache.config.settings import TrainingConfig


class Optimiser:
    """Adam with a schedule and, on CUDA, mixed precision."""

    def __init__(self, model: nn.Module, settings: TrainingConfig, device: torch.device, steps_an_epoch: int) -> None:
        self.model, self.settings, self.device = model, settings, device
        self.adam = torch.optim.Adam(
            model.parameters(),
            settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=device.type == "cuda",
        )
        self.scheduler = make_scheduler(settings, self.adam, steps_an_epoch)
        self.half = _half_precision(device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.half is torch.float16)

    @property
    def learning_rate(self) -> float:
        """The rate of the next step."""
        return float(self.adam.param_groups[0]["lr"])

    def autocast(self) -> AbstractContextManager[Any]:
        """Within it the model computes in half precision, where the device has it."""
        return torch.autocast(self.device.type, self.half, enabled=self.half is not None)

    def step(self, loss: Tensor) -> None:
        """Move the weights against the gradient of a batch's loss, clipped to ``training.grad_clip``."""
        self.adam.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.adam)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.grad_clip)
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
        """Go on from what ``to_plain`` gave."""
        self.adam.load_state_dict(state["optimizer"])
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
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, settings.epochs * steps_an_epoch)
    return None


def _half_precision(device: torch.device) -> torch.dtype | None:
    """Half precision on CUDA: bfloat16, which needs no loss scaling, where the device has it. Float32 elsewhere."""
    if device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
