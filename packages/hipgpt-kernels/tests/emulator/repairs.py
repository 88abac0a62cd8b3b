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
    without_halves(emu)


def without_halves(emu):
    """Give CDNA's 16-bit instructions handlers for which no register is an upper half."""
    space = dict(vars(emu))
    names = "_load_vsrc0", "_compile_vop12", "_compile_vopc"
    for name in names:
        source = inspect.getsource(getattr(emu, name))
        for first_half in ("_c(128)", "_c(384)"):
            source = source.replace(first_half, "_c(1 << 20)")
        exec(source, space)
    for kind, handler in emu._INST_HANDLERS.items():
        if kind.__module__ == emu.irc.__name__ and handler.__name__ in names:
            emu._INST_HANDLERS[kind] = space[handler.__name__]
