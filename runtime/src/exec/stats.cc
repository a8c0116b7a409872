#include "stats.h"

namespace coexec {

Stats& Stats::get() {
  static Stats& s = *new Stats();
  return s;
}

void Stats::count_allocation(int64_t bytes) {
  allocations += bytes > 0;
  const int64_t live = live_bytes += bytes;
  int64_t peak = peak_bytes;
  while (live > peak && !peak_bytes.compare_exchange_weak(peak, live)) {
  }
}

std::string Stats::json() const {
  std::string out = "{";
  const auto put = [&](const char* name, auto& value) {
    out += (out.size() > 1 ? ", \"" : "\"") + std::string(name) + "\": " + std::to_string(value.load());
  };
  put("launches", launches);
  put("uploads", uploads);
  put("upload_bytes", upload_bytes);
  put("uploads_staged", uploads_staged);
  put("downloads", downloads);
  put("download_bytes", download_bytes);
  put("device_copies", device_copies);
  put("device_copy_bytes", device_copy_bytes);
  put("copies_elided", copies_elided);
  put("programs_built", programs_built);
  put("cache_hits", cache_hits);
  put("cache_misses", cache_misses);
  put("cache_damaged", cache_damaged);
  put("allocations", allocations);
  put("live_bytes", live_bytes);
  put("peak_bytes", peak_bytes);
  return out + "}";
}

void Stats::reset() {
  for (auto* counter :
       {&launches, &uploads, &upload_bytes, &uploads_staged, &downloads, &download_bytes, &device_copies,
        &device_copy_bytes, &copies_elided, &programs_built, &cache_hits, &cache_misses, &cache_damaged}) {
    *counter = 0;
  }
  allocations = 0;
  peak_bytes = live_bytes.load();
}

}  // namespace coexec
