// Candidates, measurements, exceptions and the choice: see tune.cc for the idea.
#include "core/passes/tuning.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/measure/latency.h"
#include "core/measure/model_loss.h"
#include "core/model/graph.h"
#include "core/passes/step_options.h"
#include "core/statistics/calibration_samples.h"
#include "google/protobuf/util/json_util.h"

namespace modelpress {
namespace {

constexpr uint32_t kDefaultEvaluations = 40;
constexpr uint64_t kDefaultSamples = 256;
constexpr double kDefaultAccuracyDrop = 0.005, kDefaultAgreement = 0.99, kDefaultSqnrDb = 30;
// Latencies within this share of each other count as equal: medians on a busy machine are no better.
constexpr double kEqualLatency = 0.05;
constexpr int kLatencyRuns = 50;
constexpr double kLatencySeconds = 2;

using Steps = std::vector<PassStep>;

std::string TextOf(const Steps& steps) {
  std::string text;
  for (const PassStep& step : steps) {
    google::protobuf::util::JsonPrintOptions options;
    options.preserve_proto_field_names = true;
    std::string json;
    (void)google::protobuf::util::MessageToJsonString(step, &json, options);
    text += (text.empty() ? "" : ", ") + json;
  }
  return text;
}

uint64_t BytesOf(const Model& model) {
  uint64_t bytes = model.proto().ByteSizeLong();
  ForEachTensor(model.proto(), [&](const onnx::TensorProto& tensor) {
    if (const WeightRef* weight = model.Weight(tensor)) bytes += weight->length;
  });
  return bytes;
}

// Errors that only say that this candidate is none.
bool IsNoCandidate(const absl::Status& status) {
  switch (ReasonOf(status)) {
    case ERROR_REASON_NOTHING_CHANGED:
    case ERROR_REASON_OP_UNSUPPORTED:
    case ERROR_REASON_OPSET_UNSUPPORTED:
    case ERROR_REASON_MODEL_MALFORMED:
    case ERROR_REASON_MODEL_LIMIT:
    case ERROR_REASON_RUNTIME_FAILED:
    case ERROR_REASON_ARTIFACT_REJECTED:
    case ERROR_REASON_WEIGHT_NOT_FINITE:
    case ERROR_REASON_DATA_MISSING:
      return true;
    default:
      return false;
  }
}

// What a model must keep on the calibration samples.
struct Goal {
  std::optional<double> min_agreement, min_sqnr_db, max_accuracy_drop, min_accuracy;
};

class Tuning {
 public:
  Tuning(Model& model, const Tune& options, PassContext& context, PassReport* report)
      : model_(model), options_(options), context_(context), report_(*report) {}

  absl::Status Run() {
    MP_RETURN_IF_ERROR(Prepare());
    const std::vector<Steps> candidates = Candidates();
    for (size_t i = 0; i < candidates.size(); ++i) {
      Progress(0.05 + 0.85 * static_cast<double>(i) / static_cast<double>(candidates.size()),
               TextOf(candidates[i]));
      MP_RETURN_IF_ERROR(TryWithExceptions(candidates[i]));
    }
    if (!best_.has_value()) return NothingHolds();
    Progress(0.9, TextOf(*best_));
    MP_ASSIGN_OR_RETURN(const std::vector<PassReport> done, Apply(*best_, &model_, context_.arena));
    for (const PassReport& row : done) {
      report_.mutable_changes()->MergeFrom(row.changes());
      report_.mutable_skips()->MergeFrom(row.skips());
      for (const std::string& note : row.notes()) report_.add_notes(row.pass() + ": " + note);
      if (row.has_integer_mac_share()) report_.set_integer_mac_share(row.integer_mac_share());
    }
    report_.add_notes(FormatString("chosen after {} evaluations of {}: {}", report_.evaluations(),
                                   meter_->description(), TextOf(*best_)));
    return absl::OkStatus();
  }

 private:
  void Progress(double fraction, std::string_view detail) const {
    if (context_.progress) context_.progress(fraction, detail);
  }
  uint32_t budget() const {
    return options_.max_evaluations() > 0 ? options_.max_evaluations() : kDefaultEvaluations;
  }
  bool latency() const { return options_.objective() == Tune::OBJECTIVE_LATENCY; }

