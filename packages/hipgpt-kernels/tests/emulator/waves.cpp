/*
Runs a wave through instructions that the emulator has compiled: the loop around them, which in
Python takes ten times as long as most of them.

The odd thing: an instruction moves the program counter itself; it is two scalar registers in the
wave's memory. Instructions are compiled when they are first met, which is left to Python.
*/

#include <cstdint>

namespace {

enum Stop { ENDED, AT_BARRIER, NOT_COMPILED, TOO_LONG };

constexpr int BUFFERS = 6;  // registers, memory, LDS, scratch, ...: pointers in registers of x86-64
constexpr uint64_t END = ~uint64_t(0);

struct Instruction {
  void (*run)(void*, void*, void*, void*, void*, void*);  // null: not compiled yet
  uint8_t takes[BUFFERS];                                 // which buffer is each argument
  uint8_t waits;                                          // is it a barrier
};

}  // namespace

// Args:
//   program: one entry for each word of the code.
//   begin, words: address and length of the code.
//   counter: low and high word of the wave's program counter.
//   buffers: what instructions may take.
//   left: instructions that may still run; counted down.
extern "C" __attribute__((visibility("default"))) int emulator_run(
    const Instruction* program, uint64_t begin, uint64_t words, const uint32_t* counter,
    void* const* buffers, int64_t* left) {
  for (;;) {
    const uint64_t at = counter[0] | uint64_t(counter[1]) << 32;
    if (at == END) return ENDED;
    const uint64_t word = (at - begin) / 4;
    if (word >= words || program[word].run == nullptr) return NOT_COMPILED;
    if (--*left < 0) return TOO_LONG;
    const Instruction& one = program[word];
    one.run(buffers[one.takes[0]], buffers[one.takes[1]], buffers[one.takes[2]],
            buffers[one.takes[3]], buffers[one.takes[4]], buffers[one.takes[5]]);
    if (one.waits != 0) return AT_BARRIER;
  }
}
