"""Triangle meshes with fewer triangles, for drawing: physics keeps its own.

Quadric simplification (Garland and Heckbert, 1997, https://doi.org/10.1145/258734.258849) by
fast-simplification. Results are cached on disk by content hash.
"""

import hashlib
import zipfile
from copy import copy
from typing import Any, NamedTuple

import fast_simplification
import numpy as np
from jaxtyping import Float, Float32, Int, Int32, Int64
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from eyehand.files import cache_folder, replacing

MESH_FACES = 800
"""Most triangles of one mesh that the fast renderer draws. The robot's eleven links have 67,000
and keep about 9,000; the objects that are handled mostly have fewer and are drawn as they are."""
AGGRESSIVENESS = range(2, 8)
"""How coarse the simplification's steps may be. Its default, 7, tears holes in the robot, but small
steps stop early on some meshes: the first is taken that comes within a fifth of the goal."""
CREASE = 0.5
"""Cosine of the angle between a triangle's and a vertex's normal beyond which the edge is sharp."""


class Mesh(NamedTuple):
    """Triangles, and where their corners lie in a texture."""

    vertices: Float32[np.ndarray, "vertex 3"]
    """Positions, metres."""
    faces: Int32[np.ndarray, "face 3"]
    """Indices into ``vertices``."""
    texture: Float32[np.ndarray, "face 3 2"] | None
    """Places of every triangle's corners in the texture; None without a texture."""


def decimate(mesh: Mesh, *, count: int) -> Mesh:
    """Simplify a mesh, or read the result of doing so before from the cache.

    Args:
        mesh: The mesh. One with a texture may have a vertex of its own for every corner: equal
            ones are joined first, or it would fall to shreds.
        count: About how many triangles to keep, fewer than there are.

    Returns:
        The simplified mesh, in the same frame.
    """
    how = f"2 {fast_simplification.__version__} {count} {AGGRESSIVENESS}"
    digest = hashlib.sha256(how.encode())
    for part in mesh:
        if part is not None:
            digest.update(np.ascontiguousarray(part).tobytes())
    path = cache_folder() / "meshes" / f"{digest.hexdigest()}.npz"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return Mesh(stored["vertices"], stored["faces"], stored.get("texture"))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass  # not in the cache, or damaged there: simplified again
    joined = mesh if mesh.texture is None else _joined(mesh)
    result = _simplified(joined, count)
    if joined.texture is not None:
        result = result._replace(texture=_texture_of(joined, result))
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, shared=True) as beside, beside.open("wb") as made:
        np.savez(
            made, **{name: part for name, part in result._asdict().items() if part is not None}
        )
    return result


def _simplified(mesh: Mesh, count: int) -> Mesh:
    """Return the mesh with about ``count`` triangles, without a texture."""
    for aggressiveness in AGGRESSIVENESS:
        vertices, faces = fast_simplification.simplify(
            np.ascontiguousarray(mesh.vertices),
            np.ascontiguousarray(mesh.faces),
            target_count=count,
            agg=aggressiveness,
        )
        if len(faces) <= 1.2 * count:
            break
    return Mesh(vertices.astype(np.float32), faces.astype(np.int32), None)


def _joined(mesh: Mesh) -> Mesh:
    """Return the mesh with one vertex for every place, without triangles that are lines."""
    vertices, number = np.unique(mesh.vertices, axis=0, return_inverse=True)
    faces = number.reshape(-1)[mesh.faces].astype(np.int32)
    first, second, third = faces.T
    whole = (first != second) & (second != third) & (third != first)
    assert mesh.texture is not None
    return Mesh(vertices, faces[whole], mesh.texture[whole])


def _texture_of(mesh: Mesh, fewer: Mesh) -> Float32[np.ndarray, "face 3 2"]:
    """Return where the corners of a simplified mesh lie in the texture.

    A texture is cut into islands, and a triangle that reached over their border would show what
    lies between them. So each takes the island at its middle, and the place of a corner is read
    off the nearest triangle of that island, in whose plane it is continued.
    """
    assert mesh.texture is not None
    island = _islands(mesh)
    corners = mesh.vertices[mesh.faces]
    middle = corners.mean(axis=1)
    # A triangle is found by its middle and by points near its corners.
    probes = np.concatenate([middle[:, None], 0.8 * corners + 0.2 * middle[:, None]], axis=1)
    owner = np.repeat(np.arange(len(mesh.faces)), 4)
    points = probes.reshape(-1, 3)
    new_corners = fewer.vertices[fewer.faces]
    new_middle = new_corners.mean(axis=1)
    own = island[owner[KDTree(points).query(new_middle)[1]]]
    found = np.empty((len(fewer.faces), 3, 2), np.float32)
    for number in np.unique(own):
        inside, wanted = np.flatnonzero(island[owner] == number), own == number
        asked = 0.98 * new_corners[wanted] + 0.02 * new_middle[wanted, None]
        nearest = owner[inside[KDTree(points[inside]).query(asked.reshape(-1, 3))[1]]]
        share = _barycentric(asked.reshape(-1, 3), corners[nearest])
        places = np.einsum("pc,pcd->pd", share, mesh.texture[nearest])
        found[wanted] = places.reshape(-1, 3, 2)
    return found


