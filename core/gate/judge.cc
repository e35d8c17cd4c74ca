// Judging: see judge.h.
#include "core/gate/judge.h"

#include <algorithm>
#include <cstring>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/base/utf8.h"
#include "core/measure/comparison.h"
#include "core/measure/task_metrics.h"

namespace modelpress {
namespace {

constexpr uint64_t kDefaultSyntheticSamples = 8;

Tensor ToFloat16(const Tensor& tensor) {
  std::span<std::byte> bytes;
  absl::StatusOr<Tensor> result = Tensor::Make(DataType::kFloat16, tensor.dims, &bytes);
  if (!result.ok()) return tensor;
  for (uint64_t i = 0; i < tensor.element_count(); ++i) {
    const auto half =
        static_cast<_Float16>(ElementAsDouble(tensor, i));  // to nearest, ties to even
    std::memcpy(bytes.data() + i * sizeof(half), &half, sizeof(half));
  }
  return *std::move(result);
}

// A failure of the artifact where the original is fine: never handed out.
absl::Status Rejected(const absl::Status& status, std::string_view stage) {
  if (ReasonOf(status) == ERROR_REASON_ARTIFACT_REJECTED) return status;
  const std::string_view did = stage == "load" ? "does not load" : "does not run";
  return Error(ERROR_REASON_ARTIFACT_REJECTED,
               FormatString("the artifact {} though the original does: {}", did,
                            std::string(status.message())))
      .With("stage", stage)
      .With("cause", ReasonName(ReasonOf(status)));
}

// The samples to judge on: the caller's test split, else another one (said in the notes), else
// synthetic ones.
absl::StatusOr<std::unique_ptr<Samples>> ChooseSamples(const GateInput& input,
                                                       const Session& original, Report* report) {
  const Judging& judging = input.recipe->judging();
  Judgement& judgement = *report->mutable_judgement();
  if (input.data == nullptr) {
    judgement.set_data_source(Judgement::DATA_SOURCE_SYNTHETIC);
    const uint64_t count =
        judging.synthetic_samples() > 0 ? judging.synthetic_samples() : kDefaultSyntheticSamples;
    return MakeSyntheticSamples(*input.original, count, input.recipe->seed());
  }
  judgement.set_data_source(Judgement::DATA_SOURCE_CALLER);
  const uint64_t batch = std::max<uint64_t>(1, judging.batch_size());
  MP_ASSIGN_OR_RETURN(std::unique_ptr<Samples> samples,
                      input.data->Split("test", {"val", "calib", "train"}, original.inputs(), batch,
                                        judging.max_samples()));
  if (samples->size() == 0) {
    return Error(ERROR_REASON_DATA_INVALID, "the data set holds no samples to judge on")
        .With("expected", "samples");
  }
  return samples;
}

// What judging accumulates.
struct Meters {
  OutputComparer comparer;
  TaskSettings settings;
  std::optional<TaskMeter> original, artifact;
  std::optional<AgreementMeter> agreement;

  absl::Status Start(const Judging& judging, const Session& session, const TensorMap& outputs,
                     const Batch& batch) {
    MP_ASSIGN_OR_RETURN(settings, ResolveTask(judging, session.outputs(), outputs, batch));
    original.emplace(settings);
    artifact.emplace(settings);
    agreement.emplace(settings);
    return absl::OkStatus();
  }

  absl::Status Add(const TensorMap& x, const TensorMap& y, const Batch& batch) {
    MP_RETURN_IF_ERROR(comparer.Add(x, y, batch.first, batch.samples));
    MP_RETURN_IF_ERROR(original->Add(x, batch));
    MP_RETURN_IF_ERROR(artifact->Add(y, batch));
    return agreement->Add(x, y);
  }

