#!/usr/bin/env python3
"""Every ONNX model under some folders through every pass, one at a time, with default options.

    ./dev bench models DIR... [--pass NAME:KEY=VALUE]... [--only REGEX] [--data REGEX=FOLDER]... [--keep DIR]

Prints a row for each pair: size ratio, SQNR of the worst output, task metric before and after, latency ratio; or the
typed reason why there is no artifact. Exits with 1 if anything crashed, did not load, or failed without a reason that
is the model's own. Passes are those of `modelpress capabilities`, so new ones join by themselves; one with an option
that must be given needs a line in REQUIRED below, or --pass.

Data: the folder `data` beside the model, if there is one, or what --data says for paths that match; else synthetic.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import tempfile

# Options that have no default.
REQUIRED = {
    "prune_magnitude": "sparsity_global=0.3",
    "prune_channels": "sparsity=0.3",
    "convert_opset": "version=18",
}
# Reasons that say something about the model. Every other one is a defect of ours, of this script or of the machine.
REFUSALS = {"NOTHING_CHANGED", "OPSET_UNSUPPORTED", "OP_UNSUPPORTED", "FORMAT_UNSUPPORTED", "WEIGHT_NOT_FINITE",
            "DATA_MISSING"}
TIMEOUT_SECONDS = 900
SAMPLES = 256


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", metavar="DIR")
    parser.add_argument("--pass", dest="passes", action="append", default=[], metavar="NAME[:KEY=VALUE,...]",
                        help="only these passes, with these options")
    parser.add_argument("--only", default="", metavar="REGEX", help="only models whose path matches")
    parser.add_argument("--data", action="append", default=[], metavar="REGEX=FOLDER",
                        help="data for models whose path matches")
    parser.add_argument("--keep", metavar="DIR", help="keep artifacts and reports there")
    return parser.parse_args()


def passes(chosen):
    found = json.loads(subprocess.run(["modelpress", "capabilities", "--json"], check=True, capture_output=True).stdout)
    if chosen:
        return chosen
    return [f"{p['name']}:{REQUIRED[p['name']]}" if p["name"] in REQUIRED else p["name"] for p in found["passes"]]


def models(folders, only):
    for folder in folders:
        if not os.path.isdir(folder):
            sys.exit(f"no such folder: {folder}")
        for root, directories, files in os.walk(folder):
            directories.sort()
            for name in sorted(files):
                path = os.path.join(root, name)
                if name.endswith(".onnx") and re.search(only, path):
                    yield path, os.path.relpath(path, folder)


def data_of(path, given):
    for entry in given:
        pattern, _, folder = entry.partition("=")
        if re.search(pattern, path):
            return folder
    beside = os.path.join(os.path.dirname(path), "data")
    return beside if os.path.isdir(beside) else None


def metric(judgement):
    """The first task metric that both sides have, before and after; else top-1 agreement."""
    for name in ("accuracy", "f1_binary", "bits_per_token"):
        before, after = (judgement.get(side, {}).get(name) for side in ("original", "artifact"))
        if before is not None and after is not None:
            return f"{name} {before:.4f} -> {after:.4f}"
    agreement = judgement.get("agreement")
    return "" if agreement is None else f"agreement {agreement:.4f}"


def numbers(report):
    """The cells of a row from a report of the full gate."""
    judgement = report.get("judgement", {})
    before, after = report["original"], report["artifact"]
    sqnrs = [float(output["sqnr_db"]) for output in judgement.get("outputs", [])]
    worst = min(sqnrs) if sqnrs else float("nan")
    latency = judgement.get("latency", {})
    slower = latency.get("artifact_median_seconds", 0) / (latency.get("original_median_seconds", 0) or float("nan"))
    skips = {}
    for one in report.get("passes", []):
        for skip in one.get("skips", []):
            skips[skip["reason"]] = skips.get(skip["reason"], 0) + 1
    changes = sum(len(one.get("changes", [])) for one in report.get("passes", []))
    left = ", ".join(f"{count} {reason}" for reason, count in sorted(skips.items()))
    return (f"{int(before['file_bytes']) / int(after['file_bytes']):6.2f}x {worst:7.1f}  {metric(judgement):34} "
            f"{slower:6.2f}  {changes} changed" + (f"; {left}" if left else ""))


def run(path, step, data, folder):
    """(cells of the row, whether that is all right)"""
    output, report = os.path.join(folder, "model.onnx"), os.path.join(folder, "report.json")
    for stale in (output, report):
        if os.path.exists(stale):
            os.remove(stale)
    recipe = os.path.join(folder, "recipe.json")
    with open(recipe, "w") as file:
        json.dump({"judging": {"max_samples": SAMPLES}}, file)
    command = ["modelpress", "compress", path, "-o", output, "--recipe", recipe, "--pass", step, "--report", report]
    command += ["--data", data] if data else []
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        return f"no end after {TIMEOUT_SECONDS} s", False
    if done.returncode < 0:
        return f"killed by signal {-done.returncode}", False
    if done.returncode == 0:
        with open(report) as file:
            found = json.load(file)
        lost = sum(int(output.get("not_finite", 0)) for output in found["judgement"].get("outputs", []))
        return numbers(found) + (f"; {lost} values not finite" if lost else ""), lost == 0
    reason = re.search(r"^ *reason: (\w+)$", done.stderr, re.MULTILINE)
    said = re.search(r"^error: (.*)$", done.stderr, re.MULTILINE)
    message = said.group(1) if said else done.stderr.strip()[-200:]
    if reason is None:
        return f"exit {done.returncode} without a reason: {message}", False
    return f"{reason.group(1)}: {message}", reason.group(1) in REFUSALS


def main():
    options = arguments()
    steps = passes(options.passes)
    bad = total = 0
    with tempfile.TemporaryDirectory(prefix="modelpress-models.") as temporary:
        print(f"{'model':44} {'pass':22} {'size':>7} {'dB':>7}  {'metric':34} {'time':>6}  details")
        for path, name in models(options.folders, options.only):
            for step in steps:
                pass_name = step.partition(":")[0]
                folder = temporary
                if options.keep:
                    folder = os.path.join(options.keep, name, pass_name)
                    os.makedirs(folder, exist_ok=True)
                cells, right = run(path, step, data_of(path, options.data), folder)
                total += 1
                bad += not right
                print(f"{name:44} {pass_name:22} {cells}{'' if right else '   <-- DEFECT'}", flush=True)
    if total == 0:
        sys.exit("no model was found")
    print(f"{total} runs, {bad} that are defects")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
