// CPU time of everything that GPTQ computes for some layers, on one thread: second moments of the
// inputs, their factor, codes, and the comparison with plain rounding.
//
//   gptq_bench ROWS [INPUTSxOUTPUTS...]      default: the layers of one block of a GPT-2 with 256 channels
//
// ROWS rows of data, a fifth of them held back. Prints one line per layer and the sum; blas_bench.py
// prints the same for the BLAS and LAPACK calls of a plain implementation.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "core/quant/gptq.h"
#include "core/statistics/gram.h"

namespace modelpress {
namespace {

double Now() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

struct Times {
  double gram = 0, factor = 0, codes = 0;

  double sum() const { return gram + factor + codes; }
};

bool Measure(uint64_t rows, int64_t inputs, int64_t outputs, Times* total) {
  ThreadPool pool(1);
  Cancellation cancellation;
  JobContext context;
  context.pool = &pool;
  context.cancellation = &cancellation;
  std::mt19937 random(1);
  const auto fill = [&](size_t count) {
    std::vector<float> values(count);
    for (float& value : values) value = (static_cast<int>(random() & 0xffff) - 32768) * 3e-5f;
    return values;
  };
  const std::vector<float> x = fill(rows * inputs), weight = fill(inputs * outputs);
  const uint64_t held_back = rows / 5, fitted = rows - held_back;
  Times times;
  double start = Now();
  const auto lap = [&] {
    const double before = std::exchange(start, Now());
    return start - before;
  };
  GramSum fit(inputs), judge(inputs);
  fit.Add(x.data(), fitted, pool);
  judge.Add(x.data() + fitted * inputs, held_back, pool);
  const Gram fit_gram = fit.Finish(), judge_gram = judge.Finish();
  times.gram = lap();
  constexpr uint64_t kBlockSize = 128;
  const auto factor = FactorGram(fit_gram.matrix, inputs, kBlockSize, 0.01, context);
  if (!factor.ok() || !factor->has_value()) return false;
  times.factor = lap();
  const int64_t dims[] = {inputs, outputs};
  const BlockLayout layout = {ColumnsAlong(dims, 0), kBlockSize};
  const BlockRule rule{4, true, BlockMethod::kKQuant};
  const CodeSizes sizes = SizesOf(layout, rule.stored_bits(), CodeLayout::kTensor);
  std::vector<std::byte> codes(sizes.codes), scales(layout.scales() * sizeof(float));
  const CodeWriter writer(layout, rule.stored_bits(), CodeLayout::kTensor, 8, codes, {}, scales);
  const auto judged = EncodeGptq(std::as_bytes(std::span(weight)), DataType::kFloat, layout, rule,
                                 **factor, judge_gram.matrix, writer, context, nullptr);
  if (!judged.ok()) return false;
  times.codes = lap();
  std::printf("%6lld x %-6lld %8.3f s: moments %.3f, factor %.3f, codes and comparison %.3f\n",
              static_cast<long long>(inputs), static_cast<long long>(outputs), times.sum(),
              times.gram, times.factor, times.codes);
  total->gram += times.gram, total->factor += times.factor, total->codes += times.codes;
  return true;
}

int Main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: gptq_bench ROWS [INPUTSxOUTPUTS...]\n");
    return 2;
  }
  const uint64_t rows = std::strtoull(argv[1], nullptr, 10);
  std::vector<std::pair<int64_t, int64_t>> shapes;
  for (int i = 2; i < argc; ++i) {
    char* rest = nullptr;
    const int64_t inputs = std::strtoll(argv[i], &rest, 10);
    shapes.emplace_back(inputs, *rest == 'x' ? std::strtoll(rest + 1, nullptr, 10) : 0);
  }
  if (shapes.empty()) shapes = {{256, 768}, {256, 256}, {256, 1024}, {1024, 256}};
  Times total;
  for (const auto& [inputs, outputs] : shapes) {
    if (inputs <= 0 || outputs <= 0 || !Measure(rows, inputs, outputs, &total)) return 1;
  }
  std::printf("sum %.3f s\n", total.sum());
  return 0;
}

}  // namespace
}  // namespace modelpress

int main(int argc, char** argv) { return modelpress::Main(argc, argv); }
