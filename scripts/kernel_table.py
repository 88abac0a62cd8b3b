"""Write docs/kernels/registers.md: what every kernel takes of every GPU, from the compiled code.

    python scripts/kernel_table.py            compile what is missing, write the table
    python scripts/kernel_table.py --check    compile what is missing, fail where a kernel spills

The odd thing: the share of matrix instructions is counted in the disassembly, in the loop that has
most of them; it needs llvm-objdump (AMD) and nvdisasm (NVIDIA), and is a dash where they are not
found. Everything else is read out of the code objects by hipgpt_kernels.hip.resources.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "packages" / "hipgpt-kernels" / "src"))

from hipgpt_kernels.hip import build, resources  # noqa: E402
from hipgpt_kernels.hip.ops import linear_tma, tiles  # noqa: E402

PAGE = ROOT / "docs" / "kernels" / "registers.md"
MATRIX = re.compile(r"\b(v_mfma_\w+|v_wmma_\w+|HMMA\.\w+|HGMMA\.\w+)")
AMD_LINE = re.compile(r"^\t(\S+).*// ([0-9A-F]{12}):.*?(?:<(\w+)\+0x([0-9a-f]+)>)?$")
AMD_LABEL = re.compile(r"^([0-9a-f]{16}) <(\w+)>:$")
NVIDIA_LINE = re.compile(r"^\s*/\*([0-9a-f]{4,})\*/\s+(.*?);")

HEAD = """# Registers, LDS and occupancy

What the compiled kernels take of each GPU. `scripts/kernel_table.py` wrote this page from the code
objects ({compilers}); `--check` compiles them again
and fails where one keeps registers in memory, and a test looks at those that have been built.

A cell is **registers / LDS / waves / matrix**:

- registers of a lane, accumulation registers among them. `+s12`: twelve scalar registers are kept
  in lanes of vector registers, which costs instructions but no memory. `!`: bytes of memory that a
  lane should have had as registers. There must be none;
- LDS of a block in KB, what a launch adds included;
- waves that run at once on a SIMD (a quarter of NVIDIA's multiprocessor), as registers and LDS
  allow;
- the share of matrix instructions in the loop that has most of them, slow paths in it included;
  nothing where a kernel has none. One `wgmma` of sm_90 (HGMMA) does what 64 or more of `mma.sync`
  do, and one MFMA or WMMA keeps its unit busy for 8 to 32 cycles, so small shares are enough.

## Why these sizes

{reasons}

## The table
"""

REASONS = {
    "linear": """A matrix unit is fed from LDS, so what counts is how many products an operand
serves: a wave of WM x WN reads (WM + WN) / 16 operands for WM WN / 256 products. 64 x 64 on
gfx90a and gfx942 asks half of the LDS bandwidth; 128 x 64 on gfx950, whose matrix rate is twice
as high from the same LDS; 64 x 32 on RDNA, where 64 x 64 would leave no register for the operands
(RDNA 3 holds each twice). On sm_90 the unit reads LDS itself and 16 waves are there to write the
results. Two blocks a CU (one wave a SIMD each) hide one block's barriers behind the other's
products; where only one fits, stages in LDS do.""",
    "linear_tma": """Hopper alone. With 16 waves (loader, two warpgroups of products, seven waves of
results) 128 registers a lane are all there are: 96 are accumulators where products are made, and
where results are finished sixteen chains of operations want the rest. A weight's gradient keeps
128 accumulators and moves registers from the loader's waves to the others (`setmaxnreg`).""",
    "attention": """A wave owns 16 or 32 rows and keeps their scores and sums in registers; the
accumulators are (others + D) x rows / lanes of a wave, twice that where keys gather two
gradients. That sets 32 rows for CDNA's 512 registers (queries), 16 for RDNA's 256, and half of D
at a time from D = 128 on where two gradients would not fit. On sm_90, 122 registers let four
blocks fill each other's waits in the forward; three and two in the backward.""",
    "attention_decode": """One query: bound by the bytes of the cache. Eight rows of keys are
under way in each lane, which is where the registers go.""",
    "layernorm": """Bound by memory: a lane holds one row's share as float32 and the next row's as
it came, so that a load is always under way. 3 blocks of 8 waves a unit (forward), 8 of 64 threads
(backward) keep the reads deep enough; more registers for kept weights cost a third of the waves
and were slower.""",
    "embedding": """Eight rows of dout and of the table are under way in a lane; words instead of
16-bit values keep them in half of the registers.""",
}