  absl::Status Prepare() {
    const uint64_t count = options_.max_samples() > 0 ? options_.max_samples() : kDefaultSamples;
    reference_ = model_.Clone();
    MP_ASSIGN_OR_RETURN(meter_, LossMeter::Make(reference_, context_.data, count, context_.seed,
                                                *context_.arena, *context_.job));
    report_.set_evaluations(1);
    best_bytes_ = BytesOf(reference_);
    for (const QualityBound& bound : options_.bounds()) {
      if (bound.metric() == "agreement") goal_.min_agreement = bound.min();
      if (bound.metric() == "sqnr_db") goal_.min_sqnr_db = bound.min();
      if (bound.metric() != "accuracy") continue;
      if (bound.has_min()) goal_.min_accuracy = bound.min();
      if (bound.has_max_drop()) goal_.max_accuracy_drop = bound.max_drop();
    }
    if (!options_.bounds().empty()) return absl::OkStatus();
    if (meter_->accuracy().has_value()) {
      goal_.max_accuracy_drop = kDefaultAccuracyDrop;
    } else if (meter_->positions() > 0) {
      goal_.min_agreement = kDefaultAgreement;
    } else {
      goal_.min_sqnr_db = kDefaultSqnrDb;
    }
    return absl::OkStatus();
  }

  std::vector<Steps> Candidates() const {
    std::vector<Steps> candidates;
    for (const TuneCandidate& candidate : options_.candidates()) {
      candidates.emplace_back(candidate.steps().begin(), candidate.steps().end());
    }
    if (!candidates.empty()) return candidates;
    for (const auto& pass : PassRegistry::Get().passes()) {
      for (Steps& steps : pass->tuning_candidates()) candidates.push_back(std::move(steps));
    }
    return candidates;
  }

  absl::StatusOr<std::vector<PassReport>> Apply(const Steps& steps, Model* model,
                                                WeightArena* arena) const {
    std::vector<PassReport> reports;
    for (const PassStep& step : steps) {
      MP_RETURN_IF_ERROR(context_.job->cancellation->Check());
      MP_ASSIGN_OR_RETURN(const Pass* pass, PassRegistry::Get().ForStep(step));
      PassContext context = context_;
      context.arena = arena;
      context.progress = nullptr;
      MP_ASSIGN_OR_RETURN(reports.emplace_back(), pass->Run(*model, step, context));
      reports.back().set_pass(std::string(pass->name()));
    }
    return reports;
  }

  bool Holds(const TuneTrial& row) const {
    const double n = static_cast<double>(meter_->positions());
    const double agreement = row.has_agreement() ? row.agreement() : 1;
    const double error = std::sqrt(agreement * (1 - agreement) / std::max(1.0, n));
    if (goal_.min_agreement && agreement - error < *goal_.min_agreement) return false;
    if (goal_.min_sqnr_db && row.sqnr_db() < *goal_.min_sqnr_db) return false;
    // A decision that changed is right before, after, or neither: the drop's error is at most that.
    const double drop = row.accuracy_drop() + std::sqrt((1 - agreement) / std::max(1.0, n));
    if (goal_.max_accuracy_drop && drop > *goal_.max_accuracy_drop) return false;
    return !goal_.min_accuracy || meter_->accuracy().value_or(0) - drop >= *goal_.min_accuracy;
  }

  bool IsBetter(const TuneTrial& row) const {
    if (!best_.has_value() || !latency()) return row.bytes() < best_bytes_;
    const double ratio = row.latency_ratio() / best_latency_;
    return ratio < 1 - kEqualLatency || (ratio < 1 + kEqualLatency && row.bytes() < best_bytes_);
  }

