// Checking one model of the corpus: see corpus_case.h.
#include "tests/corpus/corpus_case.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <optional>

#include "core/base/status.h"
#include "core/formats/input_files.h"
#include "core/formats/onnx/reader.h"
#include "core/formats/onnx/writer.h"
#include "core/model/graph.h"
#include "modelpress/v1/recipe.pb.h"
#include "modelpress/v1/report.pb.h"
#include "onnx/defs/tensor_proto_util.h"
#include "tests/corpus/plain_runtime.h"
#include "tests/support/model_builder.h"

namespace modelpress::testing {
namespace {

template <typename T>
std::string Raw(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

// A numeric tensor's bytes as libonnx and the comments of onnx.proto have them; none of our reader's code.
std::string IndependentBytes(const onnx::TensorProto& tensor) {
  if (tensor.has_raw_data()) return tensor.raw_data();
  switch (tensor.data_type()) {
    case onnx::TensorProto::FLOAT:
      return Raw(onnx::ParseData<float>(&tensor));
    case onnx::TensorProto::DOUBLE:
      return Raw(onnx::ParseData<double>(&tensor));
    case onnx::TensorProto::INT64:
      return Raw(onnx::ParseData<int64_t>(&tensor));
    case onnx::TensorProto::INT32:
      return Raw(onnx::ParseData<int32_t>(&tensor));
    default:
      break;
  }
  std::string bytes;
  const int width = std::max(BitsPerElement(Type(tensor)) / 8, 1);
  for (const int32_t value : tensor.int32_data()) {
    bytes.append(reinterpret_cast<const char*>(&value), width);
  }
  for (const uint64_t value : tensor.uint64_data()) {
    bytes.append(reinterpret_cast<const char*>(&value), width);
  }
  for (const float value : tensor.float_data()) {  // complex64
    bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  for (const double value : tensor.double_data()) {  // complex128
    bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  return bytes;
}

Tensor ToTensor(const onnx::TensorProto& proto) {
  std::span<std::byte> data;
  Tensor tensor = *Tensor::Make(Type(proto), {proto.dims().begin(), proto.dims().end()}, &data);
  if (tensor.type == DataType::kString) {
    tensor.strings.assign(proto.string_data().begin(), proto.string_data().end());
    return tensor;
  }
  const std::string bytes = IndependentBytes(proto);
  if (bytes.size() == data.size() && !bytes.empty()) {
    std::memcpy(data.data(), bytes.data(), bytes.size());
  }
  return tensor;
}

// `tolerance` 0: bit for bit.
bool SameTensor(const Tensor& a, const Tensor& b, double tolerance) {
  if (a.type != b.type || a.dims != b.dims || a.strings != b.strings) return false;
  if (std::ranges::equal(a.bytes, b.bytes)) return true;
  if (tolerance == 0 || !IsFloatingPoint(a.type)) return false;
  for (uint64_t i = 0; i < a.element_count(); ++i) {
    const double x = ElementAsDouble(a, i);
    const double y = ElementAsDouble(b, i);
    if (x != y && !(std::abs(x - y) <= tolerance * std::max(std::abs(x), 1.0))) return false;
  }
  return true;
}

// Names the first output that differs; empty if all are equal.
std::string Difference(const TensorMap& expected, const TensorMap& found, double tolerance = 0) {
  for (const auto& [name, tensor] : expected) {
    const auto other = found.find(name);
    if (other == found.end()) return "output " + name + " is missing";
    if (!SameTensor(tensor, other->second, tolerance)) return "output " + name + " differs";
  }
  return expected.size() == found.size() ? "" : "more outputs than before";
}

// Some kernels (Eigen's reductions) sum in another order when a mapped weight does not lie on a vector boundary, which
// changes last bits. The plain runtime copies embedded weights and never sees that; sidecars of ours are aligned.
double Tolerance(const Model& model) {
  constexpr uint64_t kVectorBytes = 64;
  const bool aligned = std::ranges::all_of(
      model.weights(), [](const WeightRef& weight) { return weight.offset % kVectorBytes == 0; });
  return aligned ? 0 : 1e-5;
}

// Every tensor with data of the model, against the original's. Names are compared too.
std::string TensorDifference(const onnx::ModelProto& original, const Model& model) {
  std::vector<const onnx::TensorProto*> before;
  std::vector<const onnx::TensorProto*> after;
  ForEachTensor(original, [&](const onnx::TensorProto& tensor) { before.push_back(&tensor); });
  ForEachTensor(model.proto(), [&](const onnx::TensorProto& tensor) { after.push_back(&tensor); });
  if (before.size() != after.size()) return "the number of tensors differs";
  for (size_t i = 0; i < before.size(); ++i) {
    if (before[i]->name() != after[i]->name()) return "tensors are out of order";
    if (Type(*before[i]) != Type(*after[i]) ||
        !std::ranges::equal(Dims(*before[i]), Dims(*after[i]))) {
      return "type or dims of tensor " + before[i]->name() + " differ";
    }
    if (Type(*before[i]) == DataType::kString) {
      if (!std::ranges::equal(before[i]->string_data(), after[i]->string_data())) {
        return "strings of tensor " + before[i]->name() + " differ";
      }
      continue;
    }
    const auto bytes = model.Bytes(*after[i]);
    if (!bytes.ok()) return bytes.status().ToString();
    const std::string expected = IndependentBytes(*before[i]);
    if (!std::ranges::equal(std::as_bytes(std::span(expected)), *bytes)) {
      return "bytes of tensor " + before[i]->name() + " differ";
    }
  }
  return "";
}

// Moves every numeric tensor into one blob, 1 byte apart so that nothing is aligned by accident.
InputFiles Externalise(onnx::ModelProto proto) {
  std::string blob;
  ForEachTensor(proto, [&](const TensorSite& site) {
    onnx::TensorProto& tensor = *site.tensor;
    if (Type(tensor) == DataType::kString) return;
    const std::string bytes = IndependentBytes(tensor);
    onnx::TensorProto external;
    external.set_name(tensor.name());
    external.set_data_type(tensor.data_type());
    *external.mutable_dims() = tensor.dims();
    external.set_data_location(onnx::TensorProto::EXTERNAL);
    for (const auto& [key, value] : {std::pair<std::string, std::string>{"location", "./all.data"},
                                     {"offset", std::to_string(blob.size())},
                                     {"length", std::to_string(bytes.size())}}) {
      auto* entry = external.add_external_data();
      entry->set_key(key);
      entry->set_value(value);
    }
    blob += bytes + "\x55";
    tensor = external;
  });
  return {MakeInput("model.onnx", proto.SerializeAsString()), {MakeInput("all.data", blob)}};
}

// Reads, checks the tensors, runs; an empty string if all is equal to what is expected.
std::string CheckFiles(const InputFiles& files, const CorpusCase& test,
                       const std::optional<TensorMap>& expected, const TestJob& job, Model* out) {
  auto model = onnx_format::ReadOnnx(files, job.context(), /*inline_bytes=*/0);
  if (!model.ok()) return "not read: " + model.status().ToString();
  if (std::string difference = TensorDifference(test.proto, *model); !difference.empty()) {
    return difference;
  }
  if (expected.has_value()) {
    const auto session = Session::Create(*model, {});
    if (!session.ok()) return "no session: " + session.status().ToString();
    TensorMap feeds;
    for (const ValueInfo& input : (*session)->inputs()) {
      if (auto found = test.inputs.find(input.name); found != test.inputs.end()) {
        feeds[input.name] = found->second;
      }
    }
    const auto outputs = (*session)->Run(feeds);
    if (!outputs.ok()) return "not run: " + outputs.status().ToString();
    if (std::string difference = Difference(*expected, *outputs, Tolerance(*model));
        !difference.empty()) {
      return difference;
    }
  }
  *out = *std::move(model);
  return "";
}

}  // namespace

CorpusCase LoadCase(const std::string& folder) {
  CorpusCase test;
  test.bytes = ReadFile(folder + "/model.onnx");
  if (!test.proto.ParseFromString(test.bytes)) test.not_fed = "libonnx cannot parse it";
  absl::flat_hash_set<std::string> initializers;
  for (const auto& tensor : test.proto.graph().initializer()) initializers.insert(tensor.name());
  int index = 0;
  for (const onnx::ValueInfoProto& input : test.proto.graph().input()) {
    const std::string path = folder + "/test_data_set_0/input_" + std::to_string(index) + ".pb";
    if (initializers.contains(input.name())) continue;
    ++index;
    if (!input.type().has_tensor_type()) {
      test.not_fed = "input is no tensor";
      continue;
    }
    onnx::TensorProto tensor;
    if (!std::filesystem::exists(path) || !tensor.ParseFromString(ReadFile(path))) {
      test.not_fed = "no test data";
      continue;
    }
    test.inputs[input.name()] = ToTensor(tensor);
  }
  return test;
}

CorpusCase WithInputsAsInitializers(const CorpusCase& source, bool floats_only) {
  CorpusCase test;
  test.proto = source.proto;
  test.not_fed = source.not_fed;
  onnx::GraphProto& graph = *test.proto.mutable_graph();
  // Below IR 4 an initializer without an input of its name would be an error.
  if (test.proto.ir_version() < 4) test.proto.set_ir_version(4);
  auto* inputs = graph.mutable_input();
  for (int i = inputs->size(); i-- > 0;) {
    const auto found = source.inputs.find(inputs->Get(i).name());
    if (found == source.inputs.end()) continue;
    const Tensor& value = found->second;
    if (value.type == DataType::kString || (floats_only && !IsFloatingPoint(value.type))) {
      test.inputs[found->first] = value;
      continue;
    }
    onnx::TensorProto* tensor = graph.add_initializer();
    tensor->set_name(found->first);
    tensor->set_data_type(static_cast<int>(value.type));
    tensor->mutable_dims()->Add(value.dims.begin(), value.dims.end());
    tensor->set_raw_data(value.bytes.data(), value.bytes.size());
    inputs->DeleteSubrange(i, 1);
  }
  test.bytes = test.proto.SerializeAsString();
  return test;
}

CaseResult CheckCase(const CorpusCase& test, bool externalise) {
  std::optional<TensorMap> expected;
  std::string outcome = test.not_fed;
  if (outcome.empty()) {
    const auto first = RunPlain(test.bytes, test.inputs);
    const auto second = RunPlain(test.bytes, test.inputs);
    if (!first.ok()) {
      outcome = "the runtime does not run the original";
    } else if (!second.ok() || !Difference(*first, *second).empty()) {
      outcome = "random outputs";
    } else if (first->empty()) {
      outcome = "no output is a tensor";
    } else {
      expected = *first;
      outcome = "bit-equal";
    }
  }
  const TestJob job;
  const InputFiles files =
      externalise ? Externalise(test.proto) : InputFiles{MakeInput("model.onnx", test.bytes), {}};
  Model model;
  if (std::string defect = CheckFiles(files, test, expected, job, &model); !defect.empty()) {
    // What neither the runtime nor we take is not lost: it is refused by name.
    if (!expected.has_value() && defect.starts_with("not read: ")) {
      return {outcome + "; refused by us too", ""};
    }
    return {outcome, "as it came: " + defect};
  }
  for (const Output::Layout layout : {Output::LAYOUT_INLINE, Output::LAYOUT_SIDECAR}) {
    Output options;
    options.set_layout(layout);
    const auto written = onnx_format::WriteOnnx(model, options, job.folder(), "saved.onnx",
                                                job.context(), nullptr, /*inline_bytes=*/0);
    if (!written.ok()) return {outcome, "not written: " + written.status().ToString()};
    const auto saved = OpenModelFiles(job.folder() + "/saved.onnx");
    if (!saved.ok()) return {outcome, saved.status().ToString()};
    if (expected.has_value()) {
      const auto outputs = RunPlainFile(job.folder() + "/saved.onnx", test.inputs);
      if (!outputs.ok())
        return {outcome, "the saved file is not run: " + outputs.status().ToString()};
      if (std::string difference = Difference(*expected, *outputs); !difference.empty()) {
        return {outcome, Output::Layout_Name(layout) + " run as a plain file: " + difference};
      }
    }
    Model again;
    if (std::string defect = CheckFiles(*saved, test, expected, job, &again); !defect.empty()) {
      return {outcome, Output::Layout_Name(layout) + ": " + defect};
    }
  }
  return {outcome, ""};
}

}  // namespace modelpress::testing
