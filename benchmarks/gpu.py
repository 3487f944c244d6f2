"""Speed, memory and correctness on one GPU, in one command of at most 12 minutes.

python benchmarks/gpu.py                      writes benchmarks/results/GPU.json
python benchmarks/gpu.py --device cpu --tiny --output FILE.json   does everything run? no figures

checks       GPU beside CPU (maps, predictions, NMS, RoIAlign), and the paths that only a GPU takes:
             scaler of fp16 with a skipped step, synchronised BatchNorm, pinned memory
classifiers  VAN-B0..B6, Swin and ConvNeXt at 224 px: forward and training step, eager and compiled
backbones    the same as backbones of four maps at 800x1280
whole        Mask R-CNN and RetinaNet at 800x1280, UperNet at 512x512, all on VAN-B2
profile      share of the time of each kind of operation

Every section is a process of its own with a share of the time that is left: one that hangs, or
breaks the GPU's context, is ended and costs no other. What does not fit is left out and says so.
Results are written after every section, and those of a section that is ended count.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # this checkout, installed or not

MINUTES = 11.5  # of everything; starting and writing included it stays below 12
SHARES = {"checks": 2, "classifiers": 6, "backbones": 6, "whole": 5, "profile": 2}
SPARE = 6  # seconds between the last case of a section and its end by force
STOPPED = "stopped"  # a section by an error outside of its cases
LONGEST_ERROR = 400  # characters


def main(argv: Sequence[str] | None = None) -> int:
    """Run the sections; or, in the process of one of them, its cases."""
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sections", nargs="+", choices=SHARES, default=list(SHARES))
    parser.add_argument("--minutes", type=float, default=MINUTES, help="(default %(default)s)")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small networks and images")
    parser.add_argument("--output", type=Path, help="JSON file; else named for the GPU")
    parser.add_argument("--lines", type=Path, help=argparse.SUPPRESS)  # of the only section
    arguments = parser.parse_args(argv)
    if arguments.lines is not None:
        (section,) = arguments.sections
        measure(section, arguments)
        return 0
    import torch

    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("no GPU found; --device cpu --tiny shows whether everything runs", file=sys.stderr)
        return 2
    result = run_sections(arguments, argv)
    bad = [one for one in result["records"] if "error" in one or one.get("ok") is False]
    for one in bad:
        print(json.dumps(one), file=sys.stderr)
    left_out = sum("left_out" in one for one in result["records"])
    known = {one["section"] for one in result["records"]}
    ends = {name: one["end"] for name, one in result["sections"].items()}
    broken = [name for name in ends if ends[name].startswith(STOPPED) or name not in known]
    print(f"{len(result['records'])} results, {left_out} left out, {len(bad)} errors")
    if broken:
        print(f"without a result, or stopped by an error: {', '.join(broken)}", file=sys.stderr)
    return int(bool(bad or broken))


def run_sections(arguments: argparse.Namespace, argv: Sequence[str]) -> dict[str, Any]:
    """Start one process after the other, and write what is known after each."""
    from benchmarks.harness.machine import describe_machine, shareable_command

    began = time.monotonic()
    machine = describe_machine()
    name = machine["gpu"] if arguments.device == "cuda" else "cpu"
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    path = arguments.output or ROOT / "benchmarks" / "results" / f"{slug}.json"
    command = shareable_command(argv, "benchmarks/gpu.py")
    head = {"machine": machine, "command": command, "tiny": arguments.tiny}
    result: dict[str, Any] = {**head, "sections": {}, "records": []}
    for position, section in enumerate(arguments.sections):
        left = 60 * arguments.minutes - (time.monotonic() - began)
        seconds = left * SHARES[section] / sum(SHARES[s] for s in arguments.sections[position:])
        section_began = time.monotonic()
        records, ended = run_section(section, arguments, seconds)
        result["records"] += records
        result["sections"][section] = {
            "seconds": round(time.monotonic() - section_began, 1),
            "of": round(seconds, 1),
            "end": ended,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(section, json.dumps(result["sections"][section]), f"results: {path}", flush=True)
    return result


def run_section(
    section: str, arguments: argparse.Namespace, seconds: float
) -> tuple[list[dict[str, Any]], str]:
    """Records of a section, and how its process ended; it is killed after ``seconds``."""
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / "lines"
        command = [sys.executable, __file__, "--sections", section, "--device", arguments.device]
        command += ["--minutes", str(seconds / 60), "--lines", str(lines)]
        command += ["--tiny"] if arguments.tiny else []
        # A group of its own, since compilers and loaders are processes too.
        process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
        try:
            code = process.wait(timeout=max(1.0, seconds))
            ended = "complete" if code == 0 else f"{STOPPED} by exit code {code}"
        except subprocess.TimeoutExpired:
            end_group(process)
            ended = "killed at the end of its time"
        except BaseException:  # Ctrl-C does not reach another group
            end_group(process)
            raise
        text = lines.read_text(encoding="utf-8") if lines.is_file() else ""
    # The last line may be torn, where the process was killed as it wrote.
    records = [json.loads(line) for line in text.split("\n")[:-1]]
    planned = records.pop(0)["planned"] if records else 0
    for about in planned[len(records) :] if planned else []:
        records.append({"section": section, **about, "left_out": f"the section was {ended}"})
    return records, ended


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it has started."""
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    else:  # Windows
        process.kill()
    process.wait()


def measure(section: str, arguments: argparse.Namespace) -> None:
    """Measure the cases of a section until its time is over, a line of JSON for each."""
    began = time.monotonic()
    import torch

    from benchmarks.harness.gpu_checks import checks
    from benchmarks.harness.gpu_profile import shares
    from benchmarks.harness.gpu_speed import Case, Setting, backbones, classifiers, free_memory
    from benchmarks.harness.gpu_whole import whole

    sections: dict[str, Callable[[Setting], Iterator[Case]]] = {
        "checks": checks,
        "classifiers": classifiers,
        "backbones": backbones,
        "whole": whole,
        "profile": shares,
    }
    device = torch.device(arguments.device)
    # Sizes are fixed in all but whole networks, which are measured as the trainer runs them.
    torch.backends.cudnn.benchmark = section != "whole"
    deadline = began + 60 * arguments.minutes - SPARE
    setting = Setting(device, arguments.tiny, deadline)
    cases = list(sections[section](setting))
    with arguments.lines.open("w", encoding="utf-8") as file:
        print(json.dumps({"planned": [about for about, _ in cases]}), file=file, flush=True)
        for about, case in cases:
            found = run_case(case) if setting.left() > 0 else {"left_out": "no time was left"}
            print(json.dumps({"section": section, **about, **found}), file=file, flush=True)
            free_memory(device)


def run_case(case: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What a case found, or its error: one that fails must not cost the others."""
    began = time.monotonic()
    try:
        found = case()
    except Exception as error:
        found = {"error": f"{type(error).__name__}: {error}"[:LONGEST_ERROR]}
    return {**found, "case_s": round(time.monotonic() - began, 1)}


if __name__ == "__main__":
    sys.exit(main())
