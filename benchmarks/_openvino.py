# SPDX-License-Identifier: Apache-2.0
"""One side of `inference.py`, run by the Python of an environment that has OpenVINO: it need not install beside what Pellucid needs.

    PYTHON _openvino.py MODEL.onnx IMAGES.npy ANSWERS.npy [f32]

It writes its answers for the images once; then each line it reads is a number of calls, and it prints the seconds of processor time that
these took. Without a number format OpenVINO takes its own choice.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import openvino


def main() -> None:
    model, images, answers, *precision = sys.argv[1:]
    asked = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    core = openvino.Core()
    given = np.load(images)
    network = core.read_model(model)
    network.reshape({network.input(0): given.shape})  # of the batch alone, as it is fastest
    compiled = core.compile_model(
        network, "CPU", {**asked, **({"INFERENCE_PRECISION_HINT": precision[0]} if precision else {})}
    )
    np.save(answers, compiled([given])[0])
    print(openvino.__version__, compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name(), flush=True)
    for line in sys.stdin:
        began = time.process_time()
        for _ in range(int(line)):
            compiled([given])
        print(time.process_time() - began, flush=True)


if __name__ == "__main__":
    main()
