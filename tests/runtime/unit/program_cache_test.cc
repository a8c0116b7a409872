#include "exec/program_cache.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include "check.h"
#include "exec/sha256.h"

using namespace coexec;
using program_cache::Found;

namespace {

struct Entry {
  std::string dir, key = std::string(64, 'a'), path, payload = "binary\0with zeros" + std::string(1000, '\7');
  Entry() {
    char name[] = "/tmp/coexec_cache_XXXXXX";
    dir = std::string(mkdtemp(name)) + "/deep/er";
    path = dir + "/" + key + ".bin";
    CHECK(program_cache::write(dir, path, key, payload));
  }
  ~Entry() { (void)!system(("rm -rf " + dir.substr(0, dir.find("/deep"))).c_str()); }
  std::string bytes() const {
    std::ostringstream out;
    out << std::ifstream(path, std::ios::binary).rdbuf();
    return out.str();
  }
  Found reread(const std::string& changed, std::string* payload_out) const {
    std::ofstream(path, std::ios::binary) << changed;
    return program_cache::read(path, key, payload_out);
  }
};

bool exists(const std::string& path) {
  struct stat st;
  return stat(path.c_str(), &st) == 0;
}

}  // namespace

TEST(program_cache, sha256_vectors) {  // FIPS 180-4 examples, and lengths around the padding's edges
  CHECK_EQ(hex(sha256("")), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK_EQ(hex(sha256("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK_EQ(hex(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")),
           "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK_EQ(hex(sha256(std::string(1000000, 'a'))), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  CHECK_EQ(hex(sha256(std::string(55, 'a'))), "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318");
  CHECK_EQ(hex(sha256(std::string(64, 'a'))), "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb");
}

TEST(program_cache, round_trip) {
  Entry e;
  std::string got;
  CHECK(program_cache::read(e.path, e.key, &got) == Found::kYes);
  CHECK(got == e.payload);
  CHECK(program_cache::read(e.dir + "/none.bin", e.key, &got) == Found::kNo);
}

TEST(program_cache, any_flipped_byte_is_damage) {
  Entry e;
  const std::string good = e.bytes();
  std::string got;
  for (size_t i = 0; i < good.size(); i += 7) {
    std::string bad = good;
    bad[i] ^= 1;
    CHECK(e.reread(bad, &got) == Found::kDamaged);
  }
  CHECK(e.reread(good, &got) == Found::kYes);
}

TEST(program_cache, any_other_length_is_damage) {
  Entry e;
  const std::string good = e.bytes();
  std::string got;
  for (size_t n : {size_t{0}, size_t{5}, size_t{30}, size_t{100}, good.size() - 1}) {
    CHECK(e.reread(good.substr(0, n), &got) == Found::kDamaged);
  }
  CHECK(e.reread(good + "x", &got) == Found::kDamaged);
}

TEST(program_cache, an_entry_under_another_key_is_damage) {
  Entry e;
  std::string got;
  CHECK(program_cache::read(e.path, std::string(64, 'b'), &got) == Found::kDamaged);
}

TEST(program_cache, a_folder_that_cannot_be_made_is_no_error) {
  Entry e;
  CHECK(!program_cache::write(e.path + "/below/a/file", e.path + "/below/a/file/x", e.key, "b"));
}

TEST(program_cache, prune_drops_what_was_used_longest_ago) {
  Entry e;
  std::vector<std::string> paths;
  for (int i = 0; i < 8; ++i) {
    paths.push_back(e.dir + "/" + std::to_string(i));
    std::ofstream(paths.back()) << std::string(1000, 'x');
    const timespec times[2] = {{1000 + i, 0}, {1000 + i, 0}};
    utimensat(AT_FDCWD, paths.back().c_str(), times, 0);
  }
  unlink(e.path.c_str());
  program_cache::prune(e.dir, 8000);  // at the limit: nothing to do
  CHECK(exists(paths[0]));
  program_cache::prune(e.dir, 7000);  // down to three quarters of the limit
  CHECK(!exists(paths[0]) && !exists(paths[1]) && !exists(paths[2]));
  CHECK(exists(paths[3]) && exists(paths[7]));
}
