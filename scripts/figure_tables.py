"""The tables of measured figures, each made from records by a function of its own.

`TABLES` has them by the name that a marked region of a page gives. The odd thing: a row without its
record is left out, so a table can stand before everything in it has been measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from figure_records import device, find, gigabytes, milliseconds, ratio, table, three
from figure_summary import kernels_summary, model_summary, summary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from figure_records import Records

    from hipgpt_cli.bench.result import Result, Row

SIZES = ("default", "E256L8", "124M")
MODELS = {"default": "default", "E256L8": "E256 L8", "124M": "GPT-2 124M"}
LETTERS = {"embed_dim": "E", "num_layers": "L", "num_heads": "H", "ff_dim": "F", "max_seq_len": "S"}


def _model(record: Result, batch: int) -> str:
    """A model's name and its sizes."""
    model = record.settings["model"]
    sizes = [f"{letter}{model[name]}" for name, letter in LETTERS.items()]
    size = record.settings["size"]
    name = "" if size == "E256L8" else f"{MODELS[size]}: "
    return f"{name}{' '.join(sizes)} B{batch} V{model['vocab_size']}"


def cpu_step(records: Records) -> str:
    """Training steps on the CPU."""
    rows = []
    for size in SIZES:
        record = records.get(f"cpu-step-{size}")
        ours = find(record, "step") if record else None
        if record and ours:
            peer = find(record, "step", "torch")
            theirs = milliseconds(peer.figures["ms"]) if peer else ""
            name = _model(record, record.settings["batch"])
            rows.append([name, milliseconds(ours.figures["ms"]), theirs, ratio(record, peer)])
    return table(["model", "hipgpt", "PyTorch", "ratio"], rows)


def cpu_generate(records: Records) -> str:
    """Reading and writing on the CPU, tokens/s."""
    rows = []
    for weights in ("float32", "bf16", "int8"):
        record = records.get(f"cpu-generate-{weights}")
        for work in ("read", "write") if weights == "float32" else ("write",):
            if record and find(record, work):
                length = record.settings["prompt"]
                name = f"read a prompt of {length}" if work == "read" else f"write, {weights}"
                rows.append([name, *_with_peers(record, work, ("transformers", "llama.cpp"))])
    return table(["tokens/s", "hipgpt", "transformers (ratio)", "llama.cpp (ratio)"], rows)


def _with_peers(record: Result, work: str, programs: Iterable[str], **sizes: Any) -> list[str]:
    """Our figure, and each peer's with its ratio; the first figure of the rows."""
    ours = find(record, work, sizes=sizes)
    cells = [three(next(iter(ours.figures.values()))) if ours else ""]
    for program in programs:
        peer = find(record, work, program, sizes)
        figure = three(next(iter(peer.figures.values()))) if peer else ""
        cells.append(f"{figure} ({ratio(record, peer)})" if peer else "")
    return cells


def cpu_memory(records: Records) -> str:
    """Peak memory on the CPU."""
    names = {size: f"{name}, training" for size, name in MODELS.items()}
    names["generate"] = "GPT-2 124M, generation"
    record = records.get("cpu-memory")
    rows = []
    for work, name in names.items() if record else ():
        assert record
        ours, peer = find(record, work), find(record, work, "torch")
        ratios = f"{ratio(record, peer)}, {ratio(record, peer, 'work bytes')}" if peer else ""
        if ours:
            rows.append([name, _mebibytes(ours), _mebibytes(peer), ratios])
    return table(["", "hipgpt", "PyTorch", "ratio"], rows)


def _mebibytes(row: Row | None) -> str:
    """The process's memory, and what of it came after the imports."""
    if row is None:
        return ""
    process, work = (row.figures[unit] / 2**20 for unit in ("bytes", "work bytes"))
    return f"{process:,.0f} MiB, {work:,.0f}"


def attention(records: Records) -> str:
    """Attention, TFLOP/s."""
    rows = []
    for stem in ("h200-attention", "h200-attention-4096"):
        record = records.get(stem)
        for work in ("forward", "backward") if record else ():
            assert record
            s = record.settings
            name = f"{work}, B{s['B']} H{s['H']} T{s['T']} D{s['D']}"
            rows.append([name, *_with_peers(record, work, ("FlashAttention-2", "cuDNN"))])
    return table(["TFLOP/s, bf16", "hipgpt", "FlashAttention-2 (ratio)", "cuDNN (ratio)"], rows)


