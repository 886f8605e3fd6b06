// The part of fastconv._core that changes images; see augment/augment.h.
#include <pybind11/native_enum.h>
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "augment/augment.h"
#include "bindings.h"

namespace py = pybind11;

namespace fastconv {
namespace {

using augment::Fill;
using augment::Images;
using augment::Kind;
using augment::Step;
using Numbers = py::array_t<int64_t, py::array::c_style>;
using Floats = py::array_t<float, py::array::c_style>;
using Boxes = py::array_t<int32_t, py::array::c_style>;

// `array` is C-contiguous, (N, H, W, C), uint8 or float32: Python has checked it.
Images images_of(const py::array& array) {
  return {array.data(),   array.itemsize() == 1, array.shape(0),
          array.shape(1), array.shape(2),        array.shape(3)};
}

void augment_images(const py::array& src, py::array& dst, const std::vector<Step>& steps,
                    uint64_t seed, uint64_t epoch, uint32_t stream, const Numbers& samples) {
  const Images images = images_of(src);
  void* target = dst.mutable_data();
  const bool bytes = dst.itemsize() == 1;
  const int64_t* numbers = samples.data();
  py::gil_scoped_release release;
  augment::augment(images, target, bytes, steps, {seed, epoch, stream, numbers});
}

void mix_images(const py::array& src, py::array& dst, const Numbers& partner, const Floats& weight,
                const Boxes& boxes) {
  const Images images = images_of(src);
  void* target = dst.mutable_data();
  const int64_t* partners = partner.data();
  const float* weights = weight.data();
  const int32_t* corners = boxes.data();
  py::gil_scoped_release release;
  augment::mix(images, target, partners, weights, corners);
}

void bind_enums(py::module_& m) {
  py::native_enum<Kind> kind(m, "AugmentKind", "enum.IntEnum");
  const char* names[] = {"identity",  "choose",   "rescale",    "flip",         "crop",
                         "translate", "rotate",   "zoom",       "shear",        "brightness",
                         "multiply",  "contrast", "saturation", "hue",          "color",
                         "invert",    "solarize", "posterize",  "autocontrast", "equalize",
                         "sharpness", "blur",     "noise",      "erase"};
  static_assert(std::size(names) == static_cast<size_t>(Kind::erase) + 1);
  for (size_t i = 0; i < std::size(names); ++i) kind.value(names[i], static_cast<Kind>(i));
  kind.finalize();
  py::native_enum<Fill>(m, "AugmentFill", "enum.IntEnum")
      .value("constant", Fill::constant)
      .value("nearest", Fill::nearest)
      .value("reflect", Fill::reflect)
      .value("wrap", Fill::wrap)
      .finalize();
}

}  // namespace

void bind_augment(py::module_& m) {
  bind_enums(m);
  py::class_<Step>(m, "AugmentStep")
      .def(py::init([](Kind kind) {
             Step step;
             step.kind = kind;
             return step;
           }),
           py::arg("kind"))
      .def_readonly("kind", &Step::kind)
      .def_readwrite("probability", &Step::probability)
      .def_readwrite("low", &Step::low)
      .def_readwrite("high", &Step::high)
      .def_readwrite("mirrored", &Step::mirrored)
      .def_readwrite("joined", &Step::joined)
      .def_readwrite("bilinear", &Step::bilinear)
      .def_readwrite("centred", &Step::centred)
      .def_readwrite("random_fill", &Step::random_fill)
      .def_readwrite("fill", &Step::fill)
      .def_readwrite("fill_value", &Step::fill_value)
      .def_readwrite("range", &Step::range)
      .def_readwrite("size", &Step::size)
      .def_readwrite("padding", &Step::padding)
      .def_readwrite("scale", &Step::scale)
      .def_readwrite("offset", &Step::offset);
  m.def("augment_images", &augment_images, py::arg("src"), py::arg("dst"), py::arg("steps"),
        py::arg("seed"), py::arg("epoch"), py::arg("stream"), py::arg("samples"));
  m.def("mix_images", &mix_images, py::arg("src"), py::arg("dst"), py::arg("partner"),
        py::arg("weight"), py::arg("boxes"));
}

}  // namespace fastconv