  void Finish(Judgement* judgement) const {
    for (OutputComparison& row : comparer.Finish()) *judgement->add_outputs() = std::move(row);
    if (!original.has_value()) return;
    if (!original->labels_are_classes()) {
      judgement->set_task(
          "the labels are numbers and no classes; outputs are compared with the original's only");
      return;
    }
    const double threshold = original->Threshold();
    *judgement->mutable_original() = original->Finish(threshold);
    *judgement->mutable_artifact() = artifact->Finish(threshold);
    if (const auto agreed = agreement->Finish(); agreed.has_value())
      judgement->set_agreement(*agreed);
    std::string task = settings.description;
    if (settings.task == Judging::TASK_BINARY && settings.class_axis < 0 &&
        !settings.threshold.has_value()) {
      task += FormatString(", class 1 above {} (guessed from the original's scores)", threshold);
    }
    judgement->set_task(ToUtf8(task));
  }
};

void NoteNotRun(Report* report, std::string_view why) {
  report->mutable_judgement()->set_data_source(Judgement::DATA_SOURCE_NONE);
  report->add_notes(FormatString(
      "the artifact was loaded but not run beside the original: {}; give a data set to "
      "have it judged",
      why));
}

}  // namespace

TensorMap FitInputs(const TensorMap& inputs, const Session& session) {
  TensorMap fitted = inputs;
  for (const ValueInfo& value : session.inputs()) {
    const auto found = fitted.find(value.name);
    if (found == fitted.end() || found->second.type != DataType::kFloat) continue;
    if (value.type == DataType::kFloat16) found->second = ToFloat16(found->second);
  }
  return fitted;
}

namespace {

// A model that is what was read has nothing to be compared with: it has to load and to run.
absl::StatusOr<Judged> RunConverted(const GateInput& input, const SessionOptions& options,
                                    const JobContext& context, Report* report) {
  const absl::StatusOr<std::unique_ptr<Session>> session =
      Session::Create(*input.artifact, options);
  if (!session.ok()) return Annotate(session.status(), "stage", "load");
  const absl::StatusOr<std::unique_ptr<Samples>> samples =
      MakeSyntheticSamples(*input.artifact, 1, input.recipe->seed());
  if (!samples.ok() && ReasonOf(samples.status()) == ERROR_REASON_INTERNAL_BUG)
    return samples.status();
  Judged judged;
  absl::Status run = samples.status();
  if (run.ok()) {
    MP_ASSIGN_OR_RETURN(const Batch batch, (*samples)->Read(0));
    MP_RETURN_IF_ERROR(context.cancellation->Check());
    run = (*session)->Run(batch.inputs).status();
    judged.first_inputs = batch.inputs;
  }
  judged.ran = run.ok();
  report->mutable_judgement()->set_data_source(Judgement::DATA_SOURCE_NONE);
  report->add_notes(
      run.ok() ? "the model loads, and ran once on random numbers; compare it with the source's "
                 "outputs (--expect), or give a data set, to know more"
               : FormatString("the model loads, but was not run, as random numbers are no inputs "
                              "that it takes ({})",
                              std::string(run.message())));
  return judged;
}

}  // namespace

absl::StatusOr<Judged> Judge(const GateInput& input, const JobContext& context, Report* report) {
  const SessionOptions options{.threads = static_cast<int>(context.pool->threads())};
  if (input.only_converted && input.data == nullptr)
    return RunConverted(input, options, context, report);
  MP_RETURN_IF_ERROR(context.cancellation->Check());
  absl::StatusOr<std::unique_ptr<Session>> original = Session::Create(*input.original, options);
  if (!original.ok()) return Annotate(original.status(), "stage", "load original");
  MP_RETURN_IF_ERROR(context.cancellation->Check());
  absl::StatusOr<std::unique_ptr<Session>> artifact = Session::Create(*input.artifact, options);
  if (!artifact.ok()) return Rejected(artifact.status(), "load");

  absl::StatusOr<std::unique_ptr<Samples>> samples = ChooseSamples(input, **original, report);
  const bool synthetic = input.data == nullptr;
  if (!samples.ok() && synthetic && ReasonOf(samples.status()) != ERROR_REASON_INTERNAL_BUG) {
    NoteNotRun(report, FormatString("no synthetic samples can be made ({})",
                                    std::string(samples.status().message())));
    return Judged();
  }
  MP_RETURN_IF_ERROR(samples.status());

  Judgement& judgement = *report->mutable_judgement();
  judgement.set_split(ToUtf8((*samples)->description()));
  Judged judged;
  Meters meters;
  uint64_t seen = 0;
  for (uint64_t i = 0; i < (*samples)->batches(); ++i) {
    MP_RETURN_IF_ERROR(context.cancellation->Check());
    MP_ASSIGN_OR_RETURN(const Batch batch, (*samples)->Read(i));
    const absl::StatusOr<TensorMap> x = (*original)->Run(batch.inputs);
    if (!x.ok() && synthetic) {
      // Inputs may have to fit each other in ways that only real data does.
      NoteNotRun(report, FormatString("the original does not run on synthetic samples ({})",
                                      std::string(x.status().message())));
      return Judged();
    }
    if (!x.ok()) return Annotate(x.status(), "stage", "run original");
    MP_RETURN_IF_ERROR(context.cancellation->Check());
    const absl::StatusOr<TensorMap> y = (*artifact)->Run(FitInputs(batch.inputs, **artifact));
    if (!y.ok()) return Rejected(y.status(), "run");
    if (i == 0) {
      judged.first_inputs = batch.inputs;
      MP_RETURN_IF_ERROR(meters.Start(input.recipe->judging(), **original, *x, batch));
    }
    MP_RETURN_IF_ERROR(meters.Add(*x, *y, batch));
    seen += batch.samples;
    if (input.progress != nullptr) {
      input.progress->Update(static_cast<double>(i + 1) /
                             static_cast<double>((*samples)->batches()));
    }
  }
  judged.ran = true;
  judgement.set_samples(seen);
  meters.Finish(&judgement);
  if (synthetic) {
    report->add_notes(FormatString(
        "judged on {} synthetic samples, as no data was given: they say little about real inputs",
        seen));
  } else if (input.data->HasSplit("calib") && !input.data->HasSplit("test")) {
    report->add_notes(
        "judged on data that passes may have calibrated on, as the data set has no test split");
  }
  for (const ValueInfo& value : (*original)->outputs()) {
    if (value.is_tensor) continue;
    report->add_notes(
        FormatString("output '{}' is no tensor and was not compared", ToUtf8(value.name)));
  }
  return judged;
}

}  // namespace modelpress
