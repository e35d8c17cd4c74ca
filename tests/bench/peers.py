#!/usr/bin/env python3
"""modelpress beside ONNX Runtime's own quantizer on one model: same data, same judge, one table.

    ./dev exec tests/bench/peers.py --make-environment DIR        once: a Python environment with the peers
    ./dev exec DIR/bin/python tests/bench/peers.py MODEL DATA     DATA has splits calib and test

For each scheme: wall and CPU seconds, peak memory, how much smaller, task metrics, SQNR of the worst output, share of
changed decisions, latency and memory of the loaded model against the float model. Every artifact, ours or not, is judged by `modelpress verify`.
"""
import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time

PEERS = ["onnxruntime==1.21.0", "onnx==1.18.0", "numpy<2.3"]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?")
    parser.add_argument("data", nargs="?")
    parser.add_argument("--make-environment", metavar="DIR")
    parser.add_argument("--samples", type=int, default=128, help="calibration samples")
    parser.add_argument("--only", default="", help="only schemes whose name contains this")
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    parser.add_argument("--output", help=argparse.SUPPRESS)
    return parser.parse_args()


# What runs in a process of its own, so that its time and memory are its own.

def feeds(model, folder, count):
    """Samples as modelpress feeds them: an array with the input's rank has samples on axis 0, one more rank is a list."""
    import numpy
    import onnxruntime
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    arrays = {}
    packed = numpy.load(folder + ".npz") if os.path.exists(folder + ".npz") else {}
    for value in session.get_inputs():
        nested = os.path.join(folder, value.name)
        members = sorted(key for key in packed if key.startswith(value.name + "/"))
        if members:
            arrays[value.name] = [packed[key] for key in members]
        elif os.path.isdir(nested):
            arrays[value.name] = [numpy.load(os.path.join(nested, file)) for file in sorted(os.listdir(nested))]
        else:
            array = (packed[value.name] if value.name in packed
                     else numpy.load(os.path.join(folder, value.name.replace("/", "_") + ".npy")))
            arrays[value.name] = (list(array) if array.ndim == len(value.shape) + 1
                                  else [array[i:i + 1] for i in range(len(array))])
    total = min(len(values) for values in arrays.values())
    for i in range(min(count, total)):
        yield {name: values[i] for name, values in arrays.items()}


def run_peer(options):
    import onnx
    from onnxruntime import quantization as q
    source = options.model
    model = onnx.load(source)
    opset = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if opset < 13:
        source = options.output + ".13.onnx"
        onnx.save(onnx.version_converter.convert_version(model, 13), source)
    scheme = options.peer
    if scheme == "dynamic":
        q.quantize_dynamic(source, options.output, per_channel=True, weight_type=q.QuantType.QInt8)
        return
    folder = os.path.join(options.data, "calib")

    class Reader(q.CalibrationDataReader):
        def __init__(self):
            self.samples = feeds(source, folder, options.samples)

        def get_next(self):
            return next(self.samples, None)

    method = {"minmax": q.CalibrationMethod.MinMax, "entropy": q.CalibrationMethod.Entropy,
              "percentile": q.CalibrationMethod.Percentile}[scheme.split("-")[1]]
    prepared = options.output + ".prepared.onnx"
    try:
        q.shape_inference.quant_pre_process(source, prepared, skip_symbolic_shape=True)
    except Exception as error:  # the peer's own preparation is optional
        print(f"not prepared: {error}", file=sys.stderr)
        prepared = source
    types = ["Conv", "MatMul", "Gemm"] if scheme.endswith("-gemm") else None
    q.quantize_static(prepared, options.output, Reader(), quant_format=q.QuantFormat.QDQ, per_channel=True,
                      activation_type=q.QuantType.QUInt8, weight_type=q.QuantType.QInt8, calibrate_method=method,
                      op_types_to_quantize=types)


