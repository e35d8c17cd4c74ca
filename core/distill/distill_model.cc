// Making, training and judging students: see distill_model.h.
#include "core/distill/distill_model.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>
#include <utility>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/distill/control.h"
#include "core/distill/distill_options.h"
#include "core/distill/distillation.h"
#include "core/distill/narrow_student.h"
#include "core/distill/staircase.h"
#include "core/distill/student.h"
#include "core/distill/student_training.h"
#include "core/quant/function_inlining.h"
#include "core/quant/weight_selection.h"
#include "core/training/train_model.h"

namespace modelpress {
namespace {

using Clock = std::chrono::steady_clock;

// A share of the channels so small that every group is left with as few as it can have.
constexpr double kNarrowest = 1e-9;
// How many trainings a search is taken to go on for; only to tell the time that is left.
constexpr double kExpectedTrainings = 5;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

class Distilling {
 public:
  Distilling(const Model& base, const DistillRequest& request, WeightArena& arena,
             const JobContext& context, v1::PassReport* report)
      : base_(base.Clone()),
        request_(request),
        options_(request.options),
        shared_(request, arena, context, report) {}

  // Absent where nothing can be made smaller.
  absl::StatusOr<std::optional<Model>> Run() {
    google::protobuf::RepeatedPtrField<std::string> notes;
    InlineFunctions(base_, &notes);
    SeparateInitializersFromInputs(base_);
    MP_ASSIGN_OR_RETURN(const bool possible, Probe());
    if (!possible) return std::optional<Model>();
    MP_RETURN_IF_ERROR(shared_.Prepare());
    MP_RETURN_IF_ERROR(JudgeTeacher());
    if (request_.student != nullptr) {
      MP_RETURN_IF_ERROR(TryGiven());
    } else if (options_.has_width()) {
      MP_RETURN_IF_ERROR(TryWidth(options_.width()).status());
    } else {
      MP_RETURN_IF_ERROR(Search());
    }
    MP_RETURN_IF_ERROR(Choose());
    if (options_.control()) MP_RETURN_IF_ERROR(RunControl(shared_, *best_));
    DescribeChanges(base_, best_->model, &shared_.report);
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
                        CutStudent(base_, kNarrowest, options_, shared_.context));
    parameters_ = narrowest.parameters_before;
    smallest_parameters_ = narrowest.parameters_after;
    macs_ = narrowest.macs_before;
    for (const v1::Skip& skip : narrowest.skips) *shared_.report.add_skips() = skip;
    return narrowest.parameters_after < narrowest.parameters_before;
  }

