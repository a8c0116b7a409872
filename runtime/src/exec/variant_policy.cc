#include "variant_policy.h"

#include <algorithm>
#include <cmath>

namespace coexec {
namespace {

const double kLongS = 0.1;     // runs of at least this are long enough to be judged one by one
const double kShortS = 0.01;   // one run of at least this ends a probe if it is slower ...
const double kSlower = 1.2;    // ... by this
const double kClearlySlower = 1.5;  // ends a probe at half of its time
const size_t kMostRuns = 256;  // in a window, so that a run's record costs at most a microsecond
const size_t kMostDecisions = 256;

// The budget: variants that have never been as fast as the current one is now get a part of it; as much of it is kept
// unused, or what so many runs take.
const double kUnlikelyPart = 0.2;
const double kMostCreditS = 0.5, kCreditRuns = 2;

// Noise: of the last kBlocks windows; it counts so often in what is a change; above kQuietNoise windows are longer, up
// to so many times.
const size_t kBlocks = 5;
const double kNoiseInChange = 2, kQuietNoise = 0.04, kLongestWindow = 4;

const double kSettleWindows = 2;   // after a change, until the current variant's time is taken for granted again
const double kPatience = 0.2;      // see enough_faster_s
const double kBurstS = 3;          // a load that lasts longer is no burst
const double kSoonS = 1.0;         // a variant that is left after less than this was chosen wrongly

}  // namespace

VariantPolicy::VariantPolicy(size_t variants, size_t first) : known_(variants), state_(variants), current_(first) {}

double VariantPolicy::estimate(size_t v) const {
  const State& s = state_[v];
  if (s.window.size() < 2) {
    return s.window.empty() ? 0 : s.window.front();
  }
  return (s.sum_s - *std::max_element(s.window.begin(), s.window.end())) / static_cast<double>(s.window.size() - 1);
}

// Equally fast: the one that was current at the start.
void VariantPolicy::choose_first() {
  for (size_t v = 0; v < known_.size(); ++v) {
    if (known_[v].now_s > 0 && known_[v].now_s < known_[current_].now_s * (1 - kMargin)) {
      current_ = v;
    }
  }
  last_ = kNone;
}

bool VariantPolicy::is_full(size_t v) const {
  const State& s = state_[v];
  if (s.window.size() >= kMostRuns) {
    return true;
  }
  return s.window.size() >= 2 && s.sum_s >= window_s() && (s.window.size() >= 3 || s.window.back() >= kLongS);
}

void VariantPolicy::record(size_t v, double seconds) {
  ++runs_;
  clock_s_ += seconds;
  Known& known = known_[v];
  State& s = state_[v];
  ++known.runs;
  known.total_s += seconds;
  if (last_ != v) {
    s.window.clear();
    s.sum_s = 0;
  }
  last_ = v;
  s.window.push_back(seconds);
  s.sum_s += seconds;
  const size_t least = seconds >= kLongS ? 2 : 3;
  while (s.window.size() > kMostRuns || (s.window.size() > least && s.sum_s - s.window.front() >= window_s())) {
    s.sum_s -= s.window.front();
    s.window.pop_front();
  }
  known.now_s = s.measured_s = estimate(v);
  if (is_full(v) || seconds >= kLongS) {
    known.best_s = known.best_s == 0 ? known.now_s : std::min(known.best_s, known.now_s);
  }
  if (pinned_ != kNone) {
    return;
  }
  const double earned = (seconds >= kLongS ? kLongBudget : kBudget) * seconds;
  credit_s_ = std::min(credit_s_ + earned, std::max(kMostCreditS, kCreditRuns * known_[current_].now_s));
  if (probed_ == kNone && v == current_) {
    watch_current(seconds);
  } else if (v == probed_) {
    extra_s_ += seconds - known_[current_].now_s;
    if (is_probe_over()) {
      finish_probe();
    }
  }
}

// Typical relative difference between means of the current variant's runs over one window and the next.
double VariantPolicy::noise() const {
  if (variation_.empty()) {
    return 0;
  }
  std::vector<double> sorted(variation_.begin(), variation_.end());
  std::nth_element(sorted.begin(), sorted.begin() + static_cast<long>(sorted.size() / 2), sorted.end());
  return sorted[sorted.size() / 2];
}

// Times that vary much are averaged over longer.
double VariantPolicy::window_s() const {
  const double ratio = noise() / kQuietNoise;
  return kWindowS * std::min(std::max(1.0, ratio * ratio), kLongestWindow);
}

// The time that another variant must be below to become the current one. Soon after a change it must be lower if the
// current variant has been much faster: the load may be a burst, whose end is noticed late by another variant.
double VariantPolicy::enough_faster_s(size_t v) const {
  const double now = known_[current_].now_s;
  const double lost = std::max(0.0, 1 - known_[current_].best_s / std::max(known_[v].now_s, 1e-9));
  const double recent = std::max(0.0, 1 - (clock_s_ - changed_at_s_) / kBurstS);
  const double noise_left = noise() * std::sqrt(kWindowS / window_s());
  return now * (1 - kMargin - noise_left - kPatience * recent * lost);
}

bool VariantPolicy::is_probe_over() const {
  const State& s = state_[probed_];
  const double now = estimate(probed_), other = known_[current_].now_s;
  if (s.window.back() >= kLongS) {
    return true;
  }
  const bool promising = now < other;
  if (s.window.size() == 1 && now >= kShortS && now > kSlower * other) {
    return true;
  }
  if ((s.sum_s >= kProbeS && s.window.size() >= 2) || s.window.size() >= kMostRuns) {
    return !promising || is_full(probed_);  // a lucky time slice is not enough
  }
  return s.sum_s >= kProbeS / 2 && now > kClearlySlower * other;
}

// Notices that the current variant has become slower or faster.
void VariantPolicy::watch_current(double seconds) {
  if (!is_full(current_)) {
    return;
  }
  const double now = known_[current_].now_s;
  block_s_ += seconds;
  ++block_runs_;
  if ((block_s_ >= kWindowS && block_runs_ >= 2) || block_runs_ >= static_cast<int64_t>(kMostRuns)) {
    const double mean = block_s_ / static_cast<double>(block_runs_);
    if (last_block_s_ > 0) {
      variation_.push_back(std::abs(mean / last_block_s_ - 1));
      if (variation_.size() > kBlocks) {
        variation_.pop_front();
      }
    }
    last_block_s_ = mean;
    block_s_ = 0;
    block_runs_ = 0;
  }
  if (clock_s_ < settled_at_s_) {
    reference_s_ = now;
    return;
  }
  const double change = kChange + kNoiseInChange * noise();
  if (clock_s_ >= paused_until_s_ && (now > reference_s_ * (1 + change) || now < reference_s_ / (1 + change))) {
    forget_pessimism();
    State& s = state_[current_];
    while (s.window.size() > 2) {  // the newest runs are of after the change
      s.sum_s -= s.window.front();
      s.window.pop_front();
    }
    settle();
    pause_s_ = std::min(std::max(2 * pause_s_, kLeastIntervalS), kMostIntervalS);
    paused_until_s_ = clock_s_ + pause_s_;
  }
}

// What the current variant takes from now on is to be learnt: the window still has runs of before.
void VariantPolicy::settle() {
  changed_at_s_ = clock_s_;
  settled_at_s_ = clock_s_ + kSettleWindows * std::max(window_s(), known_[current_].now_s);
}

// The load has changed: any of the others may be as fast as it has ever been.
void VariantPolicy::forget_pessimism() {
  for (size_t v = 0; v < state_.size(); ++v) {
    if (v != current_) {
      if (known_[v].best_s > 0) {
        known_[v].now_s = std::min(known_[v].now_s, known_[v].best_s);
      }
      state_[v].interval_s = kLeastIntervalS;
      state_[v].due_s = clock_s_;
    }
  }
}

void VariantPolicy::finish_probe() {
  const size_t v = probed_;
  probed_ = kNone;
  const double cost = std::max(0.0, extra_s_);
  probe_cost_s_ += cost;
  credit_s_ = std::max(0.0, credit_s_ - cost);  // what it cost beyond the expectation is now known, and is not due again
  State& s = state_[v];
  if (known_[v].now_s < enough_faster_s(v)) {
    pause_s_ = 0;
    paused_until_s_ = 0;
    make_current(v, Why::kFaster);
    return;
  }
  s.interval_s = std::min(s.interval_s * kGrowth, kMostIntervalS);
  s.due_s = clock_s_ + s.interval_s;
  last_ = kNone;  // the current variant's window starts again: its runs were interrupted
}

size_t VariantPolicy::choose_probe() const {
  const double now = known_[current_].now_s;
  size_t best = kNone;
  for (size_t v = 0; v < state_.size(); ++v) {
    if (v == current_) {
      continue;
    }
    const double expected = known_[v].now_s;
    bool may = false;
    if (expected < enough_faster_s(v)) {
      may = true;
    } else if (clock_s_ >= state_[v].due_s) {
      const double runs = expected >= kShortS ? 1 : std::ceil(kProbeS / std::max(expected, 1e-9));
      const bool likely = known_[v].best_s < now * (1 - kMargin);
      may = credit_s_ * (likely ? 1 : kUnlikelyPart) >= (expected - now) * runs;
    }
    if (may && (best == kNone || expected < known_[best].now_s)) {
      best = v;
    }
  }
  return best;
}

size_t VariantPolicy::next() {
  if (pinned_ != kNone) {
    return pinned_;
  }
  if (probed_ != kNone) {
    return probed_;
  }
  if (is_full(current_) && last_ == current_) {
    const size_t v = choose_probe();
    if (v != kNone) {
      start_probe(v);
      return v;
    }
  }
  return current_;
}

void VariantPolicy::start_probe(size_t v) {
  probed_ = v;
  before_probe_s_ = state_[v].measured_s;
  extra_s_ = 0;
  ++probes_;
  note(current_, v, Why::kProbe);
}

void VariantPolicy::make_current(size_t v, Why why) {
  State& left = state_[current_];
  const bool was_wrong = clock_s_ - left.chosen_s < kSoonS && left.chosen_s > 0;
  const double interval_s = left.interval_s;
  note(current_, v, why);
  current_ = v;
  ++switches_;
  state_[v].chosen_s = clock_s_;
  left.interval_s = was_wrong ? std::min(interval_s * kGrowth, kMostIntervalS) : kLeastIntervalS;
  left.due_s = clock_s_ + left.interval_s;
  if (known_[v].now_s < before_probe_s_ / (1 + kChange)) {
    forget_pessimism();  // the load has become lower, perhaps during the probe
  }
  settle();
  block_s_ = last_block_s_ = 0;
  block_runs_ = 0;
}

void VariantPolicy::pin(size_t v) {
  pinned_ = v;
  probed_ = kNone;
  last_ = kNone;
  if (v != kNone && v != current_) {
    make_current(v, Why::kAsked);
  }
}

void VariantPolicy::note(size_t from, size_t to, Why why) {
  if (decisions_.size() == kMostDecisions) {
    decisions_.pop_front();
  }
  decisions_.push_back({runs_, clock_s_, from, to, why});
}

}  // namespace coexec
