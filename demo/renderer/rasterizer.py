"""A z-buffer rasterizer in torch for images of small triangles."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

BOX_SIDES = (2, 3, 4, 6, 10, 20, 48, 128)


@functools.cache
def _box(side: int) -> tuple[Tensor, Tensor]:
    steps = torch.arange(side, dtype=torch.float32)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    return x.reshape(1, -1), y.reshape(1, -1)


def rasterize(
    points: Tensor, faces: Tensor, two_sided: Tensor, size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Find the nearest triangle at every sample centre.

    Args:
        points: [V, 3]: x, y in samples (the centre of sample i is i + 0.5), z of any range, larger
            = farther.
        faces: [F, 3] int64, triangles.
        two_sided: [F] bool; the others are visible only if clockwise in the image.
        size: Side of the image in samples.

    Returns:
        For the N covered samples: index [N] into the size * size image, triangle [N], barycentric
        weights [N, 3].
    """
    p = points[faces]
    x, y, z = p[..., 0], p[..., 1], p[..., 2]
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    low_x = (x.amin(1) - 0.5).ceil().clamp(min=0)
    low_y = (y.amin(1) - 0.5).ceil().clamp(min=0)
    wide = (x.amax(1) - 0.5).floor().clamp(max=size - 1) - low_x
    high = (y.amax(1) - 0.5).floor().clamp(max=size - 1) - low_y
    span, narrow = torch.maximum(wide, high), torch.minimum(wide, high)
    seen = (narrow >= 0) & torch.where(two_sided, area.abs() > 1e-7, area > 1e-7)
    # Two affine edge functions and depth per triangle: value = a * x + b * y + c.
    inverse = 1 / torch.where(area.abs() > 1e-7, area, torch.ones_like(area))
    a1, b1 = (y[:, 2] - y[:, 0]) * inverse, -(x[:, 2] - x[:, 0]) * inverse
    a2, b2 = -(y[:, 1] - y[:, 0]) * inverse, (x[:, 1] - x[:, 0]) * inverse
    dx, dy = low_x + 0.5 - x[:, 0], low_y + 0.5 - y[:, 0]
    w1, w2 = a1 * dx + b1 * dy, a2 * dx + b2 * dy
    near, far = float(z.min()), float(z.max())
    zn = (z - near) / max(far - near, 1e-9) * 8_000_000
    az = a1 * (zn[:, 1] - zn[:, 0]) + a2 * (zn[:, 2] - zn[:, 0])
    bz = b1 * (zn[:, 1] - zn[:, 0]) + b2 * (zn[:, 2] - zn[:, 0])
    z0 = zn[:, 0] + w1 * (zn[:, 1] - zn[:, 0]) + w2 * (zn[:, 2] - zn[:, 0])
    start = (low_y * size + low_x).long()
    table = torch.stack([w1, a1, b1, w2, a2, b2, z0, az, bz, low_x, low_y], 1)
    bits = max(int(faces.shape[0]).bit_length(), 1)
    buffer = torch.full((size * size,), 2**62, dtype=torch.int64)
    previous = 0
    for side in (*BOX_SIDES, size):
        chosen = (seen & (span < side) & (span >= previous)).nonzero()[:, 0]
        previous = side
        if not chosen.numel():
            continue
        t = table[chosen]
        bx, by = _box(side)
        u = t[:, 0:1] + t[:, 1:2] * bx + t[:, 2:3] * by
        v = t[:, 3:4] + t[:, 4:5] * bx + t[:, 5:6] * by
        hit = torch.minimum(torch.minimum(u, v), 1 - u - v) >= -1e-5
        row, cell = hit.nonzero().unbind(1)
        ox, oy = bx[0, cell], by[0, cell]
        r = t[row]
        depth = r[:, 6] + r[:, 7] * ox + r[:, 8] * oy
        inside = (r[:, 9] + ox < size) & (r[:, 10] + oy < size)
        triangle = chosen[row]
        index = start[triangle] + (oy * size + ox).long()
        key = (depth.long().clamp(min=0) << bits) | triangle
        if side > 2 or not bool(inside.all()):
            index, key = index[inside], key[inside]
        buffer.scatter_reduce_(0, index, key, "amin")
    index = (buffer < 2**62).nonzero()[:, 0]
    triangle = buffer[index] & ((1 << bits) - 1)
    t = table[triangle]
    ox = (index % size).float() - t[:, 9]
    oy = (index // size).float() - t[:, 10]
    u = t[:, 0] + t[:, 1] * ox + t[:, 2] * oy
    v = t[:, 3] + t[:, 4] * ox + t[:, 5] * oy
    return index, triangle, torch.stack([1 - u - v, u, v], 1)
