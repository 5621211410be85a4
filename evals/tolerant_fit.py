"""lgssl's fit taken literally: torch's L-BFGS from zero weights, ended by its tolerances.

Where classes come apart and the penalty is next to nothing, the objective's optimum is near 0, and those tolerances,
which are absolute, end the fit long before it. What it has reached by then predicts differently from the optimum, and
lgssl's search sees it; so for such costs the way there belongs to the protocol.
"""

from __future__ import annotations

import torch
from torch import Tensor

from evals.softmax_regression import MAX_ITERATIONS, Fit, Penalty

BINDING_OBJECTIVE = 2e-3
"""Below this optimum the tolerances show: tolerance_grad 1e-7, tolerance_change 1e-9, in float32."""


def fit_to_tolerance(features: Tensor, labels: Tensor, num_classes: int, penalty: Penalty) -> Fit:
    """Return what torch's L-BFGS makes of float32 features (num_samples, num_features) and int64 labels.

    The penalty is that of |W|, whose gradient at W = 0 is taken as 0.
    """
    theta = torch.zeros(features.shape[1] + 1, num_classes, device=features.device)
    method = torch.optim.LBFGS([theta], max_iter=MAX_ITERATIONS, line_search_fn="strong_wolfe")
    right = labels[:, None]
    misses_one = theta.new_full((1, 1), -1.0).expand_as(right)

    def closure() -> Tensor:
        # By hand, because autograd would make and drop two more matrices of the logits' size at every step.
        logs = torch.log_softmax(torch.addmm(theta[-1], features, theta[:-1]), 1)
        loss = -logs.gather(1, right).mean()
        misses = logs.exp_().scatter_add_(1, right, misses_one).div_(len(labels))
        norm = theta[:-1].norm()
        theta.grad = torch.cat([features.T @ misses, misses.sum(0, keepdim=True)])
        theta.grad[:-1] += theta[:-1] * (penalty.strength / norm if norm > 0 else 0.0)
        return loss + penalty.strength * norm

    method.step(closure)
    return Fit(theta[:-1].T.double(), theta[-1].double(), float(closure()), int(method.state[theta]["n_iter"]))
