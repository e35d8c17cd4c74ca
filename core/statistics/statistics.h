// Statistics of a model's values over calibration samples: one forward for all of them.
//
// Samples are fed one by one, and values are folded into their statistics while the model runs (see
// the taps of session.h): memory is that of one forward and of the statistics, however many samples
// there are.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/job_context.h"
#include "core/data/samples.h"
#include "core/quant/histogram.h"
#include "core/statistics/request.h"

namespace modelpress {

// One entry for each channel. Minimum and maximum include 0.
struct ChannelStatistics {
  std::vector<float> min, max;
  std::vector<double> mean, mean_square;
};

// mean over rows of x x^T; row-major, both triangles filled.
struct Gram {
  int64_t size = 0;
  uint64_t rows = 0;
  std::vector<float> matrix;
};

struct ValueStatistics {
  // Smallest and largest value and 0, and the number of values.
  double min = 0, max = 0;
  uint64_t count = 0;
  // Extents when it was last seen.
  std::vector<int64_t> last_dims;
  // As requested.
  std::optional<Histogram> histogram;
  std::optional<ChannelStatistics> channels;
  // One for each group. Feeds whose number is 4 modulo 5 go to held_back, the others to fit; with
  // fewer than 5 feeds all go to both. For a linear layer y = x W, tr((W - V)^T G (W - V)) is the
  // mean squared error of V in the place of W.
  std::vector<Gram> fit, held_back;
};

// A value that could not be observed, and why.
struct Unobserved {
  ValueKey key;
  std::string reason;
};

class Statistics {
 public:
  // Null if the value was not requested or not observed. Where several requests name the value,
  // Find gives what the first asked for.
  const ValueStatistics* Find(const ValueKey& key) const;
  const ValueStatistics* FindRequest(const StatisticRequest& request) const;

  // The first request of each value that was observed, in the order of keys.
  void ForEach(const std::function<void(const ValueKey&, const ValueStatistics&)>& visit) const;

  const std::vector<Unobserved>& unobserved() const { return unobserved_; }
  // Feeds, and times that each was run.
  uint64_t samples() const { return samples_; }
  uint64_t forwards() const { return forwards_; }

 private:
  friend class Gathering;
  struct Entry {
    StatisticRequest request;
    ValueStatistics statistics;
  };
  std::map<ValueKey, std::vector<std::unique_ptr<Entry>>> entries_;
  std::vector<Unobserved> unobserved_;
  uint64_t samples_ = 0;
  uint64_t forwards_ = 0;
};

// Progress 0..1; may be null.
using GatherProgress = std::function<void(double fraction)>;

// One forward over the samples for all requests; several where the Gram matrices together would be
// larger than half of the job's memory budget (1 GiB if it has none), a Gram that is alone larger
// is left out, with the reason in unobserved(). Histograms, minima, maxima and means are the same
// for any order of samples, everything for any number of threads.
//
// Errors: DATA_NOT_FINITE naming value and sample for NaN or infinity; those of Session and
// Samples; cancellation.
absl::StatusOr<Statistics> GatherStatistics(const Model& model, const Samples& samples,
                                            std::vector<StatisticRequest> requests,
                                            const JobContext& context,
                                            const GatherProgress& progress);

}  // namespace modelpress
