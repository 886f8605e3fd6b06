#include "pixels.h"

#include <algorithm>
#include <cmath>

namespace fastconv::augment {
namespace {

float clip(float x, const float* range) { return std::min(std::max(x, range[0]), range[1]); }

bool has_color(const Size& size) { return size.channels >= 3; }

template <class Change>
void each(float* x, const Size& size, const Change& change) {
  for (int64_t i = 0, n = size.elements(); i < n; ++i) x[i] = change(x[i]);
}

// Calls change(values) for the elements of each channel, which lie `channels` apart.
template <class Change>
void each_channel(float* x, const Size& size, const Change& change) {
  for (int64_t k = 0; k < size.channels; ++k) change(x + k, size.elements(), size.channels);
}

template <class Change>
void each_color(float* x, const Size& size, const Change& change) {
  if (!has_color(size)) return;
  for (int64_t i = 0, n = size.elements(); i < n; i += size.channels) change(x + i);
}

// Position among 256 levels of the range; also for values that are outside, or NaN.
int level(float x, const float* range) {
  const float t = (x - range[0]) * 255.0f / (range[1] - range[0]);
  return t > 0 ? static_cast<int>(std::min(t, 255.0f)) : 0;
}

float from_level(float level, const float* range) {
  return range[0] + level * (range[1] - range[0]) / 255.0f;
}

// Without its first pixel twice: 2 1 | 0 1 2 | 1 0.
int64_t mirrored(int64_t i, int64_t n) {
  if (n == 1) return 0;
  const int64_t period = 2 * (n - 1), m = (i % period + period) % period;
  return m < n ? m : period - m;
}

std::vector<float> gaussian(int32_t size, float sigma) {
  std::vector<float> taps(static_cast<size_t>(size));
  double sum = 0;
  for (int32_t i = 0; i < size; ++i) {
    const double d = (i - (size - 1) / 2.0) / std::max(static_cast<double>(sigma), 1e-6);
    sum += taps[i] = static_cast<float>(std::exp(-0.5 * d * d));
  }
  for (float& tap : taps) tap = static_cast<float>(tap / sum);
  return taps;
}

}  // namespace

void brightness(float* x, const Size& size, float factor, const float* range) {
  const float delta = factor * (range[1] - range[0]);
  each(x, size, [&](float v) { return clip(v + delta, range); });
}

void multiply(float* x, const Size& size, float factor, const float* range) {
  each(x, size, [&](float v) { return clip(range[0] + (1 + factor) * (v - range[0]), range); });
}

void contrast(float* x, const Size& size, float factor, const float* range) {
  each_channel(x, size, [&](float* v, int64_t n, int64_t c) {
    double sum = 0;
    for (int64_t i = 0; i < n; i += c) sum += v[i];
    const float mean = static_cast<float>(sum / static_cast<double>(n / c));
    for (int64_t i = 0; i < n; i += c) v[i] = clip(mean + (1 + factor) * (v[i] - mean), range);
  });
}

void color(float* x, const Size& size, float factor, const float* range) {
  each_color(x, size, [&](float* p) {
    const float grey = 0.299f * p[0] + 0.587f * p[1] + 0.114f * p[2];
    for (int k = 0; k < 3; ++k) p[k] = clip(grey + (1 + factor) * (p[k] - grey), range);
  });
}

void saturation(float* x, const Size& size, float factor, const float* range) {
  const float ratio = factor / std::max(1 - factor, 1e-7f);
  each_color(x, size, [&](float* p) {
    const float top = std::max({p[0], p[1], p[2]}), low = std::min({p[0], p[1], p[2]});
    if (top <= low) return;
    const float most = (top - range[0]) / (top - low);  // the ratio that makes S one
    const float by = std::min(ratio, most);
    for (int k = 0; k < 3; ++k) p[k] = clip(top - (top - p[k]) * by, range);
  });
}

void hue(float* x, const Size& size, float factor, const float* range) {
  each_color(x, size, [&](float* p) {
    const float top = std::max({p[0], p[1], p[2]}), low = std::min({p[0], p[1], p[2]});
    const float chroma = top - low;
    if (!(chroma > 0)) return;
    float h = top == p[0]   ? (p[1] - p[2]) / chroma
              : top == p[1] ? (p[2] - p[0]) / chroma + 2
                            : (p[0] - p[1]) / chroma + 4;
    h += 3 * factor;
    const int lag[3] = {5, 3, 1};
    for (int k = 0; k < 3; ++k) {
      float t = std::fmod(h + static_cast<float>(lag[k]), 6.0f);
      if (t < 0) t += 6;
      const float share = std::max(0.0f, std::min({t, 4 - t, 1.0f}));
      p[k] = clip(top - chroma * share, range);
    }
  });
}

void invert(float* x, const Size& size, float threshold, const float* range) {
  const float sum = range[0] + range[1];
  each(x, size, [&](float v) { return v < threshold ? v : clip(sum - v, range); });
}

void posterize(float* x, const Size& size, int bits, const float* range) {
  each(x, size, [&](float v) {
    return from_level(static_cast<float>(level(v, range) >> bits << bits), range);
  });
}

void autocontrast(float* x, const Size& size, const float* range) {
  each_channel(x, size, [&](float* v, int64_t n, int64_t c) {
    float low = v[0], top = v[0];
    for (int64_t i = 0; i < n; i += c) low = std::min(low, v[i]), top = std::max(top, v[i]);
    if (!(top > low)) return;
    const float scale = (range[1] - range[0]) / (top - low);
    for (int64_t i = 0; i < n; i += c) v[i] = clip(range[0] + (v[i] - low) * scale, range);
  });
}

void equalize(float* x, const Size& size, const float* range) {
  each_channel(x, size, [&](float* v, int64_t n, int64_t c) {
    int64_t count[256] = {}, last = 0;
    for (int64_t i = 0; i < n; i += c) ++count[level(v[i], range)];
    for (int64_t number : count)
      if (number) last = number;
    const int64_t step = (n / c - last) / 255;  // pixels a level should have
    if (step == 0) return;
    float table[256];
    int64_t before = step / 2;
    for (int i = 0; i < 256; before += count[i++])
      table[i] = from_level(static_cast<float>(std::min<int64_t>(before / step, 255)), range);
    for (int64_t i = 0; i < n; i += c) v[i] = table[level(v[i], range)];
  });
}

void sharpness(float* x, const Size& size, float factor, const float* range,
               std::vector<float>& scratch) {
  const int64_t c = size.channels, row = size.row();
  scratch.assign(x, x + size.elements());
  for (int64_t i = 1; i + 1 < size.height; ++i)
    for (int64_t j = c; j < row - c; ++j) {
      const float* p = &scratch[i * row + j];
      float sum = 4 * p[0];
      for (int64_t di = -1; di <= 1; ++di)
        for (int64_t dj = -1; dj <= 1; ++dj) sum += p[di * row + dj * c];
      const float smooth = sum / 13;
      x[i * row + j] = clip(smooth + (1 + factor) * (p[0] - smooth), range);
    }
}

void blur(float* x, const Size& size, const int32_t* kernel, float sigma_y, float sigma_x,
          std::vector<float>& scratch) {
  const int64_t c = size.channels, row = size.row();
  const std::vector<float> down = gaussian(kernel[0], sigma_y),
                           along = gaussian(kernel[1], sigma_x);
  scratch.assign(static_cast<size_t>(size.elements()), 0.0f);
  for (int64_t i = 0; i < size.height; ++i)
    for (int32_t t = 0; t < kernel[0]; ++t) {
      const float* src = x + mirrored(i + t - kernel[0] / 2, size.height) * row;
      for (int64_t j = 0; j < row; ++j) scratch[i * row + j] += down[t] * src[j];
    }
  std::fill(x, x + size.elements(), 0.0f);
  for (int64_t i = 0; i < size.height; ++i)
    for (int32_t t = 0; t < kernel[1]; ++t)
      for (int64_t j = 0; j < size.width; ++j) {
        const int64_t from = i * row + mirrored(j + t - kernel[1] / 2, size.width) * c;
        for (int64_t k = 0; k < c; ++k) x[i * row + j * c + k] += along[t] * scratch[from + k];
      }
}

void noise(float* x, const Size& size, float deviation, Stream& random) {
  for (int64_t i = 0, n = size.elements(); i < n; i += 2) {
    float first, second;
    random.normal(first, second);
    x[i] += deviation * first;
    if (i + 1 < n) x[i + 1] += deviation * second;
  }
}

Box random_box(const Size& size, float height, float width, Stream& random) {
  const auto place = [&](int64_t n, float share) {
    const int64_t length = std::clamp<int64_t>(std::llround(share * static_cast<double>(n)), 0, n);
    const int64_t first = random.below(n - length + 1);
    return std::pair(first, first + length);
  };
  const auto [top, bottom] = place(size.height, height);
  const auto [left, right] = place(size.width, width);
  return {top, bottom, left, right};
}

void erase(float* x, const Size& size, const Box& box, float value) {
  const int64_t c = size.channels;
  for (int64_t i = box.top; i < box.bottom; ++i)
    std::fill(x + i * size.row() + box.left * c, x + i * size.row() + box.right * c, value);
}

void erase(float* x, const Size& size, const Box& box, const float* range, Stream& random) {
  const int64_t c = size.channels;
  for (int64_t i = box.top; i < box.bottom; ++i)
    for (int64_t j = box.left * c; j < box.right * c; ++j)
      x[i * size.row() + j] = random.uniform(range[0], range[1]);
}

}  // namespace fastconv::augment
