// One training step of modelpress-trainer against the same net written in libtorch's own C++: convolutions, depthwise ones,
// a residual sum and a head on images of digits, batch 100, AdamW. Prints the time of a step of both and their ratio, with
// the machine as it is and with a thread of this program busy beside; and of the trainer with two threads.
//
//   training_step_bench [STEPS]
#include <dlfcn.h>
#include <torch/torch.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "core/training/train_model.h"
#include "tests/support/model_builder.h"
#include "tests/support/test_job.h"

namespace modelpress {
namespace {

constexpr int64_t kBatch = 100, kSamples = 1000, kPixels = 28 * 28, kClasses = 10;
constexpr int kRounds = 5;
constexpr double kTemperature = 3, kRate = 1e-3;

// As core/trainer/computing.cc does.
void SetUpComputing() {
  at::set_num_threads(1);
  using SetThreads = void (*)(int);
  if (auto* const set = dlsym(RTLD_DEFAULT, "openblas_set_num_threads"); set != nullptr) {
    reinterpret_cast<SetThreads>(set)(1);
  }
  at::globalContext().setFlushDenormal(true);
}

struct Convolution {
  const char* name;
  int64_t inputs, outputs, kernel, stride, groups;
};
constexpr Convolution kConvolutions[] = {{"stem", 1, 24, 3, 2, 1},  {"dw1", 24, 24, 3, 1, 24},
                                         {"pw1", 24, 48, 1, 1, 1},  {"down", 48, 64, 3, 2, 1},
                                         {"res1", 64, 64, 3, 1, 1}, {"res2", 64, 64, 3, 1, 1},
                                         {"dw2", 64, 64, 3, 1, 64}, {"pw2", 64, 128, 1, 1, 1}};

std::vector<float> RandomFloats(size_t count, double deviation, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, static_cast<float>(deviation));
  std::vector<float> floats(count);
  for (float& x : floats) x = normal(random);
  return floats;
}

// The net in plain libtorch.
struct NetImpl : torch::nn::Module {
  NetImpl() {
    for (const Convolution& c : kConvolutions) {
      const auto options = torch::nn::Conv2dOptions(c.inputs, c.outputs, c.kernel)
                               .stride(c.stride)
                               .padding(c.kernel / 2)
                               .groups(c.groups);
      convolutions.push_back(register_module(c.name, torch::nn::Conv2d(options)));
    }
    fc1 = register_module("fc1", torch::nn::Linear(128, 256));
    fc2 = register_module("fc2", torch::nn::Linear(256, kClasses));
  }
  torch::Tensor forward(torch::Tensor x) {
    for (size_t i = 0; i < 4; ++i) x = torch::relu(convolutions[i]->forward(x));
    const torch::Tensor before = x;
    x = torch::relu(convolutions[4]->forward(x));
    x = torch::relu(convolutions[5]->forward(x) + before);
    for (size_t i = 6; i < 8; ++i) x = torch::relu(convolutions[i]->forward(x));
    x = x.mean({2, 3});
    return fc2->forward(torch::relu(fc1->forward(x)));
  }
  std::vector<torch::nn::Conv2d> convolutions;
  torch::nn::Linear fc1{nullptr}, fc2{nullptr};
};
TORCH_MODULE(Net);

// The same net as ONNX.
Model OnnxNet() {
  std::string nodes, before = "x";
  uint32_t seed = 1;
  for (const Convolution& c : kConvolutions) {
    const std::string name = c.name, out = name + "_out",
                      pad = c.kernel == 3 ? "1, 1, 1, 1" : "0, 0, 0, 0";
    const std::string stride = std::to_string(c.stride);
    nodes += out + " = Conv <group = " + std::to_string(c.groups) + ", pads = [" + pad +
             "], strides = [" + stride + ", " + stride + "]> (" + before + ", " + name + "_w, " +
             name + "_b)\n";
    std::string in = out;
    if (name == "res2") {
      nodes += "res_sum = Add(res2_out, down_r)\n";
      in = "res_sum";
    }
    nodes += name + "_r = Relu(" + in + ")\n";
    before = name + "_r";
  }
  onnx::ModelProto proto = testing::ParseProto(
      R"(<ir_version: 8, opset_import: ["" : 17]> g (float[N, 1, 28, 28] x) => (float[N, 10] y) { )" +
      nodes + R"(m = ReduceMean <axes = [2, 3], keepdims = 0> (pw2_r)
                 h = Gemm <transB = 1> (m, fc1_w, fc1_b)
                 r = Relu(h)
                 y = Gemm <transB = 1> (r, fc2_w, fc2_b) })");
  const auto add = [&](const std::string& name, const std::vector<int64_t>& dims, double fan_in) {
    size_t count = 1;
    for (const int64_t extent : dims) count *= static_cast<size_t>(extent);
    const std::vector<float> values = RandomFloats(count, std::sqrt(2 / fan_in), seed++);
    onnx::TensorProto& tensor = *proto.mutable_graph()->add_initializer();
    tensor.set_name(name);
    tensor.set_data_type(onnx::TensorProto::FLOAT);
    tensor.mutable_dims()->Add(dims.begin(), dims.end());
    tensor.set_raw_data(values.data(), values.size() * sizeof(float));
  };
  for (const Convolution& c : kConvolutions) {
    const int64_t inputs = c.inputs / c.groups;
    const auto fan_in = static_cast<double>(inputs * c.kernel * c.kernel);
    add(std::string(c.name) + "_w", {c.outputs, inputs, c.kernel, c.kernel}, fan_in);
    add(std::string(c.name) + "_b", {c.outputs}, 1e4);
  }
  add("fc1_w", {256, 128}, 128);
  add("fc1_b", {256}, 1e4);
  add("fc2_w", {kClasses, 256}, 256);
  add("fc2_b", {kClasses}, 1e4);
  return *testing::ReadModel(proto);
}

