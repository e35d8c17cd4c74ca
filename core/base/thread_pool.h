// A fixed pool of threads for data-parallel loops. It never oversubscribes: the calling thread works too, and a
// ParallelFor inside a ParallelFor runs inline on the thread it is called from.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

#include "absl/status/status.h"

namespace modelpress {

class ThreadPool {
 public:
  // `threads` counts the caller: 1 means no extra thread. 0 means all hardware threads.
  explicit ThreadPool(size_t threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  size_t threads() const;

  // Calls body(i) once for each i in [0, count), in any order and on any thread; returns when all are done. After the
  // first failure no new index is started; the failure of the lowest index that ran is returned. Results must not
  // depend on the order: write to slot i.
  absl::Status ParallelFor(size_t count, const std::function<absl::Status(size_t)>& body);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace modelpress
