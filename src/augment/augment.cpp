#include "augment.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <functional>
#include <new>

#include "../cpu/team.h"
#include "../cpu/threads.h"
#include "fastconv/error.h"
#include "geometry.h"
#include "pixels.h"
#include "stream.h"

namespace fastconv::augment {
namespace {

// Calls body(i) for i in [0, count) on the threads of a team; out of memory ends with an error.
void for_samples(int64_t count, int64_t work, const std::function<void(int64_t)>& body) {
  struct Context {
    int64_t count, work;
    const std::function<void(int64_t)>& body;
    std::atomic<bool> failed{false};
  } context{count, work, body};
  const auto one = [](const void* pointer, int64_t i, int) {
    Context& c = *static_cast<Context*>(const_cast<void*>(pointer));
    try {
      c.body(i);
    } catch (const std::bad_alloc&) {
      c.failed = true;
    }
  };
  context.failed = false;
  static constexpr auto task = +one;
  cpu::with_team(
      true,
      [](void* pointer) {
        Context& c = *static_cast<Context*>(pointer);
        cpu::share_tasks(c.count, cpu::threads_for(c.count, c.work), task, pointer);
      },
      &context);
  if (context.failed)
    throw Error(ErrorKind::out_of_memory, "augment: not enough memory for copies of an image");
}

bool moves_pixels(Kind kind) {
  return kind == Kind::flip || kind == Kind::crop || kind == Kind::translate ||
         kind == Kind::rotate || kind == Kind::zoom || kind == Kind::shear;
}

// Whether a step may bring in what is outside of the image.
bool looks_outside(const Step& step) {
  return step.kind != Kind::flip && !(step.kind == Kind::crop && step.padding == 0);
}

struct Factors {
  float first, second;
};

Factors draw_factors(const Step& step, Stream& random) {
  Factors f{random.uniform(step.low[0], step.high[0]), 0};
  f.second = step.joined ? f.first : random.uniform(step.low[1], step.high[1]);
  if (step.mirrored && random.coin()) f = {-f.first, -f.second};
  return f;
}

int64_t crop_start(const Step& step, int64_t have, int64_t want, Stream& random) {
  if (step.centred) return (have - want) / 2;
  return random.below(have + 2 * step.padding - want + 1) - step.padding;
}

Map rotation(const Size& size, double angle) {
  const double x = (size.width - 1) / 2.0, y = (size.height - 1) / 2.0;
  const double c = std::cos(angle), s = std::sin(angle);
  return {c, -s, x - c * x + s * y, s, c, y - s * x - c * y};
}

Map zooming(const Size& size, double height, double width) {
  const double x = (size.width - 1) / 2.0, y = (size.height - 1) / 2.0;
  return {width, 0, x - width * x, 0, height, y - height * y};
}

// Buffers of one thread, kept from sample to sample.
struct Scratch {
  std::vector<float> image, next, filter;
  RowBuffers rows;
};

// One image on its way: what it is now, and the moves of pixels that are still to be done.
class Sample {
 public:
  Sample(const void* src, bool bytes, const Size& size, Scratch& scratch)
      : src_(src), bytes_(bytes), size_(size), scratch_(scratch) {
    view_.size = size;
  }

  void apply(const Step& step, Stream& random) {
    if (step.probability < 1 && random.uniform() >= step.probability) return;
    if (step.kind == Kind::choose) {
      const Step* choices = &step + 1;
      for (int32_t i = 0; i < step.size[1]; ++i) apply(choices[random.below(step.size[0])], random);
    } else if (moves_pixels(step.kind)) {
      move(step, random);
    } else if (step.kind != Kind::identity) {
      change(step, random);
    }
  }

  // Does what is pending on the way to `sink`.
  void fetch(const Sink& sink) {
    if (bytes_)
      resample(static_cast<const uint8_t*>(src_), size_, view_, sink, scratch_.rows);
    else
      resample(static_cast<const float*>(src_), size_, view_, sink, scratch_.rows);
  }

