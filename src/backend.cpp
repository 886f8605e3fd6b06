// Backends in libraries of their own. They stay open: plans and memory refer to them.
#include <dlfcn.h>

#include <map>
#include <mutex>
#include <utility>

#include "fastconv/device.h"
#include "fastconv/plan.h"

namespace fastconv {
namespace {

BackendEntry open_library(const std::string& path) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library)
    throw Error(ErrorKind::device, std::string("cannot open the backend: ") + dlerror());
  void* entry = dlsym(library, "fastconv_backend");
  if (!entry) throw Error(ErrorKind::device, path + ": not a backend of fastconv");
  return reinterpret_cast<BackendEntry>(entry);
}

}  // namespace

const Backend& load_backend(const std::string& path, int index) {
  static std::mutex mutex;
  static std::map<std::pair<std::string, int>, const Backend*> loaded;
  const std::lock_guard<std::mutex> lock(mutex);
  const Backend*& backend = loaded[{path, index}];
  const char* reason = "it is of another version of fastconv";
  if (!backend) backend = open_library(path)(kDeviceVersion, index, &reason);
  if (!backend) throw Error(ErrorKind::device, reason);
  return *backend;
}

}  // namespace fastconv
