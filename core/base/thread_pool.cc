// Fixed thread pool: see thread_pool.h.
#include "core/base/thread_pool.h"

#include <algorithm>
#include <condition_variable>
#include <limits>
#include <mutex>
#include <thread>
#include <vector>

namespace modelpress {
namespace {

// Set while a thread works inside a ParallelFor, so that an inner one runs inline.
thread_local bool inside_loop = false;

// One running loop. All members are guarded by State::mutex.
struct Loop {
  const std::function<absl::Status(size_t)>* body;
  size_t count;
  size_t next = 0;
  size_t running = 0;
  size_t failed_index = std::numeric_limits<size_t>::max();
  absl::Status failure = {};

  bool HasWork() const { return next < count && failure.ok(); }
};

}  // namespace

struct ThreadPool::State {
  std::mutex mutex;
  std::condition_variable work_or_end;
  std::condition_variable loop_done;
  std::vector<Loop*> loops;
  bool ending = false;
  std::vector<std::thread> threads;
  size_t size = 1;

  // Runs indices of `loop` until none is left. Called and returns with the lock held.
  void Work(Loop& loop, std::unique_lock<std::mutex>& lock) {
    while (loop.HasWork()) {
      const size_t index = loop.next++;
      ++loop.running;
      lock.unlock();
      inside_loop = true;
      absl::Status status = (*loop.body)(index);
      inside_loop = false;
      lock.lock();
      --loop.running;
      if (!status.ok() && index < loop.failed_index) {
        loop.failed_index = index;
        loop.failure = std::move(status);
      }
    }
  }

  void ThreadMain() {
    std::unique_lock lock(mutex);
    while (true) {
      const auto busy = std::ranges::find_if(loops, [](Loop* loop) { return loop->HasWork(); });
      if (busy != loops.end()) {
        Work(**busy, lock);
        loop_done.notify_all();
      } else if (ending) {
        return;
      } else {
        work_or_end.wait(lock);
      }
    }
  }
};

ThreadPool::ThreadPool(size_t threads) : state_(std::make_unique<State>()) {
  if (threads == 0) threads = std::max(1u, std::thread::hardware_concurrency());
  state_->size = threads;
  for (size_t i = 1; i < threads; ++i) {
    state_->threads.emplace_back([state = state_.get()] { state->ThreadMain(); });
  }
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(state_->mutex);
    state_->ending = true;
  }
  state_->work_or_end.notify_all();
  for (std::thread& thread : state_->threads) thread.join();
}

size_t ThreadPool::threads() const { return state_->size; }

absl::Status ThreadPool::ParallelFor(size_t count,
                                     const std::function<absl::Status(size_t)>& body) {
  if (inside_loop || state_->threads.empty()) {
    for (size_t i = 0; i < count; ++i) {
      if (absl::Status status = body(i); !status.ok()) return status;
    }
    return absl::OkStatus();
  }
  Loop loop{.body = &body, .count = count};
  std::unique_lock lock(state_->mutex);
  state_->loops.push_back(&loop);
  state_->work_or_end.notify_all();
  state_->Work(loop, lock);
  state_->loop_done.wait(lock, [&] { return loop.running == 0; });
  std::erase(state_->loops, &loop);
  return loop.failure;
}

}  // namespace modelpress
