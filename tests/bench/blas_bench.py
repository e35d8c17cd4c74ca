#!/usr/bin/env python3
"""CPU time of the BLAS and LAPACK calls that GPTQ cannot do without, on one thread, for the layers of gptq_bench.

    blas_bench.py ROWS [INPUTSxOUTPUTS...]      needs numpy (with OpenBLAS)

For each layer: ssyrk of the fitted and of the held-back rows, dpotrf of the second moments, sgemm of each block of 128
rows with the errors of the rows before it, and the two quadratic forms that compare the result with plain rounding
(ssymm's work, as sgemm). Prints one line per layer and the sum.
"""
import os
import sys
import time

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"
import numpy as np  # noqa: E402: threads are read when it is loaded

BLOCK = 128


def measure(rows, inputs, outputs):
    random = np.random.default_rng(1)
    x = random.standard_normal((rows, inputs), dtype=np.float32)
    errors = random.standard_normal((inputs, outputs), dtype=np.float32)
    fitted = rows - rows // 5
    laps = [time.process_time()]
    fit = x[:fitted].T @ x[:fitted]
    judge = x[fitted:].T @ x[fitted:]
    laps.append(time.process_time())
    factor = np.linalg.cholesky(fit.astype(np.float64) + np.eye(inputs)).astype(np.float32)
    laps.append(time.process_time())
    for first in range(BLOCK, inputs, BLOCK):
        factor[first:first + BLOCK, :first] @ errors[:first]
    laps.append(time.process_time())
    for _ in range(2):
        np.vdot(errors, judge @ errors)
    laps.append(time.process_time())
    took = [after - before for before, after in zip(laps, laps[1:])]
    print(f"{inputs:6} x {outputs:<6} {sum(took):8.3f} s: moments {took[0]:.3f}, factor {took[1]:.3f}, "
          f"errors {took[2]:.3f}, comparison {took[3]:.3f}")
    return sum(took)


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    shapes = [tuple(map(int, shape.split("x"))) for shape in sys.argv[2:]]
    shapes = shapes or [(256, 768), (256, 256), (256, 1024), (1024, 256)]
    measure(64, 256, 256)  # starts the library
    print(f"sum {sum(measure(int(sys.argv[1]), *shape) for shape in shapes):.3f} s")


main()
