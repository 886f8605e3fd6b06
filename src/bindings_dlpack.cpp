// The part of fastconv._core that takes and gives arrays in the memory of a GPU, by DLPack. Here
// they are NumPy arrays that the host may not read: only their place, shape and dtype count.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <vector>

#include "bindings.h"
#include "fastconv/device.h"
#include "fastconv/error.h"

namespace py = pybind11;

namespace fastconv {
namespace {

// The structs of DLPack's ABI, as capsules of the name "dltensor" hold them.
struct DLDevice {
  int32_t type, index;
};
struct DLType {
  uint8_t code, bits;
  uint16_t lanes;
};
struct DLTensor {
  void* data;
  DLDevice device;
  int32_t rank;
  DLType dtype;
  int64_t *shape, *strides;  // of elements; strides may be null
  uint64_t byte_offset;
};
struct DLManaged {
  DLTensor tensor;
  void* context;
  void (*release)(DLManaged*);
};

constexpr const char *kFresh = "dltensor", *kTaken = "used_dltensor";
constexpr int32_t kCuda = 2, kCudaManaged = 13;
constexpr uint8_t kInteger = 0, kUnsigned = 1, kFloat = 2, kBfloat = 4, kBool = 6;

struct Known {
  DLType type;
  const char* name;
};
constexpr Known kKnown[] = {{{kFloat, 32, 1}, "float32"}, {{kInteger, 32, 1}, "int32"},
                            {{kInteger, 64, 1}, "int64"}, {{kInteger, 8, 1}, "int8"},
                            {{kUnsigned, 8, 1}, "uint8"}, {{kBool, 8, 1}, "bool"}};

bool same(const DLType& a, const DLType& b) {
  return a.code == b.code && a.bits == b.bits && a.lanes == b.lanes;
}

[[noreturn]] void refuse(const std::string& what) {
  throw Error(ErrorKind::data, "from_dlpack: " + what);
}

py::dtype dtype_of(const DLType& type) {
  for (const Known& known : kKnown)
    if (same(known.type, type)) return py::dtype(known.name);
  const std::string letter = type.code == kFloat ? "float" : type.code == kBfloat ? "bfloat" : "";
  refuse("expected float32, int8, int32, int64, uint8 or bool, received " +
         (letter.empty() ? "another dtype" : letter + std::to_string(type.bits)) +
         "; convert it before");
}

DLType type_of(const py::dtype& dtype) {
  for (const Known& known : kKnown)
    if (dtype.equal(py::dtype(known.name))) return known.type;
  refuse("no dtype of DLPack");
}

bool is_contiguous(const DLTensor& t) {
  int64_t step = 1;
  for (int i = t.rank - 1; i >= 0; --i) {
    if (t.strides && t.shape[i] != 1 && t.strides[i] != step) return false;
    step *= t.shape[i];
  }
  return true;
}

// The array in a capsule, which is used up, and the number of its GPU.
py::tuple take(py::capsule capsule) {
  if (!capsule.name() || std::string(capsule.name()) != kFresh)
    refuse("expected a capsule that nobody has taken yet");
  DLManaged* managed = capsule.get_pointer<DLManaged>();
  const DLTensor& t = managed->tensor;
  if (t.device.type != kCuda && t.device.type != kCudaManaged) refuse("not in memory of a GPU");
  if (!is_contiguous(t))
    refuse("expected rows one after the other (C order), received strides; call contiguous()");
  const py::dtype dtype = dtype_of(t.dtype);
  capsule.set_name(kTaken);
  const py::capsule owner(managed, [](void* pointer) {
    DLManaged* own = static_cast<DLManaged*>(pointer);
    if (own->release) own->release(own);
  });
  char* data = static_cast<char*>(t.data) + t.byte_offset;
  const std::vector<py::ssize_t> shape(t.shape, t.shape + t.rank);
  return py::make_tuple(py::array(dtype, shape, data, owner), t.device.index);
}

struct Given {
  DLManaged managed;
  py::array array;
  std::vector<int64_t> shape, strides;
};

void release_given(DLManaged* managed) {
  const py::gil_scoped_acquire gil;
  delete static_cast<Given*>(managed->context);
}

// A capsule with an array of GPU `index`.
py::capsule give(const py::array& array, int32_t index) {
  auto given = std::make_unique<Given>();
  given->array = array;
  given->shape.assign(array.shape(), array.shape() + array.ndim());
  for (int i = 0; i < array.ndim(); ++i)
    given->strides.push_back(array.strides(i) / array.itemsize());
  given->managed = {{const_cast<void*>(array.data()),
                     {kCuda, index},
                     static_cast<int32_t>(array.ndim()),
                     type_of(array.dtype()),
                     given->shape.data(),
                     given->strides.data(),
                     0},
                    given.get(),
                    release_given};
  return py::capsule(&given.release()->managed, kFresh, [](PyObject* self) {
    if (!PyCapsule_IsValid(self, kFresh)) return;  // taken: the other side releases it
    DLManaged* managed = static_cast<DLManaged*>(PyCapsule_GetPointer(self, kFresh));
    managed->release(managed);
  });
}

struct Owned {
  const Backend* backend;
  void* memory;
  int64_t bytes;
};

// A new array in memory of the device.
py::array empty(const Backend& backend, const py::dtype& dtype,
                const std::vector<py::ssize_t>& shape) {
  int64_t bytes = dtype.itemsize();
  for (const py::ssize_t n : shape) bytes *= n;
  void* memory = backend.allocate(backend, bytes > 0 ? bytes : 1);
  if (!memory)
    throw Error(ErrorKind::out_of_memory, std::string(backend.name) +
                                              ": no memory for an array of " +
                                              std::to_string(bytes) + " bytes");
  const py::capsule owner(new Owned{&backend, memory, bytes}, [](void* pointer) {
    const std::unique_ptr<Owned> owned(static_cast<Owned*>(pointer));
    owned->backend->release(*owned->backend, owned->memory, owned->bytes);
  });
  return py::array(dtype, shape, memory, owner);
}

void wait(const Backend& backend) {
  if (const char* failure = backend.device->wait(backend))
    throw Error(ErrorKind::device, std::string(backend.name) + ": " + failure);
}

// A copy in memory of the device, of an array there.
py::array copied(const Backend& backend, const py::array& array) {
  py::array result = empty(backend, array.dtype(),
                           std::vector<py::ssize_t>(array.shape(), array.shape() + array.ndim()));
  backend.device->upload(backend, result.mutable_data(), array.data(), array.nbytes());
  wait(backend);
  return result;
}

// The values of such an array.
py::array downloaded(const Backend& backend, const py::array& array) {
  py::array result(array.dtype(),
                   std::vector<py::ssize_t>(array.shape(), array.shape() + array.ndim()));
  backend.device->download(backend, result.mutable_data(), array.data(), array.nbytes());
  wait(backend);
  return result;
}

}  // namespace

void bind_dlpack(py::module_& m) {
  m.def("take_dlpack", &take, py::arg("capsule"));
  m.def("give_dlpack", &give, py::arg("array"), py::arg("index"));
  m.def("device_empty", &empty, py::arg("backend"), py::arg("dtype"), py::arg("shape"));
  m.def("device_copy", &copied, py::arg("backend"), py::arg("array"));
  m.def("device_values", &downloaded, py::arg("backend"), py::arg("array"));
  m.def(
      "device_stream",
      [](const Backend& backend) {
        return reinterpret_cast<uintptr_t>(device_of(backend).stream(backend));
      },
      py::arg("backend"));
}

}  // namespace fastconv
