// What the tests of the server share: a clock turned by hand, an executor that works at once, a stream that counts.
#pragma once

#include <atomic>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "absl/crc/crc32c.h"
#include "core/base/sha256.h"
#include "server/jobs/job_table.h"

namespace modelpress::testing {

class FakeClock final : public Clock {
 public:
  absl::Time Now() const override {
    std::lock_guard lock(mutex_);
    return now_;
  }
  void Advance(absl::Duration duration) {
    std::lock_guard lock(mutex_);
    now_ += duration;
  }

 private:
  mutable std::mutex mutex_;
  absl::Time now_ = absl::FromUnixSeconds(1'000'000);
};

class FakeStream final : public StreamObserver {
 public:
  void OnJobChanged() override { ++changes; }
  void OnTakenOver() override { ++taken_over; }
  std::atomic<int> changes = 0;
  std::atomic<int> taken_over = 0;
};

struct RecordingListener final : JobListener {
  void OnJobRejected(ErrorReason reason) override { rejected.push_back(reason); }
  void OnJobFinished(const FinishedJob& job) override { finished.push_back(job); }
  void OnLeaseExpired(const std::string&) override { ++leases_expired; }
  std::vector<ErrorReason> rejected;
  std::vector<FinishedJob> finished;
  int leases_expired = 0;
};

inline std::string Digest(const std::string& bytes) {
  return Sha256Hex(std::as_bytes(std::span(bytes)));
}
inline uint32_t Crc(const std::string& bytes) {
  return static_cast<uint32_t>(absl::ComputeCrc32c(bytes));
}
inline Executor Inline() {
  return [](Task task) { task(); };
}

}  // namespace modelpress::testing
