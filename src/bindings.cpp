// The Python module fastconv._core: glue only.
#include "bindings.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <array>
#include <cstring>
#include <map>
#include <memory>
#include <optional>

#include "cpu/isa.h"
#include "cpu/threads.h"
#include "fastconv/plan.h"
#include "offsets.h"

namespace py = pybind11;

namespace fastconv {
namespace {

const char* error_class(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::argument: return "ArgumentError";
    case ErrorKind::shape: return "ShapeError";
    case ErrorKind::data: return "DataError";
    case ErrorKind::format: return "FormatError";
    case ErrorKind::device: return "DeviceError";
    case ErrorKind::out_of_memory: return "OutOfMemoryError";
    case ErrorKind::io: break;
  }
  return nullptr;
}

void translate_error(std::exception_ptr pointer) {
  try {
    if (pointer) std::rethrow_exception(pointer);
  } catch (const Error& error) {
    const char* name = error_class(error.kind());
    py::object type = name ? py::module_::import("fastconv.errors").attr(name)
                           : py::module_::import("builtins").attr("OSError");
    PyErr_SetString(type.ptr(), error.what());
  }
}

py::dtype numpy_dtype(Dtype dtype) {
  switch (dtype) {
    case Dtype::float32: return py::dtype::of<float>();
    case Dtype::float64: return py::dtype::of<double>();
    case Dtype::bfloat16: return py::dtype::of<uint16_t>();  // NumPy has none: its bits
    case Dtype::float16: return py::dtype("float16");
    case Dtype::int64: return py::dtype::of<int64_t>();
    case Dtype::int32: return py::dtype::of<int32_t>();
    case Dtype::uint8: return py::dtype::of<uint8_t>();
    case Dtype::boolean: return py::dtype::of<bool>();
    case Dtype::int8: return py::dtype::of<int8_t>();
  }
  throw Error(ErrorKind::argument, "an unknown dtype");
}

std::vector<py::ssize_t> shape_of(const Tensor& t) { return {t.dims, t.dims + t.rank}; }

// A NumPy array over the memory of a tensor; `owner` keeps it alive (None: the caller does).
py::array view(const Tensor& t, py::handle owner) {
  return py::array(numpy_dtype(t.dtype), shape_of(t), t.data, owner);
}

Slot make_slot(Dtype dtype, const std::vector<int64_t>& dims, int buffer, int64_t offset,
               bool constant) {
  if (dims.size() > kMaxRank)
    throw Error(ErrorKind::shape, "expected at most " + std::to_string(kMaxRank) +
                                      " axes, received " + std::to_string(dims.size()));
  Slot slot{};
  slot.tensor.dtype = dtype;
  slot.tensor.rank = static_cast<int32_t>(dims.size());
  std::copy(dims.begin(), dims.end(), slot.tensor.dims);
  slot.buffer = buffer;
  slot.constant = constant;
  slot.offset = offset;
  return slot;
}

Step make_step(OpKind kind, const py::object& attrs, std::vector<int32_t> inputs,
               std::vector<int32_t> outputs, std::string label) {
  Step step{kind, {}, std::move(inputs), std::move(outputs), 0, 0, std::move(label), "", {}};
  const std::string bytes = attrs.is_none() ? "" : attrs.attr("to_bytes")().cast<std::string>();
  if (static_cast<int32_t>(bytes.size()) != op_info(kind).attr_bytes)
    throw Error(ErrorKind::argument, std::string(op_info(kind).name) + ": wrong attributes");
  std::memcpy(step.attrs.bytes, bytes.data(), bytes.size());
  return step;
}

// Hands a host step to Python. The functions get views that are only valid during the call.
void call_python(const std::vector<py::function>& functions, int index, const KernelCall& call) {
  py::gil_scoped_acquire gil;
  py::list inputs;
  for (int i = 0; i < call.n_inputs; ++i)
    inputs.append(py::array(numpy_dtype(call.inputs[i].dtype), shape_of(call.inputs[i]),
                            call.inputs[i].data));
  const py::sequence results = functions.at(index)(*inputs);
  for (int i = 0; i < call.n_outputs; ++i)
    view(call.outputs[i], py::none())[py::ellipsis()] = results[i];
}

// A plan with the Python objects that its buffers live in. Its functions should be weak proxies:
// Python's garbage collector does not see what is held here.
struct BoundPlan {
  BoundPlan(const Backend& backend, PlanData data, std::vector<py::function> callbacks)
      : plan(backend, std::move(data)), functions(std::move(callbacks)) {
    for (const Port& port : plan.data().outputs) outputs.push_back(port.slot);
    plan.set_callback(
        [this](int index, const KernelCall& call) { call_python(functions, index, call); });
  }

