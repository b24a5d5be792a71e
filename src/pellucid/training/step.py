# SPDX-License-Identifier: Apache-2.0
"""One step of a training: forward, backward, update. The loop takes it with its schedule, a range test with rates of its own."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn

from pellucid.data.dataset import Batch
from pellucid.data.draws import Draws
from pellucid.errors import UsageError
from pellucid.tasks import lr_factors_of, players_of, steps_of
from pellucid.training import gradients
from pellucid.training.choice import Choice
from pellucid.training.plan import Plan
from pellucid.training.whole_batch import whole_batch

__all__ = ["Learner", "Update", "take_step"]


@final
class Learner:
    """A model and what its steps need: an optimiser for each of its players, the memory layout, and the precision.

    >>> plan = Plan.of("classify", "digits", "mlp", {"device": "cpu"})
    >>> learner = Learner(plan, plan.build())
    >>> list(learner.optimizers), learner.bfloat16
    (['model'], False)

    Args:
        plan: the training.
        model: what is trained.
        choice: the precision and the layout; by default those of the options and the processor's instructions.
        alone: its steps are of this process only, as those that are timed.

    Raises:
        UsageError: nothing in the model can be trained, or several processes were to compile it.
    """

    def __init__(self, plan: Plan, model: nn.Module, choice: Choice | None = None, alone: bool = False) -> None:
        players = players_of(plan.task, model)
        if plan.recipe.compile and plan.accelerator.num_processes > 1:
            raise UsageError(
                "compile=True: a compiled model draws and normalises for each process alone; leave it out in several processes."
            )
        self.plan, self.alone = plan, alone or plan.accelerator.num_processes == 1
        self.model = model  # as it is called: `wrap` may compile it
        self.optimizers = {name: plan.recipe.make_optimizer(player) for name, player in players.items()}
        self._names: dict[int, str] = {id(player): name for name, player in players.items()}
        self.choice = choice or Choice.usual(plan.recipe, model, plan.accelerator.device)
        self.memory_format, self.bfloat16 = self.choice.memory_format, self.choice.bfloat16

    def wrap(self) -> None:
        """Compile the model if that was asked for; `take_step` averages the gradients of several processes."""
        if self.plan.recipe.compile:
            compiled: Any = torch.compile(self.model)
            self.model = compiled

    def autocast(self) -> torch.autocast:
        """bf16 where it was chosen, else nothing."""
        return torch.autocast(self.plan.accelerator.device.type, torch.bfloat16, enabled=self.bfloat16)

    def player_of(self, module: nn.Module) -> str:
        """The name of the player that a module is, or wraps."""
        name = self._names.get(id(module))
        if name is None:
            inner = self.plan.accelerator.unwrap_model(module, keep_torch_compile=False)
            name = self._names[id(module)] = self._names[id(inner)]
        return name


class Update(NamedTuple):
    """One optimiser's update in a step."""

    player: str  # whose parameters it moved
    losses: dict[str, Tensor]  # "loss" and its parts before it: scalars, detached


def take_step(learner: Learner, batch: Batch, draws: Draws, rate: float) -> list[Update]:
    """Update each player of a model on a batch, one after another, with this learning rate.

    >>> from pellucid.training.feed import Feed
    >>> plan = Plan.of("classify", "digits", "mlp", {"device": "cpu"})
    >>> learner, feed = Learner(plan, plan.build()), Feed(plan)
    >>> before, after = (take_step(learner, *feed.batch(step=0), rate=0.01)[0].losses["loss"] for _ in range(2))
    >>> bool(after < before)
    True

    Args:
        learner: what is updated.
        batch: this process's images, uint8 (B, C, H, W), with their targets.
        draws: the random numbers of the step: augmentation and noise.
        rate: the learning rate; a task may give some players a multiple of it.

    Returns:
        The updates in their order.
    """
    task, recipe, accelerator = learner.plan.task, learner.plan.recipe, learner.plan.accelerator
    factors = lr_factors_of(task)
    updates = []
    with nullcontext() if learner.alone else whole_batch(learner.plan.rows, learner.plan.global_batch):
        input, target = learner.plan.hooks.prepared(task, batch, draws)
        if isinstance(input, Tensor):  # a task may give its model more than images
            input = input.contiguous(memory_format=learner.memory_format)  # (B, C, H, W)
        with learner.autocast():
            for player, losses in steps_of(task, learner.model, input, target):
                name = learner.player_of(player)
                optimizer = learner.optimizers[name]
                for group in optimizer.param_groups:
                    group["lr"] = rate * factors.get(name, 1.0) * group["scale"]
                optimizer.zero_grad()
                accelerator.backward(losses["loss"])
                if not learner.alone:
                    losses = gradients.average(player.parameters(), losses)
                if recipe.clip is not None:
                    accelerator.clip_grad_norm_(player.parameters(), recipe.clip)
                optimizer.step()
                torch.clear_autocast_cache()  # it holds the weights as they were: the next player would see them
                updates.append(Update(name, {part: value.detach() for part, value in losses.items()}))
    return updates
