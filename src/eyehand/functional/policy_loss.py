"""Losses that make drawn actions more or less probable by how good they turned out.

Shared by everything that learns from what it drew: robots that practise, language models that are
told what people prefer. Log-probabilities are those of whole actions: sums over the numbers or
tokens of an action, unless a function says otherwise.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def clipped_surrogate(
    log_prob: Float[Tensor, " *sample"],
    old_log_prob: Float[Tensor, " *sample"],
    advantage: Float[Tensor, " *sample"],
    *,
    lower: float,
    upper: float,
) -> Float[Tensor, " *sample"]:
    r"""PPO's objective of every sample, as a loss.

    .. math:: -\min\big(r A,\ \mathrm{clip}(r, 1 - \varepsilon_l, 1 + \varepsilon_u)\, A\big),
              \qquad r = \exp(\log \pi - \log \pi_{old})

    A sample that has become more probable than :math:`1 + \varepsilon_u` times and is good, or less
    than :math:`1 - \varepsilon_l` times and is bad, has the gradient 0: one batch can be used for
    several steps. PPO has one :math:`\varepsilon`; a larger upper one ("clip higher") lets rare
    actions grow.

    Args:
        log_prob: Of the action under the present policy.
        old_log_prob: Of the action under the policy that drew it, without gradient.
        advantage: How much better than expected the action was, without gradient.
        lower: :math:`\varepsilon_l`, in (0, 1).
        upper: :math:`\varepsilon_u`, above 0.

    References:
        Schulman et al., 2017, https://arxiv.org/abs/1707.06347, eq. 7. Clip higher: Yu et al.,
        2025, https://arxiv.org/abs/2503.14476, section 3.1.

    Example:
        >>> twice, one = torch.tensor([2.0]).log(), torch.tensor([1.0])
        >>> clipped_surrogate(twice, 0 * one, one, lower=0.2, upper=0.2)
        tensor([-1.2000])
        >>> clipped_surrogate(twice, 0 * one, -one, lower=0.2, upper=0.2)
        tensor([2.])
    """
    ratio = torch.exp(log_prob - old_log_prob)
    clipped = ratio.clamp(1 - lower, 1 + upper)
    return -torch.minimum(ratio * advantage, clipped * advantage)


def share_clipped(
    log_prob: Float[Tensor, " *sample"],
    old_log_prob: Float[Tensor, " *sample"],
    *,
    lower: float,
    upper: float,
) -> Float[Tensor, ""]:
    """Return the share of samples whose ratio of probabilities is outside the clipping range."""
    ratio = torch.exp(log_prob - old_log_prob)
    return ((ratio < 1 - lower) | (ratio > 1 + upper)).float().mean()


def kl_estimate(
    log_prob: Float[Tensor, " *sample"], other_log_prob: Float[Tensor, " *sample"]
) -> Float[Tensor, " *sample"]:
    r"""How far a policy is from another one, estimated from each of its own samples.

    .. math:: k_3 = \frac{\pi'}{\pi} - 1 - \log \frac{\pi'}{\pi}

    Its mean over samples of :math:`\pi` is :math:`KL(\pi \| \pi')`, and no sample is negative.
    Where the policies are near each other it varies less than :math:`-\log(\pi' / \pi)`.

    Args:
        log_prob: Of the sample under the policy that drew it.
        other_log_prob: Of the sample under the other policy.

    References:
        Schulman, 2020, "Approximating KL divergence"; DeepSeekMath, 2024,
        https://arxiv.org/abs/2402.03300, eq. 4.

    Example:
        >>> kl_estimate(torch.zeros(1), torch.tensor([0.5]).log())
        tensor([0.1931])
    """
    log_ratio = other_log_prob - log_prob
    return torch.expm1(log_ratio) - log_ratio


def group_advantage(
    reward: Float[Tensor, "group sample"], *, divide: bool = True
) -> Float[Tensor, "group sample"]:
    r"""How much better than the others from the same start a sample was: GRPO's advantage.

    .. math:: A_i = \frac{r_i - \mathrm{mean}(r)}{\mathrm{std}(r)}

    No value network is needed. A group whose rewards are all equal tells nothing, and has zeros.

    Args:
        reward: Rewards of whole episodes, one row for each start.
        divide: Whether the difference is divided by the group's standard deviation (of the
            population); without, groups that are nearly always or nearly never solved weigh less
            (Dr. GRPO: Liu et al., 2025, https://arxiv.org/abs/2503.20783).

    References:
        Shao et al., 2024, https://arxiv.org/abs/2402.03300, section 4.1.

    Example:
        >>> group_advantage(torch.tensor([[1.0, 0.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0]]))
        tensor([[ 1., -1., -1.,  1.],
                [ 0.,  0.,  0.,  0.]])
    """
    centred = reward - reward.mean(dim=1, keepdim=True)
    if not divide:
        return centred
    spread = reward.std(dim=1, keepdim=True, correction=0)
    equal = (reward == reward[:, :1]).all(dim=1, keepdim=True)  # their spread may be rounding
    return torch.where(equal, 0.0, centred / spread.clamp_min(1e-12))


def preference_loss(
    chosen: Float[Tensor, " pair"],
    rejected: Float[Tensor, " pair"],
    reference_chosen: Float[Tensor, " pair"],
    reference_rejected: Float[Tensor, " pair"],
    *,
    beta: float,
) -> Float[Tensor, " pair"]:
    r"""Direct preference optimisation (DPO): the better one of a pair shall become more probable.

    .. math:: -\log \sigma\Big(\beta \log \frac{\pi(y_w)}{\pi_{ref}(y_w)}
              - \beta \log \frac{\pi(y_l)}{\pi_{ref}(y_l)}\Big)

    Args:
        chosen: Log-probability of the better answer or trajectory under the policy.
        rejected: Of the worse one.
        reference_chosen: Of the better one under the reference, without gradient.
        reference_rejected: Of the worse one under the reference.
        beta: How firmly the policy is held to the reference, above 0.

    References:
        Rafailov et al., 2023, https://arxiv.org/abs/2305.18290, eq. 7.

    Example:
        >>> zero = torch.zeros(1)
        >>> preference_loss(zero, zero, zero, zero, beta=0.1)
        tensor([0.6931])
    """
    margin = (chosen - reference_chosen) - (rejected - reference_rejected)
    return -F.logsigmoid(beta * margin)
