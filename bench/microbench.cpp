// Kernels one by one: convolution, pooling, batch normalisation and matrix products in all
// directions over the problems of shapes/*.txt, with their rate and its share of what this machine
// reaches.
//
//   microbench --benchmark_filter='conv/.*/vgg16.*'
#include <benchmark/benchmark.h>

#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <iostream>
#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "cpu/probe.h"
#include "fastconv/plan.h"

namespace fastconv {
namespace {

// One line of shapes/*.txt; problems.py describes them.
struct Problem {
  std::string name;
  std::map<std::string, std::string> words;  // letters -> value; a flag has none

  bool has(const std::string& key) const { return words.count(key) > 0; }
  int64_t number(const std::string& key) const { return has(key) ? std::stoll(words.at(key)) : 1; }
};

void read_file(const std::filesystem::path& path, std::vector<Problem>& problems) {
  std::ifstream file(path);
  if (!file) throw Error(ErrorKind::io, "cannot read " + path.string());
  for (std::string line; std::getline(file, line);) {
    std::istringstream text(line.substr(0, line.find('#')));
    Problem problem;
    if (!(text >> problem.name)) continue;
    for (std::string word; text >> word;) {
      const size_t digits = word.find_first_of("-0123456789");
      problem.words[word.substr(0, digits)] =
          digits == std::string::npos ? "" : word.substr(digits);
    }
    problems.push_back(problem);
  }
}

// The problems of family.txt, then those of family_*.txt.
std::vector<Problem> read_problems(const std::string& family) {
  std::set<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(FASTCONV_SHAPES)) {
    const std::string stem = entry.path().stem();
    if (stem == family || stem.rfind(family + "_", 0) == 0) paths.insert(entry.path());
  }
  std::vector<Problem> problems;
  for (const std::filesystem::path& path : paths) read_file(path, problems);
  return problems;
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

// Sizes of the last axes go to the end of `sizes`; the others keep their value.
void set_axes(const Problem& problem, const std::string& key, int64_t (&sizes)[3]) {
  if (!problem.has(key)) return;
  const std::vector<std::string> parts = split(problem.words.at(key), 'x');
  for (size_t i = 0; i < parts.size(); ++i) sizes[3 - parts.size() + i] = std::stoll(parts[i]);
}

void set_padding(const Problem& problem, WindowGeometry& g) {
  if (!problem.has("p")) return;
  const std::vector<std::string> parts = split(problem.words.at("p"), 'x');
  for (size_t i = 0; i < parts.size(); ++i) {
    const std::vector<std::string> pair = split(parts[i], ':');
    g.pad_before[3 - parts.size() + i] = std::stoll(pair.front());
    g.pad_after[3 - parts.size() + i] = std::stoll(pair.back());
  }
}

WindowGeometry geometry(const Problem& problem) {
  WindowGeometry g{problem.number("n"),
                   problem.number("c"),
                   problem.has("k") ? problem.number("k") : problem.number("c"),
                   problem.number("g"),
                   {1, 1, 1},
                   {1, 1, 1},
                   {},
                   {1, 1, 1},
                   {1, 1, 1},
                   {},
                   {}};
  set_axes(problem, "i", g.input);
  set_axes(problem, "w", g.kernel);
  set_axes(problem, "s", g.stride);
  set_axes(problem, "d", g.dilation);
  set_padding(problem, g);
  for (int i = 0; i < 3; ++i) {
    const int64_t extent = g.dilation[i] * (g.kernel[i] - 1) + 1;
    g.output[i] = (g.input[i] + g.pad_before[i] + g.pad_after[i] - extent) / g.stride[i] + 1;
  }
  return g;
}

// A tensor with memory of its own, filled with numbers around 0 (integers: with 0).
class Array {
 public:
  Array(std::initializer_list<int64_t> dims, Dtype dtype = Dtype::float32)
      : memory_(cpu_backend()) {
    slot_.tensor.dtype = dtype;
    slot_.tensor.rank = static_cast<int32_t>(dims.size());
    std::copy(dims.begin(), dims.end(), slot_.tensor.dims);
    data_ = memory_.reserve(bytes());
    for (int64_t i = 0; i < elements(slot_.tensor); ++i) {
      if (dtype == Dtype::float32)
        static_cast<float*>(data_)[i] = static_cast<float>(i * 2654435761 % 1024) / 512 - 1;
      else
        static_cast<int32_t*>(data_)[i] = 0;
    }
  }
  int64_t bytes() const { return fastconv::bytes(slot_.tensor); }
  void* data() const { return data_; }
  Slot slot(int buffer) const {
    Slot slot = slot_;
    slot.buffer = buffer;
    return slot;
  }

