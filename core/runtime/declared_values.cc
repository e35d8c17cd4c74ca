// What a model declares and what the runtime is: answers that need no session.
#include <onnxruntime_cxx_api.h>

#include "absl/container/flat_hash_set.h"
#include "core/runtime/session.h"

namespace modelpress {
namespace {

ValueInfo Describe(const onnx::ValueInfoProto& proto) {
  ValueInfo value{.name = proto.name()};
  if (!proto.type().has_tensor_type()) {
    value.is_tensor = false;
    return value;
  }
  const auto& tensor = proto.type().tensor_type();
  value.type = static_cast<DataType>(tensor.elem_type());
  for (const auto& dim : tensor.shape().dim()) {
    value.dims.push_back(dim.has_dim_value() ? dim.dim_value() : -1);
    value.symbols.push_back(dim.dim_param());
  }
  return value;
}

}  // namespace

std::vector<ValueInfo> DeclaredInputs(const Model& model) {
  const onnx::GraphProto& graph = model.proto().graph();
  absl::flat_hash_set<std::string> initializers;
  for (const auto& tensor : graph.initializer()) initializers.insert(tensor.name());
  for (const auto& sparse : graph.sparse_initializer()) initializers.insert(sparse.values().name());
  std::vector<ValueInfo> values;
  for (const auto& input : graph.input()) {
    if (!initializers.contains(input.name())) values.push_back(Describe(input));
  }
  return values;
}

std::vector<ValueInfo> DeclaredOutputs(const Model& model) {
  std::vector<ValueInfo> values;
  for (const auto& output : model.proto().graph().output()) values.push_back(Describe(output));
  return values;
}

std::string RuntimeVersion() { return Ort::GetVersionString(); }
// ONNX Runtime 1.21 implements ONNX 1.17 up to opset 22 and refuses IR versions above 10.
int64_t RuntimeMaxOpset() { return 22; }
int64_t RuntimeMaxIrVersion() { return 10; }

}  // namespace modelpress
