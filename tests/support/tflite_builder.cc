// Writing TensorFlow Lite files for tests: see tflite_builder.h.
#include "tests/support/tflite_builder.h"

#include <algorithm>

namespace modelpress::testing {

int TfliteBuilder::Tensor(TensorSpec tensor) {
  graph().tensors.push_back(std::move(tensor));
  return static_cast<int>(graph().tensors.size()) - 1;
}

int TfliteBuilder::Tensor(std::string name, TensorType type, std::vector<int32_t> shape) {
  return Tensor(TensorSpec{.name = std::move(name), .type = type, .shape = std::move(shape)});
}

int TfliteBuilder::Input(std::string name, TensorType type, std::vector<int32_t> shape) {
  graph().inputs.push_back(Tensor(std::move(name), type, std::move(shape)));
  return graph().inputs.back();
}

int TfliteBuilder::Output(std::string name, TensorType type, std::vector<int32_t> shape) {
  graph().outputs.push_back(Tensor(std::move(name), type, std::move(shape)));
  return graph().outputs.back();
}

void TfliteBuilder::Add(BuiltinOperator code, std::vector<int32_t> inputs,
                        std::vector<int32_t> outputs, Options options) {
  graph().operators.push_back({.code = code,
                               .inputs = std::move(inputs),
                               .outputs = std::move(outputs),
                               .options = std::move(options)});
}

void TfliteBuilder::AddCustom(std::string name, std::vector<int32_t> inputs,
                              std::vector<int32_t> outputs, std::vector<uint8_t> options) {
  graph().operators.push_back({.code = BuiltinOperator::CUSTOM,
                               .custom = std::move(name),
                               .inputs = std::move(inputs),
                               .outputs = std::move(outputs),
                               .custom_options = std::move(options)});
}

int TfliteBuilder::NewGraph() {
  graphs_.emplace_back();
  return static_cast<int>(graphs_.size()) - 1;
}

std::string TfliteBuilder::Bytes() const {
  FlatBuilder builder;
  std::vector<flatbuffers::Offset<schema::Buffer>> buffers = {schema::CreateBuffer(builder)};
  std::vector<flatbuffers::Offset<schema::OperatorCode>> codes;
  std::vector<flatbuffers::Offset<schema::SubGraph>> graphs;
  for (const GraphSpec& graph : graphs_) {
    std::vector<flatbuffers::Offset<schema::Tensor>> tensors;
    for (const TensorSpec& spec : graph.tensors) {
      uint32_t buffer = 0;
      if (spec.place.has_value()) {
        buffers.push_back(schema::CreateBuffer(builder, 0, spec.place->first, spec.place->second));
        buffer = static_cast<uint32_t>(buffers.size()) - 1;
      } else if (!spec.data.empty()) {
        builder.ForceVectorAlignment(spec.data.size(), 1, 16);
        buffers.push_back(schema::CreateBuffer(builder, builder.CreateVector(spec.data)));
        buffer = static_cast<uint32_t>(buffers.size()) - 1;
      }
      if (spec.buffer.has_value()) buffer = *spec.buffer;
      flatbuffers::Offset<schema::QuantizationParameters> quantization = 0;
      if (spec.scales.has_value()) {
        quantization = schema::CreateQuantizationParameters(
            builder, 0, 0, builder.CreateVector(spec.scales->scale),
            builder.CreateVector(spec.scales->zero_point), schema::QuantizationDetails::NONE, 0,
            spec.scales->axis);
      }
      const auto sparsity = spec.sparsity ? spec.sparsity(builder)
                                          : flatbuffers::Offset<schema::SparsityParameters>(0);
      const auto signature = spec.shape_signature.empty()
                                 ? flatbuffers::Offset<flatbuffers::Vector<int32_t>>(0)
                                 : builder.CreateVector(spec.shape_signature);
      tensors.push_back(schema::CreateTensor(builder, builder.CreateVector(spec.shape), spec.type,
                                             buffer, builder.CreateString(spec.name), quantization,
                                             spec.is_variable, sparsity, signature,
                                             /*has_rank=*/true));
    }
    std::vector<flatbuffers::Offset<schema::Operator>> operators;
    for (const OperatorSpec& spec : graph.operators) {
      const auto number = static_cast<int32_t>(spec.code);
      const auto custom = spec.custom.empty() ? flatbuffers::Offset<flatbuffers::String>(0)
                                              : builder.CreateString(spec.custom);
      codes.push_back(
          schema::CreateOperatorCode(builder, static_cast<int8_t>(std::min(number, 127)), custom, 1,
                                     old_operator_codes ? BuiltinOperator::ADD : spec.code));
      auto options = std::pair(schema::BuiltinOptions::NONE, Offset(0));
      if (spec.options) options = spec.options(builder);
      const auto custom_options = spec.custom_options.empty()
                                      ? flatbuffers::Offset<flatbuffers::Vector<uint8_t>>(0)
                                      : builder.CreateVector(spec.custom_options);
      operators.push_back(schema::CreateOperator(
          builder, spec.opcode_index.value_or(static_cast<uint32_t>(codes.size()) - 1),
          builder.CreateVector(spec.inputs), builder.CreateVector(spec.outputs), options.first,
          options.second, custom_options));
    }
    graphs.push_back(schema::CreateSubGraph(
        builder, builder.CreateVector(tensors), builder.CreateVector(graph.inputs),
        builder.CreateVector(graph.outputs), builder.CreateVector(operators),
        builder.CreateString("main")));
  }
  schema::FinishModelBuffer(
      builder, schema::CreateModel(builder, version, builder.CreateVector(codes),
                                   builder.CreateVector(graphs), builder.CreateString("test"),
                                   builder.CreateVector(buffers)));
  return {reinterpret_cast<const char*>(builder.GetBufferPointer()), builder.GetSize()};
}

}  // namespace modelpress::testing
