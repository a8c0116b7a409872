// Runs an exported module on CPU and GPU: feeds its inputs from raw files, prints the five largest values of the first
// output, and times it.
//
//   run_model net.so [--input FILE]... [--runs N] [--output FILE] [--gpu N] [--adaptive 1]
//
// Files hold a tensor's elements in C order and the machine's byte order. Inputs without a file are zero.
#include <tvm_coexec.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <numeric>
#include <string>
#include <vector>

namespace {

[[noreturn]] void fail(const std::string& why) {
  std::fprintf(stderr, "run_model: %s\n", why.c_str());
  std::exit(1);
}

void check(int status) {
  if (status != 0) {
    fail(tvm_coexec_error());
  }
}

constexpr char kUsage[] =
    "usage: run_model net.so [--input FILE]... [--runs N] [--output FILE] [--gpu N] [--adaptive 1]";

int number(const std::string& option, const char* text, int least) {
  char* end = nullptr;
  errno = 0;
  const long value = std::strtol(text, &end, 10);
  if (*text == '\0' || *end != '\0' || errno != 0 || value < least || value > 1000000000) {
    fail(option + " must be a number of at least " + std::to_string(least) + ", not " + text);
  }
  return static_cast<int>(value);
}

// TVM's own texts for the likeliest mistakes say nothing of the file.
void check_path(const std::string& path) {
  if (!std::ifstream(path)) {
    fail("can't read " + path + "; check the path");
  }
  const size_t dot = path.rfind('.');
  if (dot == std::string::npos || path.substr(dot) != ".so") {
    fail(path + " is no library: give the .so of export_library; an archive of tvmc compile has one as mod.so, but keeps "
         "the graph and the weights apart from it");
  }
}

struct Options {
  std::string path, output;
  std::vector<std::string> inputs;
  int runs = 10, gpu = 0;
  bool adaptive = false;
};

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--help" || word == "-h") {
      std::printf("%s\n", kUsage);
      std::exit(0);
    }
    if (word.rfind("--", 0) != 0) {
      options.path = word;
      continue;
    }
    if (i + 1 == argc) {
      fail(word + " needs a value");
    }
    const char* value = argv[++i];
    if (word == "--input") {
      options.inputs.push_back(value);
    } else if (word == "--output") {
      options.output = value;
    } else if (word == "--runs") {
      options.runs = number(word, value, 1);
    } else if (word == "--gpu") {
      options.gpu = number(word, value, 0);
    } else if (word == "--adaptive") {
      options.adaptive = number(word, value, 0) != 0;
    } else {
      fail("unknown option " + word + "; the options are --input, --output, --runs, --gpu and --adaptive");
    }
  }
  if (options.path.empty()) {
    fail(kUsage);
  }
  check_path(options.path);
  return options;
}

std::string text_of(const tvm_coexec_tensor& t) {
  std::string text = t.type_code == 2 ? "float" : t.type_code == 1 ? "uint" : "int";
  text += std::to_string(t.bits) + " (";
  for (int d = 0; d < t.ndim; ++d) {
    text += (d ? ", " : "") + std::to_string(t.shape[d]);
  }
  return text + ")";
}

std::vector<char> read_file(const std::string& path, size_t bytes) {
  std::ifstream file(path, std::ios::binary);
  std::vector<char> data(bytes);
  if (!file.read(data.data(), static_cast<std::streamsize>(bytes)) || file.peek() != EOF) {
    fail(path + " must exist and have exactly " + std::to_string(bytes) + " bytes");
  }
  return data;
}

void print_top5(const float* values, size_t n) {
  std::vector<size_t> order(n);
  std::iota(order.begin(), order.end(), size_t{0});
  const size_t shown = std::min<size_t>(5, n);
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(shown), order.end(),
                    [&](size_t a, size_t b) { return values[a] > values[b]; });
  for (size_t i = 0; i < shown; ++i) {
    std::printf("  %zu: %.6g\n", order[i], values[order[i]]);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  tvm_coexec_module* module = options.adaptive ? tvm_coexec_open_adaptive(options.path.c_str(), options.gpu)
                                               : tvm_coexec_open(options.path.c_str(), options.gpu);
  if (!module) {
    fail(tvm_coexec_error());
  }
  const int inputs = tvm_coexec_num_inputs(module);
  if (static_cast<int>(options.inputs.size()) > inputs) {
    fail("the module has " + std::to_string(inputs) + " inputs, and more files are given");
  }
  for (int i = 0; i < inputs; ++i) {
    tvm_coexec_tensor t;
    check(tvm_coexec_input(module, i, &t));
    const bool given = static_cast<size_t>(i) < options.inputs.size();
    std::printf("input %s: %s from %s\n", t.name, text_of(t).c_str(), given ? options.inputs[i].c_str() : "zeros");
    const std::vector<char> data = given ? read_file(options.inputs[i], t.bytes) : std::vector<char>(t.bytes);
    check(tvm_coexec_set_input(module, i, data.data(), data.size()));
  }
  check(tvm_coexec_run(module));  // compiles the GPU's kernels
  std::vector<double> ms;
  for (int i = 0; i < options.runs; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    check(tvm_coexec_run(module));
    ms.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count());
  }
  std::sort(ms.begin(), ms.end());
  tvm_coexec_tensor t;
  check(tvm_coexec_output(module, 0, &t));
  std::vector<char> data(t.bytes);
  check(tvm_coexec_get_output(module, 0, data.data(), data.size()));
  std::printf("output 0: %s\n", text_of(t).c_str());
  if (t.type_code == 2 && t.bits == 32) {
    print_top5(reinterpret_cast<const float*>(data.data()), data.size() / sizeof(float));
  }
  if (!options.output.empty()) {
    std::ofstream file(options.output, std::ios::binary);
    file.write(data.data(), static_cast<std::streamsize>(data.size()));
    file.close();
    if (!file) {
      fail("can't write " + options.output);
    }
  }
  std::printf("%.3f ms, the median of %d runs (%.3f to %.3f)\n", ms[ms.size() / 2], options.runs, ms.front(), ms.back());
  if (options.adaptive) {
    std::printf("%s\n", tvm_coexec_stats(module));
  }
  tvm_coexec_close(module);
  return 0;
}
