"""The optimizers that an option file may name: those of `torch.optim`, and Muon for convolutions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration (Jordan et al., 2024), which brings every singular value to about 0.7..1.2."""


class Muon(torch.optim.Optimizer):
    """Muon for networks of convolutions: each step of a weight is its momentum with all singular values made equal.

    A convolution's weight O x I x k x k counts as a matrix O x (I k k). Parameters with fewer than two dimensions (biases)
    are stepped by Adam. `torch.optim.Muon` refuses both, so it trains no network of this field. Source of the method:
    Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024, https://kellerjordan.github.io/posts/muon/.

    Args:
        params: Parameters, as for any optimizer of torch.
        lr: Learning rate of the matrices: the root of the mean square of a weight's step is `lr` / sqrt(I k k).
        momentum: Share of the old in the moving average of the gradients, 0 to below 1.
        vector_lr: Learning rate of the other parameters, as a share of `lr`.
        betas: Adam's moving averages for the other parameters.
        steps: Iterations that make the singular values equal.

    Raises:
        ValueError: An argument is outside its range.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        momentum: float = 0.95,
        vector_lr: float = 0.1,
        betas: tuple[float, float] = (0.9, 0.99),
        steps: int = 5,
    ) -> None:
        if not lr >= 0:
            raise ValueError(f'lr is {lr}: it must be 0 or more')
        for name, share in (('momentum', momentum), ('betas[0]', betas[0]), ('betas[1]', betas[1])):
            if not 0 <= share < 1:
                raise ValueError(f'{name} is {share}: it must be 0 or more and below 1')
        if not (vector_lr >= 0 and steps >= 1):
            raise ValueError(f'vector_lr is {vector_lr} and steps {steps}: they must be 0 or more, and 1 or more')
        settings = {'lr': lr, 'momentum': momentum, 'vector_lr': vector_lr, 'betas': tuple(betas), 'steps': steps}
        super().__init__(params, settings)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Step every parameter that has a gradient; `closure`, where given, computes the loss, which is returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group['params']:
                if parameter.grad is not None:
                    (self._step_matrix if parameter.ndim > 1 else self._step_vector)(parameter, parameter.grad, group)
        return loss

    def _step_matrix(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state['momentum'] = torch.zeros_like(weight)
        momentum = state['momentum'].lerp_(gradient, 1 - group['momentum'])
        direction = gradient.lerp(momentum, group['momentum']).flatten(1)  # Nesterov's: one gradient ahead
        rows, columns = direction.shape
        step = orthogonalize(direction, group['steps']).reshape(weight.shape)
        weight.add_(step, alpha=-group['lr'] * max(1.0, rows / columns) ** 0.5)

    def _step_vector(self, vector: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[vector]
        if not state:
            state.update(mean=torch.zeros_like(vector), square=torch.zeros_like(vector), count=0)
        state['count'] += 1
        first, second = group['betas']
        mean = state['mean'].lerp_(gradient, 1 - first) / (1 - first ** state['count'])
        square = state['square'].lerp_(gradient.square(), 1 - second) / (1 - second ** state['count'])
        vector.addcdiv_(mean, square.sqrt().add_(1e-8), value=-group['lr'] * group['vector_lr'])


def orthogonalize(matrix: Tensor, steps: int = 5) -> Tensor:
    """The nearest matrix, roughly, whose singular values are all about 1: U V^T of U S V^T.

    Args:
        matrix: R x C, of any finite values.
        steps: Newton-Schulz iterations; after 5 every singular value that was above a thousandth of the norm is 0.7..1.2.

    Returns:
        R x C, of the same type; zeros where all are zeros.
    """
    a, b, c = _NEWTON_SCHULZ
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    wide = wide / (wide.norm() + 1e-7)
    for _ in range(steps):
        gram = wide @ wide.T
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    return wide.T if matrix.shape[0] > matrix.shape[1] else wide


def find_optimizer(name: str) -> type[torch.optim.Optimizer] | None:
    """The class that `train.optim_g.type` names, or None where there is none."""
    cls = Muon if name == 'Muon' else getattr(torch.optim, name, None)
    return cls if isinstance(cls, type) and issubclass(cls, torch.optim.Optimizer) else None
