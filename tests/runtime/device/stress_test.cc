// Many threads at once on one device. TVM_COEXEC_STRESS multiplies the rounds.
#include <atomic>
#include <functional>
#include <memory>
#include <random>
#include <thread>

#include "arrays.h"
#include "check.h"

using namespace coexec;

namespace {

constexpr int kThreads = 4;

// Runs work(0), work(1), ... at once; throws the first error.
template <class F>
void in_threads(const F& work) {
  std::vector<std::string> errors(kThreads);
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      try {
        work(i);
      } catch (const std::exception& e) {
        errors[i] = e.what();
      }
    });
  }
  for (std::thread& t : threads) {
    t.join();
  }
  for (const std::string& e : errors) {
    if (!e.empty()) {
      throw std::runtime_error(e);
    }
  }
}

// Everything that may lie between an upload and a download, in an order of chance, next to a model of it on the host.
struct Worker {
  std::mt19937 random;
  const Array& shared;  // of sevens
  Add& add;
  std::vector<std::unique_ptr<Array>> arrays;
  std::vector<float> wanted;

  Worker(int seed, const Array& s, Add& f) : random(seed), shared(s), add(f) {}
  size_t pick() { return random() % arrays.size(); }

  void fresh() {
    arrays.clear();
    wanted.clear();
    for (int i = 0; i < 4; ++i) {
      wanted.push_back(static_cast<float>(random() % 100));
      arrays.push_back(std::make_unique<Array>(shared.n, wanted.back()));
    }
  }

  void step() {
    const size_t i = pick(), k = pick(), m = pick();
    switch (random() % 8) {
      case 0:
        arrays[i]->fill(wanted[i] = static_cast<float>(random() % 100));
        break;
      case 1:
        CHECK(all_equal(arrays[i]->read(), wanted[i]));
        break;
      case 2:
        if (i != k) {
          arrays[i]->copy_to(*arrays[k]);
          wanted[k] = wanted[i];
        }
        break;
      case 3:  // freed while in use
        wanted[i] = static_cast<float>(random() % 100);
        arrays[i] = std::make_unique<Array>(shared.n, wanted[i]);
        break;
      case 4:
        add(*arrays[i], shared, *arrays[k]);
        wanted[k] = wanted[i] + 7;
        break;
      case 5:
        copy_in_place(i);
        break;
      default:
        if (wanted[i] + wanted[k] < 1e6f) {
          add(*arrays[i], *arrays[k], *arrays[m]);
          wanted[m] = wanted[i] + wanted[k];
        }
    }
  }

  // The host looks at the very memory, changes it, and gives it back.
  void copy_in_place(size_t i) {
    Array& a = *arrays[i];
    if (device().memory() == MemoryMode::kBuffer) {
      return;
    }
    copy(a.endpoint(), a.host_endpoint(), a.n * 4, nullptr);
    float* const values = reinterpret_cast<float*>(a.base);
    CHECK(all_equal(std::vector<float>(values, values + a.n), wanted[i]));
    if (find_region(a.base) && random() % 2) {
      device().sync(nullptr);  // no thread reads it either
      wanted[i] += 1;
      std::fill(values, values + a.n, wanted[i]);
    }
    copy(a.host_endpoint(), a.endpoint(), a.n * 4, nullptr);
  }

  void check() {
    for (size_t i = 0; i < arrays.size(); ++i) {
      CHECK(all_equal(arrays[i]->read(), wanted[i]));
    }
  }
};

void work(int steps, bool streams) {
  Add add;
  const Array shared(512, 7);
  in_threads([&](int t) {
    Queue* const stream = streams ? device().create_stream() : nullptr;
    device().set_current(stream);
    {
      Worker w(t, shared, add);
      w.fresh();
      for (int i = 0; i < steps; ++i) {
        w.step();
      }
      w.check();
    }
    device().set_current(nullptr);
    device().free_stream(stream);
  });
}

}  // namespace

TEST(stress, threads_share_the_queue) {
  work(rounds(60), false);
}

TEST(stress, threads_have_streams) {
  work(rounds(60), true);
}

TEST(stress, with_delays) {
  const Faults end;
  for (int seed = 0; seed < rounds(2); ++seed) {
    faults::delay(300, seed);
    work(40, seed % 2);
  }
}

TEST(stress, kernels_are_built_and_dropped) {
  const Array a(512, 1), b(512, 2);
  in_threads([&](int) {
    for (int i = 0; i < rounds(3); ++i) {
      Add add("dropped");
      Array c(512);
      add(a, b, c);
      CHECK(all_equal(c.read(), 3));
    }
  });
}

// Some commands fail. A thread that gets the error starts again; one that does not must have correct results.
TEST(stress, with_faults) {
  const Faults end;
  Add add;
  const Array shared(512, 7);
  device().sync(nullptr);
  add(shared, shared, Array(512));
  std::atomic<int> reported{0}, whole{0}, running{kThreads};
  std::thread saboteur([&] {
    const char* const kinds[] = {"launch", "event", "copy", "allocate"};
    const auto until = [&](const std::function<bool()>& reached) {
      for (int ms = 0; ms < 500 && running > 0 && !reached(); ++ms) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    };
    for (int i = 0; running > 0; ++i) {  // by turns: one that is met, and a round that is not
      const char* const kind = kinds[i % 4];
      const uint64_t before = faults::hits(kind);
      faults::inject(kind, 1 + i % 9, 1, 0);
      until([&] { return faults::hits(kind) > before; });
      const int had = whole;  // what was hit is not cleared: that would make it good again
      until([&] { return whole > had; });
    }
  });
  std::string wrong;
  try {
    in_threads([&](int t) {
      const std::unique_ptr<std::atomic<int>, void (*)(std::atomic<int>*)> done(&running, [](auto* n) { --*n; });
      Worker w(100 + t, shared, add);
      for (int i = 0; i < rounds(15); ++i) {
        try {
          w.fresh();
          for (int k = 0; k < 12; ++k) {
            w.step();
          }
          w.check();
          ++whole;
        } catch (const Error&) {
          ++reported;
        }
      }
    });
  } catch (const std::exception& e) {
    wrong = e.what();
  }
  saboteur.join();
  faults::clear();
  if (!wrong.empty()) {
    throw std::runtime_error(wrong);
  }
  CHECK(reported > 0 && whole > 0);
  Worker w(7, shared, add);
  try {
    device().sync(nullptr);
  } catch (const Error&) {
  }
  w.fresh();
  w.check();
}
