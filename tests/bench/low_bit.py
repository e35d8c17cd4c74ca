#!/usr/bin/env python3
"""quantize_weights in few bits against its bars: a language model with labels, and large synthetic transformers.

    low_bit.py language-model DIR     DIR holds model.onnx and data/ (calib, test) of a character model
    low_bit.py large WORK             makes models of 1 and 3 GB in the folder WORK, if they are not there

language-model prints bits per byte lost by the matrices of all blocks (weights named h.*), with the size of the file and
after zstd, for each scheme, and for methods without data how much less that is than plain rounding of the same scheme.
large prints CPU seconds, anonymous memory, and SQNR of the outputs for int4 in blocks of 32.
"""
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time

# Scheme, options, methods; the bar is for gptq, in bits per byte.
SCHEMES = [
    ("int4 g128", "type=int4,block_size=128", 0.003, ["rtn", "mse_clip", "kquant", "scale_estimation", "awq", "gptq"]),
    ("int3 g128", "type=int3,scheme=symmetric,block_size=128", 0.014,
     ["rtn", "mse_clip", "kquant", "scale_estimation", "awq", "gptq"]),
    ("int3 g128 asymmetric", "type=int3,block_size=128", None,
     ["rtn", "mse_clip", "kquant", "hqq", "scale_estimation", "awq", "gptq"]),
    ("2-bit g32 asymmetric", "type=int2,block_size=32", 0.046,
     ["rtn", "mse_clip", "kquant", "hqq", "scale_estimation", "awq", "gptq"]),
]
WITH_DATA = {"scale_estimation", "awq", "gptq"}


def compress(model, output, step, *more):
    """The report, CPU seconds of the process, and its largest anonymous memory in MiB."""
    report = output + ".json"
    for stale in (output, report):
        if os.path.exists(stale):
            os.remove(stale)
    command = ["modelpress", "compress", model, "-o", output, "--pass", step, "--report", report, *more]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    peak = 0
    while process.poll() is None:
        try:
            with open(f"/proc/{process.pid}/status") as status:
                peak = max([peak] + [int(line.split()[1]) for line in status if line.startswith("RssAnon")])
        except (OSError, ProcessLookupError):
            pass
        time.sleep(0.02)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{process.stderr.read()}")
    with open(report) as file:
        found = json.load(file)
    return found, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, peak / 1024


def language_model(folder):
    data = os.path.join(folder, "data")
    print(f"{'scheme':22} {'method':17} {'loss':>8} {'bar':>7} {'of rtn':>7} {'MiB':>6} {'zstd':>6}  kept / rtn better")
    with tempfile.TemporaryDirectory() as work:
        for scheme, options, bar, methods in SCHEMES:
            rounding = None
            for method in methods:
                report, _, _ = compress(os.path.join(folder, "model.onnx"), os.path.join(work, "out.onnx"),
                                        f"quantize_weights:{options},method={method},weights.include=h.*",
                                        "--data", data)
                judgement = report["judgement"]
                loss = judgement["artifact"]["bits_per_token"] - judgement["original"]["bits_per_token"]
                rounding = loss if method == "rtn" else rounding
                limit = f"{bar:.3f}" if bar is not None and method == "gptq" else ""
                counts = [note for note in report["passes"][0].get("notes", []) if note.startswith("compared")]
                kept = [word for word in counts[0].split() if word.isdigit()] if counts else []
                print(f"{scheme:22} {method:17} {loss:8.4f} {limit:>7} {loss / rounding:7.2f} "
                      f"{int(report['artifact']['file_bytes']) / 2**20:6.2f} "
                      f"{int(report['artifact']['zstd_bytes']) / 2**20:6.2f}  {' / '.join(kept)}", flush=True)
    print("bars: gptq as given; methods without data at 3 and 2 bits at most 0.80 of rtn")


def large(work):
    os.makedirs(work, exist_ok=True)
    print(f"{'model':6} {'method':8} {'CPU s':>7} {'pass s':>7} {'of rtn':>7} {'MiB':>5} {'dB':>6}  bars")
    for name, mebibytes, gate in (("1 GB", 1024, "full"), ("1 GB", 1024, "structure"), ("3 GB", 3072, "structure")):
        model = os.path.join(work, f"transformer{mebibytes}.onnx")
        if not os.path.exists(model):
            subprocess.run(["make_big_model", model, str(mebibytes), "--transformer", "--sidecar"], check=True)
        rounding = rounded = None
        for method in ("rtn", "kquant", "awq"):
            output = os.path.join(work, "out.onnx")
            report, seconds, peak = compress(model, output, f"quantize_weights:type=int4,block_size=32,method={method}",
                                             "--gate", gate, "--threads", "1", "--force")
            took = float(report["passes"][0]["seconds"])
            sqnrs = [float(row["sqnr_db"]) for row in report.get("judgement", {}).get("outputs", [])]
            quality = min(sqnrs) if sqnrs else math.nan
            if method == "rtn":
                rounding, rounded = took, quality
            bars = ""
            if gate == "structure":
                bars = "pass <= 3 s, <= 256 MiB" if method == "rtn" else "<= 4 of rtn, <= 256 MiB"
            elif method == "awq":
                bars = f"{quality - rounded:+.2f} dB against rtn, >= +2"
            print(f"{name:6} {method:8} {seconds:7.2f} {took:7.2f} {took / rounding:7.2f} {peak:5.0f} {quality:6.2f}  {bars}",
                  flush=True)
            for entry in os.listdir(work):
                if entry.startswith(("out.onnx", "weights-")):
                    os.remove(os.path.join(work, entry))


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in ("language-model", "large"):
        sys.exit(__doc__)
    (language_model if sys.argv[1] == "language-model" else large)(sys.argv[2])


main()