def _islands(mesh: Mesh) -> Int64[np.ndarray, " face"]:
    """Return the number of every triangle's island: the part of the texture that hangs together."""
    assert mesh.texture is not None
    corner = np.concatenate([mesh.faces.reshape(-1, 1), mesh.texture.reshape(-1, 2)], axis=1)
    number = np.unique(corner, axis=0, return_inverse=True)[1].reshape(-1, 3)
    pairs = np.concatenate([number[:, :2], number[:, 1:]])
    size = int(number.max()) + 1
    graph = coo_array((np.ones(len(pairs), np.int8), pairs.T), shape=(size, size))
    label: Int64[np.ndarray, " corner"] = connected_components(graph, directed=False)[1]
    return label[number[:, 0]].astype(np.int64)


def _barycentric(
    points: Float[np.ndarray, "point 3"], corners: Float[np.ndarray, "point 3 3"]
) -> Float[np.ndarray, "point 3"]:
    """Return the shares of a triangle's corners in a point's foot on its plane, each at least 0."""
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    offset = points - corners[:, 0]
    gram = np.stack([
        np.stack([(first * first).sum(1), (first * second).sum(1)], axis=1),
        np.stack([(first * second).sum(1), (second * second).sum(1)], axis=1),
    ], axis=1)  # fmt: skip
    gram += 1e-12 * np.trace(gram, axis1=1, axis2=2)[:, None, None] * np.eye(2) + 1e-30 * np.eye(2)
    right = np.stack([(first * offset).sum(1), (second * offset).sum(1)], axis=1)
    share = np.linalg.solve(gram, right[..., None])[..., 0]
    whole = np.concatenate([1 - share.sum(axis=1, keepdims=True), share], axis=1).clip(0)
    return whole / whole.sum(axis=1, keepdims=True)


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


def decimated(model: Any, *, count: int) -> Any:
    """Return a copy of a MuJoCo model for drawing, with at most ``count`` triangles in a mesh."""
    model = copy(model)
    for number in range(model.nmesh):
        first, size = model.mesh_faceadr[number], model.mesh_facenum[number]
        if size <= count:
            continue
        start, vertex_count = model.mesh_vertadr[number], model.mesh_vertnum[number]
        at, places = model.mesh_texcoordadr[number], None
        if at >= 0:
            places = model.mesh_texcoord[at:][model.mesh_facetexcoord[first : first + size]]
        whole = Mesh(
            model.mesh_vert[start : start + vertex_count],
            model.mesh_face[first : first + size],
            places,
        )
        mesh = decimate(whole, count=count)
        room = int(model.mesh_normalnum[number])
        if room < len(mesh.vertices) or _places(mesh) > int(model.mesh_texcoordnum[number]):
            continue  # the model's arrays have no room for what is new in it
        faces = slice(first, first + len(mesh.faces))
        normals, corner_normals = _normals(mesh.vertices, mesh.faces, room=room)
        start_normal = model.mesh_normaladr[number]
        model.mesh_vert[start : start + len(mesh.vertices)] = mesh.vertices
        model.mesh_face[faces] = mesh.faces
        model.mesh_normal[start_normal : start_normal + len(normals)] = normals
        model.mesh_facenormal[faces] = corner_normals
        model.mesh_facenum[number] = len(mesh.faces)
        model.mesh_graphadr[number] = -1  # its convex hull indexes the old vertices
        if mesh.texture is not None:
            places, index = np.unique(mesh.texture.reshape(-1, 2), axis=0, return_inverse=True)
            model.mesh_texcoord[at : at + len(places)] = places
            model.mesh_facetexcoord[faces] = index.reshape(-1, 3)
    return model


def _places(mesh: Mesh) -> int:
    """Return how many places in its texture a mesh names; 0 without a texture."""
    return 0 if mesh.texture is None else len(np.unique(mesh.texture.reshape(-1, 2), axis=0))
