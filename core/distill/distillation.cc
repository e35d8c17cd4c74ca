// Samples and judges of a distillation: see distillation.h.
#include "core/distill/distillation.h"

#include <utility>
#include <vector>

#include "core/base/format_count.h"
#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/distill/distill_options.h"
#include "core/distill/requirement.h"
#include "core/training/augmentation.h"
#include "core/training/training_options.h"

namespace modelpress {
namespace {

// The teacher's sureness differs by so many standard errors: samples are likely of two kinds (95 %, one-sided).
constexpr double kOfTwoKinds = 1.645;

}  // namespace

Distillation::Distillation(const DistillRequest& the_request, WeightArena& the_arena,
                           const JobContext& the_context, v1::PassReport* the_report)
    : request(the_request),
      options(the_request.options),
      training(WithDefaults(the_request.options.training())),
      arena(the_arena),
      context(the_context),
      report(*the_report),
      progress(the_request.progress) {}

absl::Status Distillation::Prepare() {
  const Judging judging =
      request.recipe != nullptr ? request.recipe->judging() : Judging::default_instance();
  MP_ASSIGN_OR_RETURN(
      data, PackTrainingData(
                *request.teacher, request.data, training, request.seed, context,
                [this](double fraction) { progress.Packing(fraction); }, judging, &held_out));
  training = WithDefaults(options.training(), data.training);
  NoteSamples();
  std::vector<std::string> notes;
  MP_ASSIGN_OR_RETURN(std::vector<Limit> limits,
                      ResolveLimits(options, request.recipe, held_out, size_is_told(), &notes));
  for (const std::string& note : notes) Note(note);
  const double confidence = ConfidenceOf(options);
  MP_ASSIGN_OR_RETURN(judge, HeldOutJudge::Make(held_out, std::move(limits), confidence, context));
  Note(FormatString(
      "judged on {} held-out samples with labels and {} without; each end of an interval is a "
      "one-sided bound at {:.4g} %{}",
      FormatCount(held_out.labelled), FormatCount(held_out.rows - held_out.labelled),
      100 * confidence,
      held_out.labelled > 0 && held_out.labelled < held_out.rows
          ? "; accuracy joins both kinds (prediction-powered inference)"
          : ""));
  NoteKinds();
  return absl::OkStatus();
}

void Distillation::NoteSamples() {
  Note(FormatString("{} training samples ({} with labels) of {}; {}", FormatCount(data.training),
                    FormatCount(data.labelled), data.description, data.task));
  for (const std::string& note : held_out.notes) Note(note);
  if (held_out.synthetic) {
    Note(
        "trained and judged on synthetic samples, as no data was given: they are nothing like "
        "real inputs");
  }
  if (training.augmented_copies() == 0 && !data.exact && data.inputs.size() == 1 &&
      IsImage(RowsOf(data.inputs[0], /*exact=*/false, 0, 1))) {
    Note(
        "the inputs look like images: --pass distill:training.augmented_copies=4 (in a recipe: "
        "training: {augmented_copies: 4}) trains on shifted, scaled and turned copies of them too, "
        "which usually gives better students");
  }
}

void Distillation::NoteKinds() {
  const Sureness& sureness = judge->TeacherSureness();
  two_kinds = sureness.standard_errors >= kOfTwoKinds;
  if (!two_kinds) return;
  Note(FormatString(
      "the original is surer of the samples without labels (mean probability {:.4f}) than of "
      "those with ({:.4f}), as if it had been trained on them; accuracy is estimated from those "
      "of which it is equally sure",
      sureness.unlabelled, sureness.labelled));
}

}  // namespace modelpress