PackedArray Packed(const char* name, std::vector<int64_t> dims, const std::vector<float>& values,
                   Scratch& scratch) {
  PackedArray array{.name = name, .type = DataType::kFloat, .dims = std::move(dims)};
  array.file = *scratch.NewFile(values.size() * sizeof(float));
  std::memcpy(array.file->mutable_bytes().data(), values.data(), values.size() * sizeof(float));
  return array;
}

// Seconds of a step of modelpress-trainer.
double TrainerStep(size_t threads, uint32_t steps, const std::vector<float>& images,
                   const std::vector<float>& scores) {
  testing::TestJob job(threads);
  WeightArena arena(&job.scratch());
  Model model = OnnxNet();
  TrainingData data;
  data.inputs.push_back(Packed("x", {kSamples + 1, 1, 28, 28}, images, job.scratch()));
  PackedTarget& target = data.targets.emplace_back();
  target.output = "y";
  target.loss = TrainTarget::LOSS_CLASSES;
  target.class_axis = 1;
  target.teacher = Packed("y", {kSamples + 1, kClasses}, scores, job.scratch());
  data.training = kSamples;
  data.validation = 1;
  Training training;
  training.set_steps(steps);
  training.set_batch_size(kBatch);
  training.set_evaluate_every(steps);
  training.set_learning_rate(kRate);
  training.set_warmup(0);
  const GraphIndex index(model.mutable_proto());
  const auto found = FindTrainables(model, index, {}, false);
  v1::PassReport report;
  const auto run = TrainModel(model, found->parameters, data,
                              {.training = WithDefaults(training), .seed = 1, .name = "bench"},
                              arena, job.context(), &report);
  if (!run.ok()) {
    std::fprintf(stderr, "%s\n", run.status().ToString().c_str());
    std::exit(1);
  }
  return run->seconds() / steps;
}

// Seconds of a step in plain libtorch.
double PlainStep(uint32_t steps, const std::vector<float>& images,
                 const std::vector<float>& scores) {
  Net net;
  torch::optim::AdamW optimizer(net->parameters(),
                                torch::optim::AdamWOptions(kRate).weight_decay(0.01));
  const auto all = torch::from_blob(const_cast<float*>(images.data()), {kSamples, 1, 28, 28});
  const auto wanted = torch::from_blob(const_cast<float*>(scores.data()), {kSamples, kClasses});
  const auto begun = std::chrono::steady_clock::now();
  double sum = 0;
  for (uint32_t step = 0; step < steps; ++step) {
    const auto rows = torch::randint(kSamples, {kBatch}, torch::kLong);
    const auto teacher = torch::log_softmax(wanted.index_select(0, rows) / kTemperature, 1);
    const auto student =
        torch::log_softmax(net->forward(all.index_select(0, rows)) / kTemperature, 1);
    const auto loss =
        (teacher.exp() * (teacher - student)).sum(1).mean() * kTemperature * kTemperature;
    optimizer.zero_grad();
    loss.backward();
    torch::nn::utils::clip_grad_norm_(net->parameters(), 1.0);
    optimizer.step();
    sum += loss.item<double>();
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begun;
  if (!std::isfinite(sum)) std::fprintf(stderr, "the plain net's loss is not finite\n");
  return seconds.count() / steps;
}

double Median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

int Main(uint32_t steps) {
  SetUpComputing();
  const auto images = RandomFloats((kSamples + 1) * kPixels, 1, 101);
  const auto scores = RandomFloats((kSamples + 1) * kClasses, 3, 102);
  std::printf("%-28s %12s %12s %8s %s\n", "training step, batch 100", "trainer", "libtorch",
              "ratio", "bar");
  for (const bool busy : {false, true}) {
    std::atomic<bool> stop = false;
    std::thread beside;
    if (busy) {
      beside = std::thread([&stop] {
        while (!stop) {
        }
      });
    }
    std::vector<double> ours, plain;
    for (int round = 0; round < kRounds; ++round) {
      plain.push_back(PlainStep(steps, images, scores));
      ours.push_back(TrainerStep(1, steps, images, scores));
    }
    stop = true;
    if (beside.joinable()) beside.join();
    std::printf("%-28s %9.2f ms %9.2f ms %8.3f %s\n",
                busy ? "another thread busy" : "machine as it is", 1e3 * Median(ours),
                1e3 * Median(plain), Median(ours) / Median(plain), "1.15");
  }
  std::vector<double> one, two;
  for (int round = 0; round < kRounds; ++round) {
    one.push_back(TrainerStep(1, steps, images, scores));
    two.push_back(TrainerStep(2, steps, images, scores));
  }
  std::printf("%-28s %9.2f ms %9.2f ms %8.3f\n", "two threads, one", 1e3 * Median(two),
              1e3 * Median(one), Median(two) / Median(one));
  return 0;
}

}  // namespace
}  // namespace modelpress

int main(int count, char** arguments) {
  return modelpress::Main(count > 1 ? static_cast<uint32_t>(std::atoi(arguments[1])) : 40);
}
