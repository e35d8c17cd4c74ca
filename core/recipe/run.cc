// Running a recipe: see run.h.
#include "core/recipe/run.h"

#include <algorithm>
#include <chrono>
#include <filesystem>

#include "core/base/format_string.h"
#include "core/base/memory_usage.h"
#include "core/base/status.h"
#include "core/base/utf8.h"
#include "core/gate/gate.h"
#include "core/model/graph.h"
#include "core/passes/pass.h"
#include "core/recipe/input_digests.h"
#include "core/recipe/job_files.h"
#include "core/recipe/plan_model.h"
#include "core/recipe/provenance.h"
#include "core/recipe/read_model.h"
#include "core/recipe/recipe_reader.h"
#include "core/runtime/session.h"
#include "modelpress/v1/recipe.pb.h"

namespace modelpress {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::vector<ProgressTracker::Step> ProgressSteps(const Recipe& recipe) {
  std::vector<ProgressTracker::Step> steps = {{"read", 1}};
  for (const PassStep& step : recipe.passes()) {
    const auto pass = PassRegistry::Get().ForStep(step);
    steps.push_back({pass.ok() ? std::string((*pass)->name()) : "pass", 6});
  }
  steps.push_back({"write", 3});
  steps.push_back({"check", 2});
  if (recipe.judging().gate() != Judging::GATE_STRUCTURE) {
    steps.push_back({"judge", 5});
    steps.push_back({"latency", 2});
  }
  steps.push_back({"done", 0.01});
  return steps;
}

// One job from start to end; every step fills in the outcome as far as it got.
class Job {
 public:
  Job(const JobInputs& inputs, const Recipe& recipe, const JobContext& context, JobOutcome* outcome)
      : inputs_(inputs),
        recipe_(recipe),
        context_(context),
        outcome_(*outcome),
        report_(*outcome->mutable_report()),
        tracker_(
            [this](const Progress& progress) {
              memory_.Sample();
              if (context_.progress) context_.progress(progress);
            },
            ProgressSteps(recipe)) {}

  absl::Status Run() {
    report_.set_version(std::string(Version()));
    report_.set_runtime_version(RuntimeVersion());
    *report_.mutable_recipe() = recipe_;
    MP_RETURN_IF_ERROR(ValidateRecipe(recipe_));
    // Beside everything up to writing, which needs it.
    InputDigests digests(inputs_, *context_.cancellation);
    MP_RETURN_IF_ERROR(Read());
    MP_RETURN_IF_ERROR(RunPasses());
    MP_RETURN_IF_ERROR(Write(digests));
    MP_RETURN_IF_ERROR(Judge());
    tracker_.Start("done");
    tracker_.Update(1);
    return MissedBound(report_);
  }

  void Finish() {
    memory_.Sample();
    report_.set_peak_anonymous_bytes(memory_.bytes());
  }

 private:
  class Phase {
   public:
    Phase(Job* job, std::string_view name) : job_(*job), name_(name) {
      job_.tracker_.Start(name);
      job_.memory_.Sample();
    }
    ~Phase() {
      job_.memory_.Sample();
      PhaseTime& row = *job_.report_.add_phases();
      row.set_name(name_);
      row.set_seconds(SecondsSince(start_) - elsewhere_);
    }
    // Seconds that are reported under another name.
    void Subtract(double seconds) { elsewhere_ += seconds; }

   private:
    Job& job_;
    std::string name_;
    double elsewhere_ = 0;
    Clock::time_point start_ = Clock::now();
  };

