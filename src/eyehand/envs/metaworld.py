"""Meta-World: fifty manipulation tasks of one robot arm, as vision-language-action papers use them.

Source: Yu et al., 2019, https://arxiv.org/abs/1910.10897, package ``metaworld``. The protocol is
that of the published scores (SmolVLA, https://arxiv.org/abs/2506.01844, and its code in LeRobot):
one camera, the hand's position and the gripper's opening as state, 500 steps, success at any step.

Protocol ``metaworld-v2``:

- the picture ``corner4`` (which is the ``corner2`` that LeRobot moves and turns), or a part of it,
  ``work_area``, and the 4-D state of the hand (xyz, gripper opening). Object poses are
  *privileged*: only the environment knows them;
- at most 500 steps of about 1/80 s; success at any step ends the episode as a success; actions are
  clipped to [-1, 1];
- the start state depends on the task and the episode's seed alone, and no two tasks share one:
  Meta-World scales the same random numbers into the box of every task, so episodes of equal seeds
  would succeed and fail together;
- the first picture and state show the start state. Meta-World moves objects and goals after its
  last forward pass, so what it returns from ``reset`` is of a draw that is thrown away: in 29 of
  the 50 tasks something stands more than 2 mm off, in window-close 20 cm;
- the policy computes on one thread;
- LeRobot's sentence for each task, except that ``push`` and ``push-back``, which share one there,
  have one each here (``metaworld_instructions.toml``);
- the score is the unweighted mean of the four tier rates (28 easy, 11 medium, 6 hard, 5 very hard
  tasks). The mean over tasks is given as well.
"""

import warnings
from collections.abc import Mapping
from copy import copy
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, UInt8

from eyehand.envs import rendering  # first: it chooses the OpenGL library before mujoco is loaded
from eyehand.envs.instructions import read_instructions
from eyehand.envs.metaworld_experts import EXPERTS, Scene
from eyehand.envs.robot_env import Quality, RobotEnv
from eyehand.envs.suite import Disturbance, Hand, Quantity, Suite
from eyehand.functional.start_seed import start_seed

import mujoco  # isort: skip
from metaworld.env_dict import ALL_V3_ENVIRONMENTS  # isort: skip
from metaworld.policies import ENV_POLICY_MAP  # isort: skip

TIERS: dict[str, tuple[str, ...]] = {
    "easy": (
        "button-press", "button-press-topdown", "button-press-topdown-wall", "button-press-wall",
        "coffee-button", "dial-turn", "door-close", "door-lock", "door-open", "door-unlock",
        "drawer-close", "drawer-open", "faucet-close", "faucet-open", "handle-press",
        "handle-press-side", "handle-pull", "handle-pull-side", "lever-pull", "peg-unplug-side",
        "plate-slide", "plate-slide-back", "plate-slide-back-side", "plate-slide-side", "reach",
        "reach-wall", "window-close", "window-open",
    ),
    "medium": (
        "basketball", "bin-picking", "box-close", "coffee-pull", "coffee-push", "hammer",
        "peg-insert-side", "push-wall", "soccer", "sweep", "sweep-into",
    ),
    "hard": ("assembly", "hand-insert", "pick-out-of-hole", "pick-place", "push", "push-back"),
    "very-hard": ("disassemble", "pick-place-wall", "shelf-place", "stick-pull", "stick-push"),
}  # fmt: skip
"""Tiers of difficulty (Seo et al., 2022, https://arxiv.org/abs/2206.14244): the score is the mean
of their success rates."""
TASKS: tuple[str, ...] = tuple(task for tier in TIERS.values() for task in tier)
"""All fifty tasks, by tier."""
MT10: tuple[str, ...] = (
    "reach", "push", "pick-place", "door-open", "drawer-open", "drawer-close",
    "button-press-topdown", "peg-insert-side", "window-open", "window-close",
)  # fmt: skip
"""Meta-World's own set of ten."""
STATE_DIM = 4
"""Hand x, y, z in metres, then the gripper's opening from 0 (closed) to 1."""
MAX_STEPS = 500
"""Length of an episode without success."""
CAMERA = "corner4"
"""The camera of the published scores, which LeRobot makes by moving ``corner2`` there."""
CAMERAS: dict[str, rendering.Crop] = {
    CAMERA: rendering.WHOLE,
    # Everything that any of the fifty tasks needs, 1.5 times as large in the same pixels.
    "work_area": rendering.Crop(left=-0.9, right=0.4, bottom=-0.5, top=0.8),
}
"""Pictures that a policy can read: each is a part of the picture of ``corner4``, which hangs upside
down."""
SCENES: tuple[tuple[str, ...], ...] = (
    ("assembly", "disassemble"),
    ("coffee-button", "coffee-push", "coffee-pull"),
    ("door-open", "door-close"),
    ("door-lock", "door-unlock"),
    ("drawer-open", "drawer-close"),
    ("faucet-open", "faucet-close"),
    ("hand-insert", "sweep-into"),
    ("handle-press", "handle-pull"),
    ("handle-press-side", "handle-pull-side"),
    ("plate-slide", "plate-slide-back"),
    ("plate-slide-side", "plate-slide-back-side"),
    ("stick-push", "stick-pull"),
    ("window-open", "window-close"),
    # Files of their own in Meta-World, which differ in the goal and the size of the block alone.
    ("pick-place", "reach", "push", "push-back"),
    ("pick-place-wall", "reach-wall", "push-wall"),
)
"""Tasks that show the same objects. In the first groups they are the same MuJoCo model."""
MASK_CLASSES = ("background", "table", "robot", "hand", "object")
"""What a pixel can show. The hand begins at the wrist; the objects are the things that a task is
about; the mark of a goal is background."""


