#include "program_cache.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>
#include <vector>

#include "../cl/cl_error.h"
#include "sha256.h"
#include "stats.h"

namespace coexec {
namespace program_cache {
namespace {

constexpr char kMagic[] = "tvm-coexec program 1\n";

bool make_dirs(const std::string& dir) {
  for (size_t i = 1; i <= dir.size(); ++i) {
    if ((i == dir.size() || dir[i] == '/') && mkdir(dir.substr(0, i).c_str(), 0755) != 0 && errno != EEXIST) {
      return false;
    }
  }
  return true;
}

std::string digest_bytes(const std::string& data) {
  const Digest d = sha256(data);
  return std::string(reinterpret_cast<const char*>(d.data()), d.size());
}

}  // namespace

// Format: magic, 64 characters of key, 8 bytes of length, 32 bytes of the payload's hash, payload.
Found read(const std::string& path, const std::string& key, std::string* binary) {
  std::ifstream in(path, std::ios::binary);
  if (!in) {
    return Found::kNo;
  }
  std::ostringstream all;
  all << in.rdbuf();
  const std::string text = all.str();
  const std::string head = kMagic + key;
  const size_t body = head.size() + 8 + 32;
  if (text.size() < body || text.compare(0, head.size(), head) != 0) {
    return Found::kDamaged;
  }
  uint64_t length = 0;
  std::memcpy(&length, text.data() + head.size(), 8);
  if (length != text.size() - body) {
    return Found::kDamaged;
  }
  *binary = text.substr(body);
  return digest_bytes(*binary) == text.substr(head.size() + 8, 32) ? Found::kYes : Found::kDamaged;
}

bool write(const std::string& dir, const std::string& path, const std::string& key, const std::string& binary) {
  if (!make_dirs(dir)) {
    return false;
  }
  std::string temporary = path + ".XXXXXX";
  const int fd = mkstemp(&temporary[0]);
  if (fd < 0) {
    return false;
  }
  const uint64_t length = binary.size();
  const std::string text =
      kMagic + key + std::string(reinterpret_cast<const char*>(&length), 8) + digest_bytes(binary) + binary;
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t n = ::write(fd, text.data() + done, text.size() - done);
    if (n <= 0 && errno != EINTR) {
      break;
    }
    done += n > 0 ? static_cast<size_t>(n) : 0;
  }
  const bool ok = close(fd) == 0 && done == text.size() && rename(temporary.c_str(), path.c_str()) == 0;
  if (!ok) {
    unlink(temporary.c_str());
  }
  return ok;
}

void prune(const std::string& dir, uint64_t limit_bytes) {
  struct File {
    timespec used;
    uint64_t bytes;
    std::string path;
  };
  std::vector<File> files;
  uint64_t total = 0;
  DIR* d = opendir(dir.c_str());
  if (!d) {
    return;
  }
  while (dirent* entry = readdir(d)) {
    const std::string path = dir + "/" + entry->d_name;
    struct stat st;
    if (stat(path.c_str(), &st) == 0 && S_ISREG(st.st_mode)) {
      files.push_back({st.st_mtim, static_cast<uint64_t>(st.st_size), path});
      total += static_cast<uint64_t>(st.st_size);
    }
  }
  closedir(d);
  if (total <= limit_bytes) {
    return;
  }
  std::sort(files.begin(), files.end(), [](const File& a, const File& b) {
    return std::make_pair(a.used.tv_sec, a.used.tv_nsec) < std::make_pair(b.used.tv_sec, b.used.tv_nsec);
  });
  for (const File& f : files) {
    if (total <= limit_bytes / 4 * 3) {
      break;
    }
    total -= unlink(f.path.c_str()) == 0 ? f.bytes : 0;
  }
}

}  // namespace program_cache

