// Making, training and judging students: see distill_model.h.
#include "core/distill/distill_model.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <optional>
#include <utility>

#include "core/base/format_count.h"
#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/distill/judge.h"
#include "core/distill/narrow_student.h"
#include "core/distill/requirement.h"
#include "core/distill/staircase.h"
#include "core/distill/student.h"
#include "core/measure/metric_rules.h"
#include "core/quant/function_inlining.h"
#include "core/quant/weight_selection.h"
#include "core/training/augmentation.h"
#include "core/training/train_model.h"

namespace modelpress {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kDefaultShrink = 0.7, kDefaultConfidence = 0.9;
constexpr uint32_t kDefaultStudents = 12, kMostStudents = 100;
// Times the default learning rate.
constexpr double kFastest = 3;
// The share of progress that packing samples takes, and of a student what making it takes.
constexpr double kPacking = 0.05, kMaking = 0.2;
// A share of the channels so small that every group is left with as few as it can have.
constexpr double kNarrowest = 1e-9;
// The teacher's sureness differs by so many standard errors: samples are likely of two kinds (95 %, one-sided).
constexpr double kOfTwoKinds = 1.645;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

bool HasBatchNorm(const Model& model) {
  return std::ranges::any_of(model.proto().graph().node(), [](const onnx::NodeProto& node) {
    return node.op_type() == "BatchNormalization";
  });
}

// A student, made and maybe trained.
struct Made {
  Model model;
  double width = 1;
  uint64_t parameters = 0;
  double macs = 0;
  bool trained = false;
  Verdict verdict;
  // Of the report.
  int row = -1;
};

class Distilling {
 public:
  Distilling(const Model& base, const DistillRequest& request, WeightArena& arena,
             const JobContext& context, v1::PassReport* report)
      : base_(base.Clone()),
        request_(request),
        options_(request.options),
        training_(WithDefaults(request.options.training())),
        arena_(arena),
        context_(context),
        report_(*report) {}

  // Absent where nothing can be made smaller.
  absl::StatusOr<std::optional<Model>> Run() {
    google::protobuf::RepeatedPtrField<std::string> notes;
    InlineFunctions(base_, &notes);
    SeparateInitializersFromInputs(base_);
    MP_ASSIGN_OR_RETURN(const bool possible, Probe());
    if (!possible) return std::optional<Model>();
    MP_RETURN_IF_ERROR(Pack());
    MP_RETURN_IF_ERROR(JudgeTeacher());
    if (request_.student != nullptr) {
      MP_RETURN_IF_ERROR(TryGiven());
    } else if (options_.has_width()) {
      MP_RETURN_IF_ERROR(TryWidth(options_.width(), /*always_train=*/true).status());
    } else {
      MP_RETURN_IF_ERROR(Search());
    }
    MP_RETURN_IF_ERROR(Choose());
    if (options_.control()) MP_RETURN_IF_ERROR(Control());
    DescribeChanges(base_, best_->model, &report_);
    return std::optional<Model>(std::move(best_->model));
  }

 private:
  // Whether there is a student at all; why groups of channels stay.
  absl::StatusOr<bool> Probe() {
    if (request_.student != nullptr) {
      MP_RETURN_IF_ERROR(CheckStudent(*request_.teacher, *request_.student));
      parameters_ = ParametersOf(base_);
      return true;
    }
    MP_ASSIGN_OR_RETURN(const NarrowedModel narrowest,
                        CutStudent(base_, kNarrowest, options_, context_));
    parameters_ = narrowest.parameters_before;
    macs_ = narrowest.macs_before;
    for (const v1::Skip& skip : narrowest.skips) *report_.add_skips() = skip;
    return narrowest.parameters_after < narrowest.parameters_before;
  }

