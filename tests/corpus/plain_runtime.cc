// The plain runtime: see plain_runtime.h.
#include "tests/corpus/plain_runtime.h"

#include <onnxruntime_cxx_api.h>
#include <onnxruntime_session_options_config_keys.h>

#include <cstring>
#include <functional>

#include "core/runtime/environment.h"

namespace modelpress::testing {
namespace {

// The same kernels as in modelpress's sessions, so that equal models give equal bits.
Ort::SessionOptions Options() {
  Ort::SessionOptions options;
  options.SetIntraOpNumThreads(1);
  options.SetInterOpNumThreads(1);
  options.SetLogSeverityLevel(ORT_LOGGING_LEVEL_FATAL);
  options.SetGraphOptimizationLevel(ORT_ENABLE_EXTENDED);
  options.AddConfigEntry(kOrtSessionOptionsConfigDisablePrepacking, "1");
  return options;
}

Ort::Value MakeValue(const Tensor& tensor) {
  if (tensor.type == DataType::kString) {
    Ort::AllocatorWithDefaultOptions allocator;
    auto value = Ort::Value::CreateTensor(allocator, tensor.dims.data(), tensor.dims.size(),
                                          ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING);
    std::vector<const char*> strings;
    for (const std::string& text : tensor.strings) strings.push_back(text.c_str());
    value.FillStringTensor(strings.data(), strings.size());
    return value;
  }
  static const auto memory = Ort::MemoryInfo::CreateCpu(OrtDeviceAllocator, OrtMemTypeDefault);
  return Ort::Value::CreateTensor(memory, const_cast<std::byte*>(tensor.bytes.data()),
                                  tensor.bytes.size(), tensor.dims.data(), tensor.dims.size(),
                                  static_cast<ONNXTensorElementDataType>(tensor.type));
}

Tensor TakeTensor(const Ort::Value& value) {
  const auto info = value.GetTensorTypeAndShapeInfo();
  const auto type = static_cast<DataType>(info.GetElementType());
  std::span<std::byte> data;
  Tensor tensor = *Tensor::Make(type, info.GetShape(), &data);
  if (type == DataType::kString) {
    for (size_t i = 0; i < tensor.strings.size(); ++i) {
      tensor.strings[i] = value.GetStringTensorElement(i);
    }
  } else if (!data.empty()) {
    std::memcpy(data.data(), value.GetTensorRawData(), data.size());
  }
  return tensor;
}

absl::StatusOr<TensorMap> RunSession(const std::function<Ort::Session()>& make,
                                     const TensorMap& inputs) {
  try {
    Ort::Session session = make();
    Ort::AllocatorWithDefaultOptions allocator;
    std::vector<std::string> names;
    std::vector<Ort::Value> values;
    for (size_t i = 0; i < session.GetInputCount(); ++i) {
      names.push_back(session.GetInputNameAllocated(i, allocator).get());
      const auto found = inputs.find(names.back());
      if (found == inputs.end()) return absl::NotFoundError("no value for input " + names.back());
      values.push_back(MakeValue(found->second));
    }
    std::vector<std::string> output_names;
    for (size_t i = 0; i < session.GetOutputCount(); ++i) {
      output_names.push_back(session.GetOutputNameAllocated(i, allocator).get());
    }
    std::vector<const char*> input_pointers;
    std::vector<const char*> output_pointers;
    for (const std::string& name : names) input_pointers.push_back(name.c_str());
    for (const std::string& name : output_names) output_pointers.push_back(name.c_str());
    const auto results = session.Run(Ort::RunOptions(), input_pointers.data(), values.data(),
                                     values.size(), output_pointers.data(), output_pointers.size());
    TensorMap outputs;
    for (size_t i = 0; i < results.size(); ++i) {
      if (results[i].HasValue() && results[i].IsTensor()) {
        outputs[output_names[i]] = TakeTensor(results[i]);
      }
    }
    return outputs;
  } catch (const std::exception& error) {
    return absl::UnknownError(error.what());
  }
}

}  // namespace

absl::StatusOr<TensorMap> RunPlain(std::string_view model, const TensorMap& inputs) {
  return RunSession(
      [&] { return Ort::Session(RuntimeEnvironment(), model.data(), model.size(), Options()); },
      inputs);
}

absl::StatusOr<TensorMap> RunPlainFile(const std::string& path, const TensorMap& inputs) {
  return RunSession([&] { return Ort::Session(RuntimeEnvironment(), path.c_str(), Options()); },
                    inputs);
}

}  // namespace modelpress::testing
