// Starting and following a trainer: see trainer_process.h.
#include "core/training/trainer_process.h"

#include <unistd.h>

#include <algorithm>
#include <optional>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/process/child_process.h"

namespace modelpress {
namespace {

constexpr uint32_t kMostRestarts = 3;
constexpr double kGraceSeconds = 0.5;

std::string TrainerPath() { return ProgramBeside("modelpress-trainer"); }

absl::Status Died(const ChildEnd& end) {
  if (end.killed()) {
    return Error(
               ERROR_REASON_WORKER_OUT_OF_MEMORY,
               "the trainer was killed from outside, most likely by the kernel for want of memory")
        .With("phase", "training")
        .Remedy("lower batch_size, or give the job more memory");
  }
  const std::string cause = end.Cause();
  return Error(ERROR_REASON_WORKER_CRASHED, FormatString("the trainer died ({})", cause))
      .With("signal", cause)
      .With("phase", "training")
      .Remedy("report the model and recipe; other jobs are not affected");
}

}  // namespace

absl::Status RequireTrainer() {
  const std::string path = TrainerPath();
  if (access(path.c_str(), X_OK) == 0) return absl::OkStatus();
  return Error(ERROR_REASON_TRAINER_MISSING,
               "training needs modelpress-trainer, which is not installed here")
      .With("path", path)
      .Remedy("use the image modelpress-train, or build where libtorch is installed");
}

FileRange TrainerFiles::Range(std::shared_ptr<const MappedFile> file, uint64_t offset,
                              uint64_t length) {
  auto found = std::ranges::find(files_, file);
  if (found == files_.end()) found = files_.insert(found, std::move(file));
  FileRange range;
  range.set_file(static_cast<uint32_t>(found - files_.begin()));
  range.set_offset(offset);
  range.set_length(length);
  return range;
}

std::vector<int> TrainerFiles::Descriptors() const {
  std::vector<int> descriptors;
  for (const auto& file : files_) descriptors.push_back(file->descriptor());
  return descriptors;
}

absl::StatusOr<TrainResult> RunTrainer(TrainRequest request, const TrainerFiles& files,
                                       const JobContext& context,
                                       const std::function<void(const TrainProgress&)>& progress,
                                       uint32_t* restarts) {
  MP_RETURN_IF_ERROR(RequireTrainer());
  const std::vector<int> descriptors = files.Descriptors();
  const std::string option = FormatString("--train={}", context.pool->threads());
  for (*restarts = 0;; ++*restarts) {
    MP_RETURN_IF_ERROR(context.cancellation->Check());
    MP_ASSIGN_OR_RETURN(const auto child, ChildProcess::Start(TrainerPath(), option, descriptors));
    const absl::Status sent = child->Send(request);
    TrainEvent event;
    std::optional<TrainEvent> last;
    bool got_further = false;
    absl::Status stopped;
    const ChildEnd end = child->Wait(
        &event,
        [&] {
          if (!event.has_progress()) {
            last = event;
            return;
          }
          got_further |= event.progress().saved();
          progress(event.progress());
        },
        [&] {
          if (!stopped.ok()) return;
          stopped = context.cancellation->Check();
          if (!stopped.ok()) child->Cancel(kGraceSeconds);
        });
    if (!stopped.ok()) return stopped;
    if (last.has_value() && last->has_result()) return last->result();
    if (last.has_value()) {
      return StatusFromDetail(last->failure().error(), last->failure().message());
    }
    if (!end.protocol.ok()) return end.protocol;
    if (!sent.ok() || !got_further || *restarts == kMostRestarts) return Died(end);
    request.set_resume(true);
  }
}

}  // namespace modelpress