class Loop(NamedTuple):
    """Instructions of a loop, and how many of them are matrix instructions."""

    instructions: int
    matrix: int


def shares_of_loops(code: dict[str, list[tuple[int, str, int | None]]]) -> dict[str, Loop]:
    """By kernel: the loop with most matrix instructions, the shortest of equals.

    Args:
        code: by kernel, (address, instruction, target of a branch) of each instruction.
    """
    found = {}
    for name, lines in code.items():
        place = {address: number for number, (address, _, _) in enumerate(lines)}
        best = Loop(0, 0)
        for number, (address, _, target) in enumerate(lines):
            if target is None or target > address or target not in place:
                continue
            body = lines[place[target] : number + 1]
            loop = Loop(len(body), sum(bool(MATRIX.search(text)) for _, text, _ in body))
            if (loop.matrix, -loop.instructions) > (best.matrix, -best.instructions):
                best = loop
        found[name] = best
    return found


def find_tool(*names: str) -> str | None:
    """The first of some programs that is on the path."""
    return next((tool for name in names if (tool := shutil.which(name))), None)


def run(*command: str) -> str:
    """What a program prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def amd_code(path: Path, tool: str) -> dict[str, list[tuple[int, str, int | None]]]:
    """The instructions of an AMD code object."""
    code: dict[str, list[tuple[int, str, int | None]]] = {}
    starts: dict[str, int] = {}
    lines: list[tuple[int, str, int | None]] = []
    for line in run(tool, "-d", str(path)).splitlines():
        if label := AMD_LABEL.match(line):
            starts[label[2]] = int(label[1], 16)
            lines = code[label[2]] = []
        elif match := AMD_LINE.match(line):
            target = starts[match[3]] + int(match[4], 16) if match[3] in starts else None
            lines.append((int(match[2], 16), match[1], target))
    return code


def nvidia_code(path: Path, tool: str) -> dict[str, list[tuple[int, str, int | None]]]:
    """The instructions of a cubin. Labels stand before what they name, wherever it is."""
    code: dict[str, list[tuple[int, str, int | None]]] = {}
    for section in run(tool, "-c", str(path)).split("\t.section\t.text.")[1:]:
        lines: list[tuple[int, str]] = []
        labels: dict[str, int] = {}
        waiting: list[str] = []
        for line in section.splitlines():
            if label := re.match(r"(\.L_x_\d+):", line):
                waiting.append(label[1])
            elif match := NVIDIA_LINE.match(line):
                address = int(match[1], 16)
                labels |= dict.fromkeys(waiting, address)
                waiting = []
                lines.append((address, match[2]))
        branches = [re.search(r"BRA .*`\((\.L_x_\d+)\)", text) for _, text in lines]
        code[section[: section.index(",")].strip('"')] = [
            (address, text, labels.get(branch[1]) if branch else None)
            for (address, text), branch in zip(lines, branches, strict=True)
        ]
    return code


def shared_at_launch(architecture: str, kernel: str) -> int:
    """Bytes of LDS that a launch adds: the products' on NVIDIA."""
    if re.fullmatch(r"linear_(?:forward|input|weight)_tma\d+_\w+", kernel):
        return linear_tma.LDS
    match = re.fullmatch(r"linear_(?:forward|input|weight)_(large|small)_(f32|bf16|f16)", kernel)
    if match is None or not architecture.startswith("sm_"):
        return 0
    kind, itemsize = ("float", 4) if match[2] == "f32" else ("half", 2)
    return tiles.table()[tiles.line_of(architecture), kind, match[1]].shared(itemsize, 32)