  absl::Status Pack() {
    const Judging judging =
        request_.recipe != nullptr ? request_.recipe->judging() : Judging::default_instance();
    MP_ASSIGN_OR_RETURN(
        data_, PackTrainingData(
                   *request_.teacher, request_.data, training_, request_.seed, context_,
                   [this](double fraction) { Tell(kPacking * fraction, "the original's outputs"); },
                   judging, &held_out_));
    Note(FormatString("{} training samples ({} with labels) of {}; {}", FormatCount(data_.training),
                      FormatCount(data_.labelled), data_.description, data_.task));
    for (const std::string& note : held_out_.notes) Note(note);
    if (held_out_.synthetic) {
      Note(
          "trained and judged on synthetic samples, as no data was given: they are nothing like "
          "real inputs");
    }
    std::vector<std::string> notes;
    const bool size_is_told = options_.has_width() || request_.student != nullptr;
    MP_ASSIGN_OR_RETURN(std::vector<Limit> limits,
                        ResolveLimits(options_, request_.recipe, held_out_, size_is_told, &notes));
    for (const std::string& note : notes) Note(note);
    const double confidence =
        options_.has_confidence() ? options_.confidence() : kDefaultConfidence;
    MP_ASSIGN_OR_RETURN(judge_,
                        HeldOutJudge::Make(held_out_, std::move(limits), confidence, context_));
    Note(FormatString(
        "judged on {} held-out samples with labels and {} without; each end of an interval is a "
        "one-sided bound at {:.4g} %{}",
        FormatCount(held_out_.labelled), FormatCount(held_out_.rows - held_out_.labelled),
        100 * confidence,
        held_out_.labelled > 0 && held_out_.labelled < held_out_.rows
            ? "; accuracy joins both kinds (prediction-powered inference)"
            : ""));
    NoteKinds();
    if (training_.augmented_copies() == 0 && !data_.exact && data_.inputs.size() == 1 &&
        IsImage(RowsOf(data_.inputs[0], /*exact=*/false, 0, 1))) {
      Note(
          "the inputs look like images: training.augmented_copies: 4 trains on shifted, scaled "
          "and turned copies of them too, which usually gives better students");
    }
    return absl::OkStatus();
  }

  // See kinds.h.
  void NoteKinds() {
    const Sureness& sureness = judge_->TeacherSureness();
    two_kinds_ = sureness.standard_errors >= kOfTwoKinds;
    if (!two_kinds_) return;
    Note(FormatString(
        "the original is surer of the samples without labels (mean probability {:.4f}) than of "
        "those with ({:.4f}), as if it had been trained on them; accuracy is estimated from those "
        "of which it is equally sure",
        sureness.unlabelled, sureness.labelled));
  }

  absl::Status JudgeTeacher() {
    MP_ASSIGN_OR_RETURN(const Verdict verdict, judge_->JudgeTeacher());
    v1::Student& row = *report_.add_students();
    row.set_kind(v1::Student::KIND_TEACHER);
    row.set_width(1);
    row.set_parameters(parameters_);
    row.set_weight_bytes(WeightBytes(base_));
    row.set_macs(macs_);
    row.set_holds(verdict.holds);
    row.set_why(verdict.miss);
    for (const auto& estimate : verdict.estimates) *row.add_after() = estimate;
    Publish();
    if (verdict.holds || options_.keep_best()) return absl::OkStatus();
    return Missed(verdict, "the original itself does not meet the requirement")
        .Remedy("give more labelled held-out samples, which narrow the interval, or ask for less");
  }

  Error Missed(const Verdict& verdict, std::string_view who) const {
    const v1::MetricEstimate& estimate = verdict.estimates[std::max(verdict.missed, 0)];
    Error error(ERROR_REASON_QUALITY_BOUND_MISSED, FormatString("{}: {}", who, verdict.miss));
    error.With("metric", estimate.metric())
        .With("bound", FormatString("{}", estimate.required()))
        .With("measured", FormatString("{}", estimate.value()));
    return error;
  }

  // --- Making -----------------------------------------------------------------------------------------------------