 private:
  Slot slot_{};
  Arena memory_;
  void* data_;
};

// A plan of one step.
template <class A>
class Call {
 public:
  Call(OpKind kind, const A& attrs, std::vector<const Array*> inputs,
       std::vector<const Array*> outputs)
      : arena_(cpu_backend()) {
    PlanData data;
    data.buffer_bytes = {0};
    Step step{};
    step.kind = kind;
    __builtin_memcpy(step.attrs.bytes, &attrs, sizeof attrs);
    for (const auto& [arrays, slots] :
         {std::pair(&inputs, &step.inputs), std::pair(&outputs, &step.outputs)})
      for (const Array* array : *arrays) {
        slots->push_back(static_cast<int32_t>(data.slots.size()));
        data.slots.push_back(array->slot(static_cast<int>(data.buffer_bytes.size())));
        data.buffer_bytes.push_back(array->bytes());
        bytes_ += array->bytes();
      }
    data.steps = {step};
    plan_ = std::make_unique<Plan>(cpu_backend(), std::move(data));
    int buffer = 0;
    for (const auto* arrays : {&inputs, &outputs})
      for (const Array* array : *arrays) plan_->bind(++buffer, array->data(), array->bytes());
  }

  void run() { plan_->run(arena_); }
  int64_t bytes() const { return bytes_; }
  const char* kernel() const { return plan_->choices()[0].kernel->name; }