def compiled(architecture: str) -> dict[str, bytes]:
    """The code object of each source file; what is missing or outdated is compiled."""
    build.build((architecture,), missing=True)
    return {
        stem: build.code_path(build.CODE, architecture, stem).read_bytes() for stem in build.stems()
    }


def cell(
    architecture: str, name: str, one: resources.Resources, loop: Loop | None, in_memory: int
) -> str:
    """One kernel on one GPU."""
    shared = shared_at_launch(architecture, name)
    words = [f"{one.registers}"]
    if one.scalar_spills:
        words[0] += f"+s{one.scalar_spills}"
    if in_memory:
        words[0] += f" !{in_memory}"
    words += [f"{(one.lds + shared) / 1024:.3g}", f"{one.waves(architecture, shared):.3g}"]
    if loop is not None and loop.matrix:
        words.append(f"{100 * loop.matrix / loop.instructions:.0f}%")
    return " / ".join(words)


Spills = dict[tuple[str, str], dict[str, int]]
"""By architecture and source file: the bytes that each kernel keeps in memory."""


def table(architectures: list[str], stem: str, spills: Spills) -> list[str]:
    """The lines of one source file's table."""
    columns = {}
    for architecture in architectures:
        path = build.code_path(build.CODE, architecture, stem)
        tool = (
            find_tool("nvdisasm")
            if build.is_nvidia(architecture)
            else find_tool(*(f"llvm-objdump-{v}" for v in range(24, 18, -1)), "llvm-objdump")
        )
        read = nvidia_code if build.is_nvidia(architecture) else amd_code
        loops = shares_of_loops(read(path, tool)) if tool else {}
        columns[architecture] = {
            name: cell(
                architecture, name, one, loops.get(name), spills[architecture, stem].get(name, 0)
            )
            for name, one in resources.read(path.read_bytes()).items()
        }
    names = sorted({name for column in columns.values() for name in column})
    head = ["kernel", *architectures]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    lines += [
        "| " + " | ".join([f"`{name}`", *(columns[a].get(name, "") for a in architectures)]) + " |"
        for name in names
    ]
    return lines


def compilers(architectures: list[str]) -> str:
    """Which compilers made the code."""
    found = [build.compiler_version(build.compiler_for(one)) for one in architectures]
    versions = [re.search(r"version \d[\d.]*|V\d[\d.]+", text) for text in found]
    names = ["clang" if "clang" in text else "nvcc" for text in found]
    pairs = zip(names, versions, strict=True)
    return ", ".join(sorted({f"{name} {v[0].split()[-1].strip('V')}" for name, v in pairs if v}))


def main() -> int:
    """Write the table, or say what spills."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, fail on spills")
    arguments = parser.parse_args()
    architectures: list[str] = []
    spills: Spills = {}
    for architecture in build.chosen_architectures() or build.ARCHITECTURES:
        try:
            build.compiler_for(architecture)
        except build.CompilerError as error:
            print(f"left out: {error}")
            continue
        for stem, image in compiled(architecture).items():
            spills[architecture, stem] = resources.spilled(architecture, stem, image)
        architectures.append(architecture)
    sentences = [
        f"{architecture}: {name} keeps {count} bytes a lane in memory"
        for (architecture, _), kernels in spills.items()
        for name, count in sorted(kernels.items())
    ]
    print("\n".join([f"compiled for {', '.join(architectures) or 'nothing'}", *sentences]))
    if arguments.check:
        return 1 if sentences else 0
    reasons = "\n\n".join(f"**{stem}.** {text}" for stem, text in REASONS.items())
    lines = [HEAD.format(compilers=compilers(architectures), reasons=reasons)]
    for stem in build.stems():
        lines += [f"### {stem}", "", *table(architectures, stem, spills), ""]
    PAGE.write_text("\n".join(lines).rstrip() + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
