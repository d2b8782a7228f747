"""Coordinates in which a bundle adjustment is round at its start, so that few inner steps solve each outer one."""

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import LinearOperator

from ...sync.camera_model import Array

_SMALLEST = 1e-12
"""Directions flatter than this, of a normal matrix with a diagonal of 1, are not stretched further."""


def whitening(jacobian: csr_matrix, n_cameras: int, size: float) -> Array:
    """(n, n) float64: takes a step of length 1 to one that is expected to change the residuals by ``size``.

    It is a root of the inverse normal matrix, by way of the Schur complement of the boards: each board touches no
    other, so that all decompositions are small. Its first ``n_cameras`` rows and columns give the cameras' covariance.
    """
    normal: Array = (jacobian.T @ jacobian).toarray()  # pyright: ignore[reportAttributeAccessIssue]
    scale = 1 / np.sqrt(np.maximum(np.diag(normal), 1e-30))
    normal = normal * scale[:, None] * scale
    n, n_boards = len(normal), (len(normal) - n_cameras) // 6
    each = np.arange(n_boards)
    boards = normal[n_cameras:, n_cameras:].reshape(n_boards, 6, n_boards, 6)[each, :, each, :]
    board_roots = _inverse_root(boards)
    coupling = normal[:n_cameras, n_cameras:].reshape(n_cameras, n_boards, 6)
    solved = np.einsum("bij,bkj,cbk->cbi", board_roots, board_roots, coupling)
    camera_root = _inverse_root(normal[:n_cameras, :n_cameras] - np.einsum("cbi,dbi->cd", solved, coupling))
    out = np.zeros((n, n))
    out[:n_cameras, :n_cameras] = camera_root
    out[n_cameras:, :n_cameras] = -np.einsum("cbi,cd->bid", solved, camera_root).reshape(6 * n_boards, n_cameras)
    for board in range(n_boards):
        rows = slice(n_cameras + 6 * board, n_cameras + 6 * board + 6)
        out[rows, rows] = board_roots[board]
    return scale[:, None] * out * max(size, 1e-9)


def _inverse_root(matrices: Array) -> Array:
    """(..., k, k) R with R R^T the inverse of symmetric ``matrices``; flat directions are held at a floor."""
    if matrices.shape[-1] == 0:
        return matrices
    values, vectors = np.linalg.eigh(matrices)
    return vectors / np.sqrt(np.maximum(values, _SMALLEST))[..., None, :]


class Stretched(LinearOperator):
    """A sparse Jacobian in the stretched coordinates, never multiplied out.

    Args:
        sparse: Jacobian in plain coordinates, (m, n).
        stretch: (n, n), from stretched to plain coordinates.
        turned: its transpose, contiguous.
    """

    def __init__(self, sparse: csr_matrix, stretch: Array, turned: Array) -> None:
        self._sparse = sparse
        self._transposed = sparse.T.tocsr()
        self._stretch = stretch
        self._turned = turned
        super().__init__(np.float64, sparse.shape)

    def _matvec(self, x: Array) -> Array:
        return self._sparse @ times(self._stretch, x.ravel())

    def _rmatvec(self, x: Array) -> Array:
        return times(self._turned, self._transposed @ x.ravel())


def times(matrix: Array, vector: Array) -> Array:
    """A product without BLAS, whose threads cost more than they bring at this size, above all on busy cores."""
    return np.einsum("ij,j->i", matrix, vector)