  absl::StatusOr<Made> Narrow(const Model& from, double from_width, double width) {
    MP_ASSIGN_OR_RETURN(NarrowedModel narrowed,
                        NarrowStudent(from, width / from_width, options_, data_, arena_, context_,
                                      [&](double fraction, std::string_view detail) {
                                        TellStudent(
                                            kMaking * fraction,
                                            FormatString("making a student of width {:.3g}: {}",
                                                         width, std::string(detail)));
                                      }));
    Made made{.width = width, .parameters = narrowed.parameters_after, .macs = narrowed.macs_after};
    made.model = std::move(narrowed.model);
    return made;
  }

  // The smallest student that was trained and holds; null: narrower ones are made from the original.
  const Made* Parent() const {
    return best_.has_value() && best_->trained && best_->verdict.holds ? &*best_ : nullptr;
  }

  // Made from the original instead, a student was less like it in every search that was seen.
  absl::StatusOr<Made> Make(double width) {
    const Made* const parent = Parent();
    return parent != nullptr ? Narrow(parent->model, parent->width, width)
                             : Narrow(base_, 1, width);
  }

  v1::Student& Row(const Made& made) { return *report_.mutable_students(made.row); }

  void AddRow(v1::Student::Kind kind, Made& made) {
    made.row = report_.students_size();
    v1::Student& row = *report_.add_students();
    row.set_kind(kind);
    row.set_width(made.width);
    row.set_parameters(made.parameters);
    row.set_weight_bytes(WeightBytes(made.model));
    row.set_macs(made.macs);
  }

  std::string NameOf(const Made& made) const {
    if (request_.student != nullptr) {
      return FormatString("the given student ({} parameters)", FormatCount(made.parameters));
    }
    return FormatString("student {}, width {:.3g} ({} parameters)", made.row, made.width,
                        FormatCount(made.parameters));
  }

  // --- Training and judging ---------------------------------------------------------------------------------------

  // Trains in place; the row refers to the training.
  absl::Status Train(Model& model, const std::string& name, const TrainingData& data,
                     const Training& training, v1::Student* row) {
    const GraphIndex index(model.mutable_proto());
    MP_ASSIGN_OR_RETURN(const Trainables found, FindTrainables(model, index, WeightSelection(),
                                                               training.batch_norm_statistics()));
    if (found.parameters.empty()) return absl::OkStatus();
    const TrainOptions options{
        .training = training,
        .seed = request_.seed,
        .name = name,
        .original = request_.teacher,
        .progress =
            [this](double fraction, std::string_view detail) {
              TellStudent(kMaking + (1 - kMaking) * fraction, std::string(detail));
            },
    };
    v1::PassReport rows;
    MP_ASSIGN_OR_RETURN(const TrainingRun run, TrainModel(model, found.parameters, data, options,
                                                          arena_, context_, &rows));
    row->set_training(static_cast<uint32_t>(report_.trainings_size()));
    *report_.add_trainings() = run;
    return absl::OkStatus();
  }

  void SetVerdict(const Verdict& verdict, v1::Student* row) {
    row->clear_after();
    for (const auto& estimate : verdict.estimates) *row->add_after() = estimate;
    row->set_holds(verdict.holds);
    row->set_why(verdict.miss);
  }

  // Trains a new student, which was judged, if it must be or does not hold yet, and judges again.
  absl::Status Attempt(Made& made, bool always_train) {
    const Clock::time_point start = Clock::now();
    for (const auto& estimate : made.verdict.estimates) *Row(made).add_before() = estimate;
    if (made.verdict.holds && !always_train) {
      SetVerdict(made.verdict, &Row(made));
      Row(made).set_why("holds before any training");
    } else {
      MP_RETURN_IF_ERROR(TrainStudent(made));
      // Short of the requirement by less than the interval is wide: worth as many steps again before it is given up.
      if (!made.verdict.holds && made.verdict.value_holds) MP_RETURN_IF_ERROR(TrainStudent(made));
    }
    Row(made).set_seconds(Row(made).seconds() + SecondsSince(start));
    Publish();
    if (!closest_.has_value() || made.verdict.margin > closest_->margin) {
      closest_ = made.verdict;
      closest_name_ = NameOf(made);
    }
    return absl::OkStatus();
  }

