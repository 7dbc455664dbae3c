"""All that a run needs to go on exactly: weights, optimiser, random states of every process, what was not yet told.

This module imports torch; import it inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from training.gathering import count_processes, find_rank

if TYPE_CHECKING:
    from training.steps import Stepper
    from training.window import Window

FORMAT = 1


def capture_state(stepper: Stepper, window: Window, *, step: int, seconds: float) -> dict[str, Any]:
    """The state after `step` steps; every process must call it, each gets the same but for its own weights' copies.

    Pictures, captions and batches are functions of seed and step, so that the step alone is their state.
    """
    return {
        "format": FORMAT,
        "step": step,
        "seconds": seconds,
        "learner": stepper.learner.state_dict(),
        "optimiser": stepper.optimiser.state_dict(),
        "window": window.capture(),
        "random": _gather_random_states(stepper.device),
    }


def restore_state(state: dict[str, Any], stepper: Stepper, window: Window) -> bool:
    """Puts the state back; False where the random states are another number of processes' and stay as they are.

    They are drawn from by dropout alone.
    """
    stepper.learner.load_state_dict(state["learner"])
    stepper.optimiser.load_state_dict(state["optimiser"])
    window.restore(state["window"])
    if len(state["random"]) != count_processes():
        return False
    own = state["random"][find_rank()]
    torch.set_rng_state(own["cpu"])
    if own["device"] is not None and stepper.device.type != "cpu":
        torch.get_device_module(stepper.device).set_rng_state(own["device"])
    return True


def _gather_random_states(device: torch.device) -> list[dict[str, torch.Tensor | None]]:
    own = {
        "cpu": torch.get_rng_state(),
        "device": None if device.type == "cpu" else torch.get_device_module(device).get_rng_state(),
    }
    if count_processes() == 1:
        return [own]
    states: list[Any] = [None] * count_processes()
    dist.all_gather_object(states, own)
    return states
