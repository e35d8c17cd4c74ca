// Names, labels and creation of all metrics: see metrics.h. What happens to them is in metrics_events.cc.
#include "server/observability/metrics.h"

#include <utility>

namespace modelpress {
namespace {

using prometheus::Histogram;
using prometheus::Labels;

const Histogram::BucketBoundaries kSeconds = {0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3600, 14400};
const Histogram::BucketBoundaries kShortSeconds = {0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10};
// Times four from 1 KiB to 4 GiB (gRFC A66), then to 64 GiB.
const Histogram::BucketBoundaries kBytes = {0x1p10, 0x1p12, 0x1p14, 0x1p16, 0x1p18, 0x1p20, 0x1p22,
                                            0x1p24, 0x1p26, 0x1p28, 0x1p30, 0x1p32, 0x1p34, 0x1p36};
const Histogram::BucketBoundaries kRatio = {0.5, 1, 1.5, 2, 3, 4, 6, 8, 16};
// (peak - planned) / planned: above 0 the plan was too low.
const Histogram::BucketBoundaries kEstimateError = {-0.9, -0.75, -0.5, -0.25, 0,
                                                    0.25, 0.5,   1,    2,     4};

// The core's phases that are no pass (report.proto, Progress.phase).
constexpr const char* kPhases[] = {"read", "plan", "write", "check", "judge", "latency", "other"};

constexpr const char* kMethodNames[kRpcMethods] = {"RunJob", "GetCapabilities", "GetJob",
                                                   "ListJobs", "CancelJob"};
// As go-grpc-prometheus writes them: stock dashboards and alerts work.
constexpr const char* kCodeNames[] = {
    "OK",       "Canceled",       "Unknown",          "InvalidArgument",   "DeadlineExceeded",
    "NotFound", "AlreadyExists",  "PermissionDenied", "ResourceExhausted", "FailedPrecondition",
    "Aborted",  "OutOfRange",     "Unimplemented",    "Internal",          "Unavailable",
    "DataLoss", "Unauthenticated"};

}  // namespace

Metrics::Metrics(const Capabilities& capabilities, const ServerConfig& config)
    : registry_(std::make_shared<prometheus::Registry>()) {
  AddJobMetrics();
  AddPassMetrics(capabilities);
  AddRpcMetrics();
  AddGauges(capabilities, config);
}

prometheus::Counter* Metrics::AddCounter(const std::string& name, const std::string& help,
                                         const Labels& labels) {
  return &prometheus::BuildCounter().Name(name).Help(help).Register(*registry_).Add(labels);
}

prometheus::Gauge* Metrics::AddGauge(const std::string& name, const std::string& help,
                                     const Labels& labels) {
  return &prometheus::BuildGauge().Name(name).Help(help).Register(*registry_).Add(labels);
}

Histogram* Metrics::AddHistogram(const std::string& name, const std::string& help,
                                 const Histogram::BucketBoundaries& buckets, const Labels& labels) {
  return &prometheus::BuildHistogram()
              .Name(name)
              .Help(help)
              .Register(*registry_)
              .Add(labels, buckets);
}

void Metrics::AddJobMetrics() {
  jobs_started_ = AddCounter("modelpress_jobs_started_total", "Jobs that were accepted.");
  for (int i = 1; i < ErrorReason_ARRAYSIZE; ++i) {
    if (!ErrorReason_IsValid(i)) continue;
    const auto reason = static_cast<ErrorReason>(i);
    const std::string name(ReasonName(reason));
    rejected_[reason] =
        AddCounter("modelpress_jobs_rejected_total",
                   "Jobs that were refused before their first byte.", {{"reason", name}});
    if (reason != ERROR_REASON_JOB_CANCELLED) {
      completed_[{Job::STATE_FAILED, reason}] =
          AddCounter("modelpress_jobs_completed_total", "Jobs that came to an end.",
                     {{"outcome", "failed"}, {"reason", name}});
    }
  }
  completed_[{Job::STATE_SUCCEEDED, ERROR_REASON_UNSPECIFIED}] =
      AddCounter("modelpress_jobs_completed_total", "Jobs that came to an end.",
                 {{"outcome", "succeeded"}, {"reason", ""}});
  completed_[{Job::STATE_CANCELLED, ERROR_REASON_JOB_CANCELLED}] =
      AddCounter("modelpress_jobs_completed_total", "Jobs that came to an end.",
                 {{"outcome", "cancelled"}, {"reason", "JOB_CANCELLED"}});
  for (const auto& [state, outcome] : {std::pair{Job::STATE_SUCCEEDED, "succeeded"},
                                       {Job::STATE_FAILED, "failed"},
                                       {Job::STATE_CANCELLED, "cancelled"}}) {
    run_duration_[state] =
        AddHistogram("modelpress_job_run_duration_seconds", "Time of a job in its worker.",
                     kSeconds, {{"outcome", outcome}});
    total_duration_[state] =
        AddHistogram("modelpress_job_end_to_end_duration_seconds",
                     "Time of a job from its acceptance to its end, upload included.", kSeconds,
                     {{"outcome", outcome}});
  }
  queue_duration_ = AddHistogram("modelpress_job_queue_duration_seconds",
                                 "Time of a job from its last byte to a worker.", kSeconds);
  cancel_latency_ = AddHistogram("modelpress_cancel_latency_seconds",
                                 "Time from ending a job to its worker being free.", kShortSeconds);
  input_bytes_ =
      AddHistogram("modelpress_model_input_bytes", "Declared bytes of a job's files.", kBytes);
  artifact_bytes_ =
      AddHistogram("modelpress_artifact_bytes", "Bytes of a job's artifact files.", kBytes);
  compression_ratio_ = AddHistogram("modelpress_compression_ratio",
                                    "Bytes of the original over bytes of the artifact.", kRatio);
  memory_estimate_error_ = AddHistogram(
      "modelpress_memory_estimate_error_ratio",
      "Peak anonymous memory of a job against its plan: 0 is exact, 1 is twice the plan.",
      kEstimateError);
  uploads_resumed_ = AddCounter("modelpress_uploads_resumed_total",
                                "Streams that went on with an unfinished upload.");
  attached_ = AddCounter("modelpress_attach_total", "Streams that took up a known job.");
  lease_expired_ = AddCounter("modelpress_lease_expired_total",
                              "Jobs that were forgotten because nobody attached.");
  duplicates_ = AddCounter("modelpress_dedupe_hits_total", "Starts whose request_id was alive.");
}

void Metrics::AddPassMetrics(const Capabilities& capabilities) {
  for (const PassCapability& pass : capabilities.passes()) {
    const Labels labels = {{"pass", pass.name()}};
    passes_[pass.name()] = {
        .applied = AddCounter("modelpress_pass_applied_total",
                              "Weights or nodes that a pass changed.", labels),
        .skipped = AddCounter("modelpress_pass_skipped_total",
                              "Weights or nodes that a pass left alone.", labels),
        .duration =
            AddHistogram("modelpress_pass_duration_seconds", "Time of a pass.", kSeconds, labels)};
  }
  for (const char* phase : kPhases) {
    phases_[phase] =
        AddHistogram("modelpress_phase_duration_seconds",
                     "Time of a phase of a job that is no pass.", kSeconds, {{"phase", phase}});
  }
}

void Metrics::AddRpcMetrics() {
  for (int method = 0; method < kRpcMethods; ++method) {
    const Labels labels = {{"grpc_service", "modelpress.v1.JobService"},
                           {"grpc_method", kMethodNames[method]},
                           {"grpc_type", method == 0 ? "bidi_stream" : "unary"}};
    RpcMetrics& rpc = rpc_[method];
    rpc.started = AddCounter("grpc_server_started_total", "RPCs started on the server.", labels);
    rpc.received =
        AddCounter("grpc_server_msg_received_total", "Messages received by the server.", labels);
    rpc.sent = AddCounter("grpc_server_msg_sent_total", "Messages sent by the server.", labels);
    rpc.duration = AddHistogram("grpc_server_handling_seconds", "Time of RPCs on the server.",
                                kSeconds, labels);
    for (int code = 0; code < kGrpcCodes; ++code) {
      Labels with_code = labels;
      with_code["grpc_code"] = kCodeNames[code];
      rpc.handled[code] = AddCounter("grpc_server_handled_total",
                                     "RPCs completed on the server, by status code.", with_code);
    }
  }
  bytes_received_ = AddCounter("modelpress_transfer_bytes_total", "Bytes of uploads and artifacts.",
                               {{"direction", "in"}});
  bytes_sent_ = AddCounter("modelpress_transfer_bytes_total", "Bytes of uploads and artifacts.",
                           {{"direction", "out"}});
  write_stall_ = AddCounter("modelpress_stream_write_stall_seconds_total",
                            "Time that writes waited for a slow reader.");
}

void Metrics::AddGauges(const Capabilities& capabilities, const ServerConfig& config) {
  AddGauge("modelpress_build_info", "Always 1; the labels say what runs.",
           {{"version", capabilities.version()}, {"engine", capabilities.runtime_version()}})
      ->Set(1);
  const auto jobs = [this](const char* state) {
    return AddGauge("modelpress_jobs", "Jobs that are held, by state.", {{"state", state}});
  };
  uploading_ = jobs("uploading");
  queued_ = jobs("queued");
  running_ = jobs("running");
  finished_ = jobs("finished");
  detached_ = AddGauge("modelpress_jobs_detached", "Jobs that no stream is attached to.");
  oldest_age_ = AddGauge("modelpress_queue_oldest_age_seconds",
                         "How long the job at the head of the queue has waited.");
  AddGauge("modelpress_memory_budget_bytes", "Memory for all jobs together.")
      ->Set(static_cast<double>(config.memory_budget_bytes()));
  memory_reserved_ =
      AddGauge("modelpress_memory_reserved_bytes", "Memory that running jobs have planned.");
  AddGauge("modelpress_scratch_quota_bytes", "Scratch space for all jobs together.")
      ->Set(static_cast<double>(config.scratch_quota_bytes()));
  scratch_reserved_ =
      AddGauge("modelpress_scratch_reserved_bytes", "Scratch space that is reserved for jobs.");
  AddGauge("modelpress_workers", "Jobs that can run at once.")->Set(config.workers());
  workers_busy_ = AddGauge("modelpress_workers_busy", "Jobs that run now.");
  draining_ = AddGauge("modelpress_draining", "1 from SIGTERM on.");
}

}  // namespace modelpress
