// What the instructions of tensor_core.h do, for the emulator. A copy takes place as late as it
// may, when its thread waits for it, so that a missing wait shows. A warp that loads rows of a
// matrix from the same banks of shared memory is a fault: the result would be right, but slow.
#pragma once
#include <vector>

#include "convert.h"
#include "emulator.h"

namespace fastconv::emulator {

struct Copy {
  void* to;
  const void* from;
  bool inside;
};
using Copies = std::vector<Copy>;

// The copies that a thread of the present block has started.
struct Started {
  int64_t block = 0;
  std::vector<Copies> groups;
  Copies open;
};
inline Started& started() {
  static Started threads[1024];
  Started& mine = threads[threadIdx.x];
  if (mine.block != block_number()) mine = {block_number(), {}, {}};
  return mine;
}

// The 8 rows of a matrix lie in 8 different sets of four banks, of 32.
inline bool in_different_banks(void* const* rows) {
  unsigned seen = 0;
  for (int i = 0; i < 8; ++i) seen |= 1u << (reinterpret_cast<uintptr_t>(rows[i]) / 16 % 8);
  return seen == 0xff;
}

// Of the word of a float32 an instruction reads what TF32 has: a kernel has to round it before.
constexpr uint32_t kBehindTf32 = 0x1fff, kNanOfTf32 = 0x7fffffff;

// Element i of a word.
template <class T>
inline float operand(uint32_t word, int i) {
  if constexpr (sizeof(T) == sizeof(float)) {
    if (word & kBehindTf32 && word != kNanOfTf32) fault("an operand that was not rounded to TF32");
    return __int_as_float((int)word);
  } else {
    return cuda::widen(T{(uint16_t)(word >> 16 * i)});
  }
}

struct MatrixLane {
  uint32_t (&words)[4];
  const void* row;
};

template <bool Transposed>
inline void load_four(uint32_t (&words)[4], const void* row) {
  MatrixLane mine{words, row};
  meet(32, &mine, [](void* const* lanes) {
    const auto lane = [lanes](int i) -> MatrixLane& { return *static_cast<MatrixLane*>(lanes[i]); };
    for (int matrix = 0; matrix < 4; ++matrix) {
      const uint16_t* rows[8];
      for (int i = 0; i < 8; ++i) rows[i] = static_cast<const uint16_t*>(lane(matrix * 8 + i).row);
      if (!in_different_banks((void* const*)rows)) fault("rows of a matrix in the same banks");
      for (int i = 0; i < 32; ++i) {
        const int g = i / 4, t = i % 4 * 2;
        const uint16_t low = Transposed ? rows[t][g] : rows[g][t];
        const uint16_t high = Transposed ? rows[t + 1][g] : rows[g][t + 1];
        lane(i).words[matrix] = low | (uint32_t)high << 16;
      }
    }
  });
}

}  // namespace fastconv::emulator

namespace fastconv::cuda {

inline void copy_async(void* to, const void* from, bool inside) {
  emulator::started().open.push_back({to, from, inside});
}
inline void commit_copies() {
  emulator::Started& mine = emulator::started();
  mine.groups.push_back(std::move(mine.open));
  mine.open.clear();
}
template <int N>
inline void wait_copies() {
  auto& groups = emulator::started().groups;
  while (groups.size() > N) {
    for (const emulator::Copy& copy : groups.front())
      copy.inside ? memcpy(copy.to, copy.from, 16) : memset(copy.to, 0, 16);
    groups.erase(groups.begin());
  }
}

inline void load_matrices(uint32_t (&words)[4], const void* row) {
  emulator::load_four<false>(words, row);
}
inline void load_transposed(uint32_t (&words)[4], const void* row) {
  emulator::load_four<true>(words, row);
}

template <class T>
inline void multiply_add(float (&sum)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  struct Lane {
    float (&sum)[4];
    const uint32_t (&a)[4];
    const uint32_t (&b)[2];
  } mine{sum, a, b};
  emulator::meet(32, &mine, [](void* const* lanes) {
    constexpr int kEach = 4 / sizeof(T);  // elements of a word
    float A[16][8 * kEach], B[8 * kEach][8];
    for (int i = 0; i < 32; ++i) {
      const Lane& lane = *static_cast<Lane*>(lanes[i]);
      const int g = i / 4, t = i % 4;
      for (int e = 0; e < kEach; ++e) {
        for (int j = 0; j < 4; ++j)
          A[g + j % 2 * 8][(t + j / 2 * 4) * kEach + e] = emulator::operand<T>(lane.a[j], e);
        for (int j = 0; j < 2; ++j)
          B[(t + j * 4) * kEach + e][g] = emulator::operand<T>(lane.b[j], e);
      }
    }
    for (int i = 0; i < 32; ++i)
      for (int j = 0; j < 4; ++j) {
        const int row = i / 4 + j / 2 * 8, column = i % 4 * 2 + j % 2;
        float& x = static_cast<Lane*>(lanes[i])->sum[j];
        for (int k = 0; k < 8 * kEach; ++k) x += A[row][k] * B[k][column];
      }
  });
}

inline uint32_t round_to_tf32(uint32_t word) {
  const bool nan = (word & 0x7fffffff) > 0x7f800000;
  return nan ? emulator::kNanOfTf32 : (word + 0x1000) & ~emulator::kBehindTf32;
}

}  // namespace fastconv::cuda
