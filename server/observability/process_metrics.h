// The process_* metrics that every Prometheus dashboard knows, read from /proc at each scrape.
#pragma once

#include <prometheus/collectable.h>

#include <vector>

namespace modelpress {

class ProcessMetrics final : public prometheus::Collectable {
 public:
  ProcessMetrics();
  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const double start_time_seconds_;
};

}  // namespace modelpress
