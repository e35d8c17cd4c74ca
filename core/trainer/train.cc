// The training loop: see train.h.
#include "core/trainer/train.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/trainer/batch_cut.h"
#include "core/trainer/batch_loss.h"
#include "core/trainer/batches.h"
#include "core/trainer/checkpoint.h"
#include "core/trainer/hint.h"
#include "core/trainer/optimizer.h"
#include "core/trainer/trained_model.h"

namespace modelpress::trainer {
namespace {

using Clock = std::chrono::steady_clock;

// Steps without a look at the validation samples are told no more often than this.
constexpr double kProgressSeconds = 0.5;

class TrainingLoop {
 public:
  TrainingLoop(const TrainRequest& request, const InheritedFiles& files, size_t threads,
               const Cancellation& cancellation,
               const std::function<void(const TrainProgress&)>& progress)
      : request_(request),
        training_(request.training()),
        files_(files),
        threads_(threads),
        cancellation_(cancellation),
        progress_(progress),
        batches_(request, files),
        checkpoint_(request.checkpoint()) {}

  absl::StatusOr<TrainResult> Run() {
    MP_RETURN_IF_ERROR(Prepare());
    MP_ASSIGN_OR_RETURN(const BatchCut cut, CutBatch(request_, batches_, *model_));
    batch_loss_.emplace(*model_, batches_, cut, threads_);
    const bool resumed = request_.resume() && Resume();
    if (!resumed) MP_RETURN_IF_ERROR(LookAtValidation());
    begun_ = Clock::now();
    seconds_before_ = run_.seconds();
    steps_before_ = run_.steps();
    while (run_.end() == TrainingRun::END_UNSPECIFIED) {
      MP_RETURN_IF_ERROR(cancellation_.Check());
      if (run_.steps() >= training_.steps()) {
        run_.set_end(TrainingRun::END_ALL_STEPS);
        break;
      }
      MP_RETURN_IF_ERROR(OneStep());
      if (run_.end() != TrainingRun::END_UNSPECIFIED) break;
      if (run_.steps() % training_.evaluate_every() == 0 || run_.steps() == training_.steps()) {
        MP_RETURN_IF_ERROR(LookAtValidation());
      } else {
        TellStep();
      }
      if (training_.max_seconds() > 0 && Seconds() >= training_.max_seconds() &&
          run_.end() == TrainingRun::END_UNSPECIFIED) {
        run_.set_end(TrainingRun::END_TIME);
        MP_RETURN_IF_ERROR(LookAtValidation());
      }
    }
    run_.set_seconds(Seconds());
    const double here = run_.seconds() - seconds_before_;
    run_.set_samples_per_second(here > 0 ? SamplesHere() / here : 0);
    MP_RETURN_IF_ERROR(model_->WriteResults(best_));
    TrainResult result;
    *result.mutable_run() = run_;
    return result;
  }

 private:
  absl::Status Prepare() {
    MP_ASSIGN_OR_RETURN(model_, TrainedModel::Make(request_, files_));
    optimizer_.emplace(training_, model_->parameters());
    for (const Parameter& parameter : model_->parameters()) {
      best_.push_back(parameter.values().detach().clone());
    }
    run_.set_parameters(model_->trained_values());
    run_.set_training_samples(request_.training_samples());
    run_.set_validation_samples(batches_.samples() - request_.training_samples());
    return absl::OkStatus();
  }

  // Everything that a checkpoint holds besides run_.
  std::vector<at::Tensor> State() {
    std::vector<at::Tensor> tensors;
    for (const Parameter& parameter : model_->parameters()) {
      tensors.push_back(parameter.values().detach());
    }
    tensors.insert(tensors.end(), optimizer_->state().begin(), optimizer_->state().end());
    tensors.insert(tensors.end(), best_.begin(), best_.end());
    return tensors;
  }

  bool Resume() {
    const at::NoGradGuard no_gradients;
    const std::optional<std::string> state = checkpoint_.Load(files_, State());
    return state.has_value() && run_.ParseFromString(*state);
  }

  double Seconds() const {
    return seconds_before_ + std::chrono::duration<double>(Clock::now() - begun_).count();
  }
  double SamplesHere() const {
    return static_cast<double>((run_.steps() - steps_before_) * training_.batch_size());
  }
  absl::Status OneStep() {
    MP_ASSIGN_OR_RETURN(const double loss, batch_loss_->Learn(batches_.OfStep(run_.steps()),
                                                              training_.batch_norm_statistics(),
                                                              HintShare(training_, run_.steps())));
    const double norm = optimizer_->ClipGradients();
    if (!std::isfinite(loss) || !std::isfinite(norm)) return Diverged(loss);
    optimizer_->Step(run_.steps());
    run_.set_steps(run_.steps() + 1);
    loss_sum_ += loss;
    ++loss_count_;
    return absl::OkStatus();
  }