  absl::Status Read() {
    const Phase phase(this, "read");
    MP_RETURN_IF_ERROR(context_.cancellation->Check());
    MP_RETURN_IF_ERROR(ReadOriginal());
    MP_RETURN_IF_ERROR(ReadStudent());
    report_.mutable_original()->set_format(std::string(format_->name()));
    if (!inputs_.data_path.empty()) {
      MP_ASSIGN_OR_RETURN(data_, DataSet::Open(inputs_.data_path, context_.scratch));
    }
    const Plan plan = PlanModel(original_, ModelBytes(inputs_), recipe_);
    report_.set_planned_memory_bytes(plan.memory_bytes());
    if (context_.memory_budget_bytes > 0 && plan.memory_bytes() > context_.memory_budget_bytes) {
      return Error(ERROR_REASON_MEMORY_BUDGET,
                   FormatString("the recipe needs about {} bytes of memory; the job may use {}",
                                plan.memory_bytes(), context_.memory_budget_bytes))
          .With("needed", std::to_string(plan.memory_bytes()))
          .With("available", std::to_string(context_.memory_budget_bytes));
    }
    return absl::OkStatus();
  }

  absl::Status ReadOriginal() {
    std::vector<std::string> notes;
    MP_ASSIGN_OR_RETURN(JobModel read, ReadJobModel(inputs_, recipe_.import(), context_, &notes));
    format_ = read.format;
    original_ = std::move(read.model);
    original_files_.push_back(read.files.main.file);
    for (const InputFile& file : read.files.sidecars) original_files_.push_back(file.file);
    for (std::string& note : notes) report_.add_notes(ToUtf8(note));
    return absl::OkStatus();
  }

  absl::Status ReadStudent() {
    if (inputs_.student.file == nullptr) return absl::OkStatus();
    const bool taken = std::ranges::any_of(recipe_.passes(), [](const PassStep& step) {
      const auto pass = PassRegistry::Get().ForStep(step);
      return pass.ok() && (*pass)->takes_student();
    });
    if (!taken) {
      return Error(ERROR_REASON_RECIPE_INVALID,
                   "a student was given, but no step of the recipe trains it")
          .With("field", "passes")
          .Remedy("add the pass distill, or leave the student out");
    }
    const InputFiles files = FilesOf(inputs_.student, inputs_);
    MP_ASSIGN_OR_RETURN(const Format* format, FormatRegistry::Get().Recognise(files));
    const Import options = format->converts() ? recipe_.import() : Import();
    MP_ASSIGN_OR_RETURN(student_, ReadModel(*format, files, options, context_));
    return absl::OkStatus();
  }

  absl::Status RunPasses() {
    model_ = original_.Clone();
    WeightArena arena(context_.scratch);
    for (const PassStep& step : recipe_.passes()) {
      MP_RETURN_IF_ERROR(context_.cancellation->Check());
      MP_ASSIGN_OR_RETURN(const Pass* pass, PassRegistry::Get().ForStep(step));
      const Phase phase(this, pass->name());
      PassReport so_far;
      PassContext pass_context{
          .job = &context_,
          .original = &original_,
          .student = inputs_.student.file != nullptr ? &student_ : nullptr,
          .recipe = &recipe_,
          .data = data_.get(),
          .arena = &arena,
          .seed = recipe_.seed(),
          .so_far = &so_far,
          .progress = [this](
                          double fraction,
                          std::string_view detail) { tracker_.Update(fraction, ToUtf8(detail)); },
      };
      const Clock::time_point start = Clock::now();
      absl::StatusOr<PassReport> done = pass->Run(model_, step, pass_context);
      if (!done.ok()) {
        if (so_far.ByteSizeLong() > 0) *report_.add_passes() = std::move(so_far);
        return Annotate(done.status(), "pass", pass->name());
      }
      PassReport& row = *report_.add_passes();
      row = *std::move(done);
      row.set_pass(std::string(pass->name()));
      row.set_seconds(SecondsSince(start));
      tracker_.Update(1);
    }
    return absl::OkStatus();
  }

