"""ncnn in a process of its own: started as a script by `ncnn_backend`, with numpy and ncnn and nothing else.

In one process with torch and OpenVINO the ncnn of 2026 has crashed (segmentation faults, also later in what ran after
it). Here it can only end this process, which its user sees as an error.

What goes through the pipes: a line of JSON with the settings, answered by one with the names of inputs and outputs or
with an error; then, for each image, a line of JSON with its shape and its float32 values, answered alike.
"""

import json
import sys

import ncnn
import numpy as np


def _send(head: dict, content: bytes = b'') -> None:
    sys.stdout.buffer.write(json.dumps(head).encode() + b'\n' + content)
    sys.stdout.buffer.flush()


def main() -> None:
    settings = json.loads(sys.stdin.buffer.readline())
    net = ncnn.Net()
    options = net.opt
    options.num_threads = settings['threads']
    options.use_vulkan_compute = False
    half, brain = settings['precision'] == 'fp16', settings['precision'] == 'bf16'
    options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = half
    options.use_bf16_storage = options.use_bf16_packed = brain
    if net.load_param(settings['param']) != 0 or net.load_model(settings['weights']) != 0:
        _send({'error': 'cannot be read'})
        return
    inputs, outputs = net.input_names(), net.output_names()
    _send({'inputs': inputs, 'outputs': outputs})
    while line := sys.stdin.buffer.readline():
        shape = json.loads(line)['shape']
        image = np.frombuffer(sys.stdin.buffer.read(4 * int(np.prod(shape))), np.float32).reshape(shape)
        extractor = net.create_extractor()
        # A copy in ncnn's own memory: it computes in place, and reads past rows that are not aligned as it wants.
        extractor.input(inputs[0], ncnn.Mat(np.ascontiguousarray(image)).clone())
        status, output = extractor.extract(outputs[0])
        if status != 0:
            _send({'status': status})
            continue
        result = np.array(output, np.float32)
        _send({'shape': result.shape}, result.tobytes())


if __name__ == '__main__':
    main()
