// What is to be told or done once the job table's lock is released. Declared before the lock, so that its destructor
// runs after the lock's.
#pragma once

#include <utility>
#include <vector>

#include "server/jobs/job_table.h"

namespace modelpress {

class JobTable::Outbox {
 public:
  Outbox() = default;
  Outbox(const Outbox&) = delete;
  Outbox& operator=(const Outbox&) = delete;
  ~Outbox() {
    for (Task& task : tasks_) task();
  }

  void Add(Task task) { tasks_.push_back(std::move(task)); }
  void NotifyObserver(const JobRecord& job) {
    if (auto observer = job.observer.lock()) Add([observer] { observer->OnJobChanged(); });
  }

 private:
  std::vector<Task> tasks_;
};

}  // namespace modelpress