  // What the recipe says; else the input's format if it can be written, and what has a graph becomes ONNX.
  absl::StatusOr<const Format*> OutputFormat() const {
    const FormatRegistry& formats = FormatRegistry::Get();
    const Format* format = formats.Find(recipe_.output().format());
    if (format == nullptr && format_->can_write()) format = format_;
    if (format == nullptr) format = formats.Find(format_->has_graph() ? "onnx" : "safetensors");
    if (format == nullptr) return Error(ERROR_REASON_INTERNAL_BUG, "there is no format to write");
    const bool wants_graph = format->has_graph() || inputs_.output_name.ends_with(".onnx");
    if (format_->has_graph() || !wants_graph) return format;
    return Error(ERROR_REASON_FORMAT_UNSUPPORTED,
                 FormatString("\"{}\" has weights but no graph", inputs_.model.main.name))
        .With("format", format_->name())
        .Remedy(
            "put them into the model that they belong to (modelpress convert WEIGHTS --onto "
            "model.onnx), or write them as "
            ".safetensors");
  }

  // Weights that were written without their graph are what they were.
  absl::Status CompareWeights(const Model& artifact) {
    std::map<std::string, const onnx::TensorProto*> written;
    for (const onnx::TensorProto& tensor : artifact.proto().graph().initializer()) {
      written[tensor.name()] = &tensor;
    }
    for (const onnx::TensorProto& tensor : model_.proto().graph().initializer()) {
      if (Type(tensor) == DataType::kString) continue;
      MP_RETURN_IF_ERROR(context_.cancellation->Check());
      const auto found = written.find(ToUtf8(tensor.name()));
      MP_ASSIGN_OR_RETURN(const auto bytes, model_.Bytes(tensor));
      if (found != written.end()) {
        MP_ASSIGN_OR_RETURN(const auto other, artifact.Bytes(*found->second));
        if (std::ranges::equal(bytes, other)) continue;
      }
      return Error(ERROR_REASON_ARTIFACT_REJECTED,
                   FormatString("tensor '{}' is not in the artifact as it was", tensor.name()))
          .With("stage", "read back")
          .Tensor(tensor.name());
    }
    report_.add_notes(FormatString(
        "{} tensors were read back and compared; without a graph there is nothing to run",
        written.size()));
    return absl::OkStatus();
  }

  Provenance ProvenanceOf() const {
    if (inputs_.graph.file != nullptr) return Provenance::kWeightsPutIntoGraph;
    return format_->converts() ? Provenance::kConverted : Provenance::kAsGiven;
  }

  absl::Status Write(InputDigests& digests) {
    double sync_seconds = 0;
    {
      Phase phase(this, "write");
      MP_ASSIGN_OR_RETURN(const auto sha256, digests.Wait());
      ModelSummary& original = *report_.mutable_original();
      for (const auto& [name, digest] : sha256) {
        if (name == inputs_.model.main.name) {
          original.set_sha256(digest);
        } else {
          (*original.mutable_sidecar_sha256())[ToUtf8(name)] = digest;
        }
      }
      SetProvenance(original, ProvenanceOf(), recipe_, &model_);
      MP_ASSIGN_OR_RETURN(const Format* format, OutputFormat());
      artifact_format_ = format;
      MP_ASSIGN_OR_RETURN(const std::vector<ArtifactFile> files,
                          format->Write(model_, recipe_.output(), inputs_.output_folder,
                                        inputs_.output_name, context_, &sync_seconds));
      for (const ArtifactFile& file : files) *outcome_.add_files() = file;
      phase.Subtract(sync_seconds);
      tracker_.Update(1);
    }
    // Apart, since it measures the disk and not the work.
    PhaseTime& row = *report_.add_phases();
    row.set_name("sync");
    row.set_seconds(sync_seconds);
    return absl::OkStatus();
  }

