// The op kinds and attribute structs, as Python sees them: keyword constructor, fields, equality.
#include <pybind11/native_enum.h>
#include <pybind11/stl.h>

#include <array>
#include <cstring>
#include <type_traits>

#include "bindings.h"
#include "fastconv/plan.h"

namespace py = pybind11;

namespace fastconv {
namespace {

// A struct of plain data as a Python class. Array fields are tuples.
template <class T>
class Struct {
 public:
  Struct(py::module_& m, const char* name) : class_(m, name) {
    static_assert(std::is_trivially_copyable_v<T>);
    class_.def(py::init([](const py::kwargs& fields) {
      T value;
      std::memset(&value, 0, sizeof value);
      set_all(value, fields);
      return value;
    }));
    class_.def("replace", [](T value, const py::kwargs& fields) {
      set_all(value, fields);
      return value;
    });
    class_.def("to_bytes", [](const T& value) {
      return py::bytes(reinterpret_cast<const char*>(&value), sizeof value);
    });
    class_.def("to_dict", [names = names_](const py::object& self) {
      py::dict fields;
      for (const auto& field : *names) {
        const py::object value = self.attr(field.c_str());
        fields[field.c_str()] = py::hasattr(value, "to_dict") ? value.attr("to_dict")() : value;
      }
      return fields;
    });
    class_.def("__eq__", [](const T& a, const py::object& b) {
      return py::isinstance<T>(b) && !std::memcmp(&a, &b.cast<const T&>(), sizeof a);
    });
    class_.def("__hash__", [](const T& value) {
      return py::hash(py::bytes(reinterpret_cast<const char*>(&value), sizeof value));
    });
    class_.def("__repr__", [names = names_, name](const py::object& self) {
      std::string text = std::string(name) + "(";
      for (const auto& field : *names)
        text += (text.back() == '(' ? "" : ", ") + field + "=" +
                py::repr(self.attr(field.c_str())).cast<std::string>();
      return text + ")";
    });
  }

  template <class Field>
  Struct& field(const char* name, Field T::* member) {
    names_->push_back(name);
    class_.def_readwrite(name, member);
    return *this;
  }

  template <class Element, size_t N>
  Struct& field(const char* name, Element (T::*member)[N]) {
    names_->push_back(name);
    class_.def_property(
        name,
        [member](const T& value) {
          std::array<Element, N> copy;
          std::memcpy(copy.data(), value.*member, sizeof copy);
          return py::tuple(py::cast(copy));
        },
        [member](T& value, const std::array<Element, N>& copy) {
          std::memcpy(value.*member, copy.data(), sizeof copy);
        });
    return *this;
  }

 private:
  static void set_all(T& value, const py::kwargs& fields) {
    py::object self = py::cast(&value, py::return_value_policy::reference);
    for (auto [name, field] : fields) py::setattr(self, name, field);
  }

