// Places in one stretch of memory for what lives there at different times.
#pragma once
#include <cstdint>
#include <vector>

namespace fastconv {

// A part of a storage, from `start` on; it is written first in step `first`.
struct Piece {
  int64_t start;
  int64_t bytes;
  int64_t first;
};

struct Lifetime {
  std::vector<Piece> pieces;
  int64_t last;  // step that reads any of it last
};

// An offset for each storage, one after the other: the lowest multiple of `alignment` at which no
// piece meets what was placed before and lives at the same time.
std::vector<int64_t> lowest_offsets(const std::vector<Lifetime>& storages, int64_t alignment);

}  // namespace fastconv