  struct Memory {
    void* data;
    int64_t bytes;
  };

  static Memory memory_of(const py::array& array) {
    if (!(array.flags() & py::array::c_style))
      throw Error(ErrorKind::argument, "plan: expected a C-contiguous array");
    return {const_cast<void*>(array.data()), array.nbytes()};
  }

  void bind(int index, const py::array& array) {
    const Memory memory = memory_of(array);
    {
      const py::gil_scoped_release release;  // a device may wait for a host function
      plan.bind(index, memory.data, memory.bytes);
    }
    owners[index] = array;
  }

  // Runs body() without the interpreter lock, with `inputs` in the buffers from 1 on, which it does
  // not keep.
  template <class Body>
  auto with_inputs(const std::vector<py::array>& inputs, const Body& body) {
    struct Guard {
      BoundPlan& self;
      int end;
      ~Guard() {
        for (int index = 1; index < end; ++index) self.plan.unbind(index);
      }
    } guard{*this, 1};
    std::vector<Memory> memory;
    for (const py::array& array : inputs) memory.push_back(memory_of(array));
    const py::gil_scoped_release release;
    for (const Memory& m : memory) plan.bind(guard.end++, m.data, m.bytes);
    return body();
  }

  // Whether an object is an array just as a slot has it.
  bool fits(py::handle object, int slot) const {
    const Tensor& tensor = plan.data().slots[static_cast<size_t>(slot)].tensor;
    const auto& numpy = py::detail::npy_api::get();
    if (Py_TYPE(object.ptr()) != numpy.PyArray_Type_) return false;
    const auto array = py::reinterpret_borrow<py::array>(object);
    constexpr int kAligned = py::detail::npy_api::NPY_ARRAY_ALIGNED_;
    constexpr int kNeeded = int{py::array::c_style} | kAligned;
    return (array.flags() & kNeeded) == kNeeded && array.ndim() == tensor.rank &&
           std::equal(tensor.dims, tensor.dims + tensor.rank, array.shape()) &&
           array.dtype().is(numpy_dtype(tensor.dtype));
  }

  // What was brought counts in a run whose upcoming arrays come from the same source, which keeps
  // it until then.
  void expect(const std::optional<py::function>& upcoming) {
    if (!upcoming || !source || !source.equal(*upcoming)) plan.forget_brought();
    source = py::object();
  }

  // Copies the arrays that upcoming() gives, inputs of the next run, to the device.
  void bring(const py::function& upcoming) {
    const py::gil_scoped_acquire gil;
    const auto arrays = upcoming().cast<std::vector<py::array>>();
    if (!arrays.empty()) source = upcoming;
    for (const py::array& array : arrays) {
      const Memory memory = memory_of(array);
      const py::gil_scoped_release release;
      plan.bring(memory.data, memory.bytes);
    }
  }

  // An array for the values of a slot.
  py::array result(int slot) const {
    const Tensor& tensor = plan.data().slots.at(static_cast<size_t>(slot)).tensor;
    return py::array(numpy_dtype(tensor.dtype), shape_of(tensor));
  }

  // Runs once, and gives the values of slots.
  py::list run(Arena& arena, const std::vector<py::array>& inputs, const std::vector<int>& slots,
               const std::optional<py::function>& upcoming) {
    py::list results;
    std::vector<Plan::Read> reads;
    for (int slot : slots) {
      py::array array = result(slot);
      reads.push_back({slot, array.mutable_data()});
      results.append(std::move(array));
    }
    expect(upcoming);
    std::function<void()> meanwhile;
    if (upcoming) meanwhile = [&] { bring(*upcoming); };
    with_inputs(inputs, [&] { plan.run(arena, reads, meanwhile); });
    return results;
  }