  std::shared_ptr<std::vector<std::string>> names_ = std::make_shared<std::vector<std::string>>();
  py::class_<T> class_;
};

void bind_enums(py::module_& m) {
  py::native_enum<Dtype> dtype(m, "Dtype", "enum.IntEnum");
  const char* dtypes[] = {"float32", "float64", "bfloat16", "float16", "int64",
                          "int32",   "uint8",   "boolean",  "int8"};
  for (int i = 0; i < 9; ++i) dtype.value(dtypes[i], static_cast<Dtype>(i));
  dtype.finalize();

  py::native_enum<OpKind> kinds(m, "OpKind", "enum.IntEnum");
  for (int i = 0; i < static_cast<int>(OpKind::count_); ++i)
    kinds.value(op_info(static_cast<OpKind>(i)).name, static_cast<OpKind>(i));
  kinds.finalize();

  py::native_enum<Activation> activation(m, "Activation", "enum.IntEnum");
  const char* activations[] = {"identity",  "relu",      "relu6",    "leaky_relu",   "elu",
                               "selu",      "sigmoid",   "tanh",     "hard_sigmoid", "hard_tanh",
                               "gaussian",  "softplus",  "softsign", "swish",        "gelu",
                               "gelu_tanh", "threshold", "sign"};
  for (int i = 0; i < 18; ++i) activation.value(activations[i], static_cast<Activation>(i));
  activation.finalize();

  py::native_enum<UnaryOp> unary(m, "UnaryOp", "enum.IntEnum");
  const char* unaries[] = {"negative", "absolute", "exp",        "log",  "sqrt",
                           "rsqrt",    "square",   "reciprocal", "sign", "floor",
                           "round",    "sin",      "cos",        "erf",  "is_finite"};
  for (int i = 0; i < 15; ++i) unary.value(unaries[i], static_cast<UnaryOp>(i));
  unary.finalize();

  py::native_enum<BinaryOp> binary(m, "BinaryOp", "enum.IntEnum");
  const char* binaries[] = {"add",     "subtract", "multiply", "divide",  "maximum",
                            "minimum", "power",    "equal",    "greater", "greater_equal"};
  for (int i = 0; i < 10; ++i) binary.value(binaries[i], static_cast<BinaryOp>(i));
  binary.finalize();

  py::native_enum<ReduceOp> reduce(m, "ReduceOp", "enum.IntEnum");
  const char* reductions[] = {"sum", "mean", "max", "min"};
  for (int i = 0; i < 4; ++i) reduce.value(reductions[i], static_cast<ReduceOp>(i));
  reduce.finalize();

  py::native_enum<Distribution> distribution(m, "Distribution", "enum.IntEnum");
  const char* distributions[] = {"uniform", "normal", "truncated_normal", "bernoulli"};
  for (int i = 0; i < 4; ++i) distribution.value(distributions[i], static_cast<Distribution>(i));
  distribution.finalize();
}

void bind_structs(py::module_& m) {
  using G = WindowGeometry;
  Struct<G>(m, "WindowGeometry")
      .field("batch", &G::batch)
      .field("in_channels", &G::in_channels)
      .field("out_channels", &G::out_channels)
      .field("groups", &G::groups)
      .field("input", &G::input)
      .field("kernel", &G::kernel)
      .field("output", &G::output)
      .field("stride", &G::stride)
      .field("dilation", &G::dilation)
      .field("pad_before", &G::pad_before)
      .field("pad_after", &G::pad_after);
  Struct<Epilogue>(m, "Epilogue")
      .field("scale", &Epilogue::scale)
      .field("bias", &Epilogue::bias)
      .field("add", &Epilogue::add)
      .field("derivative", &Epilogue::derivative)
      .field("activation", &Epilogue::activation)
      .field("alpha", &Epilogue::alpha);
  Struct<ConvAttrs>(m, "ConvAttrs")
      .field("geometry", &ConvAttrs::geometry)
      .field("epilogue", &ConvAttrs::epilogue)
      .field("max_pool", &ConvAttrs::max_pool)
      .field("tf32", &ConvAttrs::tf32)
      .field("statistics", &ConvAttrs::statistics)
      .field("epsilon", &ConvAttrs::epsilon);
  Struct<PoolAttrs>(m, "PoolAttrs")
      .field("geometry", &PoolAttrs::geometry)
      .field("p", &PoolAttrs::p)
      .field("count_include_pad", &PoolAttrs::count_include_pad);
  Struct<GemmAttrs>(m, "GemmAttrs")
      .field("batch", &GemmAttrs::batch)
      .field("m", &GemmAttrs::m)
      .field("n", &GemmAttrs::n)
      .field("k", &GemmAttrs::k)
      .field("transpose_a", &GemmAttrs::transpose_a)
      .field("transpose_b", &GemmAttrs::transpose_b)
      .field("broadcast_a", &GemmAttrs::broadcast_a)
      .field("broadcast_b", &GemmAttrs::broadcast_b)
      .field("epilogue", &GemmAttrs::epilogue)
      .field("tf32", &GemmAttrs::tf32);
  Struct<ActivationAttrs>(m, "ActivationAttrs")
      .field("activation", &ActivationAttrs::activation)
      .field("alpha", &ActivationAttrs::alpha);
  Struct<UnaryAttrs>(m, "UnaryAttrs").field("op", &UnaryAttrs::op);
  Struct<BinaryAttrs>(m, "BinaryAttrs").field("op", &BinaryAttrs::op);
  Struct<FillAttrs>(m, "FillAttrs").field("value", &FillAttrs::value);
  Struct<ReduceAttrs>(m, "ReduceAttrs")
      .field("op", &ReduceAttrs::op)
      .field("axes", &ReduceAttrs::axes);
  Struct<BatchNormAttrs>(m, "BatchNormAttrs")
      .field("epsilon", &BatchNormAttrs::epsilon)
      .field("epilogue", &BatchNormAttrs::epilogue);
  Struct<LayerNormAttrs>(m, "LayerNormAttrs")
      .field("epsilon", &LayerNormAttrs::epsilon)
      .field("axes", &LayerNormAttrs::axes);
  using L = LocalResponseNormAttrs;
  Struct<L>(m, "LocalResponseNormAttrs")
      .field("depth_radius", &L::depth_radius)
      .field("bias", &L::bias)
      .field("alpha", &L::alpha)
      .field("beta", &L::beta);
  Struct<DropoutAttrs>(m, "DropoutAttrs")
      .field("rate", &DropoutAttrs::rate)
      .field("stream", &DropoutAttrs::stream);
  Struct<RandomAttrs>(m, "RandomAttrs")
      .field("distribution", &RandomAttrs::distribution)
      .field("a", &RandomAttrs::a)
      .field("b", &RandomAttrs::b)
      .field("stream", &RandomAttrs::stream);
  Struct<ConcatAttrs>(m, "ConcatAttrs").field("axis", &ConcatAttrs::axis);
  Struct<SliceAttrs>(m, "SliceAttrs")
      .field("start", &SliceAttrs::start)
      .field("step", &SliceAttrs::step);
  Struct<PadAttrs>(m, "PadAttrs")
      .field("before", &PadAttrs::before)
      .field("after", &PadAttrs::after)
      .field("interior", &PadAttrs::interior)
      .field("value", &PadAttrs::value);
  Struct<TransposeAttrs>(m, "TransposeAttrs").field("permutation", &TransposeAttrs::permutation);
  Struct<ResizeAttrs>(m, "ResizeAttrs").field("axis", &ResizeAttrs::axis);
  Struct<CrossEntropyAttrs>(m, "CrossEntropyAttrs").field("sparse", &CrossEntropyAttrs::sparse);
  Struct<SgdAttrs>(m, "SgdAttrs").field("nesterov", &SgdAttrs::nesterov);
  Struct<RmspropAttrs>(m, "RmspropAttrs").field("centered", &RmspropAttrs::centered);
  Struct<CallbackAttrs>(m, "CallbackAttrs").field("index", &CallbackAttrs::index);
  Struct<Quantization>(m, "Quantization")
      .field("scale", &Quantization::scale)
      .field("zero_point", &Quantization::zero_point);
  using R = Requantization;
  Struct<R>(m, "Requantization")
      .field("src", &R::src)
      .field("add", &R::add)
      .field("dst", &R::dst)
      .field("has_add", &R::has_add)
      .field("real", &R::real)
      .field("low", &R::low)
      .field("high", &R::high);
  Struct<QuantizedConvAttrs>(m, "QuantizedConvAttrs")
      .field("geometry", &QuantizedConvAttrs::geometry)
      .field("to", &QuantizedConvAttrs::to);
  Struct<QuantizedPoolAttrs>(m, "QuantizedPoolAttrs")
      .field("geometry", &QuantizedPoolAttrs::geometry)
      .field("count_include_pad", &QuantizedPoolAttrs::count_include_pad)
      .field("to", &QuantizedPoolAttrs::to);
}

}  // namespace

void bind_attrs(py::module_& m) {
  py::class_<OpInfo>(m, "OpInfo")
      .def_readonly("name", &OpInfo::name)
      .def_readonly("attr_bytes", &OpInfo::attr_bytes)
      .def_readonly("min_inputs", &OpInfo::min_inputs)
      .def_readonly("max_inputs", &OpInfo::max_inputs)
      .def_readonly("min_outputs", &OpInfo::min_outputs)
      .def_readonly("max_outputs", &OpInfo::max_outputs)
      .def_property_readonly(
          "inplace", [](const OpInfo& i) { return py::make_tuple(i.inplace[0], i.inplace[1]); })
      .def_readonly("optional_outputs", &OpInfo::optional_outputs);
  bind_enums(m);
  bind_structs(m);
  m.def("op_info", &op_info, py::arg("kind"), py::return_value_policy::reference);
  m.def("activation_saves_output", &activation_saves_output, py::arg("activation"));
  m.def("size_of", &size_of, py::arg("dtype"));
  m.attr("MAX_RANK") = kMaxRank;
}

}  // namespace fastconv
