// Progress of a pass that works through weights: bytes done of bytes in all.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace modelpress {

// Start() from one thread at a time, between weights; Add() from any.
class WeightProgress {
 public:
  using Sink = std::function<void(double fraction, std::string_view detail)>;

  // A null sink makes every call a no-op. The sink must outlive this.
  WeightProgress(const Sink& sink, uint64_t total_bytes) : sink_(sink), total_(total_bytes) {}

  void Start(std::string_view weight) {
    name_ = weight;
    Add(0);
  }
  void Add(uint64_t bytes) {
    const uint64_t done = done_.fetch_add(bytes) + bytes;
    if (sink_ && total_ > 0) {
      sink_(static_cast<double>(std::min(done, total_)) / static_cast<double>(total_), name_);
    }
  }
  std::function<void(uint64_t)> callback() {
    return [this](uint64_t bytes) { Add(bytes); };
  }

 private:
  const Sink& sink_;
  uint64_t total_;
  std::atomic<uint64_t> done_ = 0;
  std::string name_;
};

}  // namespace modelpress
