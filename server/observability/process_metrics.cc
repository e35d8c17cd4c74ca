// process_* metrics: see process_metrics.h.
#include "server/observability/process_metrics.h"

#include <prometheus/metric_family.h>
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>
#include <utility>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace modelpress {
namespace {

double CpuSeconds() {
  struct rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

double ResidentBytes() {
  std::ifstream file("/proc/self/statm");
  double total = 0;
  double resident = 0;
  file >> total >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE));
}

double OpenFiles() {
  std::error_code error;
  const auto folder = std::filesystem::directory_iterator("/proc/self/fd", error);
  if (error) return 0;
  return static_cast<double>(std::distance(begin(folder), end(folder)));
}

prometheus::MetricFamily Family(std::string name, std::string help, prometheus::MetricType type,
                                double value) {
  prometheus::MetricFamily family;
  family.name = std::move(name);
  family.help = std::move(help);
  family.type = type;
  prometheus::ClientMetric& metric = family.metric.emplace_back();
  (type == prometheus::MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
  return family;
}

}  // namespace

ProcessMetrics::ProcessMetrics()
    : start_time_seconds_(absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch())) {}

std::vector<prometheus::MetricFamily> ProcessMetrics::Collect() const {
  using prometheus::MetricType;
  return {Family("process_cpu_seconds_total", "Processor time of this process.",
                 MetricType::Counter, CpuSeconds()),
          Family("process_resident_memory_bytes", "Resident memory of this process.",
                 MetricType::Gauge, ResidentBytes()),
          Family("process_open_fds", "Open file descriptors of this process.", MetricType::Gauge,
                 OpenFiles()),
          Family("process_start_time_seconds", "Start of this process since the epoch.",
                 MetricType::Gauge, start_time_seconds_)};
}

}  // namespace modelpress
