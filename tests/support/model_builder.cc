// Builders: see model_builder.h.
#include "tests/support/model_builder.h"

#include <cstring>
#include <utility>

#include "absl/log/check.h"
#include "core/model/tensor.h"
#include "modelpress/v1/recipe.pb.h"
#include "onnx/defs/parser.h"

namespace modelpress::testing {

onnx::ModelProto ParseProto(std::string_view text) {
  onnx::ModelProto proto;
  const std::string copy(text);
  onnx::OnnxParser parser(copy.c_str());
  const auto status = parser.Parse(proto);
  CHECK(status.IsOK()) << status.ErrorMessage();
  return proto;
}

InputFile MakeInput(std::string_view name, std::string_view bytes) {
  auto file = MappedFile::CreateUnnamed("/tmp", bytes.size());
  CHECK(file.ok()) << file.status();
  if (!bytes.empty()) std::memcpy((*file)->mutable_bytes().data(), bytes.data(), bytes.size());
  return {std::string(name), *std::move(file)};
}

absl::StatusOr<Model> ReadModel(const InputFiles& files) {
  TestJob job;
  const Format* format = FormatRegistry::Get().Find("onnx");
  CHECK(format != nullptr);
  return format->Read(files, Import(), job.context());
}

absl::StatusOr<Model> ReadModel(const onnx::ModelProto& proto) {
  return ReadModel(InputFiles{MakeInput("model.onnx", proto.SerializeAsString()), {}});
}

Model ModelFromText(std::string_view text) {
  absl::StatusOr<Model> model = ReadModel(ParseProto(text));
  CHECK(model.ok()) << model.status();
  return *std::move(model);
}

std::vector<double> Values(const Model& model, const onnx::TensorProto& tensor) {
  const auto bytes = model.Bytes(tensor);
  CHECK(bytes.ok()) << bytes.status();
  Tensor view{Type(tensor), {tensor.dims().begin(), tensor.dims().end()}, *bytes, nullptr, {}};
  std::vector<double> values(view.element_count());
  for (size_t i = 0; i < values.size(); ++i) values[i] = ElementAsDouble(view, i);
  return values;
}

const onnx::TensorProto* FindInitializer(const Model& model, std::string_view name) {
  for (const onnx::TensorProto& tensor : model.proto().graph().initializer()) {
    if (tensor.name() == name) return &tensor;
  }
  return nullptr;
}

}  // namespace modelpress::testing
