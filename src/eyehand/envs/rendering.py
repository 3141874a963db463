"""Pictures of a MuJoCo simulation, fast on a CPU, without changing its physics.

Mesa draws on the CPU, where passes (shadow map, reflection), samples per pixel and triangles cost
time. The fast renderer switches the passes off, takes one sample, and draws meshes with fewer
triangles (:mod:`eyehand.envs.meshes`). They are put into a copy of the model that only uploads
geometry to OpenGL: the model that is simulated is never written to, so its trajectory cannot
change.
"""

from copy import copy
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int32, UInt8

from eyehand.envs.opengl import gl_context, holders  # first: it chooses the library for mujoco

# isort: split
import mujoco

from eyehand.envs.meshes import MESH_FACES, decimated
from eyehand.envs.robot_env import Quality
from eyehand.types import InputError


class Crop(NamedTuple):
    """The part of a camera's picture that is drawn: its edges, in halves of the picture.

    Counted from the picture's centre, to the right and up; the whole picture is (-1, 1, -1, 1).
    """

    left: float
    right: float
    bottom: float
    top: float


WHOLE = Crop(-1, 1, -1, 1)


class Renderer:
    """Draws one camera of one model. Make it, use it and close it in one thread of one process.

    ``offset``, how far the camera stands from where the model has it, to its right, metres, and
    ``light``, the factor of every lamp's brightness, may be set between two pictures.

    Args:
        model: The simulated model; it is read, never written.
        camera: Name of a camera of the model.
        size: Height and width of the picture, pixels.
        quality: ``fast`` for policies; ``film`` draws everything as the model's author meant it.
        crop: A square part of the camera's picture, drawn instead of the whole.
        faces: Most triangles of one mesh that the fast renderer draws.
        hidden: Groups of geoms that are not drawn, such as the collision geometry.

    Raises:
        InputError: If the model has no such camera, the size is not positive, or no OpenGL context
            can be made.
    """

    def __init__(
        self,
        model: Any,
        *,
        camera: str,
        size: int,
        quality: Quality = "fast",
        crop: Crop = WHOLE,
        faces: int = MESH_FACES,
        hidden: tuple[int, ...] = (),
    ) -> None:
        if size < 1:
            raise InputError(f"a picture must be at least 1 pixel wide. Got image_size={size}.")
        number = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, camera)
        if number < 0:
            raise InputError(f"the model has no camera {camera!r}.")
        self._model = model
        self._crop = crop
        self.offset, self.light = 0.0, 1.0
        drawn = decimated(model, count=faces) if quality == "fast" else copy(model)
        drawn.vis.global_.offwidth = drawn.vis.global_.offheight = size
        if quality == "fast":
            drawn.vis.quality.offsamples = 0
            drawn.vis.quality.shadowsize = 0  # 64 MB for a shadow map that is not drawn
        self.context = gl_context()
        self.context.make_current()
        # Geometry, textures and quality are uploaded here; the copy is not needed afterwards.
        self._drawing: Any = mujoco.MjrContext(drawn, mujoco.mjtFontScale.mjFONTSCALE_100)
        holders.add(self)
        self._viewport = mujoco.MjrRect(0, 0, size, size)
        self._pixels = np.empty((size, size, 3), np.uint8)
        # A sky of one colour is painted where nothing was drawn: as a textured box around the
        # scene it takes a fifth of the time.
        self._sky = _sky_colour(model) if quality == "fast" else None
        self._depth = np.empty((size, size), np.float32) if self._sky is not None else None
        self._scene = mujoco.MjvScene(model, maxgeom=1000)
        if quality == "fast":
            self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = False
            self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = False
            self._scene.flags[mujoco.mjtRndFlag.mjRND_HAZE] = False
            self._scene.flags[mujoco.mjtRndFlag.mjRND_SKYBOX] = self._sky is None
        self._option = mujoco.MjvOption()
        self._option.geomgroup[list(hidden)] = 0
        self._perturbation = mujoco.MjvPerturb()
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._camera.fixedcamid = number

    def render(self, data: Any) -> UInt8[np.ndarray, "height width 3"]:
        """Return the picture of a state, rows from the top, in memory of its own.

        Raises:
            RuntimeError: If the renderer is closed.
        """
        self._update_and_draw(data)
        if self._depth is not None and self._sky is not None:
            self._pixels[self._depth == 1] = self._sky
        return self._pixels[::-1].copy()  # in OpenGL the first row is the lowest

    def render_bodies(self, data: Any) -> Int32[np.ndarray, "height width"]:
        """Return which body of the model every pixel shows; 0 is the world itself, or nothing.

        Privileged, as only a simulator knows it.

        Raises:
            RuntimeError: If the renderer is closed.
        """
        flags = mujoco.mjtRndFlag.mjRND_SEGMENT, mujoco.mjtRndFlag.mjRND_IDCOLOR
        before = [self._scene.flags[flag] for flag in flags]
        try:
            for flag in flags:
                self._scene.flags[flag] = True
            self._update_and_draw(data)
        finally:
            for flag, value in zip(flags, before, strict=True):
                self._scene.flags[flag] = value
        red, green, blue = self._pixels[::-1].astype(np.int32).transpose(2, 0, 1)
        body = np.zeros(self._scene.ngeom + 1, np.int32)  # number 0 is nothing
        for geom in self._scene.geoms[: self._scene.ngeom]:
            if geom.segid >= 0 and geom.objtype == mujoco.mjtObj.mjOBJ_GEOM:
                body[geom.segid + 1] = self._model.geom_bodyid[geom.objid]
        return body[red + (green << 8) + (blue << 16)]

    def _update_and_draw(self, data: Any) -> None:
        if self._drawing is None:
            raise RuntimeError("this renderer is closed.")
        mujoco.mjv_updateScene(
            self._model, data, self._option, self._perturbation, self._camera,
            mujoco.mjtCatBit.mjCAT_ALL, self._scene,
        )  # fmt: skip
        self._change_scene()
        self.context.make_current()
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._drawing)
        mujoco.mjr_render(self._viewport, self._scene, self._drawing)
        mujoco.mjr_readPixels(self._pixels, self._depth, self._viewport, self._drawing)

    def _change_scene(self) -> None:
        """Apply crop, offset and light to cameras and lamps, which mujoco sets at every update."""
        for camera in self._scene.camera:
            half = (camera.frustum_top - camera.frustum_bottom) / 2
            camera.frustum_bottom, camera.frustum_top = (
                half * self._crop.bottom,
                half * self._crop.top,
            )
            # The width follows from the picture's proportions.
            camera.frustum_center = half * (self._crop.left + self._crop.right) / 2
            if self.offset:
                camera.pos += self.offset * np.cross(camera.forward, camera.up)
        if self.light != 1:
            for lamp in self._scene.lights[: self._scene.nlight]:
                for part in (lamp.ambient, lamp.diffuse, lamp.specular):
                    part *= self.light

    def close(self) -> None:
        """Free the memory of the renderer; a second call does nothing."""
        if self._drawing is not None:
            self.context.make_current()
            self._drawing.free()
            self._drawing = None

    def __del__(self) -> None:
        if getattr(self, "_drawing", None) is not None:
            self.close()


