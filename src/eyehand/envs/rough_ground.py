"""A legged robot on uneven ground that it never saw: it is told where to walk, and how fast.

The robot is Gymnasium's Ant (its file comes with that package), with motors that hold wanted angles
of the joints. The ground is a height field that the episode's seed decides. All robots move at the
same time, on as many threads as torch has.
"""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import gymnasium
import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from eyehand.envs import opengl  # noqa: F401  (first: it chooses the library for mujoco)
from eyehand.functional.height_field import heights_at, rough_heights
from eyehand.types import EnvironmentStep, InputError, check_ranges

# isort: split
import mujoco
import mujoco.rollout

LEG = 0.85
"""Length of a leg, metres: upper part 0.28, lower part 0.57."""
TIMESTEP, REPEAT = 0.005, 8
"""Seconds of a step of the physics, and how many there are for an action."""
CELLS, SPACING, DEEPEST = 200, 0.1, 4.0
"""Points of the ground along a side, the distance between them and the highest height, metres."""
DENSITY, ARMATURE = 50.0, 0.1
"""Of the robot, kg/m3 (so it weighs 9 kg), and of its motors, kg m2. In Gymnasium's file it weighs
0.9 kg and its motors turn as if they weighed many times as much."""
STIFFNESS, DAMPING, STRENGTH = 100.0, 6.0, 50.0
"""Of the motors: torque per radian and per radian a second, and the largest torque (N m)."""
ANKLE, HEIGHT = 0.9, 0.58
"""Angle of the ankles where the robot stands, rad, and the height of its torso then, metres."""
LATEST = 10
"""Most actions by which the motors may be late."""
ENOUGH = 0.7
"""Share of the wanted distance that is a success."""
SWING = 0.6
"""Largest angle that an action asks of a joint, measured from where it stands, rad."""
SCAN = np.stack(np.meshgrid(*[np.linspace(-0.8, 0.8, 5)] * 2), -1).reshape(-1, 2)
"""Places around the robot at which it feels the height of the ground, metres, ahead and left."""
STATE = mujoco.mjtState.mjSTATE_FULLPHYSICS


@dataclass(frozen=True, kw_only=True)
class RoughGroundConfig:
    """The ground, what is wanted, and how much the robot itself varies.

    Raises:
        InputError: If a number is out of its range.
    """

    roughness: float = 0.25
    """How far the ground rises and falls within a metre, in legs (of 0.85 m)."""
    curriculum: bool = True
    """Whether each place of a robot begins flat, and becomes rougher, up to ``roughness``, after
    episodes in which the robot came far enough, smoother after others; else all is rough. What is
    measured is always rough."""
    speed: tuple[float, float] = (0.3, 0.8)
    """Lowest and highest wanted speed, m/s; its direction is any."""
    seconds: float = 10.0
    """Length of an episode."""
    randomize: bool = False
    """Whether every episode has its own friction, masses, motors' strength and delay."""
    friction: tuple[float, float] = (0.5, 1.25)
    """Range of the friction, where randomised; 1 otherwise."""
    mass: tuple[float, float] = (0.8, 1.3)
    """Range of the factor of all masses, where randomised."""
    strength: tuple[float, float] = (0.7, 1.2)
    """Range of the factor of the motors' stiffness and largest torque, where randomised."""
    delay: tuple[int, int] = (0, 1)
    """Range of how many actions late the motors act, where randomised; 0 otherwise."""

    def __post_init__(self) -> None:
        """Check that every number is in its range."""
        check_ranges(
            self,
            prefix="RoughGroundConfig.",
            roughness=(0, 1),
            speed=(0.1, 3),
            seconds=(0.2, 1000),
            friction=(0.01, 10),
            mass=(0.1, 10),
            strength=(0.1, 10),
            delay=(0, LATEST),
        )
        for name in ("speed", "friction", "mass", "strength", "delay"):
            low, high = getattr(self, name)
            if low > high:
                raise InputError(
                    f"RoughGroundConfig.{name} must be the lowest, then the highest; got {low}, "
                    f"{high}."
                )
        if max(self.speed) * self.seconds > CELLS * SPACING / 2:
            raise InputError(
                f"RoughGroundConfig.speed times seconds must be at most {CELLS * SPACING / 2:g} m, "
                f"where the ground ends; got {max(self.speed) * self.seconds:g}."
            )


