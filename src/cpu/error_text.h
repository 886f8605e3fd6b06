// Writes the message of a KernelError without the C library.
#pragma once
#include "fastconv/backend.h"

namespace fastconv::cpu::FASTCONV_ISA {

class ErrorText {
 public:
  explicit ErrorText(KernelError& error) : error_(error) {
    error_.set = 1;
    error_.message[0] = 0;
  }
  ErrorText& operator<<(const char* text) {
    while (*text) put(*text++);
    return *this;
  }
  ErrorText& operator<<(int64_t number) {
    char digits[20];
    int count = 0;
    uint64_t left = number < 0 ? -(uint64_t)number : (uint64_t)number;
    do digits[count++] = (char)('0' + left % 10);
    while (left /= 10);
    if (number < 0) put('-');
    while (count > 0) put(digits[--count]);
    return *this;
  }

 private:
  void put(char c) {
    if (length_ + 1 >= (int)sizeof error_.message) return;
    error_.message[length_++] = c;
    error_.message[length_] = 0;
  }
  KernelError& error_;
  int length_ = 0;
};

}  // namespace fastconv::cpu::FASTCONV_ISA
