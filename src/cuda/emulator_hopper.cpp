#include "emulator_hopper.h"

#include <vector>

#include "convert.h"
#include "emulator.h"
#include "hopper_map.h"

namespace fastconv::cuda {
namespace {

using emulator::fault;

constexpr uint32_t kMade = 0xba2;  // a barrier that was made: other memory holds something else
constexpr int kColumns = 256;

// What an instruction reads: a half, or a float that was rounded to TF32.
float element(uint32_t address, Dtype dtype) {
  const int64_t bytes = size_of(dtype);
  if (address + (uint32_t)bytes > emulator::kMostShared)
    fault("an operand behind the shared memory");
  uint32_t word = 0;
  memcpy(&word, emulator::shared_memory() + address, (size_t)bytes);
  if (dtype == Dtype::float32) return emulator::operand<float>(word, 0);
  return dtype == Dtype::float16 ? emulator::operand<Float16>(word, 0)
                                 : emulator::operand<BFloat16>(word, 0);
}

// The hardware swaps pieces of 16 bytes by the number of the row of 128, modulo 8.
uint32_t swizzled(uint32_t address) { return address ^ (address >> 7 & 7) << 4; }

void end_phase_if_complete(Barrier& barrier) {
  if (barrier.missing > 0 || barrier.bytes != 0) return;
  barrier.parity ^= 1;
  barrier.missing = barrier.threads;
}

void check_made(const Barrier& barrier) {
  if (barrier.made != kMade) fault("a barrier that was not made");
}

// A box arrives. TMA reads element(row, column) of it there, or 0 at -1; a float is rounded to
// TF32.
template <class Element>
void deliver(void* to, const TensorMap& map, Barrier& barrier, const Element& element) {
  const uint32_t begin = shared_address(to);
  for (int row = 0; row < map.box[1]; ++row)
    for (int column = 0; column < map.box[0]; ++column) {
      const int64_t index = element(row, column);
      uint32_t value = 0;
      if (index >= 0) memcpy(&value, map.data + index * map.element, (size_t)map.element);
      if (map.element == 4) value = round_to_tf32(value);
      const uint32_t at = begin + (uint32_t)(row * kBoxBytes + column * map.element);
      memcpy(emulator::shared_memory() + swizzled(at), &value, (size_t)map.element);
    }
  barrier.bytes -= map.box[0] * map.box[1] * map.element;
  end_phase_if_complete(barrier);
}

void check_load(const void* to, const Barrier& barrier) {
  check_made(barrier);
  if (shared_address(to) % 1024 != 0) fault("a box that does not begin at a multiple of 1024");
}

// What a warpgroup asked for and did not wait for yet.
struct Groups {
  int64_t block = -1;
  std::vector<std::function<void()>> open;
  std::vector<std::vector<std::function<void()>>> ended;
};

Groups& groups() {
  static Groups all[1024 / kWarpgroup];
  Groups& mine = all[threadIdx.x / kWarpgroup];
  if (mine.block != emulator::block_number()) mine = {emulator::block_number(), {}, {}};
  return mine;
}

bool late() { return emulator::block_number() / 2 % 2; }

// 32 bytes of k of an operand, by its descriptor.
struct Operand {
  uint32_t begin, next_box, next_rows;
  Dtype dtype;
  bool turned;
  Operand(uint64_t descriptor, Dtype dtype_, bool turned_) : dtype(dtype_), turned(turned_) {
    if (descriptor >> 62 != 1) fault("an operand without the swizzle of 128 bytes");
    const auto field = [descriptor](int bit) {
      return (uint32_t)(descriptor >> bit & 0x3fff) << 4;
    };
    begin = field(0), next_box = field(16), next_rows = field(32);
  }
  float operator()(int i, int k) const {
    const int row = turned ? k : i, column = turned ? i : k;
    const int bytes = (int)size_of(dtype), width = kBoxBytes / bytes;
    const uint32_t box = turned ? (uint32_t)(column / width) * next_box : 0;
    const uint32_t at = (uint32_t)(row % 8 * kBoxBytes + column % width * bytes);
    return element(swizzled(begin + box + (uint32_t)(row / 8) * next_rows + at), dtype);
  }
};

struct Product {
  std::vector<float*> sums;  // of each thread
  int count;
  Dtype dtype;
  bool turn_a, turn_b;
  uint64_t a, b;
  bool add;

  void operator()() const {
    static float left[64][16], right[16][kColumns], results[64][kColumns];
    const Operand from_a(a, dtype, turn_a), from_b(b, dtype, turn_b);
    const int columns = 2 * count, depth = 32 / (int)size_of(dtype);
    for (int k = 0; k < depth; ++k) {
      for (int m = 0; m < 64; ++m) left[m][k] = from_a(m, k);
      for (int n = 0; n < columns; ++n) right[k][n] = from_b(n, k);
    }
    for (int m = 0; m < 64; ++m)
      for (int n = 0; n < columns; ++n) results[m][n] = add ? sum_of(m, n) : 0.0f;
    for (int m = 0; m < 64; ++m)
      for (int k = 0; k < depth; ++k)
        for (int n = 0; n < columns; ++n) results[m][n] += left[m][k] * right[k][n];
    for (int m = 0; m < 64; ++m)
      for (int n = 0; n < columns; ++n) sum_of(m, n) = results[m][n];
  }