def linear(records: Records) -> str:
    """The large matrix products, TFLOP/s and ratio to cuBLAS."""
    record = records.get("h200-linear")
    rows: dict[str, list[str]] = {}
    for row in record.rows if record else ():
        if row.program == "cuBLAS" and row.work in {"forward", "input", "weight"}:
            assert record
            ours = record.ours(row)
            assert ours
            cells = rows.setdefault(f"{row.sizes['K']}, {row.sizes['N']}", [])
            cells.append(f"{ours.figures['TFLOP/s']:.0f} ({ratio(record, row)})")
    head = ["K, N", "forward", "input gradient", "weight gradient"]
    return table(head, [[name, *cells] for name, cells in rows.items()])


def few_rows(records: Records) -> str:
    """Products of decoding: microseconds, TB/s, ratio to cuBLAS."""
    record = records.get("h200-linear")
    rows: dict[str, list[str]] = {}
    for row in record.rows if record else ():
        if row.program == "cuBLAS" and row.work == "few rows":
            assert record
            ours = record.ours(row)
            assert ours
            us, rate = ours.figures["us"], ours.figures["TB/s"]
            cells = rows.setdefault(f"{row.sizes['K']}, {row.sizes['N']}", [])
            cells.append(f"{us:.1f} µs, {rate:.2f} TB/s ({ratio(record, row)})")
    return table(
        ["K, N", "one row", "two rows", "eight rows"],
        [[name, *cells] for name, cells in rows.items()],
    )


BANDWIDTH = ("adamw", "cross-entropy", "layernorm", "embedding")


def bandwidth(*ops: str) -> Callable[[Records], str]:
    """A table of ops that are bound by memory."""

    def made(records: Records) -> str:
        rows = []
        for op in ops:
            if record := records.get(f"h200-{op}"):
                ours = (row for row in record.rows if row.program == "hipgpt")
                rows += [_bandwidth_row(record, row) for row in ours]
        return table(["op", "dtype", "TB/s", "of a large copy", "of a copy of equal bytes"], rows)

    return made


def _bandwidth_row(record: Result, row: Row) -> list[str]:
    """One op: its rate and the shares of the two copies."""
    copies = [one for one in record.rows if record.ours(one) is row and one is not row]
    equal = [one for one in copies if one.program == "copy of the same bytes"]
    large = [one for one in copies if one not in equal]
    shares = [ratio(record, one[0]) if one else "" for one in (large, equal)]
    op = f"`{row.work}`" + (", ids as text has them" if row.sizes.get("skewed") else "")
    return [op, row.sizes["dtype"], f"{row.figures['TB/s']:.2f}", *shares]


def gpu_step(records: Records) -> str:
    """Training steps on the GPU."""
    rows = []
    for stem in [*SIZES, "124M-checkpoint", "default-float32"]:
        record = records.get(f"h200-step-{stem}")
        ours = find(record, "step") if record else None
        if not (record and ours):
            continue
        training = record.settings["training"]
        name = _model(record, training["batch_size"])
        if training["checkpoint_activations"]:
            name = f"{MODELS[record.settings['size']]}, `--checkpoint-activations`"
        elif training["dtype"] != "bf16":
            name = f"{MODELS[record.settings['size']]}, {training['dtype']}"
        peer = find(record, "step", "torch")
        cells = [name, *_step_cells(ours), *_step_cells(peer), ratio(record, peer)]
        rows.append([cells[i] for i in (0, 1, 3, 5, 2, 4)])
    return table(["model", "hipgpt", "PyTorch", "ratio", "memory, hipgpt", "PyTorch"], rows)


def _step_cells(row: Row | None) -> list[str]:
    """Time with tokens/s, and memory."""
    if row is None:
        return ["", ""]
    time, speed = milliseconds(row.figures["ms"]), row.figures["tokens/s"]
    memory = gigabytes(row.figures["bytes"]) if "bytes" in row.figures else ""
    return [f"{time}, {three(speed / 1e3)}k tokens/s", memory]