  Plan plan;
  std::vector<int> outputs;  // their slots
  std::vector<py::function> functions;
  std::map<int, py::object> owners;
  py::object source;  // of what was brought
};

const Backend& backend_named(const std::string& name) {
  if (name == "cpu") return cpu_backend();
  throw Error(ErrorKind::device, "no backend '" + name + "' in this library");
}

// The array itself if runs may have it so, else a copy in memory that kernels and host share.
py::array shared(const Backend& backend, const py::array& array) {
  const DeviceMemory* device = backend.device;
  if (!device || array.nbytes() <= device->copied_bytes) return array;
  if (device->reaches(backend, array.data())) return array;
  void* memory = device->share(backend, array.nbytes());
  if (!memory)
    throw Error(ErrorKind::out_of_memory, std::string(backend.name) +
                                              ": no memory for variables of " +
                                              std::to_string(array.nbytes()) + " bytes");
  struct Owned {
    const Backend* backend;
    void* memory;
    int64_t bytes;
  };
  const py::capsule owner(new Owned{&backend, memory, array.nbytes()}, [](void* pointer) {
    const std::unique_ptr<Owned> owned(static_cast<Owned*>(pointer));
    owned->backend->release(*owned->backend, owned->memory, owned->bytes);
  });
  std::memcpy(memory, array.data(), static_cast<size_t>(array.nbytes()));
  return py::array(array.dtype(),
                   std::vector<py::ssize_t>(array.shape(), array.shape() + array.ndim()), memory,
                   owner);
}

// Bytes of an arena, copied to the host.
py::array arena_bytes(Arena& arena, int64_t begin, int64_t count) {
  if (begin < 0 || count < 0 || begin > arena.bytes() - count)
    throw Error(ErrorKind::argument, "arena: expected bytes inside it");
  py::array_t<uint8_t> result(count);
  const char* from = static_cast<const char*>(arena.reserve(0)) + begin;
  if (const DeviceMemory* device = arena.backend().device)
    device->download(arena.backend(), result.mutable_data(), from, count);
  else
    std::memcpy(result.mutable_data(), from, static_cast<size_t>(count));
  return result;
}

void fill_arena(Arena& arena, uint8_t value) {
  const std::vector<uint8_t> values(static_cast<size_t>(arena.bytes()), value);
  if (const DeviceMemory* device = arena.backend().device)
    device->upload(arena.backend(), arena.reserve(0), values.data(), arena.bytes());
  else if (!values.empty())
    std::memcpy(arena.reserve(0), values.data(), values.size());
}

std::pair<int32_t, int32_t> tiling_of(const KernelChoice& choice) {
  return {choice.tiling.tile, choice.tiling.splits};
}

// Of each one that could run the step: name, tiling, bytes of workspace.
py::list options(const Backend& backend, const Step& step, const std::vector<Slot>& slots) {
  py::list found;
  for (const KernelChoice& choice : kernel_options(backend, step, slots))
    found.append(py::make_tuple(choice.kernel->name, tiling_of(choice), choice.workspace_bytes));
  return found;
}

py::list explain(const BoundPlan& bound) {
  py::list lines;
  for (size_t i = 0; i < bound.plan.choices().size(); ++i) {
    const KernelChoice& choice = bound.plan.choices()[i];
    lines.append(py::make_tuple(choice.kernel ? choice.kernel->name : "", choice.workspace_bytes,
                                choice.declined, tiling_of(choice)));
  }
  return lines;
}

// Pieces come as tuples (start, bytes, first).
std::vector<int64_t> offsets_of(const std::vector<std::vector<std::array<int64_t, 3>>>& pieces,
                                const std::vector<int64_t>& last, int64_t alignment) {
  std::vector<Lifetime> storages;
  for (size_t i = 0; i < pieces.size(); ++i) {
    storages.push_back({{}, last.at(i)});
    for (const auto& [start, bytes, first] : pieces[i])
      storages.back().pieces.push_back({start, bytes, first});
  }
  return lowest_offsets(storages, alignment);
}

void bind_steps(py::module_& m) {
  py::class_<Slot>(m, "Slot")
      .def(py::init(&make_slot), py::arg("dtype"), py::arg("dims"), py::arg("buffer"),
           py::arg("offset"), py::arg("constant") = false)
      .def_readwrite("buffer", &Slot::buffer)
      .def_readwrite("offset", &Slot::offset);
  py::class_<Step>(m, "Step")
      .def(py::init(&make_step), py::arg("kind"), py::arg("attrs"), py::arg("inputs"),
           py::arg("outputs"), py::arg("label") = "")
      .def_readonly("kind", &Step::kind)
      .def_readonly("inputs", &Step::inputs)
      .def_readonly("outputs", &Step::outputs)
      .def_readwrite("workspace_offset", &Step::workspace_offset)
      .def_readwrite("workspace_bytes", &Step::workspace_bytes)
      .def_readonly("label", &Step::label)
      .def_readwrite("kernel", &Step::kernel)
      .def_property(
          "tiling",
          [](const Step& step) { return std::pair(step.tiling.tile, step.tiling.splits); },
          [](Step& step, std::pair<int32_t, int32_t> tiling) {
            step.tiling = {tiling.first, tiling.second};
          });
  py::class_<Port>(m, "Port")
      .def(py::init([](std::string name, int slot) { return Port{std::move(name), slot}; }),
           py::arg("name"), py::arg("slot"))
      .def_readonly("name", &Port::name)
      .def_readonly("slot", &Port::slot);
}

}  // namespace