  // Where none was told, small students learn faster: a layer's learning rate for Adam goes with 1 / width (Yang et al. 2022,
  // "Tensor programs V"), of which this is the careful half. Seen on digits: 26,000 parameters reach 97.4 % instead of 95.3.
  Training TrainingFor(double width) const {
    Training training = training_;
    const bool told = options_.training().learning_rate() > 0;
    if (!told && width > 0 && training.optimizer() == Training::OPTIMIZER_ADAMW) {
      training.set_learning_rate(training.learning_rate() *
                                 std::min(kFastest, 1 / std::sqrt(width)));
    }
    return training;
  }

  absl::Status TrainStudent(Made& made) {
    Model trained = made.model.Clone();
    const bool once_more = Row(made).has_training();
    const uint32_t former = Row(made).training();
    const std::string name = NameOf(made) + (once_more ? ", once more" : "");
    MP_RETURN_IF_ERROR(Train(trained, name, data_, TrainingFor(made.width), &Row(made)));
    MP_ASSIGN_OR_RETURN(Verdict verdict, judge_->Judge(trained));
    if (once_more && verdict.margin <= made.verdict.margin) {
      Row(made).set_training(former);
      return absl::OkStatus();
    }
    if (!once_more) ++trained_students_;
    if (made.verdict.holds && !verdict.holds) {
      SetVerdict(made.verdict, &Row(made));
      Row(made).set_why("the values before training hold and those after it do not: they are kept");
      return absl::OkStatus();
    }
    made.model = std::move(trained);
    made.trained = true;
    made.verdict = std::move(verdict);
    SetVerdict(made.verdict, &Row(made));
    return absl::OkStatus();
  }

  // In a search students are not trained as long as they hold without: that is most of the way down and costs little. From
  // the first one that misses on, each is trained, that one's predecessor too, since the next starts from its weights.
  absl::StatusOr<Trial> TryWidth(double width, bool always_train) {
    const Clock::time_point start = Clock::now();
    MP_ASSIGN_OR_RETURN(Made made, Make(width));
    MP_ASSIGN_OR_RETURN(made.verdict, judge_->Judge(made.model));
    const bool untrained = best_.has_value() && best_->verdict.holds && !Row(*best_).has_training();
    if (!made.verdict.holds && untrained) {
      MP_RETURN_IF_ERROR(TrainLater());
      MP_ASSIGN_OR_RETURN(made, Make(width));
      MP_ASSIGN_OR_RETURN(made.verdict, judge_->Judge(made.model));
    }
    AddRow(v1::Student::KIND_NARROWED, made);
    Row(made).set_seconds(SecondsSince(start));
    MP_RETURN_IF_ERROR(Attempt(made, always_train || trained_students_ > 0));
    const Trial trial{.parameters = made.parameters,
                      .holds = made.verdict.holds,
                      .counts = Row(made).has_training()};
    Keep(std::move(made));
    return trial;
  }

  // The smallest that holds, which has not needed it so far.
  absl::Status TrainLater() {
    const Clock::time_point start = Clock::now();
    MP_RETURN_IF_ERROR(TrainStudent(*best_));
    Row(*best_).set_seconds(Row(*best_).seconds() + SecondsSince(start));
    Publish();
    return absl::OkStatus();
  }

  // The smallest that holds; where none does and the best is to be kept, that one.
  void Keep(Made made) {
    const bool better =
        !best_.has_value() ||
        (best_->verdict.holds ? made.verdict.holds
                              : made.verdict.holds || made.verdict.margin > best_->verdict.margin);
    if (made.verdict.holds ? better : options_.keep_best() && better) best_ = std::move(made);
  }

  absl::Status TryGiven() {
    Made made{.parameters = 0};
    made.model = request_.student->Clone();
    google::protobuf::RepeatedPtrField<std::string> notes;
    InlineFunctions(made.model, &notes);
    SeparateInitializersFromInputs(made.model);
    made.parameters = ParametersOf(made.model);
    made.width = 0;
    MP_ASSIGN_OR_RETURN(made.verdict, judge_->Judge(made.model));
    AddRow(v1::Student::KIND_GIVEN, made);
    MP_RETURN_IF_ERROR(Attempt(made, /*always_train=*/true));
    Keep(std::move(made));
    return absl::OkStatus();
  }

