// The acceptance gate: see gate.h.
#include "core/gate/gate.h"

#include <chrono>

#include "core/base/format_string.h"
#include "core/base/memory_usage.h"
#include "core/base/status.h"
#include "core/base/utf8.h"
#include "core/gate/bounds.h"
#include "core/gate/judge.h"
#include "core/measure/latency.h"
#include "core/measure/sizes.h"

namespace modelpress {
namespace {

constexpr int kMaxLatencyRuns = 50;
constexpr double kMaxLatencySeconds = 3;
// Slower by less than this may be noise.
constexpr double kSlowerRatio = 1.05;
// Without a known memory budget, sessions with copied weights are made up to this size of all
// weights.
constexpr uint64_t kUnknownBudgetBytes = 2ull << 30;

// Adds a row to the report's phases when it goes out of scope.
class PhaseTimer {
 public:
  PhaseTimer(const GateInput& input, std::string_view name, Report* report)
      : name_(name), report_(report) {
    if (input.progress != nullptr) input.progress->Start(name);
  }
  ~PhaseTimer() {
    PhaseTime& phase = *report_->add_phases();
    phase.set_name(name_);
    phase.set_seconds(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count());
  }

 private:
  std::string name_;
  Report* report_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// Summarise fills a summary of its own; what the caller knew (format, digests) stays.
absl::Status AddSummary(const Model& model,
                        const std::vector<std::shared_ptr<const MappedFile>>& files, bool full,
                        const JobContext& context, ModelSummary* summary) {
  MP_ASSIGN_OR_RETURN(const ModelSummary measured,
                      Summarise(model, /*count_nonzero=*/full, context));
  summary->MergeFrom(measured);
  uint64_t bytes = 0;
  for (const auto& file : files) bytes += file->size();
  summary->set_file_bytes(bytes);
  if (!full) return absl::OkStatus();
  MP_ASSIGN_OR_RETURN(const uint64_t compressed, CompressedBytes(files, context));
  summary->set_zstd_bytes(compressed);
  return absl::OkStatus();
}

absl::Status CheckNames(std::string_view what, const std::vector<ValueInfo>& original,
                        const std::vector<ValueInfo>& artifact) {
  const bool same = std::ranges::equal(original, artifact, {}, &ValueInfo::name, &ValueInfo::name);
  if (same) return absl::OkStatus();
  return Error(ERROR_REASON_ARTIFACT_REJECTED,
               FormatString("the artifact's {}s are not those of the original ({} against {})",
                            what, artifact.size(), original.size()))
      .With("stage", "check");
}

absl::Status CheckStructure(const GateInput& input, Report* report) {
  if (const absl::Status status = CheckModel(*input.artifact); !status.ok()) {
    // Many published models that run well do not pass the checker; only what modelpress broke is a
    // reason to refuse.
    if (input.only_converted || CheckModel(*input.original).ok()) {
      return Error(ERROR_REASON_ARTIFACT_REJECTED, std::string(status.message()))
          .With("stage", "check");
    }
    report->add_notes(
        ToUtf8(FormatString("the ONNX checker objects to the original and so to the artifact: {}",
                            std::string(status.message()))));
  }
  MP_RETURN_IF_ERROR(
      CheckNames("input", DeclaredInputs(*input.original), DeclaredInputs(*input.artifact)));
  return CheckNames("output", DeclaredOutputs(*input.original), DeclaredOutputs(*input.artifact));
}

uint64_t WeightBytes(const Model& model) {
  uint64_t bytes = 0;
  for (const WeightRef& weight : model.weights()) bytes += weight.length;
  return bytes;
}

// A session that has run once, and the anonymous memory that it holds then.
absl::StatusOr<std::unique_ptr<Session>> Load(const Model& model, const SessionOptions& options,
                                              const TensorMap& inputs, uint64_t* memory_bytes) {
  ReturnFreeMemory();
  const uint64_t before = AnonymousMemoryBytes();
  MP_ASSIGN_OR_RETURN(std::unique_ptr<Session> session, Session::Create(model, options));
  MP_RETURN_IF_ERROR(session->Run(FitInputs(inputs, *session)).status());
  ReturnFreeMemory();
  const uint64_t after = AnonymousMemoryBytes();
  *memory_bytes = after > before ? after - before : 0;
  return session;
}

absl::Status MeasureLatency(const GateInput& input, const Judged& judged, const JobContext& context,
                            Report* report) {
  // As a user would run them: weights copied and laid out for speed, if that fits into the budget
  // (the runtime may hold a weight twice while it lays it out).
  const uint64_t weights = WeightBytes(*input.original) + WeightBytes(*input.artifact);
  const uint64_t budget =
      context.memory_budget_bytes > 0 ? context.memory_budget_bytes / 2 : kUnknownBudgetBytes;
  const bool prepack = 2 * weights <= budget;
  const int threads = static_cast<int>(context.pool->threads());
  const SessionOptions options{.threads = threads, .prepack = prepack};
  uint64_t original_memory = 0, artifact_memory = 0;
  MP_ASSIGN_OR_RETURN(const std::unique_ptr<Session> original,
                      Load(*input.original, options, judged.first_inputs, &original_memory));
  MP_RETURN_IF_ERROR(context.cancellation->Check());
  MP_ASSIGN_OR_RETURN(const std::unique_ptr<Session> artifact,
                      Load(*input.artifact, options, judged.first_inputs, &artifact_memory));
  report->mutable_judgement()->set_original_memory_bytes(original_memory);
  report->mutable_judgement()->set_artifact_memory_bytes(artifact_memory);
  MP_ASSIGN_OR_RETURN(const Latency latency,
                      CompareLatency(*original, *artifact, judged.first_inputs,
                                     FitInputs(judged.first_inputs, *artifact), threads,
                                     kMaxLatencyRuns, kMaxLatencySeconds, *context.cancellation));
  *report->mutable_judgement()->mutable_latency() = latency;
  if (!prepack) {
    report->add_notes(
        "latency was measured with the weights in place, as copies for speed exceed the memory "
        "budget");
  }
  const double before = latency.original_median_seconds(),
               after = latency.artifact_median_seconds();
  if (after > kSlowerRatio * before) {
    report->add_notes(
        FormatString("the artifact runs {:.2f} times slower than the original here ({:.3g} ms "
                     "against {:.3g} ms)",
                     after / before, 1e3 * after, 1e3 * before));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status RunGate(const GateInput& input, const JobContext& context, Report* report) {
  const Judging& judging = input.recipe->judging();
  const bool full = judging.gate() != Judging::GATE_STRUCTURE;
  {
    const PhaseTimer timer(input, "check", report);
    MP_RETURN_IF_ERROR(CheckStructure(input, report));
    const bool compressed = full && !input.only_converted;
    MP_RETURN_IF_ERROR(AddSummary(*input.original, input.original_files, compressed, context,
                                  report->mutable_original()));
    MP_RETURN_IF_ERROR(AddSummary(*input.artifact, input.artifact_files, compressed, context,
                                  report->mutable_artifact()));
  }
  if (full) {
    Judged judged;
    {
      const PhaseTimer timer(input, "judge", report);
      MP_ASSIGN_OR_RETURN(judged, Judge(input, context, report));
    }
    const bool latency = judging.has_latency() ? judging.latency() : !input.only_converted;
    if (judged.ran && latency) {
      const PhaseTimer timer(input, "latency", report);
      MP_RETURN_IF_ERROR(MeasureLatency(input, judged, context, report));
    }
  } else {
    report->mutable_judgement()->set_data_source(Judgement::DATA_SOURCE_NONE);
  }
  for (const QualityBound& bound : input.recipe->quality()) {
    MP_ASSIGN_OR_RETURN(*report->add_bounds(), DecideBound(bound, *report));
  }
  if (report->artifact().file_bytes() > report->original().file_bytes()) {
    report->add_notes(FormatString("the artifact is larger than the original ({} against {} bytes)",
                                   report->artifact().file_bytes(),
                                   report->original().file_bytes()));
  }
  return absl::OkStatus();
}

absl::Status MissedBound(const Report& report) {
  for (const BoundResult& result : report.bounds()) {
    if (result.passed()) continue;
    return Error(ERROR_REASON_QUALITY_BOUND_MISSED,
                 FormatString("quality bound missed: {}", result.explanation()))
        .With("metric", result.bound().metric())
        .With("bound", FormatString("{}", result.required()))
        .With("measured", FormatString("{}", result.measured()));
  }
  return absl::OkStatus();
}

}  // namespace modelpress
