// Speed of the int8 kernels on one thread, as a ratio to memcpy of the same floats in the same run.
//
//   quantize_bench [MiB of floats, default 512]
//
// Each figure is the median of five runs; memcpy and kernels take turns, so that both see the same
// machine.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <random>
#include <vector>

#include "core/base/thread_pool.h"
#include "core/quant/quantize_tensor.h"

namespace modelpress {
namespace {

// CPU time of this thread: on a busy machine it is steadier than the clock on the wall.
double Now() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + time.tv_nsec * 1e-9;
}

double Seconds(const std::function<void()>& work) {
  const double start = Now();
  work();
  return Now() - start;
}

double Median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

int Main(size_t mebibytes) {
  const size_t count = mebibytes * 1024 * 1024 / sizeof(float);
  std::vector<float> values(count), copy(count);
  std::vector<std::byte> codes(count);
  std::mt19937 random(1);
  for (float& value : values) value = (static_cast<int>(random() & 0xffff) - 32768) * 1e-4f;
  std::memcpy(copy.data(), values.data(), count * sizeof(float));

  ThreadPool pool(1);
  Cancellation cancellation;
  JobContext context;
  context.pool = &pool;
  context.cancellation = &cancellation;
  const auto bytes = std::as_bytes(std::span(values));

  struct Case {
    const char* name;
    ChannelLayout layout;
    AffineRule rule;
  };
  const AffineRule symmetric, asymmetric{CodeType::kUint8, false};
  const Case cases[] = {
      {"int8, rows of 9", {1, count / 9, 9}, symmetric},
      {"int8, rows of 1,024", {1, count / 1024, 1024}, symmetric},
      {"int8, rows of 4,096", {1, count / 4096, 4096}, symmetric},
      {"int8, rows of 65,536", {1, count / 65536, 65536}, symmetric},
      {"int8, one row (per tensor)", {1, 1, count}, symmetric},
      {"int8, last axis of 256", {count / 256, 256, 1}, symmetric},
      {"int8, last axis of 1,024", {count / 1024, 1024, 1}, symmetric},
      {"int8, last axis of 4,096", {count / 4096, 4096, 1}, symmetric},
      {"uint8 asymmetric, rows of 4,096", {1, count / 4096, 4096}, asymmetric},
      {"uint8 asymmetric, last axis of 4,096", {count / 4096, 4096, 1}, asymmetric},
  };
  for (const Case& c : cases) {
    std::vector<double> copies, runs;
    const size_t used = c.layout.elements();
    for (int round = 0; round < 5; ++round) {
      copies.push_back(
          Seconds([&] { std::memcpy(copy.data(), values.data(), used * sizeof(float)); }));
      runs.push_back(Seconds([&] {
        auto result = QuantizeTensor(bytes.first(used * sizeof(float)), c.layout, c.rule,
                                     kNoDeadZone, std::span(codes).first(used), context, nullptr);
        if (!result.ok() || !result->finite) std::abort();
      }));
    }
    const double gigabytes = used * sizeof(float) / 1e9;
    std::printf("%-38s %6.2f GB/s  memcpy %6.2f GB/s  ratio %.2f\n", c.name,
                gigabytes / Median(runs), gigabytes / Median(copies),
                Median(copies) / Median(runs));
  }
  return 0;
}

}  // namespace
}  // namespace modelpress

int main(int argc, char** argv) {
  const int mebibytes = argc > 1 ? std::atoi(argv[1]) : 512;
  if (mebibytes < 1) {
    std::fprintf(stderr, "usage: quantize_bench [MiB]\n");
    return 2;
  }
  return modelpress::Main(mebibytes);
}
