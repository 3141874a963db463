from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eyehand.envs import meshes
from eyehand.envs.meshes import MESH_FACES, Mesh, decimate, decimated
from eyehand.envs.metaworld import MetaWorldEnv


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EYEHAND_CACHE", str(tmp_path))
    return tmp_path / "meshes"


@pytest.fixture(scope="module")
def model() -> Any:
    """The model of a simulation that has begun."""
    env = MetaWorldEnv("drawer-open", render_observations=False)
    env.reset(seed=2)
    return env._simulator.model


def bumpy_sphere(rings: int = 24) -> Mesh:
    u, v = np.meshgrid(np.linspace(0.1, 3.0, rings), np.linspace(0, 6.28, rings, endpoint=False))
    radius = 1 + 0.05 * np.sin(5 * u) * np.cos(3 * v)
    points = radius[..., None] * np.stack(
        [np.sin(u) * np.cos(v), np.sin(u) * np.sin(v), np.cos(u)], axis=-1
    )
    index = np.arange(rings * rings).reshape(rings, rings)
    here, right = index[:, :-1], index[:, 1:]
    below, across = np.roll(here, -1, axis=0), np.roll(right, -1, axis=0)
    faces = np.stack([here, below, right, right, below, across], axis=-1).reshape(-1, 3)
    return Mesh(points.reshape(-1, 3).astype(np.float32), faces.astype(np.int32), None)


def soup_of(mesh: Mesh) -> Mesh:
    """The mesh with a vertex of its own for every corner, and a texture in two islands.

    The upper half shows the left half of the texture, the lower half the right one; in both a
    corner's place follows from its x and y.
    """
    corners = mesh.vertices[mesh.faces]
    upper = corners.mean(axis=1)[:, 2] > 0
    place = 0.25 + 0.2 * corners[..., :2]
    place[..., 0] += np.where(upper, 0.0, 0.5)[:, None]
    faces = np.arange(3 * len(mesh.faces), dtype=np.int32).reshape(-1, 3)
    return Mesh(corners.reshape(-1, 3), faces, place.astype(np.float32))


def test_decimation_keeps_the_shape(cache: Path) -> None:
    vertices = bumpy_sphere().vertices
    fewer_vertices, fewer_faces, texture = decimate(bumpy_sphere(), count=300)
    assert texture is None
    assert 200 < len(fewer_faces) <= 360
    assert fewer_faces.min() >= 0
    assert fewer_faces.max() < len(fewer_vertices)
    distance = np.linalg.norm(fewer_vertices[:, None] - vertices, axis=-1).min(axis=1)
    assert distance.max() < 0.15
    np.testing.assert_allclose(np.ptp(fewer_vertices, axis=0), np.ptp(vertices, axis=0), atol=0.1)


def test_decimation_is_cached_by_content(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mesh = bumpy_sphere()
    made = decimate(mesh, count=300)
    (stored,) = cache.iterdir()

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("simplified again")

    with monkeypatch.context() as patch:
        patch.setattr(meshes.fast_simplification, "simplify", fail)
        read = decimate(mesh, count=300)
        for one, two in zip(made[:2], read[:2], strict=True):
            np.testing.assert_array_equal(one, two)
        larger = mesh._replace(vertices=mesh.vertices * 2)
        for changed in (larger, mesh._replace(faces=mesh.faces[1:])):
            with pytest.raises(AssertionError, match="again"):
                decimate(changed, count=300)
        with pytest.raises(AssertionError, match="again"):
            decimate(mesh, count=301)
    stored.write_bytes(stored.read_bytes()[:1000])  # truncated, as after a full disk
    for one, two in zip(made[:2], decimate(mesh, count=300)[:2], strict=True):
        np.testing.assert_array_equal(one, two)
    assert stored.stat().st_size > 1000
    assert list(cache.iterdir()) == [stored]


def test_a_texture_is_carried_over_and_stays_in_its_islands(cache: Path) -> None:
    soup = soup_of(bumpy_sphere())
    mesh = decimate(soup, count=300)
    assert 200 < len(mesh.faces) <= 360
    assert len(mesh.vertices) < 300  # joined: a soup would fall to shreds
    assert mesh.texture is not None
    corners = mesh.vertices[mesh.faces]
    wanted = 0.25 + 0.2 * corners[..., :2]
    left = mesh.texture[..., 0] < 0.5
    assert (left.all(axis=1) | (~left).all(axis=1)).all()  # no triangle reaches over the border
    upper = corners.mean(axis=1)[:, 2] > 0.15
    lower = corners.mean(axis=1)[:, 2] < -0.15
    assert left[upper].all()
    assert not left[lower].any()
    wanted[~left[:, 0], :, 0] += 0.5
    clear = upper | lower
    assert np.abs(mesh.texture - wanted)[clear].max() < 0.03


def test_big_meshes_are_decimated_and_small_ones_are_not(model: Any) -> None:
    drawn = decimated(model, count=MESH_FACES)
    big = model.mesh_facenum > MESH_FACES
    assert big.sum() == 11  # the links of the robot
    assert drawn.mesh_facenum[big].sum() < 0.25 * model.mesh_facenum[big].sum()
    np.testing.assert_array_equal(drawn.mesh_facenum[~big], model.mesh_facenum[~big])
    for mesh in np.flatnonzero(big):
        first, start = drawn.mesh_faceadr[mesh], drawn.mesh_vertadr[mesh]
        faces = drawn.mesh_face[first : first + drawn.mesh_facenum[mesh]]
        normals = drawn.mesh_facenormal[first : first + drawn.mesh_facenum[mesh]]
        assert faces.max() < drawn.mesh_vertnum[mesh]
        assert 0 <= normals.min() <= normals.max() < drawn.mesh_normalnum[mesh]
        new = drawn.mesh_vert[start : start + faces.max() + 1]
        old = model.mesh_vert[start : start + model.mesh_vertnum[mesh]]
        # The simplified link fills the same box, to within a millimetre or two.
        np.testing.assert_allclose(new.min(axis=0), old.min(axis=0), atol=4e-3)
        np.testing.assert_allclose(new.max(axis=0), old.max(axis=0), atol=4e-3)