  // A warp has 16 rows; its threads have two neighbours of every eight columns.
  float& sum_of(int m, int n) const {
    const int thread = m / 16 * 32 + m % 8 * 4 + n % 8 / 2;
    return sums[(size_t)thread][n / 8 * 4 + m % 16 / 8 * 2 + n % 2];
  }
};

}  // namespace

uint32_t shared_address(const void* p) {
  return (uint32_t)(static_cast<const unsigned char*>(p) - emulator::shared_memory());
}

void make_barrier(Barrier& barrier, int threads) {
  barrier = {0, kMade, (uint32_t)threads, (uint32_t)threads, 0};
}

void publish_barriers() {}

void arrive(Barrier& barrier) { arrive_expecting(barrier, 0); }

void arrive_expecting(Barrier& barrier, int bytes) {
  check_made(barrier);
  if (barrier.missing == 0) fault("more threads arrive at a barrier than it was made for");
  --barrier.missing;
  barrier.bytes += bytes;
  end_phase_if_complete(barrier);
  emulator::progressed();
}

void wait_for(Barrier& barrier, int parity) {
  check_made(barrier);
  emulator::wait_until([&barrier, parity] { return (int)barrier.parity != parity; });
}

void load_box(void* to, const TensorMap& map, Barrier& barrier, int x, int y, int z) {
  check_load(to, barrier);
  emulator::later([=, &map, &barrier] {
    deliver(to, map, barrier, [&](int row, int column) -> int64_t {
      const int64_t i = x + column, j = y + row;
      if (i < 0 || i >= map.size[0] || j < 0 || j >= map.size[1] || z < 0 || z >= map.size[2])
        return -1;
      return (z * map.size[1] + j) * map.size[0] + i;
    });
  });
}

void load_windows(void* to, const TensorMap& map, Barrier& barrier, int channel, int w, int h,
                  int n, int tap_w, int tap_h) {
  check_load(to, barrier);
  if (tap_w < 0 || tap_w > 255 || tap_h < 0 || tap_h > 255) fault("a tap further than 255");
  emulator::later([=, &map, &barrier] {
    int64_t x = w, y = h, image = n;
    int at = 0;  // the row that (x, y, image) is the corner of
    deliver(to, map, barrier, [&](int row, int column) -> int64_t {
      for (; at < row; ++at) {
        if ((x += map.stride[0]) <= map.high[0]) continue;
        x = map.low[0];
        if ((y += map.stride[1]) <= map.high[1]) continue;
        y = map.low[1];
        ++image;
      }
      const int64_t c = channel + column, i = x + tap_w, j = y + tap_h;
      if (c >= map.size[0] || i < 0 || i >= map.size[1] || j < 0 || j >= map.size[2] ||
          image >= map.size[3])
        return -1;
      return ((image * map.size[2] + j) * map.size[1] + i) * map.size[0] + c;
    });
  });
}

void fence_products() {
  emulator::meet(kWarpgroup, nullptr, [](void* const*) {});
}

void end_group() {
  emulator::meet(kWarpgroup, nullptr, [](void* const*) {
    groups().ended.push_back({});
    groups().ended.back().swap(groups().open);
  });
}

void wait_for_groups(int unfinished) {
  emulator::meet(kWarpgroup, nullptr, [unfinished](void* const*) {
    auto& ended = groups().ended;
    while ((int)ended.size() > unfinished) {
      for (const auto& product : ended.front()) product();
      ended.erase(ended.begin());
    }
  });
}

void multiply(float* sums, int count, Dtype dtype, bool turn_a, bool turn_b, uint64_t a, uint64_t b,
              bool add) {
  emulator::meet(kWarpgroup, sums, [=](void* const* threads) {
    Product product{{}, count, dtype, turn_a, turn_b, a, b, add};
    for (int i = 0; i < kWarpgroup; ++i) product.sums.push_back(static_cast<float*>(threads[i]));
    if (late())
      groups().open.push_back(product);
    else
      product();
  });
}

TensorMap map_boxes(const void* data, const int64_t (&size)[3], int rows, Dtype dtype) {
  const int element = (int)size_of(dtype);
  return {static_cast<const unsigned char*>(data),
          element,
          {size[0], size[1], size[2], 1},
          {kBoxBytes / element, rows},
          false,
          {},
          {},
          {}};
}

TensorMap map_windows(const void* data, const WindowMap& w, int count, Dtype dtype) {
  const int element = (int)size_of(dtype);
  TensorMap map{static_cast<const unsigned char*>(data),
                element,
                {w.channels, w.size[0], w.size[1], w.batch},
                {kBoxBytes / element, count},
                true,
                {},
                {},
                {}};
  for (int i = 0; i < 2; ++i) {
    map.low[i] = w.low[i];
    map.stride[i] = w.stride[i];
    map.high[i] = w.low[i] + (w.count[i] - 1) * w.stride[i];
  }
  return map;
}

}  // namespace fastconv::cuda
