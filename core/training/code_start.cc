// First values behind codes: see code_start.h.
#include "core/training/code_start.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "core/model/graph.h"

namespace modelpress {
namespace {

// How far from the middle of a code's cell a value may start, in steps from one code to the next: where the original is in
// the cell, and where it is beyond.
constexpr double kInside = 0.49, kFromBeyond = 0.25;

// The float weight that codes were made from, in the shape of the codes: the original's tensor of that name, if there
// still is one.
std::vector<float> OriginalValues(const Model* original, const Trainable& weight) {
  if (original == nullptr) return {};
  std::string name = weight.name;
  if (const size_t at = name.rfind("_quantized"); at != std::string::npos) name.resize(at);
  const onnx::TensorProto* found = nullptr;
  const onnx::GraphProto& graph = original->proto().graph();
  for (const onnx::TensorProto& tensor : graph.initializer()) {
    if (tensor.name() == name) found = &tensor;
  }
  for (const onnx::NodeProto& node : graph.node()) {
    const auto* value = FindAttribute(node, "value");
    if (IsConstantNode(node) && value != nullptr && node.output(0) == name) found = &value->t();
  }
  if (found == nullptr || Type(*found) != DataType::kFloat) return {};
  const auto bytes = original->Bytes(*found);
  if (!bytes.ok()) return {};
  std::vector<float> values(bytes->size() / sizeof(float));
  std::memcpy(values.data(), bytes->data(), values.size() * sizeof(float));
  const std::span<const int64_t> dims = Dims(*found);
  if (std::ranges::equal(dims, weight.dims)) return values;
  // MatMulNBits holds the transposed matrix of a MatMul.
  if (!weight.grid.matmul_nbits || dims.size() != 2 || dims[0] != weight.dims[1] ||
      dims[1] != weight.dims[0]) {
    return {};
  }
  std::vector<float> transposed(values.size());
  const auto rows = static_cast<size_t>(dims[0]), columns = static_cast<size_t>(dims[1]);
  for (size_t r = 0; r < rows; ++r) {
    for (size_t c = 0; c < columns; ++c) transposed[c * rows + r] = values[r * columns + c];
  }
  return transposed;
}

}  // namespace

void StartCodes(const Model* original, const Trainable& weight, const DecodedCodes& codes,
                std::span<float> values) {
  const std::vector<float> floats = OriginalValues(original, weight);
  for (uint64_t i = 0; i < values.size(); ++i) {
    const uint64_t s = codes.ScaleIndex(weight, i);
    const double scale = codes.scales[s];
    const double middle = (codes.codes[i] - codes.zero_points[s]) * scale;
    const double step = std::abs(scale) * codes.step;
    const double away = floats.empty() ? 0 : floats[i] - middle;
    const double reach = step * (std::abs(away) > 0.5 * step ? kFromBeyond : kInside);
    values[i] = static_cast<float>(middle + std::clamp(away, -reach, reach));
  }
}

}  // namespace modelpress