class MetaWorldEnv(RobotEnv):
    """One Meta-World task as a Gymnasium environment.

    An episode depends only on the task, on ``reset(seed=...)`` and on its actions. For this, every
    episode gets a new Meta-World object, new simulation data and the model as it was loaded,
    because Meta-World leaves traces of an episode in all three. The observation has what a robot
    may know; object poses and the goal are read by the scripted expert only.

    Args:
        task: A name of ``TASKS``.
        cameras: Height and width, pixels, of the pictures in an observation, by name of
            ``CAMERAS``; landmarks and masks are those of the first.
        quality: ``fast`` for policies, ``film`` for people.
        render_observations: Whether observations hold pictures; without, ``image`` is empty.
        camera_offset: How far the camera is moved to its right, metres; see `disturb`.
        light: Factor of the brightness of the lamps; see `disturb`.

    Raises:
        InputError: If there is no such task or camera.

    Example:
        >>> env = MetaWorldEnv("reach", render_observations=False)
        >>> observation, _ = env.reset(seed=0)
        >>> observation["state"].shape
        (4,)
        >>> env.close()
    """

    def __init__(
        self,
        task: str,
        *,
        cameras: Mapping[str, int] = MappingProxyType({CAMERA: 96}),
        quality: Quality = "fast",
        render_observations: bool = True,
        camera_offset: float = 0.0,
        light: float = 1.0,
    ) -> None:
        METAWORLD.check_task(task)
        METAWORLD.check_cameras(cameras)
        super().__init__(
            task,
            instruction=METAWORLD.instructions(task).canonical,
            cameras=cameras,
            state_dim=len(METAWORLD.state),
            action_dim=len(METAWORLD.action),
            fps=METAWORLD.fps,
            render_observations=render_observations,
        )
        self.camera = next(iter(cameras))
        self._quality = quality
        self.disturb(camera_offset=camera_offset, light=light)
        self._renderers: dict[tuple[str, int, str], rendering.Renderer] = {}
        self._simulator = _Simulator(task)
        self._privileged: np.ndarray | None = None
        self._steps = 0

    def disturb(self, *, camera_offset: float, light: float) -> None:
        """Change what the next pictures show: for controls, and for demonstrations that differ.

        Args:
            camera_offset: How far the camera stands to the right of its place, metres.
            light: Factor of the brightness of the lamps.
        """
        self._camera_offset, self._light = camera_offset, light

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin the episode of a seed; without one, of a random seed."""
        self._privileged = self._simulator.reset(self.seed_of_episode(seed))
        self._steps = 0
        return self.observation(self._privileged[:STATE_DIM]), {"success": False}

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Do one action: four numbers, clipped to [-1, 1].

        Returns:
            Observation, Meta-World's reward, terminated (the task is solved), truncated (500 steps
            without success), and ``{"success": bool}``.

        Raises:
            InputError: If the action is not four finite numbers.
            RuntimeError: If no episode has begun, or 500 steps are over.
        """
        if self._privileged is None or self._steps >= MAX_STEPS:
            raise RuntimeError(f"the episode of {self.task!r} is over; call `reset` to begin one.")
        action = self.checked_action(action)
        self._privileged, reward, success = self._simulator.step(action)
        self._steps += 1
        truncated = self._steps == MAX_STEPS and not success
        observation = self.observation(self._privileged[:STATE_DIM])
        return observation, reward, success, truncated, {"success": success}

    def expert_action(self) -> Float32[np.ndarray, "4"]:
        """Return what the scripted expert would do now, clipped to [-1, 1].

        It is Meta-World's, and in tasks of picking something up ours (``metaworld_experts.py``).

        Raises:
            RuntimeError: If no episode has begun.
        """
        if self._privileged is None:
            raise RuntimeError("no episode has begun; call `reset` first.")
        return self._simulator.expert_action(self._privileged)

    def picture(
        self, camera: str, *, size: int, quality: Quality | None = None
    ) -> UInt8[np.ndarray, "size size 3"]:
        """Return a picture of the present state; the first of each camera and size takes longer."""
        quality = quality or self._quality
        kind = (camera, size, quality)
        if kind not in self._renderers:
            self._renderers[kind] = rendering.Renderer(
                self._simulator.model,
                camera=CAMERA,
                size=size,
                quality=quality,
                crop=CAMERAS[camera],
            )
        renderer = self._renderers[kind]
        renderer.offset, renderer.light = self._camera_offset, self._light
        picture = renderer.render(self._simulator.data)
        return np.ascontiguousarray(picture[::-1, ::-1])  # the camera hangs upside down

    def mask(self) -> UInt8[np.ndarray, "height width"]:
        """Return which of the ``MASK_CLASSES`` every pixel of the picture shows.

        Privileged: policies must not see it. A picture must have been drawn before.

        Raises:
            RuntimeError: If no picture has been drawn.
        """
        renderer = self._renderers.get((self.camera, self.cameras[self.camera], self._quality))
        if renderer is None:
            raise RuntimeError("a mask belongs to a picture; call `render` first.")
        body = renderer.render_bodies(self._simulator.data)
        return np.ascontiguousarray(self._simulator.mask_classes()[body][::-1, ::-1])

    def in_picture(
        self, points: Float[np.ndarray, "point 3"], camera: str
    ) -> Float[np.ndarray, "point 3"]:
        """Return where points of the world, metres, are in a picture, as `Projects` says."""
        model, data = self._simulator.model, self._simulator.data
        seen = rendering.seen_from(model, data, CAMERA, points, offset=self._camera_offset)
        right, up, distance = seen.T
        crop = CAMERAS[camera]
        x = (right - crop.left) / (crop.right - crop.left)
        y = (up - crop.bottom) / (crop.top - crop.bottom)
        # The camera hangs upside down: its right is the picture's left, its up the picture's down.
        return np.stack([1 - 2 * x, 2 * y - 1, distance], axis=1)

    def landmarks(self) -> Float32[np.ndarray, "4 3"]:
        """Return where the suite's landmarks are in the picture. Privileged: for training only.

        In a task with one object, the second object's landmark is that of the first. Units are
        those of `Landmarks`.

        Raises:
            RuntimeError: If no episode has begun.
        """
        if self._privileged is None:
            raise RuntimeError("no episode has begun; call `reset` first.")
        hand, first, second = (self._privileged[start : start + 3] for start in (0, 4, 11))
        points = [hand, first, second if second.any() else first, self._simulator.goal]
        return self.in_picture(np.stack(points), self.camera).astype(np.float32)

    def close(self) -> None:
        """Close the renderers."""
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers.clear()


