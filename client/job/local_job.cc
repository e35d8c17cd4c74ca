// A job in this process; see job.h.
#include "client/job/interrupt.h"
#include "client/job/job.h"
#include "client/job/open_inputs.h"
#include "core/base/scratch.h"
#include "core/base/thread_pool.h"
#include "core/recipe/run.h"

namespace modelpress {

JobOutcome RunLocally(const JobRequest& request, const std::string& folder, const std::string& name,
                      const JobSurroundings& surroundings) {
  absl::StatusOr<JobInputs> inputs = OpenInputs(request);
  if (!inputs.ok()) return FailedOutcome(inputs.status());
  absl::StatusOr<std::unique_ptr<Scratch>> scratch = Scratch::Temporary(0);
  if (!scratch.ok()) return FailedOutcome(scratch.status());
  const InterruptGuard guard((*scratch)->folder());
  ThreadPool pool(surroundings.threads);
  inputs->output_folder = folder;
  inputs->output_name = name;
  JobContext context;
  context.pool = &pool;
  context.scratch = scratch->get();
  context.cancellation = surroundings.cancellation;
  if (request.deadline_seconds > 0) context.cancellation->EndIn(request.deadline_seconds);
  context.progress = [&](const Progress& progress) {
    surroundings.display->Update(progress.phase(), progress.phase_fraction(),
                                 progress.total_fraction(), progress.detail());
  };
  return RunRecipe(*inputs, request.recipe, context);
}

absl::StatusOr<Plan> PlanLocally(const JobRequest& request, const JobSurroundings& surroundings) {
  MP_ASSIGN_OR_RETURN(JobInputs inputs, OpenInputs(request));
  MP_ASSIGN_OR_RETURN(std::unique_ptr<Scratch> scratch, Scratch::Temporary(0));
  ThreadPool pool(surroundings.threads);
  JobContext context;
  context.pool = &pool;
  context.scratch = scratch.get();
  context.cancellation = surroundings.cancellation;
  return MakePlan(inputs, request.recipe, context);
}

}  // namespace modelpress
