// All open RunJob streams, so that the housekeeper can look at each of them. Thread-safe.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"

namespace modelpress {

class WatchedStream {
 public:
  virtual ~WatchedStream() = default;
  // A few times a second: ends the stream if its peer has stalled or lingers.
  virtual void OnTick(absl::Time now) = 0;
};

class StreamRegistry {
 public:
  void Add(WatchedStream* key, std::weak_ptr<WatchedStream> stream) {
    std::lock_guard lock(mutex_);
    streams_[key] = std::move(stream);
  }
  void Remove(WatchedStream* key) {
    std::lock_guard lock(mutex_);
    streams_.erase(key);
  }
  void Tick(absl::Time now) {
    std::vector<std::shared_ptr<WatchedStream>> streams;
    {
      std::lock_guard lock(mutex_);
      for (const auto& [key, stream] : streams_) {
        if (auto locked = stream.lock()) streams.push_back(std::move(locked));
      }
    }
    for (const auto& stream : streams) stream->OnTick(now);
  }
  size_t size() const {
    std::lock_guard lock(mutex_);
    return streams_.size();
  }

 private:
  mutable std::mutex mutex_;
  absl::flat_hash_map<WatchedStream*, std::weak_ptr<WatchedStream>> streams_;
};

}  // namespace modelpress
