// The job's side of modelpress-trainer.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "core/base/job_context.h"
#include "core/base/mapped_file.h"
#include "modelpress/v1/trainer.pb.h"

namespace modelpress {

// TRAINER_MISSING unless modelpress-trainer lies beside this program.
absl::Status RequireTrainer();

// The files that a request speaks of, numbered as the trainer inherits them.
class TrainerFiles {
 public:
  FileRange Range(std::shared_ptr<const MappedFile> file, uint64_t offset, uint64_t length);
  std::vector<int> Descriptors() const;

 private:
  std::vector<std::shared_ptr<const MappedFile>> files_;
};

// Runs a trainer to its end, with as many threads as the job has. One that dies is started again from its last checkpoint, a
// few times, as long as each got further than the one before; `*restarts` says how often. Errors: those of the training;
// TRAINER_MISSING; JOB_CANCELLED and JOB_DEADLINE; WORKER_CRASHED and WORKER_OUT_OF_MEMORY where it died for good.
absl::StatusOr<TrainResult> RunTrainer(TrainRequest request, const TrainerFiles& files,
                                       const JobContext& context,
                                       const std::function<void(const TrainProgress&)>& progress,
                                       uint32_t* restarts);

}  // namespace modelpress
