"""What the emulator does otherwise than the hardware, put right before it compiles anything.

The odd thing: where no function of it can be replaced, its source is read, changed and executed.
"""

import inspect


def repair(emu, pcode):
    """What the emulator does otherwise than the hardware, and the kernels feel.

    - Its fused multiply-add rounds twice. In float64 the product of two float32 is exact.
    - Its conversion to bfloat16 carries a NaN over into infinity or −0.
    - It flushes subnormals where it finds a clang to compile that switch with; code for HIP asks
      for subnormals (`float_mode` of the kernel descriptor).
    - It takes register 128 + n of a 16-bit instruction for the upper half of n on CDNA too, where
      registers are numbered to 255 and have no halves.
    - It writes to LDS from ordinary registers where an instruction names accumulation registers.
    - Its MFMA takes fp16's subnormals for 0, its infinities and NaN for large numbers.
    """
    from tinygrad.dtype import dtypes

    plain, round_up = pcode._FUNCS["fma"], pcode._FUNCS["f32_to_bf16"]

    def fma(a, b, c):
        if a.dtype not in (dtypes.float32, dtypes.float16):
            return plain(a, b, c)
        wide = [one.cast(dtypes.float64) for one in (a, b, c)]
        return plain(*wide).cast(a.dtype)

    def f32_to_bf16(value):
        value = value if value.dtype == dtypes.float32 else value.bitcast(dtypes.float32)
        bits = value.bitcast(dtypes.uint32)
        quiet = ((bits >> 16) | 0x40).cast(dtypes.uint16)
        return value.ne(value).where(quiet, round_up(value))

    pcode._FUNCS["fma"] = fma
    pcode._FUNCS["f32_to_bf16"] = f32_to_bf16
    emu._get_ftz_lib = lambda: (None, 0)
    rewrite(emu)


NO_HALF = "_c(1 << 20)"
"""A register's number that no instruction has."""
ACCUMULATORS = {
    f"ctx.rvgpr_dyn({name}": f"(ctx.raccvgpr_dyn if use_acc else ctx.rvgpr_dyn)({name}"
    for name in ("vdata_reg", "data1_reg")
}
HALF_PRECISION = {
    "return exp.eq(_c(0)).where(_c(0), f32_bits)": """
    small = mant.cast(dtypes.float32) * UOp.const(2.0**-24, dtypes.float32)
    small = small.bitcast(dtypes.uint32) | (sign << _c(31))
    special = (sign << _c(31)) | _c(0x7F800000) | (mant << _c(13))
    return exp.eq(_c(0)).where(small, exp.eq(_c(31)).where(special, f32_bits))"""
}


REWRITTEN = {
    "_load_vsrc0": {"_c(384)": NO_HALF},
    "_compile_vop12": {"_c(128)": NO_HALF},
    "_compile_vopc": {"_c(128)": NO_HALF, "_c(384)": NO_HALF},
    "_compile_mem_op": ACCUMULATORS,
    "_compile_mfma": HALF_PRECISION,
}
"""New texts of old ones, by the emulator's functions."""


def rewrite(emu):
    """Replace texts in the source of some functions; CDNA's instructions take the new ones."""
    space = dict(vars(emu))
    for name, texts in REWRITTEN.items():
        source = inspect.getsource(getattr(emu, name))
        for old, new in texts.items():
            assert old in source, f"the emulator's {name} no longer has {old!r}"
            source = source.replace(old, new)
        exec(source, space)
    emu._compile_mfma = space["_compile_mfma"]  # called by a handler, by name
    for kind, handler in emu._INST_HANDLERS.items():
        if kind.__module__ == emu.irc.__name__ and handler.__name__ in REWRITTEN:
            emu._INST_HANDLERS[kind] = space[handler.__name__]