 private:
  // Adds to the view. A step with other ideas of what is outside has to wait for those before.
  void move(const Step& step, Stream& random) {
    if (looks_outside(step)) {
      const bool same = view_.fill == step.fill && view_.fill_value == step.fill_value &&
                        view_.bilinear == step.bilinear;
      if (outside_ && !same) to_floats();
      outside_ = true;
      view_.fill = step.fill;
      view_.fill_value = step.fill_value;
      view_.bilinear = step.bilinear;
    }
    Size& size = view_.size;
    const Map map = draw_map(step, random);
    view_.map = then(view_.map, map);
    if (step.kind == Kind::crop) size.height = step.size[0], size.width = step.size[1];
  }

  Map draw_map(const Step& step, Stream& random) const {
    const Size& size = view_.size;
    Map map;
    if (step.kind == Kind::flip) {
      if (step.size[0] && random.coin()) map.yy = -1, map.y0 = static_cast<double>(size.height - 1);
      if (step.size[1] && random.coin()) map.xx = -1, map.x0 = static_cast<double>(size.width - 1);
      return map;
    }
    if (step.kind == Kind::crop) {
      map.y0 = static_cast<double>(crop_start(step, size.height, step.size[0], random));
      map.x0 = static_cast<double>(crop_start(step, size.width, step.size[1], random));
      return map;
    }
    const Factors f = draw_factors(step, random);
    switch (step.kind) {
      case Kind::rotate: return rotation(size, 6.283185307179586 * f.first);
      case Kind::zoom: return zooming(size, 1.0 + f.first, 1.0 + f.second);
      case Kind::shear: map.xy = f.first, map.yx = f.second; return map;
      default: break;
    }
    map.y0 = -static_cast<double>(f.first) * static_cast<double>(size.height);
    map.x0 = -static_cast<double>(f.second) * static_cast<double>(size.width);
    return map;
  }

  void change(const Step& step, Stream& random) {
    to_floats();
    float* x = scratch_.image.data();
    const float* range = step.range.data();
    if (step.kind == Kind::rescale) return rescale(step, x);
    const Factors f = draw_factors(step, random);
    switch (step.kind) {
      case Kind::brightness: return brightness(x, size_, f.first, range);
      case Kind::multiply: return multiply(x, size_, f.first, range);
      case Kind::contrast: return contrast(x, size_, f.first, range);
      case Kind::saturation: return saturation(x, size_, f.first, range);
      case Kind::hue: return hue(x, size_, f.first, range);
      case Kind::color: return color(x, size_, f.first, range);
      case Kind::invert: return invert(x, size_, range[0], range);
      case Kind::solarize:
        return invert(x, size_, range[1] - f.first * (range[1] - range[0]), range);
      case Kind::posterize:
        return posterize(x, size_, static_cast<int>(std::lround(f.first)), range);
      case Kind::autocontrast: return autocontrast(x, size_, range);
      case Kind::equalize: return equalize(x, size_, range);
      case Kind::sharpness: return sharpness(x, size_, f.first, range, scratch_.filter);
      case Kind::blur: return blur(x, size_, step.size.data(), f.first, f.second, scratch_.filter);
      case Kind::noise: return noise(x, size_, f.first, random);
      default: break;
    }
    const Box box = random_box(size_, std::sqrt(f.first), std::sqrt(f.second), random);
    if (step.random_fill)
      erase(x, size_, box, range, random);
    else
      erase(x, size_, box, step.fill_value);
  }

  void rescale(const Step& step, float* x) const {
    const size_t c = static_cast<size_t>(size_.channels);
    const size_t n = step.scale.size(), m = step.offset.size();
    for (size_t i = 0, count = static_cast<size_t>(size_.elements()); i < count; ++i)
      x[i] = x[i] * step.scale[i % c % n] + step.offset[i % c % m];
  }

  // Does what is pending and makes the image one that may be written.
  void to_floats() {
    const bool pending = src_ != scratch_.image.data() || !same_place();
    if (!pending) return;
    scratch_.next.resize(static_cast<size_t>(view_.size.elements()));
    fetch({scratch_.next.data(), false, nullptr, nullptr});
    scratch_.image.swap(scratch_.next);
    src_ = scratch_.image.data();
    bytes_ = false;
    size_ = view_.size;
    view_ = View{};
    view_.size = size_;
    outside_ = false;
  }

