"""What passes between the rooms about a robot: observations, actions, episodes, batches, policies.

Images are ``uint8`` in the range 0-255 with the channels last, as cameras and videos give them; a
policy scales them itself. States and actions are ``float32`` in the environment's own units; a
policy carries the statistics that it normalises them with.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Shaped, UInt8
from torch import Tensor

ActionChunk = Float[Tensor, "batch horizon action"]
"""The next ``horizon`` actions of every robot in the batch, in the environment's units."""


@dataclass(frozen=True)
class Observation:
    """What a batch of robots sees and is told at one moment."""

    image: Mapping[str, UInt8[Tensor, "batch height width 3"]]
    """One picture per camera name."""
    state: Float32[Tensor, "batch state"]
    """Proprioception."""
    instruction: Sequence[str]
    """One sentence per robot."""
    env_ids: Sequence[int]
    """Which robot each row is, so that a policy with memory can find it; -1 marks a padding row,
    for which no memory is kept."""


@dataclass(frozen=True)
class Batch:
    """Windows cut from episodes: some frames of the past, and the chunk of actions after each.

    Frame ``history - 1`` is the present. Before an episode's first frame the window is padded with
    that frame, after its last action the chunk is padded with that action; masks are False there.
    """

    image: Mapping[str, UInt8[Tensor, "batch history height width 3"]]
    """One window of pictures per camera name."""
    state: Float32[Tensor, "batch history state"]
    """Proprioception at the frames of the window."""
    action: Float32[Tensor, "batch history horizon action"]
    """The chunk of actions that begins at each frame of the window."""
    action_mask: Bool[Tensor, "batch history horizon"]
    """True where an action is to be learnt: it is of the episode, and from the chunk's frame up to
    it every frame has a label (``Episode.action_mask``)."""
    history_mask: Bool[Tensor, "batch history"]
    """True where a frame is of the episode, not padding before its start."""
    instruction: Sequence[str]
    """One sentence per window."""
    landmarks: Float32[Tensor, "batch history landmark 3"] | None = None
    """As in `Episode`, for data that has them: an auxiliary target of training, never an input."""
    extra: Mapping[str, Shaped[Tensor, "batch ..."]] = field(default_factory=dict)
    """Other columns that were asked for, by name: (batch, offset, ...), an entry for each offset
    from the present frame. A camera's pictures are named ``image.CAMERA``."""
    extra_mask: Mapping[str, Bool[Tensor, "batch _"]] = field(default_factory=dict)
    """For each entry of ``extra``: True where its frame is of the episode, not padding."""

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.instruction)

    def to(self, device: torch.device) -> "Batch":
        """Return the batch with its tensors on ``device``."""
        return replace(
            self,
            image={name: picture.to(device) for name, picture in self.image.items()},
            state=self.state.to(device),
            action=self.action.to(device),
            action_mask=self.action_mask.to(device),
            history_mask=self.history_mask.to(device),
            landmarks=None if self.landmarks is None else self.landmarks.to(device),
            extra={name: values.to(device) for name, values in self.extra.items()},
            extra_mask={name: mask.to(device) for name, mask in self.extra_mask.items()},
        )


@dataclass(frozen=True)
class Episode:
    """One recorded episode: at frame ``t`` the robot saw ``image[t]``, to do ``action[t]``.

    Plain video is an episode too: its state and action have no numbers, ``(time, 0)``, and its
    instruction may be empty.
    """

    image: Mapping[str, UInt8[np.ndarray, "time height width 3"]]
    """One film per camera name."""
    state: Float32[np.ndarray, "time state"]
    """Proprioception."""
    action: Float32[np.ndarray, "time action"]
    """The label: the expert's action, clipped to the environment's limits."""
    instruction: str
    """The sentence that was told in the episode."""
    task: str
    """Name of the task in its suite."""
    seed: int
    """The seed that decides the start state."""
    landmarks: Float32[np.ndarray, "time landmark 3"] | None = None
    """Privileged, known to a simulator only: where hand, objects and goal are in the picture. x to
    the right and y down, -1 to 1 inside the picture, distance in metres."""
    action_mask: Bool[np.ndarray, " time"] | None = None
    """True where ``action`` is a label. False where it is only what was executed, such as while a
    policy drove before an expert corrected it: policies see these frames as the past of later
    ones and never learn their actions. None means True everywhere."""
    columns: Mapping[str, Shaped[np.ndarray, "time ..."]] = field(default_factory=dict)
    """Whatever else is known of every frame, by name: reward, force, pose of an object ..."""

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.state)


@dataclass(frozen=True)
class Statistics:
    """Statistics of one feature (``state`` or ``action``) over every frame of a data set."""

    mean: Float32[np.ndarray, " feature"]
    std: Float32[np.ndarray, " feature"]
    minimum: Float32[np.ndarray, " feature"]
    maximum: Float32[np.ndarray, " feature"]
    quantile_01: Float32[np.ndarray, " feature"]
    quantile_99: Float32[np.ndarray, " feature"]


@runtime_checkable
class Actor(Protocol):
    """Observation in, action chunk out: all that collection, evaluation and serving need.

    A picture of zeros, or of any one colour, is an observation like others: the actions must be
    finite. Actions that are not finite mean a broken policy: rollouts and the policy server stop
    with one sentence, and finished episodes are kept. A sentence without a word is refused where a
    person or a client gives it (`eyehand.functional.sentence`); only the evaluation's control
    "instruction removed" tells an empty one, which every policy must answer.
    """

    def act(
        self, observation: Observation, *, generator: torch.Generator | None = None
    ) -> ActionChunk:
        """Return the next actions of every robot, in the environment's units.

        Args:
            observation: What the robots see and are told.
            generator: Source of the noise, for an actor that draws its actions at random. Without
                one the noise is computed from the observation, so that an episode can be repeated.
        """
        ...

    def reset(self, env_ids: Sequence[int]) -> None:
        """Forget the past of these robots: a new episode begins for them."""
        ...


@runtime_checkable
class Trainable(Protocol):
    """Batch in, losses out: all that supervised training needs of a policy."""

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return scalar losses; the one to minimise is named ``"loss"``.

        Padded actions count as zero and the mean is over the full size, so that the mean over
        processes is the loss of the global batch.
        """
        ...
