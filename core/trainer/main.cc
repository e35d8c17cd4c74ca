// modelpress-trainer --train=THREADS: the process that trains, and the only program that links libtorch. Started by a job;
// it reads one TrainRequest and writes TrainEvents (trainer.proto).
#include <unistd.h>

#include <cstdio>
#include <mutex>
#include <new>
#include <string_view>

#include "absl/strings/numbers.h"
#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/process/child_watch.h"
#include "core/process/frames.h"
#include "core/trainer/computing.h"
#include "core/trainer/train.h"

namespace modelpress::trainer {
namespace {

// Thread-safe; after the result or failure nothing more is written.
class Events {
 public:
  explicit Events(int descriptor) : descriptor_(descriptor) {}

  void Send(const TrainEvent& event) {
    std::lock_guard lock(mutex_);
    if (ended_) return;
    ended_ = !event.has_progress();
    (void)WriteFrame(descriptor_, event);  // a dead parent is noticed by the end of standard input
  }
  void Fail(const absl::Status& status) {
    TrainEvent event;
    *event.mutable_failure()->mutable_error() = DetailOf(status);
    event.mutable_failure()->set_message(std::string(status.message()));
    Send(event);
  }

 private:
  std::mutex mutex_;
  int descriptor_;
  bool ended_ = false;
};

absl::Status OutOfMemory(uint64_t limit_bytes) {
  return Error(ERROR_REASON_WORKER_OUT_OF_MEMORY,
               FormatString("training needed more than its {} MiB of memory", limit_bytes >> 20))
      .With("limit", std::to_string(limit_bytes))
      .With("phase", "training")
      .Remedy("lower batch_size, or raise the memory budget");
}

int TrainerMain(size_t threads) {
  const int frames = TakeOutput(STDOUT_FILENO);
  TrainRequest request;
  if (frames < 0 || !ReadFrame(STDIN_FILENO, &request).value_or(false)) return kExitNoRequest;
  // Both outlive the watching threads, which end with the process.
  auto* const events = new Events(frames);
  auto* const cancellation = new Cancellation;
  WatchParent(STDIN_FILENO, cancellation);
  const uint64_t limit = request.memory_limit_bytes();
  if (limit > 0) WatchMemory(limit, [=] { events->Fail(OutOfMemory(limit)); });
  SetUpComputing();
  try {
    auto result = Train(request, threads, *cancellation, [events](const TrainProgress& progress) {
      TrainEvent event;
      *event.mutable_progress() = progress;
      events->Send(event);
    });
    if (!result.ok()) {
      events->Fail(result.status());
    } else {
      TrainEvent event;
      *event.mutable_result() = *std::move(result);
      events->Send(event);
    }
  } catch (const std::bad_alloc&) {
    events->Fail(OutOfMemory(limit));
  } catch (const std::exception& error) {
    events->Fail(
        Error(ERROR_REASON_RUNTIME_FAILED, FormatString("training failed: {}", error.what()))
            .With("stage", "training"));
  }
  // Destructors of libtorch's static objects take time that nobody gains from.
  _exit(0);
}

}  // namespace
}  // namespace modelpress::trainer

int main(int count, char** arguments) {
  constexpr std::string_view kOption = "--train=";
  const std::string_view option = count == 2 ? arguments[1] : "";
  uint32_t threads = 0;
  if (!option.starts_with(kOption) || !absl::SimpleAtoi(arguments[1] + kOption.size(), &threads) ||
      threads == 0) {
    std::fprintf(stderr,
                 "modelpress-trainer is started by modelpress and modelpressd, not by people.\n");
    return 2;
  }
  return modelpress::trainer::TrainerMain(threads);
}
