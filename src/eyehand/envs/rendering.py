"""Pictures of a MuJoCo simulation, fast on a CPU, without changing its physics.

Mesa draws on the CPU, where passes (shadow map, reflection), samples per pixel and triangles cost
time. The fast renderer switches the passes off, takes one sample, and draws decimated meshes
(quadric simplification, Garland & Heckbert 1997, by fast-simplification). They are put into a copy
of the model that only uploads geometry to OpenGL: the model that is simulated is never written to,
so its trajectory cannot change. Decimated meshes are cached on disk by content hash.
"""

import atexit
import ctypes
import hashlib
import os
import subprocess
import sys
import threading
import weakref
import zipfile
from contextlib import suppress
from copy import copy
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple

import fast_simplification
import numpy as np
from jaxtyping import Float32, Int, Int32, UInt8

from eyehand.envs.robot_env import Quality
from eyehand.files import cache_folder, replacing
from eyehand.types import InputError

LIBRARIES = {
    "egl": ("libEGL.so.1",),
    "osmesa": ("libOSMesa.so.8", "libOSMesa.so.6"),
    "glfw": ("libGL.so.1",),
}
"""Ways to get an OpenGL context, best first; each needs one of the system libraries beside it."""


def _loadable(backend: str) -> bool:
    for library in LIBRARIES[backend]:
        try:
            ctypes.CDLL(library)
        except OSError:
            continue
        return True
    return False


def _has_display() -> bool:
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _choose_backend() -> str:
    """Return a value of ``MUJOCO_GL`` to import mujoco with: one that can draw, if any."""
    asked = os.environ.get("MUJOCO_GL", "").lower().strip()
    if asked:
        return asked if asked not in LIBRARIES or _loadable(asked) else "disabled"
    usable = [name for name in LIBRARIES if _loadable(name) and (name != "glfw" or _has_display())]
    return [*usable, "disabled"][0]


_ASKED = os.environ.get("MUJOCO_GL")
# mujoco reads it when it is imported, and its own choice needs a display.
os.environ["MUJOCO_GL"] = _choose_backend()
# Draw in the calling thread: Mesa would start a thread per core in every worker.
os.environ.setdefault("LP_NUM_THREADS", "0")
# Torch's CUDA build imports triton when it first needs it. Triton and Mesa both bring LLVM: triton
# imported after Mesa has drawn ends the process (a segmentation fault), before it they get along.
with suppress(ImportError):
    import_module("triton")

import mujoco  # noqa: E402  (after MUJOCO_GL is decided)

MESH_FACES = 800
"""Most triangles of one mesh that the fast renderer draws. The robot's eleven links have 67,000
and keep about 9,000; the objects that are handled mostly have fewer and are drawn as they are."""
AGGRESSIVENESS = range(2, 8)
"""How coarse the simplification's steps may be. Its default, 7, tears holes in the robot, but small
steps stop early on some meshes: the first is taken that comes within a fifth of the goal."""
CREASE = 0.5
"""Cosine of the angle between a triangle's and a vertex's normal beyond which the edge is sharp."""


def decimate(
    vertices: Float32[np.ndarray, "vertex 3"], faces: Int[np.ndarray, "face 3"], *, count: int
) -> tuple[Float32[np.ndarray, "kept_vertex 3"], Int[np.ndarray, "kept_face 3"]]:
    """Simplify a triangle mesh, or read the result of doing so before from the cache.

    Args:
        vertices: Positions, metres.
        faces: Indices into ``vertices``.
        count: About how many triangles to keep, fewer than there are.

    Returns:
        The vertices and faces of the simplified mesh, in the same frame.
    """
    how = f"{fast_simplification.__version__} {count} {AGGRESSIVENESS}"
    digest = hashlib.sha256(how.encode())
    digest.update(np.ascontiguousarray(vertices).tobytes())
    digest.update(np.ascontiguousarray(faces, dtype=np.int32).tobytes())
    path = cache_folder() / "meshes" / f"{digest.hexdigest()}.npz"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return stored["vertices"], stored["faces"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass  # not in the cache, or damaged there: simplified again
    for aggressiveness in AGGRESSIVENESS:
        fewer_vertices, fewer_faces = fast_simplification.simplify(
            np.ascontiguousarray(vertices),
            np.ascontiguousarray(faces),
            target_count=count,
            agg=aggressiveness,
        )
        if len(fewer_faces) <= 1.2 * count:
            break
    result = fewer_vertices.astype(np.float32), fewer_faces.astype(np.int32)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, shared=True) as beside, beside.open("wb") as made:
        np.savez(made, vertices=result[0], faces=result[1])
    return result


