"""Fills numba's cache with the kernels that are not of batches. Importing some of them compiles those already."""

from __future__ import annotations

import numpy as np

from engine.kernels.calendar import local_day
from engine.kernels.contact import rolling_load
from engine.kernels.evaluate import evaluate
from engine.kernels.funnel import funnel
from engine.kernels.linear import linear_scores, linear_shares, model_size, pack_arm, pack_hybrid, room
from engine.kernels.normals import POINTS, best_of_normals
from engine.kernels.philox import uniform30


def warm() -> None:
    """Calls every kernel once on tiny inputs."""
    i32, i64 = np.zeros(2, np.int32), np.zeros(2, np.int64)
    f64, u64 = i64.view(np.float64), i64.view(np.uint64)
    i32x2, i64x2 = np.zeros((2, 2), np.int32), np.zeros((2, 2), np.int64)
    f64x2, u64x2 = i64x2.view(np.float64), i64x2.view(np.uint64)
    segments, spans = np.zeros((0, 4), np.int32), np.zeros((1, 8), np.int32)
    messages, runs = np.zeros((0, 6), np.int32), np.zeros((0, 3), np.int32)
    local_day(0, 0, np.array([0, 1]), i64, i64)
    rolling_load(i64, 0, 1)
    u32 = np.zeros(2, np.uint32)
    evaluate(
        1, segments, spans, runs, np.zeros((2, 4), np.uint32), i64, f64, u32, i64, f64, u32, u32, u32,
        i64x2, np.zeros((2, 2), np.uint8), i64, i64, i64, i64, i64,
        i64x2, f64x2, u64, u64, u64x2, i64x2, u64x2, u64x2, u64x2,
    )  # fmt: skip
    funnel(
        1, segments, spans, np.zeros((0, 2), np.uint32), i32x2, messages, i32, f64, f64x2, u64x2, u64x2, i32, u64,
        i64, i32, i32, np.zeros(2, np.int8),
    )  # fmt: skip
    uniform30(0, 0, 0, 0, 0, 0)
    best_of_normals(np.zeros(2), np.ones(2), 2, *np.empty((2, 2, POINTS)), np.empty(POINTS), np.zeros(2))
    model = np.zeros(model_size(1, 1))
    model[:2] = 1, 1
    pack_arm(np.zeros(2), 0, 1, 1, 1.0, 0.5, 1.0, *np.zeros((2, 1, 1)), np.zeros(1), model)
    alone = np.zeros((1, 2)), np.zeros(1, np.int64)
    pack_hybrid(*alone, 1, 1, 1.0, 0.5, np.ones(1), np.zeros((4, 1, 1)), np.zeros((2, 1)), model)
    linear_scores(model, np.ones(1, np.int64), room(1, 1))
    linear_shares(model, np.ones(1, np.int64), room(1, 1), np.zeros(1, np.int64))