  // One row of the trail, measured or remembered. `noisiest` receives the tensors with codes, the
  // noisiest first.
  absl::StatusOr<TuneTrial> Try(const Steps& steps, std::vector<std::string>* noisiest = nullptr) {
    TuneTrial row;
    row.set_steps(TextOf(steps));
    const auto known = std::ranges::find_if(
        options_.trail(), [&](const TuneTrial& trial) { return trial.steps() == row.steps(); });
    const bool remembered = known != options_.trail().end() && (known->holds() || !noisiest);
    if (remembered) {
      row = *known;
    } else {
      MP_RETURN_IF_ERROR(Measure(steps, &row, noisiest));
    }
    row.set_holds(row.why().empty() && Holds(row));
    if (row.holds() && IsBetter(row)) {
      best_ = steps;
      best_bytes_ = row.bytes();
      best_latency_ = row.latency_ratio();
    }
    *report_.add_trail() = row;
    if (context_.so_far != nullptr) *context_.so_far = report_;
    return row;
  }

  absl::Status Measure(const Steps& steps, TuneTrial* row, std::vector<std::string>* noisiest) {
    WeightArena arena(context_.job->scratch);  // gone with the candidate
    Model model = reference_.Clone();
    const auto done = Apply(steps, &model, &arena);
    if (!done.ok()) return Refuse(done.status(), row);
    std::vector<const Change*> coded;
    uint32_t evaluations = 0;
    for (const PassReport& pass : *done) {
      evaluations += pass.evaluations();
      for (const Change& change : pass.changes()) {
        if (change.has_sqnr_db()) coded.push_back(&change);
      }
    }
    row->set_bytes(BytesOf(model));
    if (!latency() && row->bytes() >= best_bytes_) {
      row->set_why("not smaller than what holds already");
    } else {
      ++evaluations;
      const absl::StatusOr<ModelLoss> loss = meter_->Measure(model);
      if (!loss.ok()) return Refuse(loss.status(), row);
      row->set_sqnr_db(loss->sqnr_db);
      if (loss->agreement.has_value()) row->set_agreement(*loss->agreement);
      if (loss->accuracy_drop.has_value()) row->set_accuracy_drop(*loss->accuracy_drop);
      if (latency()) MP_RETURN_IF_ERROR(MeasureLatency(model, row));
    }
    row->set_evaluations(evaluations);
    report_.set_evaluations(report_.evaluations() + evaluations);
    if (noisiest == nullptr) return absl::OkStatus();
    std::ranges::stable_sort(coded, {}, &Change::sqnr_db);
    for (const Change* change : coded) noisiest->push_back(change->tensor());
    return absl::OkStatus();
  }

  static absl::Status Refuse(const absl::Status& status, TuneTrial* row) {
    if (!IsNoCandidate(status)) return status;
    row->set_why(std::string(status.message()));
    return absl::OkStatus();
  }

  absl::Status MeasureLatency(const Model& model, TuneTrial* row) const {
    const int threads = static_cast<int>(context_.job->pool->threads());
    const SessionOptions options{.threads = threads, .prepack = true};
    MP_ASSIGN_OR_RETURN(const auto before, Session::Create(reference_, options));
    MP_ASSIGN_OR_RETURN(const auto after, Session::Create(model, options));
    MP_ASSIGN_OR_RETURN(const auto samples, OpenCalibrationSamples(reference_, context_.data, 1, 1,
                                                                   context_.seed, *context_.job));
    MP_ASSIGN_OR_RETURN(const Batch batch, samples->Read(0));
    MP_ASSIGN_OR_RETURN(const Latency measured,
                        CompareLatency(*before, *after, batch.inputs, batch.inputs, threads,
                                       kLatencyRuns, kLatencySeconds, *context_.job->cancellation));
    row->set_latency_ratio(measured.artifact_median_seconds() /
                           std::max(1e-9, measured.original_median_seconds()));
    return absl::OkStatus();
  }

  absl::Status TryWithExceptions(const Steps& steps) {
    if (report_.evaluations() >= budget()) return absl::OkStatus();
    std::vector<std::string> noisiest;
    MP_ASSIGN_OR_RETURN(const TuneTrial plain, Try(steps, &noisiest));
    if (plain.holds() || !plain.why().empty()) return absl::OkStatus();
    Steps changed = steps;
    for (PassStep& step : changed) {
      if (LossLimits* limits = LimitsOf(&step)) return TryLimits(changed, limits);
    }
    if (WeightSelectionOf(&changed.back()) == nullptr || noisiest.size() < 2)
      return absl::OkStatus();
    return BisectLayers(steps, noisiest);
  }