def _normals(
    vertices: Float32[np.ndarray, "vertex 3"], faces: Int[np.ndarray, "face 3"], *, room: int
) -> tuple[Float32[np.ndarray, "normal 3"], Int[np.ndarray, "face 3"]]:
    """Return at most ``room`` normals, and the number of the normal of every triangle's corner.

    A corner uses the smooth normal of its vertex, or at a sharp edge the flat one of its triangle.
    """
    corners = vertices[faces]
    scaled = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    smooth = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(smooth, faces[:, corner], scaled)  # weighted by area
    flat = scaled / np.maximum(np.linalg.norm(scaled, axis=1, keepdims=True), 1e-12)
    smooth /= np.maximum(np.linalg.norm(smooth, axis=1, keepdims=True), 1e-12)
    sharp = np.einsum("fd,fcd->fc", flat, smooth[faces]) < CREASE
    own = np.flatnonzero(sharp.any(axis=1))[: room - len(vertices)]
    flat_index = np.full((len(faces), 1), -1)
    flat_index[own, 0] = len(vertices) + np.arange(len(own))
    corner_normals = np.where(sharp & (flat_index >= 0), flat_index, faces)
    return np.concatenate([smooth, flat[own]]).astype(np.float32), corner_normals


def _decimated(model: Any) -> Any:
    """Return a copy of ``model`` for drawing, with fewer triangles in every mesh."""
    model = copy(model)
    for mesh in range(model.nmesh):
        first, count = model.mesh_faceadr[mesh], model.mesh_facenum[mesh]
        if count <= MESH_FACES or model.mesh_texcoordadr[mesh] >= 0:
            continue
        start, vertex_count = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
        vertices, faces = decimate(
            model.mesh_vert[start : start + vertex_count],
            model.mesh_face[first : first + count],
            count=MESH_FACES,
        )
        normals, corner_normals = _normals(vertices, faces, room=int(model.mesh_normalnum[mesh]))
        start_normal = model.mesh_normaladr[mesh]
        model.mesh_vert[start : start + len(vertices)] = vertices
        model.mesh_face[first : first + len(faces)] = faces
        model.mesh_normal[start_normal : start_normal + len(normals)] = normals
        model.mesh_facenormal[first : first + len(faces)] = corner_normals
        model.mesh_facenum[mesh] = len(faces)
        model.mesh_graphadr[mesh] = -1  # its convex hull indexes the old vertices
    return model


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
    ) -> None:
        if size < 1:
            raise InputError(f"a picture must be at least 1 pixel wide. Got image_size={size}.")
        number = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, camera)
        if number < 0:
            raise InputError(f"the model has no camera {camera!r}.")
        self._model = model
        self._crop = crop
        self.offset, self.light = 0.0, 1.0
        drawn = _decimated(model) if quality == "fast" else copy(model)
        drawn.vis.global_.offwidth = drawn.vis.global_.offheight = size
        if quality == "fast":
            drawn.vis.quality.offsamples = 0
            drawn.vis.quality.shadowsize = 0  # 64 MB for a shadow map that is not drawn
        self._gl = _gl_context()
        self._gl.make_current()
        # Geometry, textures and quality are uploaded here; the copy is not needed afterwards.
        self._context: Any = mujoco.MjrContext(drawn, mujoco.mjtFontScale.mjFONTSCALE_100)
        _open.add(self)
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
        if self._context is None:
            raise RuntimeError("this renderer is closed.")
        mujoco.mjv_updateScene(
            self._model, data, self._option, self._perturbation, self._camera,
            mujoco.mjtCatBit.mjCAT_ALL, self._scene,
        )  # fmt: skip
        self._change_scene()
        self._gl.make_current()
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        mujoco.mjr_render(self._viewport, self._scene, self._context)
        mujoco.mjr_readPixels(self._pixels, self._depth, self._viewport, self._context)

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
        if self._context is not None:
            self._gl.make_current()
            self._context.free()
            self._context = None

    def __del__(self) -> None:
        if getattr(self, "_context", None) is not None:
            self.close()