def seen_from(
    model: Any, data: Any, camera: str, points: Float[np.ndarray, "point 3"], *, offset: float
) -> Float[np.ndarray, "point 3"]:
    """Return points of the world as a camera sees them.

    Args:
        model: The simulated model.
        data: Its state.
        camera: Name of a camera of the model.
        points: Places, metres.
        offset: How far the camera stands to the right of where the model has it, metres.

    Returns:
        To the right and up, -1 to 1 inside the picture, and the distance along the camera's axis,
        metres.
    """
    place = data.camera(camera)
    moved = (points - place.xpos) @ place.xmat.reshape(3, 3) - [offset, 0, 0]
    distance = -moved[:, 2:]
    reach = distance * np.tan(np.radians(model.camera(camera).fovy[0]) / 2)
    return np.concatenate([moved[:, :2] / reach, distance], axis=1)


def _sky_colour(model: Any) -> UInt8[np.ndarray, "3"] | None:
    """Return the colour of a model's sky if it has a sky of one colour."""
    for texture in range(model.ntex):
        if model.tex_type[texture] == mujoco.mjtTexture.mjTEXTURE_SKYBOX:
            start = model.tex_adr[texture]
            count = model.tex_height[texture] * model.tex_width[texture] * 3
            colours = model.tex_data[start : start + count].reshape(-1, 3)
            return colours[0].copy() if (colours == colours[0]).all() else None
    return None
