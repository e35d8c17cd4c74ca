// One measurement of calibration: CPU seconds and anonymous memory of the forwards, with or without
// taps. run.sh calls it once for each row, so that memory is that of a process of its own.
//
//   calibration_bench forwards|minmax|percentile|entropy SAMPLES [MODEL.onnx DATA]
//
// Prints "CPU_SECONDS PEAK_ANONYMOUS_KIB": CPU time of the samples after the first (with the session
// made), the largest anonymous memory from the start on. Without a model: a small convolutional net
// on synthetic pictures.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/base/memory_usage.h"
#include "core/base/status.h"
#include "core/formats/format.h"
#include "core/measure/static_quantizer.h"
#include "core/quant/affine_folding.h"
#include "core/quant/batch_norm_folding.h"
#include "core/quant/choose_range.h"
#include "core/quant/qdq_flow.h"
#include "core/runtime/session.h"
#include "core/statistics/calibration_samples.h"
#include "core/statistics/statistics.h"
#include "tests/support/model_builder.h"
#include "tests/support/test_job.h"

namespace modelpress {
namespace {

double CpuSeconds() {
  timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

// Looks at memory all the time.
class MemoryWatch {
 public:
  MemoryWatch()
      : thread_([this] {
          while (!stop_) {
            peak_.Sample();
            std::this_thread::sleep_for(std::chrono::milliseconds(2));
          }
        }) {}
  uint64_t Stop() {
    stop_ = true;
    thread_.join();
    return peak_.bytes();
  }

 private:
  PeakMemory peak_;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

// Depthwise-separable blocks with a residual: activations weigh more than weights, as in detectors.
onnx::ModelProto SmallNet() {
  std::string nodes = "h0 = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(x, w_in, b) ";
  std::vector<std::pair<std::string, std::vector<int64_t>>> weights = {{"w_in", {32, 3, 3, 3}},
                                                                       {"b", {32}}};
  for (int i = 0; i < 8; ++i) {
    const std::string n = std::to_string(i), next = std::to_string(i + 1);
    nodes += "d" + n + " = Conv<pads = [1, 1, 1, 1], group = 32>(h" + n + ", wd" + n + ", b) r" +
             n + " = Relu(d" + n + ") p" + n + " = Conv(r" + n + ", wp" + n + ", b) h" + next +
             " = Add(h" + n + ", p" + n + ") ";
    weights.push_back({"wd" + n, {32, 1, 3, 3}});
    weights.push_back({"wp" + n, {32, 32, 1, 1}});
  }
  onnx::ModelProto model = testing::ParseProto(
      "<ir_version: 8, opset_import: [\"\" : 13]> g (float[1, 3, 256, 256] x) => (float[1, 32, 1, "
      "1] "
      "y) { " +
      nodes + " y = GlobalAveragePool(h8) }");
  uint32_t state = 1;
  for (const auto& [name, dims] : weights) {
    onnx::TensorProto& tensor = *model.mutable_graph()->add_initializer();
    tensor.set_name(name);
    tensor.set_data_type(onnx::TensorProto::FLOAT);
    int64_t count = 1;
    for (const int64_t extent : dims) {
      tensor.add_dims(extent);
      count *= extent;
    }
    for (int64_t i = 0; i < count; ++i) {
      state = state * 1664525 + 1013904223;
      tensor.add_float_data((static_cast<float>(state >> 16) / 65536 - 0.5f) * 0.3f);
    }
  }
  return model;
}

int Main(const std::string& mode, uint64_t count, const char* path, const char* data_path) {
  testing::TestJob job;
  auto model = path != nullptr
                   ? testing::ReadModel({testing::MakeInput("model.onnx", testing::ReadFile(path))})
                   : testing::ReadModel(SmallNet());
  if (!model.ok()) {
    std::fprintf(stderr, "%s\n", model.status().ToString().c_str());
    return 1;
  }
  NameNodes(model->mutable_proto());
  // As quantize_static calibrates it.
  WeightArena arena(&job.scratch());
  if (!FoldBatchNorms(*model, arena, job.context()).ok() ||
      !FoldAffine(*model, arena, job.context()).ok()) {
    return 1;
  }
  std::unique_ptr<DataSet> data;
  if (data_path != nullptr) data = DataSet::Open(data_path, &job.scratch()).value();
  auto samples = OpenCalibrationSamples(*model, data.get(), count, count, 1, job.context()).value();
  MemoryWatch watch;
  double seconds = 0;
  if (mode == "forwards") {
    auto session = Session::Create(*model, {}).value();
    for (uint64_t i = 0; i < samples->batches(); ++i) {
      if (i == 1) seconds = -CpuSeconds();
      const Batch batch = samples->Read(i).value();
      if (!session->Run(batch.inputs).ok()) return 1;
    }
    seconds += CpuSeconds();
  } else {
    // The values that quantize_static wants.
    const GraphIndex index(model->mutable_proto());
    const QdqLayers layers = FindQdqLayers(*model, index).value();
    const QdqFlow flow(*model, index, layers.layers, std::vector<bool>(layers.layers.size(), true),
                       false);
    std::vector<StatisticRequest> requests;
    const bool histogram = mode != "minmax";
    for (const auto& [value, grid] : flow.stored()) {
      requests.push_back({.key = value, .histogram = histogram});
    }
    for (const QdqLayer& layer : layers.layers) {
      for (const int input : layer.activations) {
        requests.push_back({.key = flow.Read(layer, input).value, .histogram = histogram});
      }
    }
    uint64_t feed = 0;
    const auto statistics =
        GatherStatistics(*model, *samples, requests, job.context(), [&](double) {
          if (feed++ == 0) seconds = -CpuSeconds();
        }).value();
    seconds += CpuSeconds();
    const RangeRule rule{.method =
                             mode == "entropy" ? RangeMethod::kEntropy : RangeMethod::kPercentile};
    statistics.ForEach([&](const ValueKey&, const ValueStatistics& value) {
      if (value.histogram.has_value()) ChooseRange(*value.histogram, rule);
    });
  }
  std::printf("%.4f %llu\n", seconds, static_cast<unsigned long long>(watch.Stop() >> 10));
  return 0;
}

}  // namespace
}  // namespace modelpress

int main(int argc, char** argv) {
  if (argc != 3 && argc != 5) {
    std::fprintf(stderr, "usage: %s forwards|minmax|percentile|entropy SAMPLES [MODEL DATA]\n",
                 argv[0]);
    return 2;
  }
  return modelpress::Main(argv[1], std::strtoull(argv[2], nullptr, 10),
                          argc == 5 ? argv[3] : nullptr, argc == 5 ? argv[4] : nullptr);
}