_thread = threading.local()
_open: weakref.WeakSet[Renderer] = weakref.WeakSet()


def _gl_context() -> Any:  # mujoco has a class per platform
    """Return this thread's OpenGL context.

    All renderers of a thread share it: a new one costs 0.4 s, in which Mesa compiles its shaders.
    """
    if not hasattr(_thread, "context"):
        if os.environ["MUJOCO_GL"] == "disabled":
            raise InputError(
                f"no picture can be drawn: no OpenGL library was found for MUJOCO_GL={_ASKED!r}. "
                "`eyehand doctor` tries every way and says what to install."
            )
        try:
            # By MUJOCO_GL as it is now: mujoco itself chose when it was imported, maybe before
            # this module. The size does not matter: mujoco draws to buffers of its own.
            _thread.context = import_module(f"mujoco.{os.environ['MUJOCO_GL']}").GLContext(64, 64)
        except Exception as error:
            raise InputError(
                f"no picture can be drawn with MUJOCO_GL={os.environ['MUJOCO_GL']} "
                f"({type(error).__name__}: {error}). `eyehand doctor` tries every way and says "
                "what to install."
            ) from error
        # Exit handlers run last in, first out: this one before the driver's, which the context
        # has just registered and which complains if anything is still open.
        atexit.register(_close_all, _thread.context)
    return _thread.context


def _close_all(context: Any) -> None:
    if context is not getattr(_thread, "context", None):
        return  # the context of a thread that has ended, and is gone with it
    for renderer in list(_open):
        if renderer._gl is context:
            renderer.close()
    context.free()
    del _thread.context


def _sky_colour(model: Any) -> UInt8[np.ndarray, "3"] | None:
    """Return the colour of a model's sky if it has a sky of one colour."""
    for texture in range(model.ntex):
        if model.tex_type[texture] == mujoco.mjtTexture.mjTEXTURE_SKYBOX:
            start = model.tex_adr[texture]
            count = model.tex_height[texture] * model.tex_width[texture] * 3
            colours = model.tex_data[start : start + count].reshape(-1, 3)
            return colours[0].copy() if (colours == colours[0]).all() else None
    return None


@dataclass(frozen=True)
class Backend:
    """One way to draw, and whether it works on this machine."""

    name: str
    """What ``MUJOCO_GL`` would be."""
    works: bool
    """Whether a frame was drawn."""
    frames_per_second: float
    """Frames of 96 x 96 pixels drawn in a second; 0 where it does not work."""
    error: str
    """Why it does not work, in one line; empty where it does."""


_PROBE = """
import time
from eyehand.envs.metaworld import MetaWorldEnv
env = MetaWorldEnv("reach")
env.reset(seed=0)
assert env.render().std() > 0, "the picture is empty"
start = time.perf_counter()
for _ in range(30):
    env.render()
print(30 / (time.perf_counter() - start))
env.close()
"""


def probe_backends() -> list[Backend]:
    """Draw with every way to get an OpenGL context, each in a process of its own, best first."""
    return [_probe(name) for name in LIBRARIES]


def _probe(name: str) -> Backend:
    if not _loadable(name):
        missing = " or ".join(LIBRARIES[name])
        return Backend(
            name, works=False, frames_per_second=0.0, error=f"{missing} is not installed"
        )
    if name == "glfw" and not _has_display():
        return Backend(name, works=False, frames_per_second=0.0, error="there is no display")
    try:
        run = subprocess.run(
            [sys.executable, "-c", _PROBE],
            env={**os.environ, "MUJOCO_GL": name},
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Backend(name, works=False, frames_per_second=0.0, error="no frame after 120 s")
    except subprocess.CalledProcessError as failure:
        lines = failure.stderr.strip().splitlines() or [f"exit code {failure.returncode}"]
        return Backend(name, works=False, frames_per_second=0.0, error=lines[-1])
    return Backend(name, works=True, frames_per_second=float(run.stdout), error="")