def gpu_generate(records: Records) -> str:
    """Writing on the GPU, tokens/s."""
    record = records.get("h200-generate")
    rows = []
    for row in record.rows if record else ():
        if row.work == "write" and row.program == "hipgpt":
            assert record
            peer = find(record, "write", "torch", row.sizes)
            reading = find(record, "read", sizes=row.sizes)
            rows.append(
                [
                    str(row.sizes["B"]),
                    f"{row.figures['tokens/s']:,.0f}",
                    f"{peer.figures['tokens/s']:,.0f}" if peer else "",
                    ratio(record, peer),
                    milliseconds(reading.figures["ms"]) if reading else "",
                ]
            )
    head = ["texts at once", "hipgpt, tokens/s", "PyTorch, tokens/s", "ratio", "prompts read in"]
    return table(head, rows)


def follow(records: Records) -> str:
    """Distances of loss curves from PyTorch's in float32."""
    record = records.get("h200-follow")
    models = {"default": "default", "E384": "E384 L6 S256"}
    units = ("first 30", "mean nats", "largest nats")
    rows = []
    for row in record.rows if record else ():
        figures = [f"{row.figures[unit]:.4f}" if unit in row.figures else "" for unit in units]
        rows.append([models[row.work], row.program.replace("torch", "PyTorch"), *figures])
    heads = ["largest of the first 30 steps", "averages: mean", "largest"]
    return table(["model", "program", *heads], rows)


def ranks(records: Records) -> str:
    """Weak scaling."""
    record = records.get("h200x4-ranks")
    rows = []
    for row in record.rows if record else ():
        if row.program == "hipgpt":
            assert record
            cells = [str(row.sizes["ranks"])]
            for program in ("hipgpt", "torch"):
                one = find(record, "train", program, row.sizes)
                alone = find(record, "train", program, {"ranks": 1})
                if one is None or alone is None:
                    cells += ["", "", ""]
                    continue
                speed = one.figures["tokens/s"]
                times = f"{speed / alone.figures['tokens/s']:.2f}"
                cells += [f"{speed:,.0f}", times, f"{one.figures['bytes'] / 2**30:.1f} GiB"]
            rows.append(cells)
    head = ["tokens/s", "times one GPU's", "memory a rank"]
    return table(["GPUs", f"hipgpt, {head[0]}", *head[1:], f"PyTorch, {head[0]}", *head[1:]], rows)


def tokenizer(records: Records) -> str:
    """The tokenizer beside its peers."""
    rows = []
    for stem in ("cpu-tokenizer", "cpu-tokenizer-100MB"):
        record = records.get(stem)
        for row in record.rows if record else ():
            assert record
            ours = record.ours(row)
            if row is not ours and ours:
                mine, theirs = (_seconds(one) for one in (ours, row))
                rows.append([row.work, row.program, mine, theirs, ratio(record, row)])
    return table(["work", "peer", "hipgpt", "peer's", "ratio"], rows)


def _seconds(row: Row) -> str:
    """Seconds, with the memory where it was measured."""
    text = f"{three(row.figures['s'])} s"
    return text + (f", {row.figures['bytes'] / 1e6:.0f} MB" if "bytes" in row.figures else "")


def every_record(records: Records) -> str:
    """All that was measured, a line for each run, with what its record notes."""
    rows = [
        [record.title, device(record), record.date, f"`{record.command}`", "; ".join(record.notes)]
        for record in records.found.values()
    ]
    return table(["what", "where", "date", "command", "to be known"], rows)


TABLES: dict[str, Callable[[Records], str]] = {
    "cpu-step": cpu_step,
    "cpu-generate": cpu_generate,
    "cpu-memory": cpu_memory,
    "attention": attention,
    "linear": linear,
    "few-rows": few_rows,
    "bandwidth": bandwidth(*BANDWIDTH),
    **{op: bandwidth(op) for op in BANDWIDTH},
    "gpu-step": gpu_step,
    "gpu-generate": gpu_generate,
    "follow": follow,
    "ranks": ranks,
    "tokenizer": tokenizer,
    "summary": summary,
    "kernels-summary": kernels_summary,
    "model-summary": model_summary,
    "records": every_record,
}
"""By the name of a region."""

BRIEF = frozenset({"summary", "kernels-summary", "model-summary"})
"""Tables under which the commands are left to the page on performance."""
