// SHA-256 of a job's input files, computed on a thread of its own while the passes run.
#pragma once

#include <atomic>
#include <map>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "core/base/cancellation.h"
#include "core/recipe/run.h"

namespace modelpress {

class InputDigests {
 public:
  // Starts at once. `inputs` and `cancellation` outlive this object.
  InputDigests(const JobInputs& inputs, const Cancellation& cancellation);
  ~InputDigests();

  // Waits. Digests by file name; JOB_CANCELLED or JOB_DEADLINE.
  absl::StatusOr<std::map<std::string, std::string>> Wait();

 private:
  void Compute(const JobInputs& inputs);

  const Cancellation& cancellation_;
  std::atomic<bool> abandoned_ = false;
  absl::Status status_;
  std::map<std::string, std::string> digests_;
  std::thread thread_;  // last: it uses the members above
};

}  // namespace modelpress