  // Reads back what was written, not what is in memory, and lets the gate decide on that.
  absl::Status Judge() {
    InputFiles files;
    for (const ArtifactFile& file : outcome_.files()) {
      MP_ASSIGN_OR_RETURN(auto mapped,
                          MappedFile::OpenForReading(inputs_.output_folder + "/" + file.name()));
      if (mapped->size() != file.size_bytes()) {
        return Error(ERROR_REASON_ARTIFACT_REJECTED,
                     FormatString("{} has {} bytes on disk, not {}", file.name(), mapped->size(),
                                  file.size_bytes()))
            .With("stage", "read back");
      }
      if (files.main.file == nullptr) {
        files.main = {file.name(), std::move(mapped)};
        report_.mutable_artifact()->set_sha256(file.sha256());
      } else {
        (*report_.mutable_artifact()->mutable_sidecar_sha256())[file.name()] = file.sha256();
        files.sidecars.push_back({file.name(), std::move(mapped)});
      }
    }
    const absl::StatusOr<Model> artifact = artifact_format_->Read(files, Import(), context_);
    if (!artifact.ok()) {
      if (const absl::Status stopped = context_.cancellation->Check(); !stopped.ok())
        return stopped;
      return Error(ERROR_REASON_ARTIFACT_REJECTED,
                   FormatString("the artifact cannot be read back: {}",
                                std::string(artifact.status().message())))
          .With("stage", "read back")
          .With("cause", ReasonName(ReasonOf(artifact.status())));
    }
    report_.mutable_artifact()->set_format(std::string(artifact_format_->name()));
    if (!artifact_format_->has_graph()) return CompareWeights(*artifact);
    GateInput gate{
        .only_converted =
            format_->converts() && recipe_.passes_size() == 0 && recipe_.quality_size() == 0,
        .original = &original_,
        .artifact = &*artifact,
        .original_files = original_files_,
        .data = data_.get(),
        .recipe = &recipe_,
        .progress = &tracker_,
    };
    gate.artifact_files.push_back(files.main.file);
    for (const InputFile& file : files.sidecars) gate.artifact_files.push_back(file.file);
    return RunGate(gate, context_, &report_);
  }

  const JobInputs& inputs_;
  const Recipe& recipe_;
  const JobContext& context_;
  JobOutcome& outcome_;
  Report& report_;
  PeakMemory memory_;
  ProgressTracker tracker_;
  const Format* format_ = nullptr;
  const Format* artifact_format_ = nullptr;
  Model original_, model_, student_;
  std::unique_ptr<DataSet> data_;
  std::vector<std::shared_ptr<const MappedFile>> original_files_;
};

// Failed jobs leave no artifact behind, except where a missed bound's artifact was asked for.
void RemoveFiles(const JobInputs& inputs, JobOutcome* outcome) {
  for (const ArtifactFile& file : outcome->files()) {
    std::error_code ignored;
    std::filesystem::remove(std::filesystem::path(inputs.output_folder) / file.name(), ignored);
  }
  outcome->clear_files();
}

absl::Status Guarded(Job& job) {
  try {
    return job.Run();
  } catch (const std::bad_alloc&) {
    return Error(ERROR_REASON_WORKER_OUT_OF_MEMORY, "the process has no memory left")
        .Remedy("give the job more memory, or use gate: structure");
  } catch (const std::exception& error) {
    return Error(ERROR_REASON_INTERNAL_BUG, FormatString("unexpected exception: {}", error.what()));
  } catch (...) {
    return Error(ERROR_REASON_INTERNAL_BUG, "unexpected exception of unknown type");
  }
}

}  // namespace

JobOutcome RunRecipe(const JobInputs& inputs, const Recipe& recipe, const JobContext& context) {
  JobOutcome outcome;
  absl::Status status;
  {
    Job job(inputs, recipe, context, &outcome);
    status = Guarded(job);
    job.Finish();
  }
  if (!status.ok()) {
    const bool keep =
        ReasonOf(status) == ERROR_REASON_QUALITY_BOUND_MISSED && recipe.judging().keep_on_miss();
    if (!keep) RemoveFiles(inputs, &outcome);
    *outcome.mutable_error() = DetailOf(status);
    outcome.set_error_message(ToUtf8(std::string(status.message())));
    outcome.set_error_code(static_cast<int32_t>(status.code()));
  }
  // Names inside a model are arbitrary bytes, and one that is not UTF-8 would make the whole
  // outcome unreadable.
  MakeUtf8(&outcome);
  return outcome;
}

}  // namespace modelpress
