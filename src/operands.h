// Checks every operand of a step against the one description of the problem: its attributes.
#pragma once
#include <vector>

#include "fastconv/plan.h"

namespace fastconv {

// Throws Error(format) if an operand has a shape or dtype that the kernels of its kind do not
// expect. A plan from a file has passed through this before it runs.
void check_operands(const Step& step, const std::vector<Slot>& slots);

}  // namespace fastconv
