// Sessions of ONNX Runtime: see session.h.
#include "core/runtime/session.h"

#include <onnxruntime_cxx_api.h>
#include <onnxruntime_session_options_config_keys.h>

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/runtime/environment.h"
#include "core/runtime/observe_operator.h"
#include "core/runtime/runtime_error.h"
#include "core/runtime/runtime_skeleton.h"
#include "core/runtime/session_options.h"

namespace modelpress {
namespace {

// DataType repeats the numbers of onnx.proto, and so does ONNXTensorElementDataType.
DataType FromRuntime(ONNXTensorElementDataType type) { return static_cast<DataType>(type); }

ValueInfo DescribeValue(std::string name, const Ort::TypeInfo& type) {
  ValueInfo value{.name = std::move(name)};
  if (type.GetONNXType() != ONNX_TYPE_TENSOR) {
    value.is_tensor = false;
    return value;
  }
  const auto tensor = type.GetTensorTypeAndShapeInfo();
  value.type = FromRuntime(tensor.GetElementType());
  value.dims = tensor.GetShape();
  std::vector<const char*> symbols(value.dims.size());
  tensor.GetSymbolicDimensions(symbols.data(), symbols.size());
  for (const char* symbol : symbols) value.symbols.emplace_back(symbol == nullptr ? "" : symbol);
  return value;
}

absl::StatusOr<Ort::Value> StringInput(const Tensor& tensor) {
  Ort::AllocatorWithDefaultOptions allocator;
  auto value = Ort::Value::CreateTensor(allocator, tensor.dims.data(), tensor.dims.size(),
                                        ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING);
  std::vector<const char*> strings;
  for (const std::string& text : tensor.strings) strings.push_back(text.c_str());
  value.FillStringTensor(strings.data(), strings.size());
  return value;
}

// The runtime reads the tensor's own bytes; kernels want elements at their natural alignment, so bytes at an odd place in
// a mapped file are copied into `copy` first.
absl::StatusOr<Ort::Value> MakeInput(const Tensor& tensor, std::vector<std::byte>* copy) {
  if (tensor.type == DataType::kString) return StringInput(tensor);
  static const auto memory = Ort::MemoryInfo::CreateCpu(OrtDeviceAllocator, OrtMemTypeDefault);
  const std::byte* data = tensor.bytes.data();
  if (reinterpret_cast<uintptr_t>(data) % alignof(std::max_align_t) != 0) {
    copy->assign(tensor.bytes.begin(), tensor.bytes.end());
    data = copy->data();
  }
  return Ort::Value::CreateTensor(memory, const_cast<std::byte*>(data), tensor.bytes.size(),
                                  tensor.dims.data(), tensor.dims.size(),
                                  static_cast<ONNXTensorElementDataType>(tensor.type));
}

absl::StatusOr<Tensor> TakeOutput(Ort::Value value) {
  auto owner = std::make_shared<Ort::Value>(std::move(value));
  const auto info = owner->GetTensorTypeAndShapeInfo();
  Tensor tensor{.type = FromRuntime(info.GetElementType()), .dims = info.GetShape()};
  if (tensor.type == DataType::kString) {
    const size_t count = info.GetElementCount();
    for (size_t i = 0; i < count; ++i) tensor.strings.push_back(owner->GetStringTensorElement(i));
    return tensor;
  }
  MP_ASSIGN_OR_RETURN(const uint64_t length, ByteCount(tensor.type, info.GetElementCount()));
  tensor.bytes = {static_cast<const std::byte*>(owner->GetTensorRawData()), length};
  tensor.owner = std::move(owner);
  return tensor;
}

}  // namespace

struct Session::State {
  std::vector<ValueInfo> inputs;
  std::vector<ValueInfo> outputs;
  // The descriptors behind the weights must stay open as long as the session may read them.
  std::vector<WeightRef> weights;
  // Outlive the session, whose kernels call them.
  TapObserver observer;
  std::shared_ptr<Ort::CustomOpDomain> observe_domain;
  std::unique_ptr<Ort::Session> session;
};

Session::Session(std::unique_ptr<State> state) : state_(std::move(state)) {}
Session::~Session() = default;

absl::StatusOr<std::unique_ptr<Session>> Session::Create(const Model& model,
                                                         const SessionOptions& options) {
  MP_ASSIGN_OR_RETURN(const std::string skeleton, RuntimeSkeleton(model, options.taps));
  auto state = std::make_unique<State>();
  state->weights = model.weights();
  try {
    Ort::SessionOptions runtime_options = MakeRuntimeOptions(options);
    if (!options.taps.empty()) {
      state->observer = options.observer;
      state->observe_domain = MakeObserveDomain(state->observer);
      runtime_options.Add(*state->observe_domain);
    }
    state->session = std::make_unique<Ort::Session>(RuntimeEnvironment(), skeleton.data(),
                                                    skeleton.size(), runtime_options);
    Ort::AllocatorWithDefaultOptions allocator;
    const Ort::Session& session = *state->session;
    for (size_t i = 0; i < session.GetInputCount(); ++i) {
      state->inputs.push_back(DescribeValue(session.GetInputNameAllocated(i, allocator).get(),
                                            session.GetInputTypeInfo(i)));
    }
    for (size_t i = 0; i < session.GetOutputCount(); ++i) {
      state->outputs.push_back(DescribeValue(session.GetOutputNameAllocated(i, allocator).get(),
                                             session.GetOutputTypeInfo(i)));
    }
  } catch (const std::bad_alloc&) {
    throw;  // the job's worker turns it into WORKER_OUT_OF_MEMORY
  } catch (const std::exception& error) {
    return LoadError(error.what());
  }
  return std::unique_ptr<Session>(new Session(std::move(state)));
}

const std::vector<ValueInfo>& Session::inputs() const { return state_->inputs; }
const std::vector<ValueInfo>& Session::outputs() const { return state_->outputs; }

absl::StatusOr<TensorMap> Session::Run(const TensorMap& inputs) const {
  for (const auto& [name, tensor] : inputs) {
    const bool known = std::ranges::any_of(
        state_->inputs, [&](const ValueInfo& value) { return value.name == name; });
    if (!known) {
      return Error(ERROR_REASON_DATA_INVALID, FormatString("the model has no input '{}'", name))
          .With("input", name);
    }
  }
  try {
    std::vector<const char*> input_names;
    std::vector<Ort::Value> input_values;
    std::vector<std::vector<std::byte>> copies(state_->inputs.size());
    for (size_t i = 0; i < state_->inputs.size(); ++i) {
      const ValueInfo& value = state_->inputs[i];
      const auto found = inputs.find(value.name);
      if (found == inputs.end()) {
        return Error(ERROR_REASON_DATA_INVALID,
                     FormatString("no value is given for the model's input '{}'", value.name))
            .With("input", value.name);
      }
      MP_ASSIGN_OR_RETURN(Ort::Value input, MakeInput(found->second, &copies[i]));
      input_names.push_back(value.name.c_str());
      input_values.push_back(std::move(input));
    }
    std::vector<const char*> output_names;
    for (const ValueInfo& value : state_->outputs) output_names.push_back(value.name.c_str());
    std::vector<Ort::Value> results =
        state_->session->Run(Ort::RunOptions(), input_names.data(), input_values.data(),
                             input_values.size(), output_names.data(), output_names.size());
    TensorMap outputs;
    for (size_t i = 0; i < results.size(); ++i) {
      // Sequences, maps and absent optionals cannot be compared; outputs() says which these are.
      if (!results[i].HasValue() || !results[i].IsTensor()) continue;
      MP_ASSIGN_OR_RETURN(outputs[state_->outputs[i].name], TakeOutput(std::move(results[i])));
    }
    return outputs;
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& error) {
    return RunError(error.what());
  }
}

absl::StatusOr<std::string> Session::EndProfiling() {
  try {
    Ort::AllocatorWithDefaultOptions allocator;
    return std::string(state_->session->EndProfilingAllocated(allocator).get());
  } catch (const std::exception& error) {
    return RunError(error.what());
  }
}

}  // namespace modelpress
