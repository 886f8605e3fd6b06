// Mean, deviation and variance of what a convolution has made, as batch normalisation takes them.
#include "conv.h"
#include "statistics.h"

namespace fastconv::cuda {
namespace {

// Parts are read from a cache: few in a chunk, for there are not many.
Columns columns_of_parts(int64_t parts, int64_t channels, int width) {
  return columns_of(parts, channels, width, 4, 256);
}
int width_of(int64_t channels) { return channels % kColumnsEach ? 1 : kColumnsEach; }

int64_t count_parts(const KernelCall& call, int64_t part) {
  return part ? ceil_div(output_pixels(geometry(call)), part) : 0;
}

// Of partial moments.
int64_t joining_bytes(const KernelCall& call, int64_t part) {
  const WindowGeometry& g = geometry(call);
  if (part == 0) return columns_workspace(output_pixels(g), g.out_channels, 2);
  const int width = width_of(g.out_channels);
  const int64_t chunks = columns_of_parts(count_parts(call, part), g.out_channels, width).chunks;
  return 8 * chunks * g.out_channels;
}

// The product is done when its moments are joined. Both have the same workspace, before the parts.
int64_t shared_bytes(const KernelCall& call, int64_t part, int64_t product) {
  const int64_t joining = joining_bytes(call, part), most = product > joining ? product : joining;
  return ceil_div(most, 64) * 64;
}

template <int W>
void join_parts(const KernelCall& call, const float* parts, int64_t part, const Statistics& out) {
  const WindowGeometry& g = geometry(call);
  const int64_t pixels = output_pixels(g), channels = g.out_channels;
  join_moments(call, columns_of_parts(count_parts(call, part), channels, W),
               PartMoments<W>{parts, channels, part, pixels}, pixels, workspace<float>(call), out);
}

template <class T, int W>
void join_pixels(const KernelCall& call, const Statistics& out) {
  const WindowGeometry& g = geometry(call);
  const int64_t pixels = output_pixels(g), channels = g.out_channels;
  join_moments(call, columns_to_join(pixels, channels, W),
               RowMoments<T, W>{output<T>(call, 0), channels}, pixels, workspace<float>(call), out);
}

}  // namespace

int64_t statistics_workspace(const KernelCall& call, int64_t part, int64_t product) {
  const int64_t parts = 8 * count_parts(call, part) * geometry(call).out_channels;
  return shared_bytes(call, part, product) + parts;
}

float* moments_of_parts(const KernelCall& call, int64_t part, int64_t product) {
  if (part == 0) return nullptr;
  return reinterpret_cast<float*>(workspace<char>(call) + shared_bytes(call, part, product));
}

void join_statistics(const KernelCall& call, int64_t part, int64_t product) {
  const Statistics out = statistics_of(call, attrs<ConvAttrs>(call).epsilon);
  const bool wide = width_of(geometry(call).out_channels) > 1;
  if (const float* parts = moments_of_parts(call, part, product))
    return wide ? join_parts<kColumnsEach>(call, parts, part, out)
                : join_parts<1>(call, parts, part, out);
  with_float(call, [&](auto tag) {
    using T = typename decltype(tag)::type;
    if (wide && is_aligned(call.outputs[0].data))
      join_pixels<T, kColumnsEach>(call, out);
    else
      join_pixels<T, 1>(call, out);
  });
}

}  // namespace fastconv::cuda
