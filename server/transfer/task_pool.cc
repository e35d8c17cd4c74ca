// Threads for blocking work: see task_pool.h.
#include "server/transfer/task_pool.h"

#include <algorithm>
#include <utility>

namespace modelpress {

TaskPool::TaskPool(size_t threads) {
  threads_.reserve(std::max<size_t>(threads, 1));
  for (size_t i = 0; i < std::max<size_t>(threads, 1); ++i)
    threads_.emplace_back([this] { Work(); });
}

TaskPool::~TaskPool() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void TaskPool::Post(Task task) {
  {
    std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  wake_.notify_one();
}

void TaskPool::Work() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stopping_ || !tasks_.empty(); });
    if (tasks_.empty()) return;
    Task task = std::move(tasks_.front());
    tasks_.pop_front();
    lock.unlock();
    task();
    task = nullptr;  // what it holds is released before the next wait
    lock.lock();
  }
}

struct Strand::State {
  explicit State(Executor run) : executor(std::move(run)) {}

  Executor executor;
  std::mutex mutex;
  std::deque<Task> tasks;
  bool active = false;
};

Strand::Strand(Executor executor) : state_(std::make_shared<State>(std::move(executor))) {}

void Strand::Post(Task task) {
  {
    std::lock_guard lock(state_->mutex);
    state_->tasks.push_back(std::move(task));
    if (state_->active) return;
    state_->active = true;
  }
  state_->executor([state = state_] { RunNext(state); });
}

// Takes turns with other strands after each task: one busy upload does not starve the rest.
void Strand::RunNext(const std::shared_ptr<State>& state) {
  Task task;
  {
    std::lock_guard lock(state->mutex);
    task = std::move(state->tasks.front());
    state->tasks.pop_front();
  }
  task();
  task = nullptr;
  {
    std::lock_guard lock(state->mutex);
    if (state->tasks.empty()) {
      state->active = false;
      return;
    }
  }
  state->executor([state] { RunNext(state); });
}

}  // namespace modelpress
