// The metrics' HTTP server: see metrics_endpoint.h.
#include "server/observability/metrics_endpoint.h"

#include <prometheus/exposer.h>

#include <exception>
#include <utility>
#include <vector>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "server/observability/process_metrics.h"

namespace modelpress {

absl::StatusOr<std::unique_ptr<MetricsEndpoint>> MetricsEndpoint::Start(
    const std::string& address, std::shared_ptr<prometheus::Collectable> metrics) {
  try {
    auto exposer = std::make_unique<prometheus::Exposer>(address, /*num_threads=*/1);
    auto process = std::make_shared<ProcessMetrics>();
    exposer->RegisterCollectable(metrics);
    exposer->RegisterCollectable(process);
    return std::unique_ptr<MetricsEndpoint>(
        new MetricsEndpoint(std::move(exposer), std::move(process)));
  } catch (const std::exception& error) {  // the port is taken, the address is none of this machine
    return Error(ERROR_REASON_REQUEST_INVALID,
                 FormatString("cannot listen on {} for metrics: {}", address, error.what()))
        .With("field", "metrics")
        .Remedy("choose an address of this machine and a port that is free");
  }
}

MetricsEndpoint::MetricsEndpoint(std::unique_ptr<prometheus::Exposer> exposer,
                                 std::shared_ptr<prometheus::Collectable> process)
    : process_(std::move(process)), exposer_(std::move(exposer)) {}

MetricsEndpoint::~MetricsEndpoint() = default;

int MetricsEndpoint::port() const {
  const std::vector<int> ports = exposer_->GetListeningPorts();
  return ports.empty() ? 0 : ports.front();
}

}  // namespace modelpress
