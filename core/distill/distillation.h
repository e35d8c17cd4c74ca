// What the parts of one distillation share: its request, its samples and who judges by them, its report.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "core/distill/distill_model.h"
#include "core/distill/judge.h"
#include "core/distill/search_progress.h"
#include "core/training/hint_values.h"
#include "core/training/training_data.h"
#include "modelpress/v1/pass_report.pb.h"
#include "modelpress/v1/recipe.pb.h"

namespace modelpress {

struct Distillation {
  // All outlive it.
  Distillation(const DistillRequest& request, WeightArena& arena, const JobContext& context,
               v1::PassReport* report);

  // Runs the teacher over all samples, and resolves what is required of students. Notes say what there is. Errors: those of
  // PackTrainingData, ResolveLimits and HeldOutJudge.
  absl::Status Prepare();

  // A single student of a told size, and no search.
  bool size_is_told() const { return request.options.has_width() || request.student != nullptr; }
  void Note(std::string text) { *report.add_notes() = std::move(text); }
  // The report as it is, for who waits.
  void Publish() {
    if (request.so_far != nullptr) *request.so_far = report;
  }

  const DistillRequest& request;
  const Distill& options;
  // With defaults.
  Training training;
  WeightArena& arena;
  const JobContext& context;
  v1::PassReport& report;
  SearchProgress progress;
  TrainingData data;
  // Of `data`: the teacher's values that students follow, found once for all of them.
  HintCache hint_cache;
  HeldOutData held_out;
  std::unique_ptr<HeldOutJudge> judge;
  // The teacher is surer of unlabelled samples than of labelled ones; see kinds.h.
  bool two_kinds = false;

 private:
  void NoteSamples();
  void NoteKinds();
};

}  // namespace modelpress