@lru_cache(maxsize=8)
def _model(path: str) -> Any:
    """Return a model as compiled from its file; copying it is five times faster than compiling."""
    return mujoco.MjModel.from_xml_path(path)


class _Simulator:
    """Meta-World's own environment, made anew for every episode on one model.

    Meta-World writes object places into the model, keeps arrays of the last episode as attributes,
    and runs its reset twice, from where the hand was. Here each reset starts from the model's
    arrays as loaded, new ``MjData``, and a new environment object.
    """

    def __init__(self, task: str) -> None:
        kind = ALL_V3_ENVIRONMENTS[f"{task}-v3"]
        simulator = self

        class Task(kind):  # type: ignore[misc, valid-type]  # metaworld's classes are untyped
            """The task's class on a model that is loaded already."""

            def _initialize_simulation(self) -> tuple[Any, Any]:
                if simulator.model is None:
                    simulator.model = copy(_model(self.fullpath))
                return simulator.model, mujoco.MjData(simulator.model)

        self.model: Any = None
        self._task = task
        self._kind = Task
        self._expert_kind = ENV_POLICY_MAP[f"{task}-v3"]
        self._env: Any = Task()
        # Meshes and textures are most of the bytes, and nothing writes to them.
        self._loaded = {
            name: value.copy()
            for name in dir(self.model)
            if not name.startswith(("mesh_", "tex_", "bvh_"))
            and isinstance(value := getattr(self.model, name), np.ndarray)
            and value.flags.writeable
        }

    @property
    def data(self) -> Any:
        return self._env.data

    @property
    def goal(self) -> np.ndarray:
        return np.asarray(self._env._target_pos)

    def mask_classes(self) -> UInt8[np.ndarray, " body"]:
        """Return the number of the mask class of every body."""
        found: list[str] = []
        for body in range(self.model.nbody):  # a parent comes before its children
            name, parent = self.model.body(body).name, self.model.body_parentid[body]
            begins = {"base": "robot", "right_hand": "hand", "tablelink": "table"}
            inherited = found[parent] if parent else "object"
            found.append(begins.get(name, inherited))
            if name in ("world", "RetainingWall", "mocap"):
                found[body] = "background"
        return np.array([MASK_CLASSES.index(name) for name in found], np.uint8)

    def reset(self, seed: int) -> np.ndarray:
        for name, value in self._loaded.items():
            getattr(self.model, name)[...] = value
        self._env = self._kind()
        self._env._set_task_called = True
        self._env._freeze_rand_vec = False
        self._env.seeded_rand_vec = True
        self._env._partially_observable = False  # the expert needs the goal
        self._env.__dict__.pop(
            "sawyer_observation_space", None
        )  # its bounds depend on the line above
        self._env.seed(start_seed(self._task, seed))
        self._expert = self._expert_kind()
        self._env.reset()
        # Objects and goals were moved since the last forward pass. Its part that computes positions
        # leaves the next step as Meta-World has it, to the bit; the rest would not.
        mujoco.mj_fwdPosition(self.model, self.data)
        observation = np.asarray(self._env._get_obs())
        # There is no frame before the first: Meta-World gives it twice, as here.
        self._env._prev_obs = observation[18:36] = observation[:18].copy()
        return observation

    def step(self, action: Float32[np.ndarray, "4"]) -> tuple[np.ndarray, float, bool]:
        observation, reward, _, _, info = self._env.step(action)
        return observation, float(reward), bool(info["success"])

    def expert_action(self, observation: np.ndarray) -> Float32[np.ndarray, "4"]:
        if self._task in EXPERTS:
            return EXPERTS[self._task].act(Scene.of(observation))
        with warnings.catch_warnings():
            # It warns that its constants exceed the limits; they are clipped.
            warnings.filterwarnings("ignore", message="Constant", category=UserWarning)
            action = self._expert.get_action(observation)
        return np.clip(action, -1, 1).astype(np.float32)