 private:
  Arena arena_;
  std::unique_ptr<Plan> plan_;
  int64_t bytes_ = 0;
};

const cpu::Peak& peak() {
  static const cpu::Peak value = cpu::measure_peak(1.0);
  return value;
}

void report(benchmark::State& state, const char* unit, double amount, double best) {
  constexpr auto rate = benchmark::Counter::kIsIterationInvariantRate;
  state.counters[unit] = benchmark::Counter(1e-9 * amount, rate);
  state.counters["% of peak"] = benchmark::Counter(1e-7 * amount / best, rate);
}

// `flops` 0: the rate is that of memory.
template <class A>
void measure(benchmark::State& state, Call<A>&& call, double flops) {
  call.run();
  for (auto _ : state) call.run();
  if (flops > 0)
    report(state, "GFLOP/s", flops, peak().gflops);
  else
    report(state, "GB/s", static_cast<double>(call.bytes()), peak().gbytes_per_second);
  state.SetLabel(call.kernel());
}

void bench_conv(benchmark::State& state, const Problem& problem, OpKind kind) {
  const ConvAttrs attrs{geometry(problem), {}};
  const WindowGeometry& g = attrs.geometry;
  const int64_t depth = g.in_channels / g.groups;
  const Array src{g.batch, g.input[0], g.input[1], g.input[2], g.in_channels};
  const Array weights{g.kernel[0], g.kernel[1], g.kernel[2], depth, g.out_channels};
  const Array dst{g.batch, g.output[0], g.output[1], g.output[2], g.out_channels};
  double flops = 2.0 * static_cast<double>(g.batch * g.out_channels * depth);
  for (int i = 0; i < 3; ++i) flops *= static_cast<double>(g.output[i] * g.kernel[i]);
  if (kind == OpKind::conv)
    measure(state, Call<ConvAttrs>(kind, attrs, {&src, &weights}, {&dst}), flops);
  else if (kind == OpKind::conv_backward_data)
    measure(state, Call<ConvAttrs>(kind, attrs, {&dst, &weights}, {&src}), flops);
  else
    measure(state, Call<ConvAttrs>(kind, attrs, {&src, &dst}, {&weights}), flops);
}

void bench_pool(benchmark::State& state, const Problem& problem, bool backward) {
  const PoolAttrs attrs{geometry(problem), 2, 0};
  const WindowGeometry& g = attrs.geometry;
  const Array src{g.batch, g.input[0], g.input[1], g.input[2], g.in_channels};
  const Array dst{g.batch, g.output[0], g.output[1], g.output[2], g.in_channels};
  const Array indices({g.batch, g.output[0], g.output[1], g.output[2], g.in_channels},
                      Dtype::int32);
  using Pool = Call<PoolAttrs>;
  if (!problem.has("max")) {
    if (backward)
      return measure(state, Pool(OpKind::average_pool_backward, attrs, {&dst}, {&src}), 0);
    return measure(state, Pool(OpKind::average_pool, attrs, {&src}, {&dst}), 0);
  }
  Pool forward(OpKind::max_pool, attrs, {&src}, {&dst, &indices});
  if (!backward) return measure(state, std::move(forward), 0);
  forward.run();  // for the indices
  measure(state, Pool(OpKind::max_pool_backward, attrs, {&dst, &indices}, {&src}), 0);
}

// A training step's batch normalisation: with `add`, backward also gives the gradient of that.
void bench_norm(benchmark::State& state, const Problem& problem, bool backward) {
  const int64_t channels = problem.number("c");
  int64_t i[3] = {1, 1, 1};
  set_axes(problem, "i", i);
  const bool add = problem.has("add"), relu = problem.has("relu");
  const Activation activation = relu ? Activation::relu : Activation::identity;
  BatchNormAttrs attrs{1e-3f, {0, 0, add, 0, activation, 0}};
  const auto map = [&] { return Array{problem.number("n"), i[0], i[1], i[2], channels}; };
  const Array src = map(), dst = map(), other = map(), ddst = map();
  const Array gamma{channels}, beta{channels}, mean{channels}, rstd{channels}, variance{channels};
  using Norm = Call<BatchNormAttrs>;
  std::vector<const Array*> inputs{&src, &gamma, &beta};
  if (add) inputs.push_back(&other);
  Norm forward(OpKind::batch_norm, attrs, inputs, {&dst, &mean, &rstd, &variance});
  if (!backward) return measure(state, std::move(forward), 0);
  forward.run();  // for the statistics
  attrs.epilogue.add = add && relu;
  inputs = {&ddst, &src, &gamma, &mean, &rstd};
  if (relu) inputs.push_back(add ? &dst : &beta);
  const Array dadd = map(), dgamma{channels};
  std::vector<const Array*> outputs{&other, &dgamma, &variance};
  if (attrs.epilogue.add) outputs.push_back(&dadd);
  measure(state, Norm(OpKind::batch_norm_backward, attrs, inputs, outputs), 0);
}

void bench_gemm(benchmark::State& state, const Problem& problem) {
  const int64_t batch = problem.number("b"), m = problem.number("m"), n = problem.number("n"),
                k = problem.number("k");
  const bool ta = problem.has("ta"), tb = problem.has("tb");
  const GemmAttrs attrs{batch, m, n, k, ta, tb, 0, 0, {}, 0};
  const Array a{batch, ta ? k : m, ta ? m : k}, b{batch, tb ? n : k, tb ? k : n}, c{batch, m, n};
  const double flops = 2.0 * static_cast<double>(batch * m * n * k);
  measure(state, Call<GemmAttrs>(OpKind::gemm, attrs, {&a, &b}, {&c}), flops);
}

template <class Function, class... Args>
void add(const std::string& group, const Problem& problem, Function function, Args... args) {
  const std::string name = group + "/" + problem.name;
  benchmark::RegisterBenchmark(name.c_str(), function, problem, args...)
      ->UseRealTime()
      ->Unit(benchmark::kMillisecond);
}

void register_all() {
  for (const Problem& problem : read_problems("conv")) {
    add("conv/forward", problem, bench_conv, OpKind::conv);
    add("conv/backward_data", problem, bench_conv, OpKind::conv_backward_data);
    add("conv/backward_weights", problem, bench_conv, OpKind::conv_backward_weights);
  }
  for (const Problem& problem : read_problems("pool")) {
    add("pool/forward", problem, bench_pool, false);
    add("pool/backward", problem, bench_pool, true);
  }
  for (const Problem& problem : read_problems("norm")) {
    add("norm/forward", problem, bench_norm, false);
    add("norm/backward", problem, bench_norm, true);
  }
  for (const Problem& problem : read_problems("gemm")) add("gemm", problem, bench_gemm);
}

}  // namespace
}  // namespace fastconv

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  try {
    fastconv::register_all();
    benchmark::RunSpecifiedBenchmarks();
  } catch (const fastconv::Error& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
}
