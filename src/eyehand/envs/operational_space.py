"""robosuite's operational space controller, stepped without what it computes twice.

In each of the 25 physics steps of one action robosuite computes positions, velocities and
accelerations three times for the same state, and updates observables that nobody reads. Here each
is computed once; the formulas of the torques are robosuite's own functions on the same arrays, so
that trajectories are equal to the bit (tested).
"""

from typing import Any

import numpy as np
from jaxtyping import Float

from eyehand.envs import opengl  # noqa: F401  (first: it chooses the library for mujoco)

# isort: split
import mujoco


class OperationalSpaceSteps:
    """Does the actions of one robosuite environment with one arm and the controller OSC_POSE.

    Make it anew after every reset: robosuite then has a new controller.

    Args:
        env: The environment, after ``reset``.
    """

    def __init__(self, env: Any) -> None:
        from robosuite.utils.control_utils import (
            nullspace_torques,
            opspace_matrices,
            orientation_error,
        )

        self._matrices, self._null_torques = opspace_matrices, nullspace_torques
        self._orientation_error = orientation_error
        (robot,) = env.robots
        self._controller, self._gripper = robot.controller, robot.gripper
        self._model, self._data = env.sim.model._model, env.sim.data._data
        self._substeps = int(env.control_timestep / env.model_timestep)
        self._site = self._model.site(self._controller.eef_name).id
        self._positions, self._velocities = (
            list(self._controller.qpos_index),
            list(self._controller.qvel_index),
        )
        self._limits = robot.torque_limits
        self._arm = list(robot._ref_joint_actuator_indexes)
        self._fingers = list(robot._ref_joint_gripper_actuator_indexes)
        low, high = self._model.actuator_ctrlrange[self._fingers].T
        self._bias, self._weight = 0.5 * (high + low), 0.5 * (high - low)
        self._dim = self._controller.control_dim

    def do(self, action: Float[np.ndarray, "7"]) -> None:
        """Do one action."""
        for number in range(self._substeps):
            mujoco.mj_forward(self._model, self._data)
            self._solve_again()
            if number == 0:  # by robosuite itself: after a reset it reads what it knew before
                self._controller.set_goal(action[: self._dim])
                torques = self._controller.run_controller()
            else:
                torques = self._torques()
            fingers = self._gripper.format_action(action[self._dim :])
            self._data.ctrl[self._fingers] = self._bias + self._weight * fingers
            self._data.ctrl[self._arm] = np.clip(torques, *self._limits)
            self._solve_again()
            mujoco.mj_Euler(self._model, self._data)

    def _solve_again(self) -> None:
        """Compute accelerations anew, from where the solver ended before; the state is the same."""
        mujoco.mj_forwardSkip(self._model, self._data, mujoco.mjtStage.mjSTAGE_VEL, 1)

    def _torques(self) -> Float[np.ndarray, " joint"]:
        """Return what `OperationalSpaceController.run_controller` does, before it is clipped."""
        controller, data = self._controller, self._data
        place = np.array(data.site_xpos[self._site])
        rotation = np.array(data.site_xmat[self._site].reshape([3, 3]))
        move, turn = (np.zeros((3, self._model.nv)) for _ in range(2))
        mujoco.mj_jacSite(self._model, data, move, turn, self._site)
        speed, spin = np.dot(move, data.qvel), np.dot(turn, data.qvel)
        joints = np.array(data.qpos[self._positions])
        joint_speed = np.array(data.qvel[self._velocities])
        move = np.array(move[:, self._velocities])
        turn = np.array(turn[:, self._velocities])
        both = np.array(np.vstack([move, turn]))
        mass = np.ndarray(shape=(self._model.nv, self._model.nv), dtype=np.float64, order="C")
        mujoco.mj_fullM(self._model, mass, data.qM)
        mass = mass[self._velocities, :][:, self._velocities]
        stiffness, damping = controller.kp, controller.kd
        error = self._orientation_error(np.array(controller.goal_ori), rotation)
        force = np.multiply(np.array(controller.goal_pos) - place, stiffness[0:3])
        force = force + np.multiply(-speed, damping[0:3])
        torque = np.multiply(np.array(error), stiffness[3:6]) + np.multiply(-spin, damping[3:6])
        _, for_place, for_rotation, null = self._matrices(mass, both, move, turn)
        wrench = np.concatenate([np.dot(for_place, force), np.dot(for_rotation, torque)])
        torques = np.dot(both.T, wrench) + data.qfrc_bias[self._velocities]
        torques += self._null_torques(mass, null, controller.initial_joint, joints, joint_speed)
        return np.asarray(torques)
