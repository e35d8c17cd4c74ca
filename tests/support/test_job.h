// What a job needs around it, for tests: a pool, a temporary scratch folder, a flag to cancel.
#pragma once

#include <memory>
#include <string>

#include "core/base/job_context.h"

namespace modelpress::testing {

class TestJob {
 public:
  explicit TestJob(size_t threads = 1, uint64_t quota_bytes = 0);

  const JobContext& context() const { return context_; }
  Cancellation& cancellation() { return cancellation_; }
  Scratch& scratch() { return *scratch_; }
  // A folder that goes away with the job; for inputs and outputs.
  const std::string& folder() const { return scratch_->folder(); }

 private:
  ThreadPool pool_;
  Cancellation cancellation_;
  std::unique_ptr<Scratch> scratch_;
  JobContext context_;
};

// Writes a file; aborts the test program if that fails.
void WriteFile(const std::string& path, std::string_view bytes);
std::string ReadFile(const std::string& path);

}  // namespace modelpress::testing
