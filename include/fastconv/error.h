// The one exception of the C++ side. Python sees it as fastconv.errors.<kind>.
#pragma once
#include <stdexcept>
#include <string>

namespace fastconv {

enum class ErrorKind { argument, shape, data, format, device, out_of_memory, io };

class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

}  // namespace fastconv