  // `limits` is part of `steps`.
  absl::Status TryLimits(const Steps& steps, LossLimits* limits) {
    std::vector<double> levels;
    if (goal_.min_agreement) levels.push_back(*goal_.min_agreement);
    if (goal_.max_accuracy_drop) levels.push_back(1 - *goal_.max_accuracy_drop);
    if (levels.empty()) levels.push_back(kDefaultAgreement);
    // The second is strict enough for the confidence bound too.
    levels.push_back(1 - (1 - levels[0]) / 3);
    for (const double level : levels) {
      if (report_.evaluations() >= budget()) break;
      limits->set_min_agreement(level);
      if (goal_.min_sqnr_db) limits->set_min_sqnr_db(*goal_.min_sqnr_db);
      if (goal_.max_accuracy_drop) limits->set_max_accuracy_drop(*goal_.max_accuracy_drop);
      MP_ASSIGN_OR_RETURN(const TuneTrial row, Try(steps));
      if (row.holds() || !row.why().empty()) break;
    }
    return absl::OkStatus();
  }

  static bool HasByteCodes(const PassStep& step) {
    const QuantizeWeights::Type type = step.quantize_weights().type();
    return step.has_quantize_weights() &&
           (type == QuantizeWeights::TYPE_UNSPECIFIED || type == QuantizeWeights::TYPE_INT8 ||
            type == QuantizeWeights::TYPE_UINT8);
  }

  // The fewest of the noisiest layers that stay out: their codes are int8 instead, or where the
  // others' are no less, they stay float.
  absl::Status BisectLayers(const Steps& steps, const std::vector<std::string>& noisiest) {
    size_t enough = noisiest.size(), too_few = 0;
    while (enough - too_few > 1 && report_.evaluations() < budget()) {
      const size_t middle = too_few + (enough - too_few) / 2;
      Steps changed = steps;
      PassStep rest;
      WeightSelection* finer = rest.mutable_quantize_weights()->mutable_weights();
      for (size_t i = 0; i < middle; ++i) {
        const std::string glob = ExactGlob(noisiest[i]);
        WeightSelectionOf(&changed.back())->add_exclude(glob);
        finer->add_include(glob);
      }
      if (!HasByteCodes(changed.back())) changed.push_back(std::move(rest));
      MP_ASSIGN_OR_RETURN(const TuneTrial row, Try(changed));
      // With more exceptions it would be larger still.
      if (!row.why().empty()) break;
      (row.holds() ? enough : too_few) = middle;
    }
    return absl::OkStatus();
  }

  absl::Status NothingHolds() {
    const TuneTrial* closest = nullptr;
    for (const TuneTrial& row : report_.trail()) {
      if (!row.why().empty()) continue;
      if (closest == nullptr || row.sqnr_db() > closest->sqnr_db()) closest = &row;
    }
    Error error(
        ERROR_REASON_QUALITY_BOUND_MISSED,
        closest == nullptr
            ? std::string("none of the candidates makes this model smaller")
            : FormatString("no candidate keeps within the bounds; the closest has {:.1f} dB{}: {}",
                           closest->sqnr_db(),
                           closest->has_agreement()
                               ? FormatString(", agreement {:.4f}", closest->agreement())
                               : std::string(),
                           closest->steps()));
    return error.With("candidates", std::to_string(report_.trail_size()))
        .Remedy(
            "loosen the bounds, raise max_evaluations, or give candidates; the report has the "
            "trail");
  }

  Model& model_;
  const Tune& options_;
  PassContext& context_;
  PassReport& report_;
  Model reference_;
  std::unique_ptr<LossMeter> meter_;
  Goal goal_;
  std::optional<Steps> best_;
  uint64_t best_bytes_ = 0;
  double best_latency_ = 1;
};

}  // namespace

absl::Status TuneModel(Model& model, const Tune& options, PassContext& context,
                       PassReport* report) {
  return Tuning(model, options, context, report).Run();
}

}  // namespace modelpress
