// Plans as files: one flat byte stream with a digest at its end, written beside and renamed.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "fastconv/plan.h"

namespace fastconv {
namespace {

constexpr char kMagic[8] = {'F', 'C', 'P', 'L', 'A', 'N', '\r', '\n'};
// 1: no slot is constant; 2: no convolution pools; 3: no kernel is tuned, and all are of the CPU
constexpr uint32_t kFileVersion = 4;

// FNV-1a, 64 bit, over 8-byte words: finds damage, and is no protection against forgery.
uint64_t digest(const char* data, size_t size) {
  uint64_t hash = 0xcbf29ce484222325ull;
  for (; size >= 8; data += 8, size -= 8) {
    uint64_t word;
    std::memcpy(&word, data, 8);
    hash = (hash ^ word) * 0x100000001b3ull;
    hash ^= hash >> 29;
  }
  for (; size > 0; ++data, --size)
    hash = (hash ^ static_cast<unsigned char>(*data)) * 0x100000001b3ull;
  return hash;
}

class Writer {
 public:
  template <class T>
  void value(const T& v) {
    static_assert(std::is_trivially_copyable_v<T>);
    raw(&v, sizeof v);
  }
  void raw(const void* data, size_t size) { bytes_.append(static_cast<const char*>(data), size); }
  void text(const std::string& s) {
    value<int64_t>(static_cast<int64_t>(s.size()));
    raw(s.data(), s.size());
  }
  template <class T>
  void list(const std::vector<T>& items) {
    value<int64_t>(static_cast<int64_t>(items.size()));
    raw(items.data(), items.size() * sizeof(T));
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

// Every size is compared with what is left of the file before memory is taken.
class Reader {
 public:
  Reader(const std::string& path, const std::string& bytes, size_t end)
      : path_(path), bytes_(bytes), end_(end) {}

  template <class T>
  T value() {
    T v;
    std::memcpy(&v, take(sizeof v), sizeof v);
    return v;
  }
  size_t count(size_t item_bytes) {
    const int64_t n = value<int64_t>();
    if (n < 0 || static_cast<uint64_t>(n) > (end_ - at_) / item_bytes) fail("a size is too large");
    return static_cast<size_t>(n);
  }
  std::string text() {
    const size_t n = count(1);
    return std::string(take(n), n);
  }
  template <class T>
  std::vector<T> list() {
    std::vector<T> items(count(sizeof(T)));
    const char* data = take(items.size() * sizeof(T));
    if (!items.empty()) std::memcpy(items.data(), data, items.size() * sizeof(T));
    return items;
  }
  const char* take(size_t n) {
    if (n > end_ - at_) fail("the file is truncated");
    at_ += n;
    return bytes_.data() + at_ - n;
  }
  bool at_end() const { return at_ == end_; }
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorKind::format, path_ + ": " + what);
  }

 private:
  const std::string& path_;
  const std::string& bytes_;
  size_t at_ = 0, end_;
};

[[noreturn]] void io_error(const std::string& path, const char* what) {
  throw Error(ErrorKind::io, path + ": " + what + ": " + std::strerror(errno));
}

void sync_folder(const std::string& path) {
  const std::string folder = std::filesystem::absolute(path).parent_path().string();
  const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY);
  if (fd < 0) return;
  fsync(fd);
  close(fd);
}

// The old file stays whole until the new one is on the disk.
void write_atomically(const std::string& path, const std::string& bytes) {
  const std::string beside = path + ".part" + std::to_string(getpid());
  const int fd = open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (fd < 0) io_error(path, "cannot write");
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = write(fd, bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      const int code = errno;
      close(fd);
      unlink(beside.c_str());
      errno = code;
      io_error(path, "cannot write");
    }
    done += static_cast<size_t>(n);
  }
  const bool synced = fsync(fd) == 0;
  if (close(fd) != 0 || !synced || rename(beside.c_str(), path.c_str()) != 0) {
    const int code = errno;
    unlink(beside.c_str());
    errno = code;
    io_error(path, "cannot write");
  }
  sync_folder(path);
}

std::string read_file(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY);
  if (fd < 0) io_error(path, "cannot read");
  struct stat info;
  std::string bytes;
  bool good = fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
  if (good) bytes.resize(static_cast<size_t>(info.st_size));
  size_t done = 0;
  while (good && done < bytes.size()) {
    const ssize_t n = read(fd, bytes.data() + done, bytes.size() - done);
    good = n > 0;
    if (good) done += static_cast<size_t>(n);
  }
  close(fd);
  if (!good) throw Error(ErrorKind::io, path + ": cannot read: not a regular file, or cut short");
  return bytes;
}

void write_ports(Writer& out, const std::vector<Port>& ports) {
  out.value<int64_t>(static_cast<int64_t>(ports.size()));
  for (const Port& port : ports) {
    out.text(port.name);
    out.value(port.slot);
  }
}

