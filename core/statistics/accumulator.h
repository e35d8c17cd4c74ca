// Everything that is gathered about one value, fed with one observation after the other.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/base/job_context.h"
#include "core/model/tensor.h"
#include "core/statistics/exact_sum.h"
#include "core/statistics/gram.h"
#include "core/statistics/statistics.h"

namespace modelpress {

// One sum and one sum of squares for each channel.
struct ChannelSums {
  std::vector<float> min, max;
  std::vector<ExactSum> sum, square;
  uint64_t per_channel = 0;
};

// Not thread-safe; uses the pool inside.
class Accumulator {
 public:
  // Without `gather_gram` the request's Gram is left out (another forward gathers it).
  Accumulator(const StatisticRequest& request, bool gather_gram)
      : request_(request), gather_gram_(gather_gram) {}

  // `feed` is the number of the feed. False if a value is NaN or infinite. Otherwise `*problem` is
  // set if the value's shape does not fit the request.
  bool Add(const Tensor& value, uint64_t feed, bool few_feeds, ThreadPool& pool,
           std::string* problem);
  // Moves what was gathered into `result`; the Grams only, if `gram_only`.
  void Finish(bool gram_only, ValueStatistics* result);

 private:
  void AddChannels(const Tensor& value, ThreadPool& pool, std::string* problem);
  void AddGram(const Tensor& value, uint64_t feed, bool few_feeds, ThreadPool& pool,
               std::string* problem);

  StatisticRequest request_;
  bool gather_gram_;
  ValueStatistics basic_;
  std::optional<ChannelSums> channels_;
  std::vector<GramSum> fit_, held_back_;
};

}  // namespace modelpress
