// Which of several programs that compute the same is to run next, by the times of the runs so far.
#pragma once
#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

namespace coexec {

// The fastest variant runs. The others are measured again, in probes of few runs:
//
// - when the current variant has become slower or faster by more than kChange: then all that is known of the others may
//   be out of date, and each counts as if it were as fast as it has ever been;
// - otherwise at intervals that grow while probes confirm what was known, and so rarely that what they cost, beyond the
//   current variant's time, is expected to be at most kBudget of the run time. A variant that has never been faster than
//   the current one is now gets a small part of it.
//
// The time of a variant is the mean of its last runs without the largest, over a few time slices of an operating system
// (kWindowS): the median would hide another process on the same core from a model that is shorter than a slice. Margins
// grow with how much such means vary from one window to the next.
//
// The policy's clock is the sum of the times of all runs.
class VariantPolicy {
 public:
  static constexpr double kBudget = 0.02, kLongBudget = 0.04;  // of the run time, for probes; of runs over 0.1 s
  static constexpr double kMargin = 0.03;       // a variant must be faster by this part to become the current one
  static constexpr double kChange = 0.08;       // relative change of the current variant's time that counts
  static constexpr double kWindowS = 0.06;      // runs over which a time is averaged
  static constexpr double kProbeS = 0.025;      // a probe ends after so long
  static constexpr double kLeastIntervalS = 0.2, kMostIntervalS = 4.0;  // between probes of one variant
  static constexpr double kGrowth = 1.3;        // of the interval

  enum class Why : uint8_t { kProbe, kFaster, kAsked };
  struct Decision {
    int64_t run;       // number of runs before it
    double at_s;       // of the policy's clock
    size_t from, to;
    Why why;           // kProbe: `to` is measured; otherwise: `to` is the current variant from now on
  };
  struct Known {
    double now_s = 0, best_s = 0;  // by its last runs; the shortest so far; 0: unknown
    double total_s = 0;
    int64_t runs = 0;
  };

  // `first` is the current variant at the start.
  explicit VariantPolicy(size_t variants, size_t first = 0);

  // The variant to run next.
  size_t next();
  // A run of a variant took so long. At the start, measure each variant for kWindowS, and call choose_first.
  void record(size_t variant, double seconds);
  void choose_first();
  // Run only this variant from now on; kNone: choose again.
  void pin(size_t variant);
  static constexpr size_t kNone = static_cast<size_t>(-1);

  size_t current() const { return current_; }
  bool is_probing() const { return probed_ != kNone; }
  const std::vector<Known>& known() const { return known_; }
  int64_t switches() const { return switches_; }
  int64_t probes() const { return probes_; }
  double probe_cost_s() const { return probe_cost_s_; }  // beyond the current variant's time
  double clock_s() const { return clock_s_; }
  const std::deque<Decision>& decisions() const { return decisions_; }  // the last ones

 private:
  struct State {
    std::deque<double> window;     // its last runs, without interruption
    double sum_s = 0;              // of the window
    double measured_s = 0;         // by its last runs
    double interval_s = kLeastIntervalS;
    double due_s = 0;              // when a probe is due, on the policy's clock
    double chosen_s = 0;           // when it became the current variant
  };

  double estimate(size_t v) const;
  bool is_full(size_t v) const;
  double noise() const;
  double window_s() const;
  double enough_faster_s(size_t v) const;
  bool is_probe_over() const;
  void watch_current(double seconds);
  void settle();
  void forget_pessimism();
  void finish_probe();
  size_t choose_probe() const;
  void start_probe(size_t v);
  void make_current(size_t v, Why why);
  void note(size_t from, size_t to, Why why);

  std::vector<Known> known_;
  std::vector<State> state_;
  size_t current_, probed_ = kNone, pinned_ = kNone, last_ = kNone;
  double reference_s_ = 0;  // time of the current variant that is taken for granted
  double changed_at_s_ = 0, settled_at_s_ = 0;  // when it last changed, and from when on it is known again
  double block_s_ = 0, last_block_s_ = 0;  // of the current variant: sum of runs since the last block, and its mean time
  int64_t block_runs_ = 0;
  std::deque<double> variation_;           // of the last blocks, relative to the one before
  double pause_s_ = 0, paused_until_s_ = 0;  // how long changes are ignored after one that had no consequence
  double clock_s_ = 0, credit_s_ = 0, probe_cost_s_ = 0;
  double before_probe_s_ = 0;  // what was measured before of the variant that is probed
  double extra_s_ = 0;  // of the running probe, beyond the current variant's time
  int64_t runs_ = 0, switches_ = 0, probes_ = 0;
  std::deque<Decision> decisions_;
};

}  // namespace coexec
