"""Comparisons that have a name, and what their pages say of them."""

COMPARISONS: dict[str, dict[str, tuple[str, ...]]] = {
    "heads": {
        "Heads": ("policy.head=mlp,mlp_history,lstm,gpt,diffusion,flow,bins,fast,vq",),
        "Actions in a chunk": (
            "policy.head=mlp",
            "policy.horizon=1,8,16,32",
            "execution.steps=1",
        ),
        "Executed actions": ("policy.head=mlp,flow", "execution.steps=1,4,8,16"),
        "Temporal ensembling": (
            "policy.head=mlp,flow",
            "execution.steps=1",
            "execution.temporal-ensembling=None,0.01",
        ),
        "Euler steps": ("policy.head=flow", "policy.head.steps=1,2,5,10"),
    },
    # RoboFlamingo's own ablation of chains (Li et al., 2023, https://arxiv.org/abs/2311.01378). Its
    # window of one frame is the head mlp here.
    "chains": {
        "Heads": ("policy.head=mlp,mlp_history,gpt,lstm",),
        "Window": ("policy.head=lstm", "policy.history=2,6,12"),
        "Open loop": ("policy.head=mlp", "execution.steps=1,4,16"),
    },
}
"""The comparisons that have a name; each is the axes of its tables by their titles."""
CHAINS = (
    " Measured are {} chains of tasks without a reset between them, and every place in a chain "
    "counts as an episode: a success where its task and all before it were done."
)
"""Added to the lead of a comparison of chains."""