  absl::Status Diverged(double loss) {
    if (training_.keep_on_divergence()) {
      run_.set_end(TrainingRun::END_DIVERGED);
      return absl::OkStatus();
    }
    return Error(ERROR_REASON_TRAINING_DIVERGED,
                 FormatString("the loss is {} at step {}; the best values are those after step {}",
                              loss, run_.steps(), run_.best_step()))
        .With("step", std::to_string(run_.steps()))
        .With("good_step", std::to_string(run_.best_step()))
        .Remedy("lower learning_rate, or set keep_on_divergence to take the last good values");
  }

  absl::StatusOr<TrainingPoint> Validate() {
    Decisions decisions;
    MP_ASSIGN_OR_RETURN(const double loss,
                        batch_loss_->Judge(request_.training_samples(), batches_.samples(),
                                           cancellation_, &decisions));
    TrainingPoint point;
    point.set_step(run_.steps());
    point.set_validation_loss(loss);
    if (decisions.positions > 0) {
      point.set_agreement(static_cast<double>(decisions.as_teacher) /
                          static_cast<double>(decisions.positions));
    }
    if (decisions.labelled > 0) {
      point.set_accuracy(static_cast<double>(decisions.as_label) /
                         static_cast<double>(decisions.labelled));
    }
    return point;
  }

  // One point of the curve; keeps the best values, writes a checkpoint, decides whether to go on.
  absl::Status LookAtValidation() {
    MP_ASSIGN_OR_RETURN(TrainingPoint point, Validate());
    if (loss_count_ > 0) point.set_loss(loss_sum_ / static_cast<double>(loss_count_));
    loss_sum_ = 0;
    loss_count_ = 0;
    const bool first = run_.points().empty();
    run_.set_seconds(first ? 0 : Seconds());
    point.set_seconds(run_.seconds());
    if (!std::isfinite(point.validation_loss())) {
      MP_RETURN_IF_ERROR(Diverged(point.validation_loss()));
    } else if (first || point.validation_loss() < best_loss()) {
      const at::NoGradGuard no_gradients;
      run_.set_best_step(run_.steps());
      for (size_t i = 0; i < best_.size(); ++i) best_[i].copy_(model_->parameters()[i].values());
    }
    *run_.add_points() = point;
    const uint64_t since = run_.steps() - run_.best_step();
    if (run_.end() == TrainingRun::END_UNSPECIFIED && training_.patience() > 0 &&
        since >= uint64_t{training_.patience()} * training_.evaluate_every()) {
      run_.set_end(TrainingRun::END_NO_PROGRESS);
    }
    MP_RETURN_IF_ERROR(checkpoint_.Save(run_.SerializeAsString(), State()));
    TrainProgress told = ProgressNow(point.has_loss() ? point.loss() : point.validation_loss());
    *told.mutable_point() = point;
    told.set_saved(true);
    Tell(told);
    return absl::OkStatus();
  }

  double best_loss() const {
    for (const TrainingPoint& point : run_.points()) {
      if (point.step() == run_.best_step()) return point.validation_loss();
    }
    return INFINITY;
  }

  TrainProgress ProgressNow(double loss) const {
    TrainProgress told;
    told.set_step(run_.steps());
    told.set_steps(training_.steps());
    told.set_loss(loss);
    if (run_.steps() > steps_before_) {
      const double seconds = std::max(1e-9, Seconds() - seconds_before_);
      const double per_second = SamplesHere() / seconds;
      told.set_samples_per_second(per_second);
      told.set_seconds_left(static_cast<double>(training_.steps() - run_.steps()) *
                            training_.batch_size() / per_second);
    }
    return told;
  }

  void Tell(const TrainProgress& told) {
    last_told_ = Clock::now();
    progress_(told);
  }

  void TellStep() {
    if (std::chrono::duration<double>(Clock::now() - last_told_).count() < kProgressSeconds) return;
    Tell(ProgressNow(loss_sum_ / static_cast<double>(std::max<uint64_t>(1, loss_count_))));
  }

  const TrainRequest& request_;
  const Training& training_;
  const InheritedFiles& files_;
  size_t threads_;
  const Cancellation& cancellation_;
  const std::function<void(const TrainProgress&)>& progress_;
  Batches batches_;
  CheckpointFile checkpoint_;
  std::unique_ptr<TrainedModel> model_;
  std::optional<BatchLoss> batch_loss_;
  std::optional<Optimizer> optimizer_;
  std::vector<at::Tensor> best_;
  TrainingRun run_;
  // Since the last point; checkpoints are only written at points, so these need not be in them.
  double loss_sum_ = 0;
  uint64_t loss_count_ = 0;
  Clock::time_point begun_ = Clock::now(), last_told_ = begun_;
  double seconds_before_ = 0;
  uint64_t steps_before_ = 0;
};

}  // namespace

absl::StatusOr<TrainResult> Train(const TrainRequest& request, size_t threads,
                                  const Cancellation& cancellation,
                                  const std::function<void(const TrainProgress&)>& progress) {
  MP_ASSIGN_OR_RETURN(const InheritedFiles files, InheritedFiles::Open(request));
  return TrainingLoop(request, files, threads, cancellation, progress).Run();
}

}  // namespace modelpress::trainer
