#include "environment.h"

#include <cstdlib>

namespace fastconv {
namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

int number(const char* name) { return std::atoi(variable(name).c_str()); }

}  // namespace

std::string forced_isa() { return variable("FASTCONV_ISA"); }

std::string forced_kernel(const std::string& op) {
  const std::string all = "," + variable("FASTCONV_KERNEL") + ",";
  const std::string key = "," + op + "=";
  const size_t at = all.find(key);
  if (at == std::string::npos) return "";
  const size_t begin = at + key.size();
  return all.substr(begin, all.find(',', begin) - begin);
}

int forced_threads() { return number("FASTCONV_NUM_THREADS"); }
int openmp_threads() { return number("OMP_NUM_THREADS"); }

}  // namespace fastconv