  bool same_place() const {
    const Map& m = view_.map;
    return m.exact() && m.xx == 1 && m.yy == 1 && m.x0 == 0 && m.y0 == 0 &&
           view_.size.height == size_.height && view_.size.width == size_.width;
  }

  const void* src_;
  bool bytes_;
  Size size_;
  View view_;
  bool outside_ = false;  // whether a pending move set how the view treats the outside
  Scratch& scratch_;
};

// The numbers of a rescaling for each element of a row.
std::vector<float> over_row(const std::vector<float>& values, int64_t width, int64_t channels) {
  std::vector<float> row;
  row.reserve(static_cast<size_t>(width * channels));
  for (int64_t i = 0; i < width * channels; ++i)
    row.push_back(values[static_cast<size_t>(i % channels) % values.size()]);
  return row;
}

Size final_size(const Images& src, const std::vector<Step>& steps) {
  Size size{src.height, src.width, src.channels};
  for (const Step& step : steps)
    if (step.kind == Kind::crop) size.height = step.size[0], size.width = step.size[1];
  return size;
}

template <class T>
void mix_row(const T* a, const T* b, T* dst, int64_t count, float weight) {
  for (int64_t i = 0; i < count; ++i) {
    const float x = weight * static_cast<float>(a[i]) + (1 - weight) * static_cast<float>(b[i]);
    dst[i] = static_cast<T>(sizeof(T) == 1 ? std::rint(x) : x);
  }
}

template <class T>
void mix_image(const Images& src, T* dst, int64_t i, int64_t partner, float weight,
               const int32_t* box) {
  const int64_t row = src.width * src.channels, n = src.height * row;
  const T *a = static_cast<const T*>(src.data) + i * n,
          *b = static_cast<const T*>(src.data) + partner * n;
  dst += i * n;
  std::copy(a, a + n, dst);
  const int64_t left = box[2] * src.channels, count = (box[3] - box[2]) * src.channels;
  for (int64_t y = box[0]; y < box[1]; ++y)
    mix_row(a + y * row + left, b + y * row + left, dst + y * row + left, count, weight);
}

}  // namespace

void augment(const Images& src, void* dst, bool dst_bytes, const std::vector<Step>& steps,
             const Draw& draw) {
  const Size size{src.height, src.width, src.channels}, out = final_size(src, steps);
  const size_t n = steps.size();
  const bool scaled = n > 0 && steps.back().kind == Kind::rescale && !dst_bytes;
  std::vector<float> scale, offset;
  if (scaled) {
    scale = over_row(steps.back().scale, out.width, out.channels);
    offset = over_row(steps.back().offset, out.width, out.channels);
  }
  const size_t item = src.bytes ? 1 : sizeof(float), out_item = dst_bytes ? 1 : sizeof(float);
  for_samples(src.count, size.elements() * static_cast<int64_t>(1 + 4 * n), [&](int64_t i) {
    thread_local Scratch scratch;
    const char* from = static_cast<const char*>(src.data) + i * size.elements() * item;
    Sample sample(from, src.bytes, size, scratch);
    for (size_t s = 0; s + scaled < n;
         s += steps[s].kind == Kind::choose ? steps[s].size[0] + 1 : 1) {
      Stream random(draw.seed, draw.epoch, draw.samples[i],
                    draw.stream << 16 | static_cast<uint32_t>(s));
      sample.apply(steps[s], random);
    }
    sample.fetch({static_cast<char*>(dst) + i * out.elements() * out_item, dst_bytes,
                  scaled ? scale.data() : nullptr, scaled ? offset.data() : nullptr});
  });
}

void mix(const Images& src, void* dst, const int64_t* partner, const float* weight,
         const int32_t* boxes) {
  for_samples(src.count, 2 * src.height * src.width * src.channels, [&](int64_t i) {
    if (src.bytes)
      mix_image(src, static_cast<uint8_t*>(dst), i, partner[i], weight[i], boxes + 4 * i);
    else
      mix_image(src, static_cast<float*>(dst), i, partner[i], weight[i], boxes + 4 * i);
  });
}

}  // namespace fastconv::augment