std::vector<Port> read_ports(Reader& in) {
  std::vector<Port> ports(in.count(12));
  for (Port& port : ports) {
    port.name = in.text();
    port.slot = in.value<int32_t>();
  }
  return ports;
}

PlanData read_plan(Reader& in, uint32_t version) {
  PlanData data;
  data.slots = in.list<Slot>();
  for (Slot& slot : data.slots) {
    slot.tensor.data = nullptr;
    if (version < 2) slot.constant = 0;
  }
  data.steps.resize(in.count(sizeof(Attrs)));
  for (Step& step : data.steps) {
    step.kind = in.value<OpKind>();
    step.attrs = in.value<Attrs>();
    step.inputs = in.list<int32_t>();
    step.outputs = in.list<int32_t>();
    step.workspace_offset = in.value<int64_t>();
    step.workspace_bytes = in.value<int64_t>();
    step.label = in.text();
    step.kernel = in.text();
    if (version > 3) step.tiling = in.value<Tiling>();
  }
  data.buffer_bytes = in.list<int64_t>();
  data.inputs = read_ports(in);
  data.outputs = read_ports(in);
  return data;
}

// "cpu" or "cuda", whichever it is of several.
std::string kind_of(const Backend& backend) {
  const std::string name = backend.name;
  return name.substr(0, name.find(':'));
}

}  // namespace

void save_plan(const std::string& path, const Plan& plan, const std::vector<int>& stored) {
  const PlanData& data = plan.data();
  for (const Step& step : data.steps)
    if (step.kind == OpKind::callback)
      throw Error(ErrorKind::argument,
                  "layer '" + step.label + "' calls a Python function: the plan cannot be saved");
  Writer out;
  out.raw(kMagic, sizeof kMagic);
  out.value(kFileVersion);
  out.text(kind_of(plan.backend()));
  out.list(data.slots);
  out.value<int64_t>(static_cast<int64_t>(data.steps.size()));
  for (const Step& step : data.steps) {
    out.value(step.kind);
    out.value(step.attrs);
    out.list(step.inputs);
    out.list(step.outputs);
    out.value(step.workspace_offset);
    out.value(step.workspace_bytes);
    out.text(step.label);
    out.text(step.kernel);
    out.value(step.tiling);
  }
  out.list(data.buffer_bytes);
  write_ports(out, data.inputs);
  write_ports(out, data.outputs);
  out.value<int64_t>(static_cast<int64_t>(stored.size()));
  for (int index : stored) {
    out.value<int32_t>(index);
    out.value<int64_t>(data.buffer_bytes.at(index));
    std::vector<char> values(static_cast<size_t>(data.buffer_bytes.at(index)));
    plan.read_buffer(index, values.data());
    out.raw(values.data(), values.size());
  }
  out.value(digest(out.bytes().data(), out.bytes().size()));
  write_atomically(path, out.bytes());
}

SavedPlan load_plan(const std::string& path) { return load_plan(path, cpu_backend()); }

SavedPlan load_plan(const std::string& path, const Backend& backend) {
  const std::string bytes = read_file(path);
  if (bytes.size() < sizeof kMagic + 12 || std::memcmp(bytes.data(), kMagic, sizeof kMagic) != 0)
    throw Error(ErrorKind::format, path + ": not a plan of fastconv");
  const size_t end = bytes.size() - 8;
  Reader in(path, bytes, end);
  in.take(sizeof kMagic);
  const uint32_t version = in.value<uint32_t>();
  if (version > kFileVersion)
    in.fail("written by a newer version of fastconv (file version " + std::to_string(version) +
            ", this one reads up to " + std::to_string(kFileVersion) + ")");
  uint64_t expected;
  std::memcpy(&expected, bytes.data() + end, sizeof expected);
  if (digest(bytes.data(), end) != expected) in.fail("the file is damaged (its digest differs)");

  const std::string kind = version > 3 ? in.text() : "cpu";
  if (kind != kind_of(backend))
    throw Error(ErrorKind::device, path + ": the plan was made for a device of the kind '" + kind +
                                       "', and cannot run on '" + backend.name + "'");
  SavedPlan saved;
  PlanData data = read_plan(in, version);
  saved.storage.resize(data.buffer_bytes.size());
  for (size_t n = in.count(12); n > 0; --n) {
    const int32_t index = in.value<int32_t>();
    const std::vector<char> values = in.list<char>();
    if (index <= kArena || static_cast<size_t>(index) >= saved.storage.size())
      in.fail("values of an unknown buffer");
    saved.storage[static_cast<size_t>(index)] = values;
  }
  if (!in.at_end()) in.fail("there are bytes behind the plan");
  saved.plan = std::make_unique<Plan>(backend, std::move(data));
  for (size_t i = 1; i < saved.storage.size(); ++i)
    if (!saved.storage[i].empty())
      saved.plan->bind(static_cast<int>(i), saved.storage[i].data(),
                       static_cast<int64_t>(saved.storage[i].size()));
  return saved;
}

}  // namespace fastconv