METAWORLD = Suite(
    name="metaworld",
    protocol="metaworld-v2",
    groups=TIERS,
    sets={"mt10": MT10},
    score="tier mean",
    sentences=read_instructions("metaworld").__getitem__,
    cameras=tuple(CAMERAS),
    view=CAMERA,
    state=(
        Quantity("hand x", "m"),
        Quantity("hand y", "m"),
        Quantity("hand z", "m"),
        Quantity("gripper opening", "0 closed, 1 open"),
    ),
    action=(
        Quantity("x", "cm"),
        Quantity("y", "cm"),
        Quantity("z", "cm"),
        Quantity("gripper", "effort, 1 closes"),
    ),
    fps=80,
    max_steps=MAX_STEPS,
    scenes=SCENES,
    landmarks=("hand", "object", "second object", "goal"),
    masks=MASK_CLASSES,
    hand=Hand(state=slice(3), action=slice(3), gripper=3, metres=0.01),
    disturbances=(
        Disturbance(
            "camera moved by 2 cm",
            "The camera is moved 2 cm to the side: a robust policy keeps its success rate.",
            {"camera_offset": 0.02},
        ),
        Disturbance(
            "light at 60 %",
            "The lamps are dimmed to 60 %: a robust policy keeps its success rate.",
            {"light": 0.6},
        ),
    ),
    make=MetaWorldEnv,
    packages=("mujoco", "metaworld"),
)
"""Meta-World as a suite."""
