#include "offsets.h"

#include <algorithm>

namespace fastconv {
namespace {

struct Placed {
  int64_t begin, end;
  int64_t first, last;
};

// `placed` is sorted by begin.
int64_t lowest(const Lifetime& storage, const std::vector<Placed>& placed, int64_t alignment) {
  std::vector<size_t> passed(storage.pieces.size(), 0);  // of placed, by each piece
  int64_t offset = 0;
  for (bool moved = true; moved;) {
    moved = false;
    for (size_t i = 0; i < storage.pieces.size(); ++i) {
      const Piece& piece = storage.pieces[i];
      for (size_t& at = passed[i]; at < placed.size(); ++at) {
        const Placed& other = placed[at];
        if (other.begin >= offset + piece.start + piece.bytes) break;
        const bool together = other.first <= storage.last && piece.first <= other.last;
        if (!together || other.end <= offset + piece.start) continue;
        offset = (other.end - piece.start + alignment - 1) / alignment * alignment;
        moved = true;
      }
    }
  }
  return offset;
}

}  // namespace

std::vector<int64_t> lowest_offsets(const std::vector<Lifetime>& storages, int64_t alignment) {
  std::vector<int64_t> offsets;
  std::vector<Placed> placed;
  for (const Lifetime& storage : storages) {
    const int64_t offset = lowest(storage, placed, alignment);
    offsets.push_back(offset);
    for (const Piece& piece : storage.pieces) {
      const int64_t begin = offset + piece.start;
      const auto later = std::lower_bound(
          placed.begin(), placed.end(), begin,
          [](const Placed& other, int64_t position) { return other.begin < position; });
      placed.insert(later, {begin, begin + piece.bytes, piece.first, storage.last});
    }
  }
  return offsets;
}

}  // namespace fastconv