  absl::Status JudgeTeacher() {
    MP_ASSIGN_OR_RETURN(const Verdict verdict, shared_.judge->JudgeTeacher());
    v1::Student& row = *shared_.report.add_students();
    row.set_kind(v1::Student::KIND_TEACHER);
    row.set_width(1);
    row.set_parameters(parameters_);
    row.set_weight_bytes(WeightBytes(base_));
    row.set_macs(macs_);
    SetVerdict(verdict, &row);
    shared_.Publish();
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

  // Students are made from the smallest that was trained and holds: made from the original instead, they were less like it in
  // every search that was seen.
  const Model& ParentModel() const { return parent_.has_value() ? *parent_ : base_; }
  double ShareOfParent(double width) const { return width / parent_width_; }

  absl::StatusOr<MadeStudent> Make(double width) {
    const auto tell = [&](double, std::string_view detail) {
      shared_.progress.Making(
          FormatString("making a student of width {:.3g}: {}", width, std::string(detail)));
    };
    MP_ASSIGN_OR_RETURN(NarrowedModel narrowed,
                        NarrowStudent(ParentModel(), ShareOfParent(width), options_, shared_.data,
                                      shared_.arena, shared_.context, tell));
    MadeStudent made{.width = width};
    made.parameters = narrowed.parameters_after;
    made.macs = narrowed.macs_after;
    made.model = std::move(narrowed.model);
    return made;
  }

  absl::Status JudgeNew(MadeStudent& made) {
    MP_ASSIGN_OR_RETURN(made.verdict, shared_.judge->Judge(made.model));
    v1::Student& row = RowOf(shared_, made);
    row.clear_before();
    for (const auto& estimate : made.verdict.estimates) *row.add_before() = estimate;
    SetVerdict(made.verdict, &row);
    if (made.verdict.holds) row.set_why("holds before any training");
    return absl::OkStatus();
  }

  // Judges a new student, trains it where it must be, and keeps it if it is better than the one before.
  absl::StatusOr<Trial> Attempt(MadeStudent made, v1::Student::Kind kind, Clock::time_point start) {
    seconds_of_best_ = 0;
    AddRow(shared_, kind, made);
    MP_RETURN_IF_ERROR(JudgeNew(made));
    if (shared_.size_is_told()) {
      MP_RETURN_IF_ERROR(TrainTwice(shared_, made, options_.control() ? 1 : 0));
    } else if (!made.verdict.holds || trained_students_ > 0) {
      // As long as students hold untrained they are left so: that is most of the way down and costs little.
      ++trained_students_;
      MP_RETURN_IF_ERROR(TrainToHold(made));
    }
    RowOf(shared_, made).set_seconds(SecondsSince(start) - seconds_of_best_);
    seconds_of_longest_ = std::max(seconds_of_longest_, SecondsSince(start));
    shared_.Publish();
    if (!closest_.has_value() || made.verdict.margin > closest_->margin) {
      closest_ = made.verdict;
      closest_name_ = NameOf(shared_, made);
    }
    const Trial trial{.parameters = made.parameters,
                      .holds = made.verdict.holds,
                      .counts = RowOf(shared_, made).has_training()};
    Keep(std::move(made));
    return trial;
  }

  // In a search. A student is made anew from the one before it, if that has not been trained yet: the next starts from its
  // weights, and the smaller they are, the more it matters how good these are.
  absl::Status TrainToHold(MadeStudent& made) {
    const double shrink = ShrinkOf(options_);
    const double later = shrink * (1 - std::pow(shrink, kExpectedTrainings)) / (1 - shrink);
    if (best_.has_value() && best_->verdict.holds && !best_->trained_fully) {
      MP_ASSIGN_OR_RETURN(const bool better, TrainBest(later));
      if (better) {
        const int row = made.row;
        MP_ASSIGN_OR_RETURN(made, Make(made.width));
        made.row = row;
        DescribeStudent(made, &RowOf(shared_, made));
        MP_RETURN_IF_ERROR(JudgeNew(made));
      }
    }
    return TrainTwice(shared_, made, later);
  }

  // The smallest that holds, with all steps; whether its values were taken.
  absl::StatusOr<bool> TrainBest(double later) {
    const Clock::time_point start = Clock::now();
    trained_students_ += !best_->trained;
    MP_ASSIGN_OR_RETURN(const bool taken, TrainFully(shared_, *best_, later));
    v1::Student& row = RowOf(shared_, *best_);
    seconds_of_best_ = SecondsSince(start);
    row.set_seconds(row.seconds() + seconds_of_best_);
    shared_.Publish();
    if (taken) SetParent(*best_);
    return taken;
  }

  void SetParent(const MadeStudent& student) {
    parent_ = student.model.Clone();
    parent_width_ = student.width;
  }

  absl::StatusOr<Trial> TryWidth(double width) {
    const Clock::time_point start = Clock::now();
    MP_ASSIGN_OR_RETURN(MadeStudent made, Make(width));
    return Attempt(std::move(made), v1::Student::KIND_NARROWED, start);
  }

  absl::Status TryGiven() {
    const Clock::time_point start = Clock::now();
    MadeStudent made{.width = 0};
    made.model = request_.student->Clone();
    google::protobuf::RepeatedPtrField<std::string> notes;
    InlineFunctions(made.model, &notes);
    SeparateInitializersFromInputs(made.model);
    made.parameters = ParametersOf(made.model);
    return Attempt(std::move(made), v1::Student::KIND_GIVEN, start).status();
  }

  // The smallest that holds; where none does and the best is to be kept, that one.
  void Keep(MadeStudent made) {
    const bool better =
        !best_.has_value() ||
        (best_->verdict.holds ? made.verdict.holds
                              : made.verdict.holds || made.verdict.margin > best_->verdict.margin);
    if (made.verdict.holds && made.trained) SetParent(made);
    if (made.verdict.holds ? better : options_.keep_best() && better) best_ = std::move(made);
  }

  // Neither the recipe nor the job's deadline leaves time for a student that takes as long as the longest so far.
  bool out_of_time() const {
    if (options_.max_seconds() > 0 && SecondsSince(search_begun_) >= options_.max_seconds()) {
      return true;
    }
    return seconds_of_longest_ > kShareOfTimeLeft * shared_.context.cancellation->SecondsLeft();
  }

  absl::Status Search() {
    search_begun_ = Clock::now();
    StaircaseOptions options;
    options.shrink = ShrinkOf(options_);
    options.max_students = MostStudentsOf(options_);
    options.min_parameters = options_.min_parameters();
    options.original_parameters = parameters_;
    options.smallest_parameters = smallest_parameters_;
    options.out_of_time = [this] { return out_of_time(); };
    const auto size = [&](double width) -> absl::StatusOr<uint64_t> {
      MP_ASSIGN_OR_RETURN(const NarrowedModel cut, CutStudent(ParentModel(), ShareOfParent(width),
                                                              options_, shared_.context));
      return cut.parameters_after;
    };
    MP_ASSIGN_OR_RETURN(
        const StaircaseResult result,
        DescendStaircase(options, size, [&](double width) { return TryWidth(width); }));
    shared_.Note(FormatString("the search ended after {} trained students: {}", trained_students_,
                              result.end));
    return absl::OkStatus();
  }

  absl::Status Choose() {
    if (!best_.has_value()) {
      if (!closest_.has_value()) {
        return Error(ERROR_REASON_JOB_DEADLINE, "no student was made in the time there was")
            .Remedy("raise distill.max_seconds, or the job's deadline");
      }
      return Missed(*closest_, FormatString("no student meets the requirement; the closest is {}",
                                            closest_name_))
          .Remedy(
              "ask for less, train longer (training.steps), give more samples, or set "
              "keep_best to take the best one");
    }
    // One that held before any training can only gain.
    if (best_->verdict.holds && !best_->trained_fully) {
      if (out_of_time()) {
        shared_.Note("the time is up: the chosen student was not trained");
      } else {
        MP_RETURN_IF_ERROR(TrainBest(options_.control() ? 1 : 0).status());
      }
    }
    v1::Student& row = RowOf(shared_, *best_);
    row.set_chosen(true);
    const HeldOutData& held_out = shared_.held_out;
    if (shared_.two_kinds && held_out.labelled > 0 && held_out.labelled < held_out.rows) {
      const Interval& alone = best_->verdict.accuracy_of_labels;
      shared_.Note(
          FormatString("by the labelled samples alone the chosen student's accuracy is {:.4f} "
                       "({:.4f} to {:.4f})",
                       alone.value, alone.low, alone.high));
    }
    if (!best_->verdict.holds) {
      shared_.Note(FormatString("NO STUDENT MEETS THE REQUIREMENT; the best one was asked for: {}",
                                best_->verdict.miss));
    }
    shared_.Publish();
    return absl::OkStatus();
  }

  Model base_;
  const DistillRequest& request_;
  const Distill& options_;
  Distillation shared_;
  uint64_t parameters_ = 0, smallest_parameters_ = 0;
  double macs_ = 0;
  std::optional<Model> parent_;
  double parent_width_ = 1;
  std::optional<MadeStudent> best_;
  // Of all students the one with the best margin.
  std::optional<Verdict> closest_;
  std::string closest_name_;
  int trained_students_ = 0;
  // Of the attempt at hand, what went into the student before.
  double seconds_of_best_ = 0;
  // Of all attempts.
  double seconds_of_longest_ = 0;
  Clock::time_point search_begun_ = Clock::now();
};

}  // namespace

absl::Status DistillModel(Model& model, const DistillRequest& request, WeightArena& arena,
                          const JobContext& context, v1::PassReport* report) {
  MP_ASSIGN_OR_RETURN(std::optional<Model> student,
                      Distilling(model, request, arena, context, report).Run());
  if (student.has_value()) model = *std::move(student);
  return absl::OkStatus();
}

}  // namespace modelpress