class RoughGround:
    """Robots side by side, each on its own ground; see `eyehand.types.Environments`.

    What a robot feels, all of it in its own frame (ahead, left, up): its height above the ground,
    which way is up, its velocity and turning, the joints' angles and velocities, the last action,
    the wanted velocity, and the ground's height at 25 places around it. An episode ends when the
    torso touches the ground or lies on its back.

    Args:
        config: The ground, what is wanted, and how much the robot varies.
        count: How many robots.
        learning: Whether the curriculum, if there is one, is followed.
    """

    def __init__(self, config: RoughGroundConfig, count: int, *, learning: bool = False) -> None:
        self.config = config
        self._curriculum = learning and config.curriculum
        self._base = ant()
        self._models = [copy.copy(self._base) for _ in range(count)]
        threads = min(torch.get_num_threads(), count)
        self._data = [mujoco.MjData(self._base) for _ in range(threads)]
        self._rollout = mujoco.rollout.Rollout(nthread=threads)
        self._torso = self._base.sensor("torso").adr[0]
        self._stance = self._base.key_qpos[0, 7:]
        joints = self._base.nu
        self.action_space: Any = gymnasium.spaces.Box(-1, 1, (joints,), np.float32)
        self.observation_dim = 1 + 3 + 3 + 3 + 3 * joints + 2 + len(SCAN)
        self.steps = round(config.seconds / (TIMESTEP * REPEAT))
        """Most steps of an episode."""
        self._held: dict[str, np.ndarray] = {
            "physics": np.zeros((count, mujoco.mj_stateSize(self._base, STATE))),
            "seed": np.zeros(count, np.int64),
            "level": np.full(count, 0.0 if self._curriculum else 1.0),
            "length": np.zeros(count, np.int64),
            "wanted": np.zeros((count, 2)),
            "action": np.zeros((count, 1 + LATEST, joints)),
            "delay": np.zeros(count, np.int64),
            "begun": np.zeros(count, bool),
            "fallen": np.zeros(count, bool),
        }
        """All that changes, with one row a robot; actions are the last ones, newest first."""
        self._ground = np.zeros((count, CELLS, CELLS))

    def __len__(self) -> int:
        """Return how many robots there are."""
        return len(self._models)

    def begin(self, which: int, seed: int) -> Float32[np.ndarray, " observation"]:
        """Begin an episode of one robot; return what it feels first."""
        held = self._held
        if self._curriculum and held["begun"][which]:
            self._change_level(which)
        held["seed"][which], held["begun"][which] = seed, True
        self._make_ground(which)
        random = np.random.default_rng([seed, 1])
        speed, way = random.uniform(*self.config.speed), random.uniform(0, 2 * math.pi)
        held["wanted"][which] = speed * math.cos(way), speed * math.sin(way)
        turned = random.uniform(0, 2 * math.pi)
        model, data = self._models[which], self._data[0]
        mujoco.mj_resetDataKeyframe(model, data, 0)
        data.qpos[2] += self._heights(which, SCAN[:, 0], SCAN[:, 1]).max()
        data.qpos[3:7] = math.cos(turned / 2), 0, 0, math.sin(turned / 2)
        data.qpos[7:] += random.uniform(-0.1, 0.1, model.nu)
        mujoco.mj_getState(model, data, held["physics"][which], STATE)
        for name in ("length", "action", "fallen"):
            held[name][which] = 0
        return self._feel(slice(which, which + 1))[0]

    def step(self, actions: Tensor) -> EnvironmentStep:
        """Act in all of them; see `eyehand.types.Environments.step`."""
        held, rows = self._held, np.arange(len(self))
        given = actions.cpu().numpy().clip(-1, 1)
        held["action"] = np.concatenate([given[:, None], held["action"][:, :-1]], axis=1)
        control = self._stance + SWING * held["action"][rows, held["delay"]]
        states, sensors = self._rollout.rollout(
            self._models,
            self._data,
            held["physics"],
            np.repeat(control[:, None], REPEAT, axis=1),
            skip_checks=False,
        )
        held["physics"] = states[:, -1].copy()
        held["length"] += 1
        touched = (sensors[:, :, self._torso] > 0).any(axis=1)
        turned_over = _up(self._rotation(slice(None)))[:, 2] < 0.2
        held["fallen"] = held["fallen"] | touched | turned_over
        terminated = held["fallen"].copy()
        truncated = (held["length"] >= self.steps) & ~terminated
        return self._feel(slice(None)), self._reward(terminated), terminated, truncated

    def outcome(self, which: int) -> Mapping[str, float]:
        """Return how far the robot came.

        Returns:
            ``share``: distance along the wanted direction over the wanted distance of a whole
            episode; ``success``: whether it is at least `ENOUGH` and the robot did not fall;
            ``level``: share of the roughness that its ground had.
        """
        held = self._held
        whole = held["length"][which] >= self.steps and not held["fallen"][which]
        share = self._share(which)
        return {
            "share": share,
            "success": float(whole and share >= ENOUGH),
            "level": float(held["level"][which]),
        }

    def state_dict(self) -> dict[str, Tensor]:
        """Return all that changes."""
        return {name: torch.from_numpy(values.copy()) for name, values in self._held.items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> Float32[np.ndarray, "env observation"]:
        """Restore what `state_dict` returned; return what the robots feel."""
        self._held = {name: tensor.numpy().copy() for name, tensor in state.items()}
        for which in range(len(self)):
            self._make_ground(which)
        return self._feel(slice(None))

    def close(self) -> None:
        """End the threads."""
        self._rollout.close()

    def picture(self, which: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """Return a robot's model, and its data as it is now, to be drawn."""
        data = mujoco.MjData(self._models[which])
        mujoco.mj_setState(self._models[which], data, self._held["physics"][which], STATE)
        mujoco.mj_forward(self._models[which], data)
        return self._models[which], data

    def _change_level(self, which: int) -> None:
        """Make the ground rougher after a good episode, smoother after a bad one."""
        share, level = self._share(which), self._held["level"]
        if share >= ENOUGH and not self._held["fallen"][which]:
            # Those that mastered all of it see every roughness (Rudin et al., 2022).
            ready = level[which] >= 1
            random = np.random.default_rng([self._held["seed"][which], 2])
            level[which] = random.uniform() if ready else min(1.0, level[which] + 0.1)
        elif share < 0.4:
            level[which] = max(0.0, level[which] - 0.1)

    def _make_ground(self, which: int) -> None:
        """Make ground and robot of the present episode."""
        config, held, model = self.config, self._held, self._models[which]
        random = np.random.default_rng([held["seed"][which], 0])
        roughness = config.roughness * LEG * held["level"][which]
        self._ground[which] = rough_heights(
            random, cells=CELLS, spacing=SPACING, roughness=max(roughness, 1e-6)
        ).clip(0, DEEPEST)
        model.hfield_data[:] = (self._ground[which] / DEEPEST).ravel()
        friction = mass = strength = 1.0
        held["delay"][which] = 0
        if config.randomize:
            friction, mass, strength = (
                random.uniform(*range_)
                for range_ in (config.friction, config.mass, config.strength)
            )
            held["delay"][which] = random.integers(*config.delay, endpoint=True)
        model.geom_friction[:, 0] = friction * self._base.geom_friction[:, 0]
        model.body_mass[:] = mass * self._base.body_mass
        model.body_inertia[:] = mass * self._base.body_inertia
        model.actuator_gainprm[:, 0] = strength * STIFFNESS
        model.actuator_biasprm[:, 1] = -strength * STIFFNESS
        model.actuator_forcerange[:] = strength * self._base.actuator_forcerange
        if config.randomize:  # what follows from masses: how stiff contacts are
            mujoco.mj_setConst(model, self._data[0])

    def _share(self, which: int) -> float:
        """Return the distance along the wanted direction over the wanted one."""
        wanted = self._held["wanted"][which]
        return float(self._held["physics"][which, 1:3] @ wanted) / (
            float(wanted @ wanted) * self.config.seconds
        )

    def _reward(self, terminated: Bool[np.ndarray, " env"]) -> Float32[np.ndarray, " env"]:
        """Return 1 at the wanted velocity, less for shaking, and a loss where the torso fell."""
        held = self._held
        velocity = held["physics"][:, self._base.nq + 1 :]
        off = np.square(velocity[:, :2] - held["wanted"]).sum(axis=1)
        shaking = np.square(held["action"][:, 0] - held["action"][:, 1]).sum(axis=1)
        rolling = np.square(velocity[:, 3:5]).sum(axis=1)
        reward = np.exp(-off / 0.1) + 0.5 * np.exp(-off / 1.0)
        reward -= 0.01 * shaking + 0.01 * rolling + 0.1 * velocity[:, 2] ** 2
        return np.asarray(reward - 5.0 * terminated, np.float32)

    def _rotation(self, rows: slice) -> Float[np.ndarray, "env 3 3"]:
        """Return the torso's axes: the columns are ahead, left and up."""
        w, x, y, z = self._held["physics"][rows, 4:8].T
        return np.stack(
            [
                np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], -1),
                np.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], -1),
                np.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], -1),
            ],
            axis=1,
        )

    def _heights(
        self, which: int, x: Float[np.ndarray, "*place"], y: Float[np.ndarray, "*place"]
    ) -> Float[np.ndarray, "*place"]:
        return heights_at(self._ground[which], x, y, spacing=SPACING)

    def _feel(self, rows: slice) -> Float32[np.ndarray, "env observation"]:
        """Return what the robots feel."""
        held = self._held
        physics, rotation = held["physics"][rows], self._rotation(rows)
        place, joints = physics[:, 1:4], physics[:, 8 : self._base.nq + 1]
        velocity = physics[:, self._base.nq + 1 :]
        ahead = np.arctan2(rotation[:, 1, 0], rotation[:, 0, 0])
        cosine, sine = np.cos(ahead)[:, None], np.sin(ahead)[:, None]
        x = place[:, :1] + cosine * SCAN[:, 0] - sine * SCAN[:, 1]
        y = place[:, 1:2] + sine * SCAN[:, 0] + cosine * SCAN[:, 1]
        numbers = range(len(self))[rows]
        ground = np.stack([self._heights(one, x[row], y[row]) for row, one in enumerate(numbers)])
        wanted = np.concatenate([held["wanted"][rows], np.zeros((len(place), 1))], axis=1)
        height = place[:, 2:] - ground.mean(axis=1, keepdims=True)
        seen = [
            height,
            _up(rotation),
            np.einsum("eij,ei->ej", rotation, velocity[:, :3]),
            velocity[:, 3:6],
            joints - self._stance,
            0.1 * velocity[:, 6:],
            held["action"][rows, 0],
            2 * np.einsum("eij,ei->ej", rotation, wanted)[:, :2],
            place[:, 2:] - ground,
        ]
        return np.concatenate(seen, axis=1).astype(np.float32)


