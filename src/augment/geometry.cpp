#include "geometry.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace fastconv::augment {
namespace {

// The pixel that stands for pixel i of an axis of n; -1: the fill value.
int64_t inside(int64_t i, int64_t n, Fill fill) {
  if (i >= 0 && i < n) return i;
  switch (fill) {
    case Fill::constant: return -1;
    case Fill::nearest: return i < 0 ? 0 : n - 1;
    case Fill::wrap: return (i % n + n) % n;
    case Fill::reflect: break;
  }
  const int64_t m = (i % (2 * n) + 2 * n) % (2 * n);
  return m < n ? m : 2 * n - 1 - m;
}

uint8_t to_byte(float x) {
  constexpr float kWhole = 0x1.8p23f;  // sums with it have no bits behind the point
  const float rounded = (std::min(std::max(x, 0.0f), 255.0f) + kWhole) - kWhole;
  return static_cast<uint8_t>(rounded);
}

template <class T>
void store_row(const Sink& sink, int64_t y, const T* row, int64_t n) {
  if (sink.bytes) {
    uint8_t* dst = static_cast<uint8_t*>(sink.data) + y * n;
    if constexpr (sizeof(T) == 1)
      std::memcpy(dst, row, static_cast<size_t>(n));
    else
      for (int64_t i = 0; i < n; ++i) dst[i] = to_byte(row[i]);
    return;
  }
  float* __restrict dst = static_cast<float*>(sink.data) + y * n;
  const float* __restrict scale = sink.scale, * __restrict offset = sink.offset;
  if (!scale)
    for (int64_t i = 0; i < n; ++i) dst[i] = static_cast<float>(row[i]);
  else
    for (int64_t i = 0; i < n; ++i) dst[i] = static_cast<float>(row[i]) * scale[i] + offset[i];
}

// dst[i] = src[first + step i] for pixels of C channels (0: of `channels`).
template <int C, class T>
void copy_pixels(const T* src, T* dst, int64_t count, int64_t step, int64_t channels) {
  const int64_t c = C ? C : channels;
  for (int64_t i = 0; i < count; ++i, src += step * c, dst += c)
    for (int64_t k = 0; k < c; ++k) dst[k] = src[k];
}

template <class T>
void copy_run(const T* src, T* dst, int64_t count, int64_t step, int64_t c) {
  if (step == 1) {
    std::memcpy(dst, src, sizeof(T) * static_cast<size_t>(count * c));
  } else if (c == 1) {
    copy_pixels<1>(src, dst, count, step, c);
  } else if (c == 3) {
    copy_pixels<3>(src, dst, count, step, c);
  } else {
    copy_pixels<0>(src, dst, count, step, c);
  }
}

// One axis of a copy: pixel i comes from `first + step i`, within the image for i in [begin, end).
struct Axis {
  Axis(double step_, double first_, int64_t count, int64_t n)
      : step(step_ < 0 ? -1 : 1), first(std::llround(first_)) {
    const int64_t low = step > 0 ? -first : first - (n - 1), high = low + n;
    begin = std::clamp<int64_t>(low, 0, count);
    end = std::clamp<int64_t>(high, begin, count);
  }
  int64_t at(int64_t i) const { return first + step * i; }
  int64_t step, first, begin, end;
};

template <class T>
void fill_pixel(T* dst, const T* row, int64_t column, T value, int64_t c) {
  for (int64_t k = 0; k < c; ++k) dst[k] = column < 0 ? value : row[column * c + k];
}

template <class T>
void copy_rows(const T* src, const Size& size, const View& view, const Sink& sink,
               std::vector<T>& buffer) {
  const int64_t c = size.channels, width = view.size.width, n = view.size.row();
  const Axis x(view.map.xx, view.map.x0, width, size.width);
  const Axis y(view.map.yy, view.map.y0, view.size.height, size.height);
  const T value =
      sizeof(T) == 1 ? static_cast<T>(to_byte(view.fill_value)) : static_cast<T>(view.fill_value);
  const bool direct = x.step == 1 && x.begin == 0 && x.end == width;
  buffer.resize(static_cast<size_t>(n));
  for (int64_t i = 0; i < view.size.height; ++i) {
    const int64_t line = inside(y.at(i), size.height, view.fill);
    const T* row = src + std::max<int64_t>(line, 0) * size.row();
    if (line >= 0 && direct) {
      store_row(sink, i, row + x.first * c, n);
      continue;
    }
    if (line < 0) {
      std::fill(buffer.begin(), buffer.end(), value);
    } else {
      for (int64_t j = 0; j < x.begin; ++j)
        fill_pixel(&buffer[j * c], row, inside(x.at(j), size.width, view.fill), value, c);
      if (x.begin < x.end)
        copy_run(row + x.at(x.begin) * c, &buffer[x.begin * c], x.end - x.begin, x.step, c);
      for (int64_t j = x.end; j < width; ++j)
        fill_pixel(&buffer[j * c], row, inside(x.at(j), size.width, view.fill), value, c);
    }
    store_row(sink, i, buffer.data(), n);
  }
}

// Coordinates this far out are all the same to the fill modes that could tell, and fit an int64.
double bounded(double x) { return std::clamp(x, -1e9, 1e9); }

// Without the library's floor, which is a call where the CPU may be an old one.
int64_t floored(double x) {
  const int64_t i = static_cast<int64_t>(x);
  return i - (x < static_cast<double>(i));
}

// Fetches pixels of C channels (0: of as many as the image has).
template <int C, class T>
class Sampler {
 public:
  Sampler(const T* src, const Size& size, const View& view)
      : src_(src), size_(size), view_(view), c_(C ? C : size.channels) {}