void bind_plan(py::module_& m) {
  bind_steps(m);
  py::class_<Backend>(m, "Backend")
      .def_readonly("name", &Backend::name)
      .def_readonly("detail", &Backend::detail)
      .def("shared", &shared, py::arg("array"))
      .def_property_readonly("available_bytes",
                             [](const Backend& backend) -> std::optional<int64_t> {
                               if (!backend.device) return std::nullopt;
                               return backend.device->available(backend);
                             })
      .def(
          "kernels",
          [](const Backend& backend, OpKind kind) {
            const KernelList list = backend.kernels(backend, kind);
            std::vector<std::string> names;
            for (int i = 0; i < list.count; ++i) names.push_back(list.kernels[i].name);
            return names;
          },
          py::arg("kind"));
  py::class_<Arena>(m, "Arena")
      .def(py::init<const Backend&>(), py::arg("backend"), py::keep_alive<1, 2>())
      .def(
          "reserve", [](Arena& arena, int64_t bytes) { arena.reserve(bytes); }, py::arg("bytes"))
      .def("read", &arena_bytes, py::arg("begin"), py::arg("count"))
      .def("fill", &fill_arena, py::arg("value"))
      .def_property_readonly("backend", &Arena::backend, py::return_value_policy::reference)
      .def_property_readonly("bytes", &Arena::bytes);
  py::class_<BoundPlan>(m, "Plan")
      .def(py::init([](const Backend& backend, std::vector<Slot> slots, std::vector<Step> steps,
                       std::vector<int64_t> buffer_bytes, std::vector<Port> inputs,
                       std::vector<Port> outputs, std::vector<py::function> callbacks) {
             return std::make_unique<BoundPlan>(
                 backend,
                 PlanData{std::move(slots), std::move(steps), std::move(buffer_bytes),
                          std::move(inputs), std::move(outputs)},
                 std::move(callbacks));
           }),
           py::arg("backend"), py::arg("slots"), py::arg("steps"), py::arg("buffer_bytes"),
           py::arg("inputs"), py::arg("outputs"),
           py::arg("callbacks") = std::vector<py::function>{}, py::keep_alive<1, 2>())
      .def("bind", &BoundPlan::bind, py::arg("index"), py::arg("array"))
      .def("run", &BoundPlan::run, py::arg("arena"), py::arg("inputs"), py::arg("slots"),
           py::arg("upcoming") = py::none())
      .def(
          "run_again",
          [](BoundPlan& bound, Arena& arena, const py::tuple& inputs) -> std::optional<py::list> {
            const std::vector<Port>& ports = bound.plan.data().inputs;
            if (inputs.size() != ports.size()) return std::nullopt;
            std::vector<py::array> arrays;
            for (const Port& port : ports) {
              const py::handle array = inputs[arrays.size()];
              if (!bound.fits(array, port.slot)) return std::nullopt;
              arrays.push_back(py::reinterpret_borrow<py::array>(array));
            }
            return bound.run(arena, arrays, bound.outputs, std::nullopt);
          },
          py::arg("arena"), py::arg("inputs"))
      .def(
          "profile",
          [](BoundPlan& bound, Arena& arena, const std::vector<py::array>& inputs) {
            return bound.with_inputs(inputs, [&] { return bound.plan.profile(arena); });
          },
          py::arg("arena"), py::arg("inputs"))
      .def(
          "read",
          [](const BoundPlan& bound, int slot, Arena& arena, py::array& to) {
            bound.plan.read(slot, arena, to.mutable_data());
          },
          py::arg("slot"), py::arg("arena"), py::arg("to"))
      .def("explain", &explain)
      .def_property_readonly("prepared_bytes",
                             [](const BoundPlan& b) { return b.plan.prepared_bytes(); })
      .def_property_readonly("buffer_bytes",
                             [](const BoundPlan& b) { return b.plan.data().buffer_bytes; })
      .def(
          "save",
          [](const BoundPlan& bound, const std::string& path, const std::vector<int>& stored) {
            save_plan(path, bound.plan, stored);
          },
          py::arg("path"), py::arg("stored"));
  m.def("backend", &backend_named, py::arg("name"), py::return_value_policy::reference);
  m.def("load_backend", &load_backend, py::arg("path"), py::arg("index"),
        py::return_value_policy::reference);
  m.def("kernel_options", &options, py::arg("backend"), py::arg("step"), py::arg("slots"));
  m.def(
      "workspaces",
      [](const Backend& backend, const std::vector<const Step*>& steps,
         const std::vector<Slot>& slots) {
        std::vector<int64_t> bytes;
        for (const Step* step : steps)
          bytes.push_back(choose_kernel(backend, *step, slots).workspace_bytes);
        return bytes;
      },
      py::arg("backend"), py::arg("steps"), py::arg("slots"));
  m.def("lowest_offsets", &offsets_of, py::arg("pieces"), py::arg("last"), py::arg("alignment"));
}

