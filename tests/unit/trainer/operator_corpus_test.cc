// The trainer's operators on all operator models of Debian's libonnx-testdata: outputs against ONNX Runtime's, gradients
// against finite differences in double precision.
#include <cmath>
#include <iostream>
#include <random>
#include <set>

#include "core/trainer/constant_tensor.h"
#include "core/trainer/graph.h"
#include "gtest/gtest.h"
#include "tests/corpus/corpus_walk.h"
#include "tests/corpus/plain_runtime.h"
#include "tests/support/model_builder.h"

namespace modelpress::testing {
namespace {

using trainer::Graph;
using trainer::GraphOptions;
using trainer::Values;

std::string OperatorsOf(const onnx::ModelProto& proto) {
  std::set<std::string> types;
  for (const onnx::NodeProto& node : proto.graph().node()) types.insert(node.op_type());
  std::string text;
  for (const std::string& type : types) text += (text.empty() ? "" : "+") + type;
  return text;
}

bool HasType(const CorpusCase& test, DataType type) {
  for (const auto& [name, tensor] : test.inputs) {
    if (tensor.type == type) return true;
  }
  for (const auto& output : test.proto.graph().output()) {
    if (output.type().tensor_type().elem_type() == static_cast<int>(type)) return true;
  }
  return false;
}

absl::StatusOr<Values> Feed(const TensorMap& inputs, at::ScalarType float_type) {
  Values fed;
  for (const auto& [name, tensor] : inputs) {
    auto value = trainer::TensorFromBytes(static_cast<int32_t>(tensor.type), tensor.dims,
                                          tensor.bytes, float_type);
    if (!value.ok()) return value.status();
    fed[name] = value->clone();
  }
  return fed;
}

// Empty if equal to within `tolerance`, relative above 1 and absolute below.
std::string Difference(const Tensor& expected, const at::Tensor& found, double tolerance) {
  const std::vector<int64_t> dims = found.sizes().vec();
  if (dims != expected.dims) return "another shape";
  const at::Tensor values = found.detach().to(at::kDouble).contiguous();
  const double* const data = values.const_data_ptr<double>();
  for (uint64_t i = 0; i < expected.element_count(); ++i) {
    const double x = ElementAsDouble(expected, i), y = data[i];
    if (x == y || (std::isnan(x) && std::isnan(y))) continue;
    if (!(std::abs(x - y) <= tolerance * std::max(1.0, std::abs(x)))) {
      return "element " + std::to_string(i) + " is " + std::to_string(y) + ", not " +
             std::to_string(x);
    }
  }
  return "";
}

std::set<std::string>& ComparedOperators() {
  static auto* const compared = new std::set<std::string>;
  return *compared;
}

CaseResult CheckForward(const CorpusCase& test) {
  if (!test.not_fed.empty()) return {test.not_fed, ""};
  const auto model = ReadModel(InputFiles{MakeInput("model.onnx", test.bytes), {}});
  if (!model.ok()) return {"not read", ""};
  const auto expected = RunPlain(test.bytes, test.inputs);
  if (!expected.ok()) return {"the runtime does not run it", ""};
  const bool in_double = HasType(test, DataType::kDouble);
  const bool in_half = HasType(test, DataType::kFloat16) || HasType(test, DataType::kBfloat16);
  const at::ScalarType float_type = in_double ? at::kDouble : at::kFloat;
  const auto fed = Feed(test.inputs, float_type);
  if (!fed.ok()) return {"refused: a type", ""};
  const auto graph = Graph::Make(*model, {.float_type = float_type});
  if (!graph.ok()) {
    const std::string message(graph.status().message());
    return {"refused: " + message.substr(0, message.find("; ")), ""};
  }
  const auto outputs = (*graph)->Run(*fed, /*batch_statistics=*/false);
  if (!outputs.ok()) {
    if (ReasonOf(outputs.status()) == ERROR_REASON_OP_UNSUPPORTED) {
      return {"refused: " + std::string(outputs.status().message()), ""};
    }
    return {"failed", outputs.status().ToString()};
  }
  for (const auto& [name, tensor] : *expected) {
    if (tensor.type == DataType::kString) continue;
    const auto found = outputs->find(name);
    if (found == outputs->end() || !found->second.defined())
      return {"differs", name + " is missing"};
    const std::string difference = Difference(tensor, found->second, in_half ? 4e-3 : 1e-5);
    if (!difference.empty()) {
      return {"differs", OperatorsOf(test.proto) + ", output " + name + ": " + difference};
    }
  }
  for (const onnx::NodeProto& node : test.proto.graph().node()) {
    ComparedOperators().insert(node.op_type());
  }
  return {"equal", ""};
}

TEST(OperatorCorpusTest, ForwardIsThatOfTheRuntime) {
  at::set_num_threads(1);
  auto outcomes = WalkCorpus("trainer, forward", CheckForward);
  EXPECT_GE(outcomes["equal"], 990);
  // Operators that the corpus has in no model that could be compared.
  std::string untested;
  for (const auto& [key, function] : trainer::OperatorRegistry::Get().all()) {
    if (key.first.empty() && !ComparedOperators().contains(key.second))
      untested += " " + key.second;
  }
  std::cout << "not in the corpus:" << untested << "\n";
}

// Sum of every float output times fixed numbers, so that no two elements have the same weight.
absl::StatusOr<at::Tensor> WeightedSum(const Graph& graph, const Values& fed) {
  auto outputs = graph.Run(fed, false);
  if (!outputs.ok()) return outputs.status();
  at::Tensor sum = at::zeros({}, at::kDouble);
  std::set<std::string> names;
  for (const auto& [name, value] : *outputs) names.insert(name);
  for (const std::string& name : names) {
    const at::Tensor& value = outputs->at(name);
    if (!value.defined() || !value.is_floating_point() || value.numel() == 0) continue;
    const at::Tensor weights = at::cos(at::arange(value.numel(), at::kDouble) * 1.7 + 0.3);
    sum = sum + (value.reshape({-1}) * weights).sum();
  }
  return sum;
}

constexpr int kElementsForInput = 4;
constexpr double kStep = 1e-6;

// Straight-through gradients are not those of the steps that they go through.
bool IsStraightThrough(const onnx::ModelProto& proto) {
  return OperatorsOf(proto).find("QuantizeLinear") != std::string::npos;
}

CaseResult CheckBackward(const CorpusCase& test) {
  if (!test.not_fed.empty()) return {test.not_fed, ""};
  if (IsStraightThrough(test.proto)) return {"straight-through", ""};
  const auto model = ReadModel(InputFiles{MakeInput("model.onnx", test.bytes), {}});
  if (!model.ok()) return {"not read", ""};
  auto fed = Feed(test.inputs, at::kDouble);
  if (!fed.ok()) return {"refused: a type", ""};
  const auto graph = Graph::Make(*model, {.float_type = at::kDouble});
  if (!graph.ok()) return {"refused", ""};
  std::vector<std::string> floats;
  for (auto& [name, value] : *fed) {
    if (!value.is_floating_point() || value.numel() == 0) continue;
    // Scales and regions choose what is read, they are not computed with.
    const bool only_data =
        OperatorsOf(test.proto) == "Resize" || OperatorsOf(test.proto) == "Upsample";
    if (only_data && name != test.proto.graph().input(0).name()) continue;
    value = value.clone().requires_grad_();
    floats.push_back(name);
  }
  const auto sum = WeightedSum(**graph, *fed);
  if (!sum.ok()) return {"refused", ""};
  if (floats.empty() || !sum->requires_grad()) return {"no gradient", ""};
  sum->backward();
  std::mt19937 random(7);
  int compared = 0, kinks = 0;
  for (const std::string& name : floats) {
    const at::Tensor gradient = fed->at(name).grad();
    for (int i = 0; i < kElementsForInput; ++i) {
      const int64_t element = static_cast<int64_t>(random() % fed->at(name).numel());
      const auto at_offset = [&](double offset) {
        const at::NoGradGuard no_gradients;
        Values moved = *fed;
        at::Tensor value = fed->at(name).detach().clone();
        value.mutable_data_ptr<double>()[element] += offset;
        moved[name] = value;
        const auto result = WeightedSum(**graph, moved);
        return result.ok() ? result->item<double>() : NAN;
      };
      const double x = std::abs(fed->at(name).detach().reshape({-1})[element].item<double>());
      const double step = kStep * std::max(1.0, x);
      const double middle = at_offset(0), above = at_offset(step), below = at_offset(-step);
      const double numeric = (above - below) / (2 * step);
      const double right = (above - middle) / step, left = (middle - below) / step;
      const double scale = std::max({1.0, std::abs(numeric), std::abs(middle)});
      // Where the slopes on both sides differ there is a kink (Relu at 0, a tie of Max) or a jump (Floor).
      if (!std::isfinite(numeric) || std::abs(right - left) > 1e-3 * scale) {
        ++kinks;
        continue;
      }
      const double found = gradient.defined() ? gradient.reshape({-1})[element].item<double>() : 0;
      if (!(std::abs(found - numeric) <= 1e-5 * scale)) {
        return {"differs", OperatorsOf(test.proto) + ", input " + name + ", element " +
                               std::to_string(element) + ": " + std::to_string(found) +
                               ", by differences " + std::to_string(numeric)};
      }
      ++compared;
    }
  }
  return {compared > 0 ? "equal" : kinks > 0 ? "only kinks" : "no gradient", ""};
}

TEST(OperatorCorpusTest, GradientsAreThoseOfFiniteDifferences) {
  at::set_num_threads(1);
  auto outcomes = WalkCorpus("trainer, backward", CheckBackward);
  EXPECT_GE(outcomes["equal"], 800);
}

}  // namespace
}  // namespace modelpress::testing