namespace {

constexpr uint64_t kCacheLimitBytes = 1ull << 30;

constexpr size_t kLogLimit = 4000;

std::string build_log(const Device& d, cl_program program) {
  size_t n = 0;
  if (d.driver().GetProgramBuildInfo(program, d.info.handle, CL_PROGRAM_BUILD_LOG, 0, nullptr, &n) != CL_SUCCESS ||
      n == 0) {
    return "(the driver provides no build log)";
  }
  std::string log(n, '\0');
  d.driver().GetProgramBuildInfo(program, d.info.handle, CL_PROGRAM_BUILD_LOG, n, &log[0], nullptr);
  log.resize(log.find_last_not_of(std::string("\0\n ", 3)) + 1);
  if (log.size() > kLogLimit) {
    log = log.substr(0, kLogLimit) + "\n... (" + std::to_string(log.size() - kLogLimit) + " more characters)";
  }
  return log.empty() ? "(the driver's build log is empty)" : log;
}

cl_program build_from_source(Device& d, const std::string& name, const std::string& source,
                             const std::string& options) {
  const char* text = source.c_str();
  const size_t length = source.size();
  cl_int code = CL_SUCCESS;
  cl_program program = d.driver().CreateProgramWithSource(d.context(), 1, &text, &length, &code);
  check(code, [&] { return "creating the program of kernel '" + name + "' on " + d.text(); });
  code = d.driver().BuildProgram(program, 1, &d.info.handle, options.c_str(), nullptr, nullptr);
  if (code != CL_SUCCESS) {
    const std::string log = build_log(d, program);
    d.driver().ReleaseProgram(program);
    throw Error("building the kernel '" + name + "' for " + d.text() + " failed: " + error_name(code) +
                (options.empty() ? "" : " with options '" + options + "'") + "; build log:\n" + log);
  }
  Stats::get().programs_built++;
  return program;
}

cl_program build_from_binary(Device& d, const std::string& binary, const std::string& options) {
  const size_t length = binary.size();
  const unsigned char* bytes = reinterpret_cast<const unsigned char*>(binary.data());
  cl_int code = CL_SUCCESS, status = CL_SUCCESS;
  cl_program program =
      d.driver().CreateProgramWithBinary(d.context(), 1, &d.info.handle, &length, &bytes, &status, &code);
  if (code != CL_SUCCESS || status != CL_SUCCESS ||
      d.driver().BuildProgram(program, 1, &d.info.handle, options.c_str(), nullptr, nullptr) != CL_SUCCESS) {
    if (program) {
      d.driver().ReleaseProgram(program);
    }
    return nullptr;
  }
  return program;
}

std::string binary_of(const Device& d, cl_program program) {
  size_t length = 0;  // the program has one device
  if (d.driver().GetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, sizeof length, &length, nullptr) != CL_SUCCESS ||
      length == 0) {
    return "";
  }
  std::string binary(length, '\0');
  unsigned char* out = reinterpret_cast<unsigned char*>(&binary[0]);
  return d.driver().GetProgramInfo(program, CL_PROGRAM_BINARIES, sizeof out, &out, nullptr) == CL_SUCCESS ? binary : "";
}

}  // namespace

namespace {

// pocl has its own cache on disk, and compiles the kernel again, for any work-group size, when its binary is requested.
bool has_own_cache(const Device& d) {
  return d.info.platform_name == "Portable Computing Language";
}

}  // namespace

cl_program build_program(Device& d, const std::string& name, const std::string& source) {
  const Options& o = d.options;
  if (o.cache_dir.empty() || (has_own_cache(d) && !o.cache_wanted)) {
    return build_from_source(d, name, source, o.build_options);
  }
  std::string material;
  for (const std::string* s : {&source, &o.build_options, &d.info.name, &d.info.vendor, &d.info.version, &d.info.driver,
                               &d.info.platform_name, &d.info.platform_version}) {
    material += std::to_string(s->size()) + ":" + *s;
  }
  const std::string key = hex(sha256(material));
  const std::string path = o.cache_dir + "/" + key + ".bin";
  std::string binary;
  const program_cache::Found found = program_cache::read(path, key, &binary);
  if (found == program_cache::Found::kYes) {
    if (cl_program program = build_from_binary(d, binary, o.build_options)) {
      Stats::get().cache_hits++;
      utimensat(AT_FDCWD, path.c_str(), nullptr, 0);  // mark as recently used, for prune
      return program;
    }
  }
  if (found == program_cache::Found::kNo) {
    Stats::get().cache_misses++;
  } else {  // damaged, or complete but rejected by the driver
    Stats::get().cache_damaged++;
    unlink(path.c_str());
  }
  cl_program program = build_from_source(d, name, source, o.build_options);
  binary = binary_of(d, program);
  if (!binary.empty()) {
    // On a read-only or full disk the next process compiles again.
    if (program_cache::write(o.cache_dir, path, key, binary)) {
      program_cache::prune(o.cache_dir, kCacheLimitBytes);
    }
  }
  return program;
}

}  // namespace coexec
