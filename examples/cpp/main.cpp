// Runs a plan that Python saved: run_plan PLAN INPUT...
//
// With CUDA_BACKEND=LIBRARY in the environment (libfastconv_cuda.so of the package) it runs on the
// first GPU.
//
// Each INPUT is a file of raw bytes in the plan's dtype and order. Every output is printed as a
// line of 32-bit words in hexadecimal, so that two programs can be compared bit for bit.
#include <fastconv/plan.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

std::vector<char> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void print_words(const void* data, int64_t bytes) {
  for (int64_t at = 0; at + 4 <= bytes; at += 4) {
    uint32_t word;
    std::memcpy(&word, static_cast<const char*>(data) + at, sizeof word);
    std::printf("%08x ", word);
  }
  std::printf("\n");
}

void run(const std::string& path, const std::vector<std::string>& input_files) {
  const char* library = std::getenv("CUDA_BACKEND");
  fastconv::SavedPlan saved = library
                                  ? fastconv::load_plan(path, fastconv::load_backend(library, 0))
                                  : fastconv::load_plan(path);
  fastconv::Plan& plan = *saved.plan;
  const fastconv::PlanData& data = plan.data();
  if (input_files.size() != data.inputs.size())
    throw std::runtime_error("the plan has " + std::to_string(data.inputs.size()) + " inputs");

  std::vector<std::vector<char>> inputs;  // they outlive the run
  for (size_t i = 0; i < input_files.size(); ++i) {
    inputs.push_back(read_file(input_files[i]));
    const fastconv::Slot& slot = data.slots[static_cast<size_t>(data.inputs[i].slot)];
    plan.bind(slot.buffer, inputs[i].data(), static_cast<int64_t>(inputs[i].size()));
  }

  fastconv::Arena arena(plan.backend());
  plan.run(arena);

  for (const fastconv::Port& port : data.outputs) {
    const fastconv::Tensor& tensor = data.slots[static_cast<size_t>(port.slot)].tensor;
    std::vector<char> values(static_cast<size_t>(fastconv::bytes(tensor)));
    plan.read(port.slot, arena, values.data());
    print_words(values.data(), fastconv::bytes(tensor));
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: run_plan PLAN INPUT...\n");
    return 2;
  }
  try {
    run(argv[1], {argv + 2, argv + argc});
  } catch (const std::exception& error) {
    std::fprintf(stderr, "run_plan: %s\n", error.what());
    return 1;
  }
}
