// The random numbers of one step for one sample: Philox4x32-10 (Salmon, Moraes, Dror and Shaw,
// "Parallel random numbers: as easy as 1, 2, 3", SC 2011), one number after the other.
#pragma once
#include <cmath>
#include <cstdint>

namespace fastconv::augment {

class Stream {
 public:
  // The key differs from that of dropout, which counts otherwise with the same seed.
  Stream(uint64_t seed, uint64_t epoch, int64_t sample, uint32_t step)
      : key_(seed ^ 0x6175676d656e7400u ^
             (static_cast<uint64_t>(sample) >> 32) * 0x9E3779B97F4A7C15u),
        counter_{0, step, static_cast<uint32_t>(sample), static_cast<uint32_t>(epoch)} {}

  uint32_t word() {
    if (left_ == 0) refill();
    return block_[--left_];
  }

  // In [0, 1), 24 bits.
  float uniform() { return static_cast<float>(word() >> 8) * 0x1p-24f; }
  float uniform(float low, float high) { return low + (high - low) * uniform(); }

  // In [0, n).
  int64_t below(int64_t n) {
    return static_cast<int64_t>((static_cast<uint64_t>(word()) * static_cast<uint64_t>(n)) >> 32);
  }

  bool coin() { return word() >> 31; }

  // Two independent values of the standard normal distribution: Box and Muller (1958).
  void normal(float& first, float& second) {
    const float radius = std::sqrt(-2.0f * std::log(1.0f - uniform()));
    const float angle = 6.28318530718f * uniform();
    first = radius * std::cos(angle);
    second = radius * std::sin(angle);
  }

 private:
  void refill() {
    uint32_t c[4] = {counter_[0]++, counter_[1], counter_[2], counter_[3]};
    uint32_t low = static_cast<uint32_t>(key_), high = static_cast<uint32_t>(key_ >> 32);
    for (int round = 0; round < 10; ++round) {
      const uint64_t first = uint64_t{0xD2511F53} * c[0], second = uint64_t{0xCD9E8D57} * c[2];
      c[0] = static_cast<uint32_t>(second >> 32) ^ c[1] ^ low;
      c[1] = static_cast<uint32_t>(second);
      c[2] = static_cast<uint32_t>(first >> 32) ^ c[3] ^ high;
      c[3] = static_cast<uint32_t>(first);
      low += 0x9E3779B9;
      high += 0xBB67AE85;
    }
    for (int i = 0; i < 4; ++i) block_[i] = c[i];
    left_ = 4;
  }

  uint64_t key_;
  uint32_t counter_[4];
  uint32_t block_[4];
  int left_ = 0;
};

}  // namespace fastconv::augment