  void nearest(double x, double y, float* dst) const {
    const T* p = pixel(floored(x + 0.5), floored(y + 0.5));
    for (int64_t k = 0; k < c_; ++k) dst[k] = p ? static_cast<float>(p[k]) : view_.fill_value;
  }

  void bilinear(double x, double y, float* dst) const {
    const int64_t c = C ? C : c_, i = floored(x), j = floored(y);
    const float u = static_cast<float>(x - static_cast<double>(i));
    const float v = static_cast<float>(y - static_cast<double>(j));
    const float weight[4] = {(1 - u) * (1 - v), u * (1 - v), (1 - u) * v, u * v};
    if (i >= 0 && i + 1 < size_.width && j >= 0 && j + 1 < size_.height) {
      const T *a = src_ + (j * size_.width + i) * c, *b = a + size_.width * c;
      for (int64_t k = 0; k < c; ++k)
        dst[k] = weight[0] * static_cast<float>(a[k]) + weight[1] * static_cast<float>(a[k + c]) +
                 weight[2] * static_cast<float>(b[k]) + weight[3] * static_cast<float>(b[k + c]);
      return;
    }
    const T* p[4] = {pixel(i, j), pixel(i + 1, j), pixel(i, j + 1), pixel(i + 1, j + 1)};
    for (int64_t k = 0; k < c; ++k) {
      float sum = 0;
      for (int t = 0; t < 4; ++t)
        sum += weight[t] * (p[t] ? static_cast<float>(p[t][k]) : view_.fill_value);
      dst[k] = sum;
    }
  }

 private:
  const T* pixel(int64_t x, int64_t y) const {
    x = inside(x, size_.width, view_.fill);
    y = inside(y, size_.height, view_.fill);
    return x < 0 || y < 0 ? nullptr : src_ + (y * size_.width + x) * c_;
  }

  const T* src_;
  const Size size_;
  const View view_;
  const int64_t c_;
};

template <int C, class T>
void sample_rows(const T* src, const Size& size, const View& view, const Sink& sink,
                 std::vector<float>& buffer) {
  const Map& m = view.map;
  const Sampler<C, T> sampler(src, size, view);
  buffer.resize(static_cast<size_t>(view.size.row()));
  for (int64_t y = 0; y < view.size.height; ++y) {
    const double row = static_cast<double>(y), x0 = m.xy * row + m.x0, y0 = m.yy * row + m.y0;
    float* dst = buffer.data();
    for (int64_t x = 0; x < view.size.width; ++x, dst += size.channels) {
      const double column = static_cast<double>(x);
      const double sx = bounded(m.xx * column + x0), sy = bounded(m.yx * column + y0);
      if (view.bilinear)
        sampler.bilinear(sx, sy, dst);
      else
        sampler.nearest(sx, sy, dst);
    }
    store_row(sink, y, buffer.data(), view.size.row());
  }
}

template <class T>
void sample_image(const T* src, const Size& size, const View& view, const Sink& sink,
                  std::vector<float>& buffer) {
  if (size.channels == 1)
    sample_rows<1>(src, size, view, sink, buffer);
  else if (size.channels == 3)
    sample_rows<3>(src, size, view, sink, buffer);
  else
    sample_rows<0>(src, size, view, sink, buffer);
}

}  // namespace

bool Map::exact() const {
  return xy == 0 && yx == 0 && std::abs(xx) == 1 && std::abs(yy) == 1 && x0 == std::rint(x0) &&
         y0 == std::rint(y0);
}

Map then(const Map& first, const Map& next) {
  return {first.xx * next.xx + first.xy * next.yx,
          first.xx * next.xy + first.xy * next.yy,
          first.xx * next.x0 + first.xy * next.y0 + first.x0,
          first.yx * next.xx + first.yy * next.yx,
          first.yx * next.xy + first.yy * next.yy,
          first.yx * next.x0 + first.yy * next.y0 + first.y0};
}

void resample(const uint8_t* src, const Size& size, const View& view, const Sink& sink,
              RowBuffers& rows) {
  if (view.map.exact())
    copy_rows(src, size, view, sink, rows.bytes);
  else
    sample_image(src, size, view, sink, rows.floats);
}

void resample(const float* src, const Size& size, const View& view, const Sink& sink,
              RowBuffers& rows) {
  if (view.map.exact())
    copy_rows(src, size, view, sink, rows.floats);
  else
    sample_image(src, size, view, sink, rows.floats);
}

}  // namespace fastconv::augment
