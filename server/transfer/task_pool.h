// A few threads for work that blocks (disk, hashing), so that no gRPC reaction ever does.
//
// Thread-safe. Tasks may post further tasks; a task must not wait for another one.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace modelpress {

using Task = std::function<void()>;
// Where a component hands work that may block. Tests give one that runs the task at once.
using Executor = std::function<void(Task)>;

class TaskPool {
 public:
  explicit TaskPool(size_t threads);
  // Runs everything that is queued, then joins.
  ~TaskPool();
  TaskPool(const TaskPool&) = delete;
  TaskPool& operator=(const TaskPool&) = delete;

  void Post(Task task);

 private:
  void Work();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Task> tasks_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

// Runs its tasks one at a time and in order, on whatever thread the executor has free. Pending tasks keep what they
// need alive themselves: the strand may be destroyed before they ran.
class Strand {
 public:
  explicit Strand(Executor executor);

  void Post(Task task);

 private:
  struct State;
  static void RunNext(const std::shared_ptr<State>& state);

  std::shared_ptr<State> state_;
};

}  // namespace modelpress
