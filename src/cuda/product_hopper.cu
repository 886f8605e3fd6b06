// How a product is cut into the tiles of hopper_tiles.h, and what starts them.
#include "hopper_tiles.h"
#include "product_hopper.h"

namespace fastconv::cuda {
namespace {

// How a product is cut: by its size alone, so that results do not depend on the device.
struct Cut {
  int slabs, columns;  // of a tile
  int64_t splits;
  int blocks = 1;  // of a multiprocessor
};

int64_t slice_of(const HopperProduct& p) { return kBoxBytes / size_of(p.dtype); }

int64_t channel_blocks(const HopperProduct& p) { return ceil_div(p.depth, slice_of(p)); }
int64_t taps_of(const HopperProduct& p) { return p.taps[0] * p.taps[1]; }
int64_t slabs_of(const HopperProduct& p) {
  return p.kind == ProductKind::taps ? taps_of(p) * channel_blocks(p) : ceil_div(p.rows, kSlab);
}
int64_t slices_of(const HopperProduct& p) {
  return p.kind == ProductKind::taps ? ceil_div(p.rows, slice_of(p))
                                     : taps_of(p) * channel_blocks(p);
}
int64_t lines_of(const HopperProduct& p) {
  return p.kind == ProductKind::taps ? taps_of(p) * p.depth : p.rows;
}

// Cycles that a product takes, roughly, on 132 multiprocessors, each with its share of what the
// second-level cache (40 bytes a cycle) and the memory (18) give. A slice takes the same time in
// TF32: half the depth at half the rate.
double cycles(const HopperProduct& p, const Cut& cut) {
  constexpr double kBlocks = 132, kCache = 40, kMemory = 18, kStart = 800, kLaunch = 4000;
  const double area = 64.0 * cut.slabs * cut.columns;
  const double product = area * kSlab / 2048, loads = (64.0 * cut.slabs + cut.columns) * 128;
  const double slice = product > loads / kCache ? product : loads / kCache;
  const int64_t tiles = ceil_div(slabs_of(p), cut.slabs) * ceil_div(p.columns, cut.columns);
  const int64_t waves = ceil_div(tiles * cut.splits, (int64_t)kBlocks);
  const double width = cut.splits > 1 || p.kind == ProductKind::taps || p.tf32 ? 4 : 2;
  const double tile =
      (double)ceil_div(slices_of(p), cut.splits) * slice + kStart + area * width / kMemory;
  const double results = (double)(lines_of(p) * p.columns);
  const double join =
      cut.splits > 1 ? kLaunch + results * 4 * (double)(cut.splits + 1) / kBlocks / kMemory : 0;
  return (double)waves * tile + join;
}

constexpr Cut kTiles[] = {{4, 128, 1}, {4, 64, 1}, {2, 128, 1}, {2, 64, 1}, {2, 64, 1, 2}};
constexpr int32_t kMostSplits = 132;

// Whether there may be as many, and whether all but the last are as long.
bool may_split(const HopperProduct& p, int64_t splits) {
  constexpr int64_t kLeastSlices = 4, kMostPartial = int64_t{1} << 25;
  return splits == 1 || (!p.spreads && ceil_div(slices_of(p), splits) >= kLeastSlices &&
                         splits * lines_of(p) * p.columns <= kMostPartial);
}
bool is_even(const HopperProduct& p, int64_t splits) {
  return splits == 1 || ceil_div(slices_of(p), ceil_div(slices_of(p), splits)) == splits;
}

Cut cut_product(const HopperProduct& p, const Tiling& tiling) {
  if (tiling.tile > 0) {
    const Cut& tile = kTiles[tiling.tile - 1];
    return {tile.slabs, tile.columns, tiling.splits, tile.blocks};
  }
  // Two blocks, of which one loads while the other writes, are for tables alone.
  Cut best = {2, 64, 1};
  for (const Cut& tile : kTiles)
    for (int64_t splits = 1; tile.blocks == 1 && splits <= kMostSplits && may_split(p, splits);
         ++splits) {
      const Cut cut = {tile.slabs, tile.columns, splits};
      if (is_even(p, splits) && cycles(p, cut) < cycles(p, best)) best = cut;
    }
  return best;
}

Left left_of(const HopperProduct& p, int rows) {
  Left left = {};
  left.slides = p.slides;
  left.taps_across = p.taps[0] > 0 ? (int32_t)p.taps[0] : 1;
  if (!p.slides) {
    left.map = map_boxes(p.left, {p.depth, p.rows, 1}, rows, p.dtype);
    return left;
  }
  left.map = map_windows(p.left, p.windows, rows, p.dtype);
  left.across = Divisor(p.windows.count[0]);
  left.down = Divisor(p.windows.count[1]);
  for (int i = 0; i < 2; ++i) {
    left.stride[i] = (int32_t)p.windows.stride[i];
    left.low[i] = (int32_t)p.windows.low[i];
    left.dilation[i] = (int32_t)p.dilation[i];
  }
  return left;
}

TensorMap right_of(const HopperProduct& p, int columns) {
  const int slice = (int)slice_of(p);
  switch (p.kind) {
    case ProductKind::rows:
      return map_boxes(p.right, {p.columns, p.depth, p.matrices.count}, slice, p.dtype);
    case ProductKind::turned:
      return map_boxes(p.right, {p.depth, p.columns, p.matrices.count}, columns, p.dtype);
    default: return map_boxes(p.right, {p.columns, p.rows, 1}, slice, p.dtype);
  }
}

Spread spread_of(const HopperProduct& p) {
  Spread spread = {};
  spread.spreads = p.spreads;
  for (int i = 0; i < 2; ++i) {
    spread.size[i] = (int32_t)p.result.size[i];
    spread.first[i] = (int32_t)p.result.first[i];
    spread.apart[i] = (int32_t)p.result.apart[i];
  }
  return spread;
}

template <class T, int Slabs, int Columns, int Blocks, ProductKind Kind, class Out, bool Moments>
void run_tiles(const KernelCall& call, const HopperProduct& p, const Epilogue& epilogue,
               int64_t splits, float* work) {
  using K = Tiles<T, Slabs, Columns, Blocks, Kind, Out, Moments>;
  K t = {};
  t.left = left_of(p, K::kTurnA ? K::kSlice : K::kRowSlabs * kSlab);
  t.right = right_of(p, Columns);
  t.first_matrix = (int32_t)p.matrices.first;
  for (int i = 0; i < 2; ++i) t.matrix_step[i] = (int32_t)p.matrices.step[i];
  t.spread = spread_of(p);
  t.rows = (int32_t)p.rows, t.depth = (int32_t)p.depth, t.columns = (int32_t)p.columns;
  t.taps = (int32_t)taps_of(p), t.blocks = (int32_t)channel_blocks(p);
  t.slabs = (int32_t)slabs_of(p), t.slices = (int32_t)slices_of(p);
  t.slices_of_split = (int32_t)ceil_div(t.slices, splits);
  t.across = Divisor(ceil_div(p.columns, Columns));
  t.down = Divisor(ceil_div(t.slabs, K::kRowSlabs));
  t.tiles = t.across.size() * t.down.size() * splits;
  t.finish = finish_of<Out>(call, epilogue);
  t.partial = splits > 1 ? work : nullptr;
  t.moments = p.moments;
  const int64_t most = Blocks * multiprocessors();
  launch(call, t, t.tiles < most ? t.tiles : most);
  if (splits == 1) return;
  const Finish<Out> finish = t.finish;
  const float* partial = t.partial;
  const int64_t count = lines_of(p) * p.columns;
  const Divisor groups(p.columns / 8);
  for_each(call, count / 8, [=] __device__(int64_t i) {
    float sum[1][8], more[8];
    load(partial + i * 8, sum[0]);
#pragma unroll 4
    for (int64_t split = 1; split < splits; ++split) {
      load(partial + split * count + i * 8, more);
#pragma unroll
      for (int e = 0; e < 8; ++e) sum[0][e] += more[e];
    }
    const int64_t column = (i - groups(i) * groups.size()) * 8;
    const int64_t at[] = {i * 8};
    finish.put_rows(at, finish.columns(column), sum);
  });
}

template <class T, ProductKind Kind, class Out, bool Moments = false>
void run_kind(const KernelCall& call, const HopperProduct& p, const Epilogue& e, float* work) {
  const Cut cut = cut_product(p, tiling_of(call));
  const auto run = [&](auto slabs, auto columns, auto blocks) {
    run_tiles<T, slabs.value, columns.value, blocks.value, Kind, Out, Moments>(call, p, e,
                                                                               cut.splits, work);
  };
  constexpr Constant<1> one;
  constexpr Constant<2> two;
  if constexpr (Kind != ProductKind::taps && !Moments)
    if (cut.blocks == 2) return run(one, Constant<64>{}, two);
  if (cut.columns == 128)
    cut.slabs == 4 ? run(two, Constant<128>{}, one) : run(one, Constant<128>{}, one);
  else
    cut.slabs == 4 ? run(two, Constant<64>{}, one) : run(one, Constant<64>{}, one);
}

// Of a kind that may keep moments.
template <class T, ProductKind Kind>
void run_rows(const KernelCall& call, const HopperProduct& p, const Epilogue& e, float* work) {
  p.moments ? run_kind<T, Kind, T, true>(call, p, e, work) : run_kind<T, Kind, T>(call, p, e, work);
}

// TF32 multiplies only what lies along the depth: matrices that do not are turned first.
int64_t turned_bytes(const HopperProduct& p) {
  if (!p.tf32 || p.kind != ProductKind::rows) return 0;
  return ceil_div(4 * p.matrices.count * p.depth * p.columns, 64) * 64;
}

void run_tf32(const KernelCall& call, HopperProduct p, const Epilogue& epilogue) {
  float* work = workspace<float>(call);
  if (const int64_t bytes = turned_bytes(p)) {
    turn_matrices(call, static_cast<const float*>(p.right), work, p.matrices.count, p.depth,
                  p.columns);
    p.right = work;
    p.kind = ProductKind::turned;
    work += bytes / 4;
  }
  run_rows<float, ProductKind::turned>(call, p, epilogue, work);
}

}  // namespace

const char* hopper_product_declines(const KernelCall& call, const HopperProduct& p,
                                    const Epilogue& epilogue) {
  const Dtype result = p.kind == ProductKind::taps ? Dtype::float32 : p.dtype;
  const bool rounded = p.tf32 && p.dtype == Dtype::float32;
  if ((!rounded && !is_half(p.dtype)) || call.inputs[1].dtype != p.dtype ||
      call.outputs[0].dtype != result)
    return "neither bfloat16 or float16 alone nor float32 that may be rounded";
  if (p.tf32 && p.kind == ProductKind::taps) return "sums over rows of float32";
  if (p.kind == ProductKind::taps &&
      (call.n_inputs > 2 || epilogue.activation != Activation::identity))
    return "an epilogue";
  if (p.rows == 0) return "nothing to compute";
  if (p.depth % 8 || p.columns % 8) return "channels or filters that are no multiple of 8";
  if (p.rows > INT32_MAX || p.depth > INT32_MAX || lines_of(p) > INT32_MAX)
    return "sizes do not fit 32 bits";
  if (!p.slides) return nullptr;
  return windows_decline(p.windows,
                         {(p.taps[0] - 1) * p.dilation[0], (p.taps[1] - 1) * p.dilation[1]});
}

int64_t hopper_product_workspace(const KernelCall& call, const HopperProduct& p) {
  const int64_t splits = cut_product(p, tiling_of(call)).splits;
  return turned_bytes(p) + (splits > 1 ? 4 * splits * lines_of(p) * p.columns : 0);
}

int64_t hopper_product_part(const KernelCall& call, const HopperProduct& p) {
  const Cut cut = cut_product(p, tiling_of(call));
  return cut.splits > 1 || cut.blocks > 1 ? 0 : cut.slabs / 2 * kSlab;
}

bool hopper_product_tiles(const KernelCall& call, const HopperProduct& p) {
  constexpr int32_t kCount = sizeof kTiles / sizeof *kTiles;
  const auto [tile, splits] = tiling_of(call);
  if (tile < 1 || tile > kCount || splits < 1 || splits > kMostSplits) return false;
  if (kTiles[tile - 1].blocks > 1 && p.kind == ProductKind::taps) return false;
  return may_split(p, splits) && is_even(p, splits);
}

void run_hopper_product(const KernelCall& call, const HopperProduct& p, const Epilogue& epilogue) {
  if (p.tf32) return run_tf32(call, p, epilogue);
  float* work = workspace<float>(call);
  with_half(p.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    using enum ProductKind;
    switch (p.kind) {
      case rows: return run_rows<T, rows>(call, p, epilogue, work);
      case turned: return run_kind<T, turned, T>(call, p, epilogue, work);
      case taps: return run_kind<T, taps, float>(call, p, epilogue, work);
    }
  });
}

void finish_hopper_product(const KernelCall& call, const Epilogue& epilogue) {
  with_float(call,
             [&](auto type) { finish_activation<typename decltype(type)::type>(call, epilogue); });
}

}  // namespace fastconv::cuda