def timed(command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    # GNU time would be another package: the largest child so far is what the system tells, so each is measured apart.
    code = ("import resource, subprocess, sys; r = subprocess.run(sys.argv[1:], capture_output=True, text=True); "
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.stderr.write(r.stderr[-600:]); "
            "sys.exit(r.returncode)")
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    peak = int(done.stdout.split()[-1]) / 1024 if done.stdout.split() else 0
    return done.returncode, time.monotonic() - start, cpu, peak, done.stderr.strip()


def judged(model, artifact, data):
    done = subprocess.run(["modelpress", "verify", model, artifact, "--data", data, "--json"], capture_output=True, text=True)
    return json.loads(done.stdout) if done.returncode == 0 else None


def row(name, seconds, cpu, peak, report):
    judgement = report["judgement"]
    metrics = judgement.get("artifact", {})
    quality = " ".join(f"{metric} {metrics[metric]:.4f}" for metric in ("accuracy", "f1_macro", "bits_per_token")
                       if metric in metrics)
    # An infinite SQNR comes as a text.
    sqnr = min((float(output["sqnr_db"]) for output in judgement.get("outputs", [])), default=float("nan"))
    smaller = int(report["original"]["file_bytes"]) / int(report["artifact"]["file_bytes"])
    latency = judgement.get("latency", {})
    ratio = (latency["artifact_median_seconds"] / latency["original_median_seconds"]
             if latency.get("original_median_seconds") else float("nan"))
    agreement = f"{judgement['agreement']:.4f}" if "agreement" in judgement else "-"
    memory = (int(judgement["artifact_memory_bytes"]) / int(judgement["original_memory_bytes"])
              if int(judgement.get("original_memory_bytes", 0)) else float("nan"))
    print(f"{name:44} {seconds:7.1f} {cpu:7.1f} {peak:8.0f} {smaller:7.2f} {sqnr:7.1f} {agreement:>9} {ratio:8.2f} {memory:7.2f}  {quality}",
          flush=True)


def main():
    options = arguments()
    if options.make_environment:
        subprocess.run([sys.executable, "-m", "venv", options.make_environment], check=True)
        subprocess.run([os.path.join(options.make_environment, "bin", "pip"), "install", "--quiet", "--only-binary", ":all:", *PEERS], check=True)
        return
    if not options.model or not options.data:
        sys.exit("give MODEL and DATA, or --make-environment DIR")
    if options.peer:
        run_peer(options)
        return
    ours = {
        "quantize_weights": ["quantize_weights"],
        "quantize_static": ["quantize_static"],
        "quantize_static, no exceptions": ["quantize_static:limits.off=true"],
        "quantize_dynamic": ["quantize_dynamic"],
        "equalize_layers + quantize_static": ["equalize_layers", "quantize_static"],
        "smooth_activations + quantize_static": ["smooth_activations", "quantize_static"],
    }
    known = {p["name"] for p in json.loads(subprocess.run(["modelpress", "capabilities", "--json"], check=True,
                                                          capture_output=True).stdout)["passes"]}
    print(f"{'scheme':44} {'wall s':>7} {'CPU s':>7} {'peak MB':>8} {'smaller':>7} {'SQNR':>7} {'same':>9} {'latency':>8} {'memory':>7}")
    with tempfile.TemporaryDirectory() as folder:
        artifact = os.path.join(folder, "artifact.onnx")
        for name in ("static-minmax", "static-entropy", "static-percentile", "static-minmax-gemm", "dynamic"):
            if options.only not in name:
                continue
            code, seconds, cpu, peak, errors = timed(
                [sys.executable, __file__, options.model, options.data, "--samples", str(options.samples), "--peer", name,
                 "--output", artifact])
            report = judged(options.model, artifact, options.data) if code == 0 else None
            if report is None:
                print(f"{'runtime, ' + name:44} {seconds:7.1f} {cpu:7.1f} {peak:8.0f}  no result: {errors.splitlines()[-1:]}")
            else:
                row("runtime, " + name, seconds, cpu, peak, report)
        for name, steps in ours.items():
            if options.only not in name or any(step.split(":")[0] not in known for step in steps):
                continue
            command = ["modelpress", "compress", options.model, "-o", artifact, "--force", "--data", options.data,
                       "--gate", "structure"]
            for step in steps:
                command += ["--pass", step]
            code, seconds, cpu, peak, errors = timed(command)
            report = judged(options.model, artifact, options.data) if code == 0 else None
            if report is None:
                print(f"{'modelpress, ' + name:44} {seconds:7.1f} {cpu:7.1f} {peak:8.0f}  no result: {errors.splitlines()[-1:]}")
            else:
                row("modelpress, " + name, seconds, cpu, peak, report)


if __name__ == "__main__":
    main()
