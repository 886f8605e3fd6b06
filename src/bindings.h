// What the binding files share.
#pragma once
#include <pybind11/pybind11.h>

namespace fastconv {

void bind_attrs(pybind11::module_& m);
void bind_augment(pybind11::module_& m);
void bind_dlpack(pybind11::module_& m);
void bind_plan(pybind11::module_& m);
void bind_machine(pybind11::module_& m);

}  // namespace fastconv
