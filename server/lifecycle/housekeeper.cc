// The housekeeper's thread: see housekeeper.h.
#include "server/lifecycle/housekeeper.h"

#include <chrono>
#include <utility>

namespace modelpress {
namespace {

constexpr auto kInterval = std::chrono::milliseconds(200);

}  // namespace

Housekeeper::Housekeeper(std::function<void()> tick) {
  thread_ = std::thread([this, tick = std::move(tick)] {
    std::unique_lock lock(mutex_);
    while (!wake_.wait_for(lock, kInterval, [this] { return stopping_; })) {
      lock.unlock();
      tick();
      lock.lock();
    }
  });
}

Housekeeper::~Housekeeper() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

}  // namespace modelpress