  absl::Status Search() {
    const Clock::time_point start = Clock::now();
    StaircaseOptions options;
    options.shrink = options_.has_shrink() ? options_.shrink() : kDefaultShrink;
    options.max_students = MostStudents();
    options.min_parameters = options_.min_parameters();
    options.original_parameters = parameters_;
    options.out_of_time = [&] {
      return options_.max_seconds() > 0 && SecondsSince(start) >= options_.max_seconds();
    };
    const auto size = [&](double width) -> absl::StatusOr<uint64_t> {
      const Made* const parent = Parent();
      MP_ASSIGN_OR_RETURN(const NarrowedModel cut,
                          parent != nullptr
                              ? CutStudent(parent->model, width / parent->width, options_, context_)
                              : CutStudent(base_, width, options_, context_));
      return cut.parameters_after;
    };
    MP_ASSIGN_OR_RETURN(const StaircaseResult result,
                        DescendStaircase(options, size, [&](double width) {
                          return TryWidth(width, /*always_train=*/false);
                        }));
    Note(FormatString("the search ended after {} trained students: {}", trained_students_,
                      result.end));
    return absl::OkStatus();
  }

  // --- The end ----------------------------------------------------------------------------------------------------

  absl::Status Choose() {
    if (!best_.has_value()) {
      if (!closest_.has_value()) {
        return Error(ERROR_REASON_JOB_DEADLINE, "no student was made within distill.max_seconds")
            .Remedy("raise max_seconds");
      }
      return Missed(*closest_, FormatString("no student meets the requirement; of the closest, {},",
                                            closest_name_))
          .Remedy(
              "ask for less, train longer (training.steps), give more samples, or set "
              "keep_best to take the best one");
    }
    // One that held before any training can only gain.
    if (!Row(*best_).has_training()) MP_RETURN_IF_ERROR(TrainLater());
    v1::Student& row = Row(*best_);
    row.set_chosen(true);
    const bool joined = held_out_.labelled > 0 && held_out_.labelled < held_out_.rows;
    if (two_kinds_ && joined) {
      const Interval& alone = best_->verdict.accuracy_of_labels;
      Note(
          FormatString("by the labelled samples alone the chosen student's accuracy is {:.4f} "
                       "({:.4f} to {:.4f})",
                       alone.value, alone.low, alone.high));
    }
    if (!best_->verdict.holds) {
      Note(FormatString("NO STUDENT MEETS THE REQUIREMENT; the best one was asked for: {}",
                        best_->verdict.miss));
    }
    Publish();
    return absl::OkStatus();
  }

  absl::Status Control() {
    const auto data = LabelledOnly(data_, context_);
    if (!data.ok() && ReasonOf(data.status()) == ERROR_REASON_DATA_MISSING) {
      Note(FormatString("no control run: it is trained on labels alone, and {}",
                        std::string(data.status().message())));
      return absl::OkStatus();
    }
    MP_RETURN_IF_ERROR(data.status());
    const Clock::time_point start = Clock::now();
    Made made{.width = best_->width, .parameters = best_->parameters, .macs = best_->macs};
    MP_ASSIGN_OR_RETURN(made.model, WithRandomWeights(best_->model, request_.seed, arena_));
    AddRow(v1::Student::KIND_CONTROL, made);
    MP_ASSIGN_OR_RETURN(made.verdict, judge_->Judge(made.model));
    for (const auto& estimate : made.verdict.estimates) *Row(made).add_before() = estimate;
    Training training = TrainingFor(made.width);
    training.set_alpha(0);
    training.clear_hints();
    if (HasBatchNorm(made.model)) training.set_batch_norm_statistics(true);
    MP_RETURN_IF_ERROR(Train(made.model,
                             FormatString("control, width {:.3g} (labels alone)", made.width),
                             *data, training, &Row(made)));
    MP_ASSIGN_OR_RETURN(made.verdict, judge_->Judge(made.model));
    SetVerdict(made.verdict, &Row(made));
    Row(made).set_seconds(SecondsSince(start));
    const v1::MetricEstimate& student = best_->verdict.estimates[0];
    const v1::MetricEstimate& control = made.verdict.estimates[0];
    const bool higher = FindMetric(student.metric())->higher_is_better;
    const bool better =
        higher ? student.value() > control.value() : student.value() < control.value();
    Note(FormatString(
        "{}: {} is {:.4f}; trained from random weights on {} labelled samples alone, "
        "the same net has {:.4f}",
        better ? "the student beats the control" : "THE STUDENT DOES NOT BEAT THE CONTROL",
        student.metric(), student.value(), FormatCount(data->labelled), control.value()));
    Publish();
    return absl::OkStatus();
  }

