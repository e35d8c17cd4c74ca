// The Prometheus metrics of modelpressd. Names and label values come from closed sets (error reasons, passes, phases, gRPC
// codes) and every combination exists from the start at zero; no job id and no name from a model ever becomes a label.
// Names, labels and help texts stand in metrics.cc.
#pragma once

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <array>
#include <map>
#include <memory>
#include <string>

#include "modelpress/v1/capabilities.pb.h"
#include "modelpress/v1/config.pb.h"
#include "server/jobs/job_listener.h"
#include "server/jobs/job_table.h"
#include "server/rpc/rpc_listener.h"

namespace modelpress {

// Thread-safe.
class Metrics final : public JobListener, public RpcListener {
 public:
  Metrics(const v1::Capabilities& capabilities, const v1::ServerConfig& config);

  std::shared_ptr<prometheus::Registry> registry() const { return registry_; }
  void SetGauges(const JobTableStats& stats);
  void SetDraining();

  void OnJobAccepted(const std::string& job_id, uint64_t declared_bytes) override;
  void OnJobRejected(ErrorReason reason) override;
  void OnJobStarted(const std::string& job_id, absl::Duration queued) override;
  void OnJobFinished(const FinishedJob& job) override;
  void OnJobAttached(const std::string& job_id, bool upload_unfinished) override;
  void OnDuplicateRequest() override;
  void OnLeaseExpired(const std::string& job_id) override;

  void OnRpcStarted(RpcMethod method) override;
  void OnRpcFinished(RpcMethod method, absl::StatusCode code, absl::Duration duration) override;
  void OnMessageReceived(RpcMethod method) override;
  void OnMessageSent(RpcMethod method) override;
  void OnBytesReceived(uint64_t bytes) override;
  void OnBytesSent(uint64_t bytes) override;
  void OnWriteStalled(absl::Duration duration) override;

 private:
  static constexpr int kGrpcCodes = 17;
  struct PassMetrics {
    prometheus::Counter* applied = nullptr;
    prometheus::Counter* skipped = nullptr;
    prometheus::Histogram* duration = nullptr;
  };
  struct RpcMetrics {
    prometheus::Counter* started = nullptr;
    prometheus::Counter* received = nullptr;
    prometheus::Counter* sent = nullptr;
    prometheus::Histogram* duration = nullptr;
    std::array<prometheus::Counter*, kGrpcCodes> handled = {};
  };

  prometheus::Counter* AddCounter(const std::string& name, const std::string& help,
                                  const prometheus::Labels& labels = {});
  prometheus::Gauge* AddGauge(const std::string& name, const std::string& help,
                              const prometheus::Labels& labels = {});
  prometheus::Histogram* AddHistogram(const std::string& name, const std::string& help,
                                      const prometheus::Histogram::BucketBoundaries& buckets,
                                      const prometheus::Labels& labels = {});
  void AddJobMetrics();
  void AddPassMetrics(const v1::Capabilities& capabilities);
  void AddRpcMetrics();
  void AddGauges(const v1::Capabilities& capabilities, const v1::ServerConfig& config);

  std::shared_ptr<prometheus::Registry> registry_;
  prometheus::Counter* jobs_started_ = nullptr;
  std::map<ErrorReason, prometheus::Counter*> rejected_;
  std::map<std::pair<v1::Job::State, ErrorReason>, prometheus::Counter*> completed_;
  std::map<v1::Job::State, prometheus::Histogram*> run_duration_;
  std::map<v1::Job::State, prometheus::Histogram*> total_duration_;
  prometheus::Histogram* queue_duration_ = nullptr;
  prometheus::Histogram* cancel_latency_ = nullptr;
  prometheus::Histogram* input_bytes_ = nullptr;
  prometheus::Histogram* artifact_bytes_ = nullptr;
  prometheus::Histogram* compression_ratio_ = nullptr;
  prometheus::Histogram* memory_estimate_error_ = nullptr;
  prometheus::Counter* uploads_resumed_ = nullptr;
  prometheus::Counter* attached_ = nullptr;
  prometheus::Counter* lease_expired_ = nullptr;
  prometheus::Counter* duplicates_ = nullptr;
  std::map<std::string, PassMetrics> passes_;
  std::map<std::string, prometheus::Histogram*> phases_;
  std::array<RpcMetrics, kRpcMethods> rpc_;
  prometheus::Counter* bytes_received_ = nullptr;
  prometheus::Counter* bytes_sent_ = nullptr;
  prometheus::Counter* write_stall_ = nullptr;
  prometheus::Gauge* uploading_ = nullptr;
  prometheus::Gauge* queued_ = nullptr;
  prometheus::Gauge* running_ = nullptr;
  prometheus::Gauge* finished_ = nullptr;
  prometheus::Gauge* detached_ = nullptr;
  prometheus::Gauge* oldest_age_ = nullptr;
  prometheus::Gauge* memory_reserved_ = nullptr;
  prometheus::Gauge* scratch_reserved_ = nullptr;
  prometheus::Gauge* workers_busy_ = nullptr;
  prometheus::Gauge* draining_ = nullptr;
};

}  // namespace modelpress