void bind_machine(py::module_& m) {
  m.def("thread_count", &cpu::thread_count);
  m.def("thread_count_reason", &cpu::thread_count_reason);
  m.def("set_thread_count", &cpu::set_thread_count, py::arg("threads"));
  m.def(
      "measure_peak",
      [](double seconds) {
        const cpu::Peak peak = [&] {
          py::gil_scoped_release release;
          return cpu::measure_peak(seconds);
        }();
        return py::dict(py::arg("gflops") = peak.gflops,
                        py::arg("gbytes_per_second") = peak.gbytes_per_second,
                        py::arg("cached_gbytes_per_second") = peak.cached_gbytes_per_second,
                        py::arg("threads") = peak.threads);
      },
      py::arg("seconds") = 1.0);
  m.def("active_isa", [] { return cpu::active_isa().name; });
  m.def("isas", [] {
    py::list isas;
    for (const cpu::Isa& isa : cpu::built_isas())
      isas.append(py::make_tuple(isa.name, isa.features, isa.supported()));
    return isas;
  });
}

}  // namespace fastconv

PYBIND11_MODULE(_core, m) {
  py::register_exception_translator(&fastconv::translate_error);
  m.attr("__version__") = FASTCONV_VERSION;
  fastconv::bind_attrs(m);
  fastconv::bind_augment(m);
  fastconv::bind_plan(m);
  fastconv::bind_dlpack(m);
  fastconv::bind_machine(m);
}