  // --- Telling ----------------------------------------------------------------------------------------------------

  uint32_t MostStudents() const {
    return options_.max_students() > 0 ? options_.max_students() : kDefaultStudents;
  }

  void Note(std::string text) { *report_.add_notes() = std::move(text); }

  void Publish() {
    if (request_.so_far != nullptr) *request_.so_far = report_;
  }

  void Tell(double fraction, std::string_view detail) const {
    if (request_.progress) request_.progress(std::clamp(fraction, 0.0, 1.0), detail);
  }

  // `part` of the student that is being worked on.
  void TellStudent(double part, const std::string& detail) const {
    const bool single = request_.student != nullptr || options_.has_width();
    const double all = (single ? 1 : MostStudents()) + (options_.control() ? 1 : 0);
    const double done = std::max(0, report_.trainings_size());
    Tell(kPacking + (1 - kPacking) * (done + part) / std::max(all, done + 1), detail);
  }

  Model base_;
  const DistillRequest& request_;
  const Distill& options_;
  const Training training_;
  WeightArena& arena_;
  const JobContext& context_;
  v1::PassReport& report_;
  uint64_t parameters_ = 0;
  double macs_ = 0;
  TrainingData data_;
  HeldOutData held_out_;
  std::unique_ptr<HeldOutJudge> judge_;
  std::optional<Made> best_;
  // Of all students the one with the best margin.
  std::optional<Verdict> closest_;
  std::string closest_name_;
  bool two_kinds_ = false;
  int trained_students_ = 0;
};

}  // namespace

absl::Status ValidateDistill(const Distill& options) {
  const auto refuse = [](std::string_view name, std::string_view rule) {
    const std::string path = FormatString("distill.{}", name);
    return Error(ERROR_REASON_RECIPE_INVALID, FormatString("{} {}", path, rule))
        .With("field", path);
  };
  MP_RETURN_IF_ERROR(ValidateTraining(options.training(), "distill.training"));
  const auto share = [](double s) { return s > 0 && s < 1; };
  if (options.has_width() && !share(options.width())) {
    return refuse("width", "must lie between 0 and 1");
  }
  if (options.has_shrink() && !share(options.shrink())) {
    return refuse("shrink", "must lie between 0 and 1");
  }
  if (options.max_students() > kMostStudents) {
    return refuse("max_students", FormatString("must be at most {}", kMostStudents));
  }
  if (options.max_seconds() < 0) return refuse("max_seconds", "must not be negative");
  if (options.has_confidence() && !(options.confidence() >= 0.5 && options.confidence() < 1)) {
    return refuse("confidence", "must be at least 0.5 and less than 1");
  }
  return ValidateBounds(options.bounds(), "distill.bounds");
}

absl::Status DistillModel(Model& model, const DistillRequest& request, WeightArena& arena,
                          const JobContext& context, v1::PassReport* report) {
  MP_ASSIGN_OR_RETURN(std::optional<Model> student,
                      Distilling(model, request, arena, context, report).Run());
  if (student.has_value()) model = *std::move(student);
  return absl::OkStatus();
}

}  // namespace modelpress