def _up(rotation: Float[np.ndarray, "env 3 3"]) -> Float[np.ndarray, "env 3"]:
    """Return the direction of the world's up in the torso's frame."""
    return rotation[:, 2]


def ant() -> mujoco.MjModel:
    """Return Gymnasium's Ant on a flat height field, with motors that hold wanted angles."""
    path = files(gymnasium) / "envs" / "mujoco" / "assets" / "ant.xml"
    spec = mujoco.MjSpec.from_string(path.read_text())
    spec.option.timestep = TIMESTEP
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    side = (CELLS - 1) * SPACING / 2
    spec.add_hfield(
        name="ground",
        nrow=CELLS,
        ncol=CELLS,
        size=[side, side, DEEPEST, 0.1],
        userdata=np.zeros(CELLS * CELLS),
    )
    floor = spec.geom("floor")
    floor.type, floor.hfieldname, floor.size = mujoco.mjtGeom.mjGEOM_HFIELD, "ground", [0, 0, 0]
    for geom in spec.geoms:
        geom.density = DENSITY
    squares = spec.texture("texplane")  # black and white ones flicker where they are small
    squares.rgb1, squares.rgb2 = [0.50, 0.54, 0.50], [0.42, 0.46, 0.42]
    spec.material("MatPlane").reflectance = 0.0
    spec.body("torso").add_site(name="torso", type=mujoco.mjtGeom.mjGEOM_SPHERE, size=[0.3, 0, 0])
    spec.add_sensor(
        name="torso",
        type=mujoco.mjtSensor.mjSENS_TOUCH,
        objtype=mujoco.mjtObj.mjOBJ_SITE,
        objname="torso",
    )
    joints = [joint for joint in spec.joints if joint.name != "root"]
    stance = [math.copysign(ANKLE, sum(j.range)) if "ankle" in j.name else 0.0 for j in joints]
    for motor, joint in zip(spec.actuators, joints, strict=True):
        joint.armature = ARMATURE
        motor.target = joint.name
        motor.gear = [1, 0, 0, 0, 0, 0]
        motor.gaintype, motor.biastype = mujoco.mjtGain.mjGAIN_FIXED, mujoco.mjtBias.mjBIAS_AFFINE
        motor.gainprm[0] = STIFFNESS
        motor.biasprm[:3] = 0, -STIFFNESS, -DAMPING
        motor.ctrllimited, motor.ctrlrange = True, [-math.pi, math.pi]
        motor.forcelimited, motor.forcerange = True, [-STRENGTH, STRENGTH]
    spec.add_key(name="stance", qpos=[0, 0, HEIGHT, 1, 0, 0, 0, *stance])
    return spec.compile()
