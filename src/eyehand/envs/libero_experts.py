"""A scripted expert for LIBERO: it reads the simulator and looks at nothing.

It has no memory. Every action follows from where hand, fingers and things are, so that it can take
over from any state: after a push, or from a policy that went astray. What it does first is the
first part of the goal that does not hold yet: open a drawer before something is put into it, turn a
knob, pick and place, close.

Grasps follow from the collision geometry: from above, with the fingers across the narrowest width,
or at the rim of what is too wide.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float32
from scipy.spatial.transform import Rotation

GAIN = 10.0
"""Action units per metre."""
TURN = 2.0
"""Action units per radian."""
WIDEST = 0.07
"""What the fingers can span, metres."""
OPEN = 0.075
"""Distance of the fingers beyond which the hand is open, metres."""
NEAR = 0.012
"""Distance to the side within which the hand goes down, metres."""
DOWN = Rotation.from_euler("x", np.pi)
"""The hand that points down, with its fingers along y."""


@dataclass(frozen=True)
class Grasp:
    """How the hand holds a thing."""

    place: Float[np.ndarray, "3"]
    """Where the fingertips close, metres."""
    yaw: float
    """How the hand is turned about the vertical, rad: at 0 the fingers close along y."""
    width: float
    """Distance of the fingers that hold it, metres."""


class Scene:
    """What the expert reads of robosuite's environment.

    Args:
        world: The environment.
    """

    def __init__(self, world: Any) -> None:
        self.world = world
        self.model, self.data = world.sim.model._model, world.sim.data._data
        (robot,) = world.robots
        site = robot.eef_site_id
        self.hand: Float[np.ndarray, "3"] = np.array(self.data.site_xpos[site])
        self.turned = Rotation.from_matrix(self.data.site_xmat[site].reshape(3, 3))
        left, right = self.data.qpos[robot._ref_gripper_joint_pos_indexes]
        self.gap = float(left - right)

    def place(self, name: str) -> Float[np.ndarray, "3"]:
        """Return where a thing, a part or a region is."""
        return np.array(self.world.object_states_dict[name].get_geom_state()["pos"])

    def points(self, name: str) -> Float[np.ndarray, "point 3"]:
        """Return the corners of the boxes that a thing collides with."""
        root = self.world.obj_body_id[name]
        geoms = [
            geom
            for geom in range(self.model.ngeom)
            if self.model.body_rootid[self.model.geom_bodyid[geom]] == root
            and self.model.geom_group[geom] == 0
        ]
        signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T
        corners = [
            self.data.geom_xpos[geom]
            + (signs * self.model.geom_size[geom]) @ self.data.geom_xmat[geom].reshape(3, 3).T
            for geom in geoms
        ]
        return np.concatenate(corners)
