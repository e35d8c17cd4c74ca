// Reading TensorFlow Lite files: see reader.h.
#include "core/formats/tflite/reader.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/base/format_string.h"
#include "core/base/status.h"

namespace modelpress::tflite {
namespace {

// More axes than any operator of the format takes.
constexpr size_t kMaxRank = 32;
// Vectors may be shared by many tables of a small hostile file: what is copied out of it has a limit in sum.
constexpr uint64_t kMaxCopiedNumbers = 64 << 20;
// The addressable part of a FlatBuffer; larger files have their weights behind it.
constexpr uint64_t kMaxFlatBuffer = FLATBUFFERS_MAX_BUFFER_SIZE - 1;

Error Malformed(std::string_view message) {
  return Error(ERROR_REASON_MODEL_MALFORMED, message)
      .Remedy("the file may be truncated or damaged: copy or export it again");
}

std::string_view Text(const flatbuffers::String* text) {
  return text == nullptr ? std::string_view() : std::string_view(text->c_str(), text->size());
}

class Reader {
 public:
  explicit Reader(std::shared_ptr<const MappedFile> file) : file_(std::move(file)) {}

  absl::StatusOr<SourceModel> Read() {
    const std::span<const std::byte> bytes = file_->bytes();
    const auto* start = reinterpret_cast<const uint8_t*>(bytes.data());
    flatbuffers::Verifier verifier(start, std::min<uint64_t>(bytes.size(), kMaxFlatBuffer),
                                   flatbuffers::Verifier::Options());
    if (!schema::VerifyModelBuffer(verifier)) {
      return Malformed("not a valid TensorFlow Lite file: an offset or size inside is wrong");
    }
    model_ = schema::GetModel(start);
    if (model_->version() != 3) {
      return Error(ERROR_REASON_FORMAT_UNSUPPORTED,
                   FormatString("schema version {} of TensorFlow Lite is not known (3 is)",
                                model_->version()))
          .With("format", "TensorFlow Lite");
    }
    if (model_->subgraphs() == nullptr || model_->subgraphs()->size() == 0)
      return Malformed("the model has no graph");
    source_.file = file_;
    source_.description = Text(model_->description());
    for (const schema::SubGraph* graph : *model_->subgraphs()) {
      MP_RETURN_IF_ERROR(ReadGraph(*graph));
    }
    MP_RETURN_IF_ERROR(ReadSignatures());
    if (model_->metadata() != nullptr) {
      for (const schema::Metadata* entry : *model_->metadata())
        source_.metadata.push_back(Text(entry->name()));
    }
    return std::move(source_);
  }

 private:
  template <typename T>
  absl::StatusOr<std::vector<T>> Copy(const auto* numbers) {
    std::vector<T> copied;
    if (numbers == nullptr) return copied;
    copied_ += numbers->size();
    if (copied_ > kMaxCopiedNumbers) {
      return Error(ERROR_REASON_MODEL_LIMIT,
                   "the lists of the model's graphs are too long together")
          .With("limit", std::to_string(kMaxCopiedNumbers));
    }
    copied.reserve(numbers->size());
    for (flatbuffers::uoffset_t i = 0; i < numbers->size(); ++i)
      copied.push_back(static_cast<T>(numbers->Get(i)));
    return copied;
  }

  absl::Status ReadGraph(const schema::SubGraph& table) {
    SourceGraph graph;
    graph.name = Text(table.name());
    const size_t count = table.tensors() == nullptr ? 0 : table.tensors()->size();
    graph.tensors.reserve(count);
    for (size_t i = 0; i < count; ++i) {
      absl::Status status = ReadTensor(*table.tensors()->Get(i), count, &graph);
      if (!status.ok()) return Annotate(status, "tensor", Text(table.tensors()->Get(i)->name()));
    }
    MP_ASSIGN_OR_RETURN(graph.inputs, Indices(table.inputs(), count, /*optional=*/false));
    MP_ASSIGN_OR_RETURN(graph.outputs, Indices(table.outputs(), count, /*optional=*/false));
    std::vector<bool> made(count, false);
    for (const int input : graph.inputs) {
      if (made[input] || graph.tensors[input].constant) {
        return Malformed("a tensor is listed twice as an input, or a constant is an input")
            .Tensor(graph.tensors[input].name);
      }
      made[input] = true;
    }
    if (table.operators() != nullptr) {
      for (const schema::Operator* op : *table.operators())
        MP_RETURN_IF_ERROR(ReadOperator(*op, &graph, &made));
    }
    for (const int output : graph.outputs) {
      const SourceTensor& tensor = graph.tensors[output];
      if (!made[output] && !tensor.constant && !tensor.is_variable) {
        return Malformed("an output of the graph is made by no operator").Tensor(tensor.name);
      }
    }
    source_.graphs.push_back(std::move(graph));
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<int>> Indices(const flatbuffers::Vector<int32_t>* list, size_t count,
                                           bool optional) {
    MP_ASSIGN_OR_RETURN(std::vector<int> indices, Copy<int>(list));
    for (const int index : indices) {
      if (index == -1 && optional) continue;
      if (index < 0 || static_cast<size_t>(index) >= count) {
        return Malformed(FormatString("tensor index {} is out of range: the graph has {} tensors",
                                      index, count));
      }
    }
    return indices;
  }

  absl::Status ReadTensor(const schema::Tensor& table, size_t tensors, SourceGraph* graph) {
    SourceTensor tensor;
    tensor.name = Text(table.name());
    tensor.type = table.type();
    if (tensor.type < TensorType::MIN || tensor.type > TensorType::MAX) {
      return Malformed(FormatString("tensor type {} is not known", static_cast<int>(tensor.type)));
    }
    tensor.is_variable = table.is_variable();
    const auto* signature = table.shape_signature();
    const auto* fixed = table.shape();
    const bool use_signature = signature != nullptr && signature->size() > 0 &&
                               (fixed == nullptr || fixed->size() == signature->size());
    const auto* shape = use_signature ? signature : fixed;
    if (shape != nullptr && shape->size() > kMaxRank) {
      return Error(ERROR_REASON_MODEL_LIMIT, FormatString("a tensor has {} axes", shape->size()))
          .With("limit", std::to_string(kMaxRank));
    }
    MP_ASSIGN_OR_RETURN(tensor.shape, Copy<int64_t>(shape));
    for (const int64_t extent : tensor.shape) {
      if (extent < -1) return Malformed(FormatString("a tensor has a negative extent, {}", extent));
    }
    MP_RETURN_IF_ERROR(ReadData(table, &tensor));
    tensor.has_shape = !tensor.shape.empty() || table.has_rank() || tensor.constant;
    if (table.quantization() != nullptr)
      MP_RETURN_IF_ERROR(ReadQuantization(*table.quantization(), tensors, &tensor));
    graph->tensors.push_back(std::move(tensor));
    return absl::OkStatus();
  }

  absl::Status ReadData(const schema::Tensor& table, SourceTensor* tensor) {
    if (table.external_buffer() != 0) {
      return Error(ERROR_REASON_EXTERNAL_DATA_REJECTED, "the tensor's data lies in another file")
          .With("location", "external buffer")
          .Remedy("store the weights inside of the .tflite file");
    }
    const size_t buffers = model_->buffers() == nullptr ? 0 : model_->buffers()->size();
    if (table.buffer() == 0) return absl::OkStatus();
    if (table.buffer() >= buffers) {
      return Malformed(
          FormatString("buffer {} does not exist: the file has {}", table.buffer(), buffers));
    }
    const schema::Buffer& buffer = *model_->buffers()->Get(table.buffer());
    WeightRef data{file_, 0, 0};
    if (buffer.offset() > 1) {
      data.offset = buffer.offset();
      data.length = buffer.size();
      if (data.offset > file_->size() || data.length > file_->size() - data.offset) {
        return Malformed(FormatString("buffer {} runs past the end of the file", table.buffer()));
      }
    } else if (buffer.data() != nullptr) {
      data.offset = static_cast<uint64_t>(
          reinterpret_cast<const std::byte*>(buffer.data()->data()) - file_->bytes().data());
      data.length = buffer.data()->size();
    }
    if (data.length == 0) return absl::OkStatus();
    tensor->constant = true;
    tensor->sparsity = table.sparsity();
    tensor->data = std::move(data);
    // Some writers leave -1 in the signature of constants.
    if (table.shape() != nullptr && tensor->shape.size() == table.shape()->size()) {
      for (size_t i = 0; i < tensor->shape.size(); ++i) {
        tensor->shape[i] = table.shape()->Get(static_cast<flatbuffers::uoffset_t>(i));
      }
    }
    MP_ASSIGN_OR_RETURN(const uint64_t elements, ElementCount(tensor->shape));
    if (tensor->sparsity != nullptr || tensor->type == TensorType::STRING) return absl::OkStatus();
    if (const DataType type = ToOnnxType(tensor->type); type != DataType::kUndefined) {
      MP_ASSIGN_OR_RETURN(const uint64_t expected, ByteCount(type, elements));
      if (expected != tensor->data.length) {
        return Malformed(FormatString("a constant has {} bytes where its type and shape take {}",
                                      tensor->data.length, expected));
      }
    }
    return absl::OkStatus();
  }

  absl::Status ReadQuantization(const schema::QuantizationParameters& table, size_t tensors,
                                SourceTensor* tensor) {
    Quantization found;
    if (const auto* blocks = table.details_as_BlockwiseQuantization(); blocks != nullptr) {
      found.block_size = blocks->block_size();
      found.scales_tensor = blocks->scales();
      found.zero_points_tensor = blocks->zero_points();
      const auto exists = [&](int index) {
        return index >= 0 && static_cast<size_t>(index) < tensors;
      };
      if (found.block_size <= 0 || !exists(found.scales_tensor) ||
          (found.zero_points_tensor > 0 && !exists(found.zero_points_tensor))) {
        return Malformed("the block-wise quantization of a tensor names tensors that do not exist");
      }
      // 0 is written for "none" as well, and can be no tensor of zero points beside scales.
      if (found.zero_points_tensor == 0) found.zero_points_tensor = -1;
      tensor->quantization = std::move(found);
      return absl::OkStatus();
    }
    if (table.details_type() != schema::QuantizationDetails::NONE) {
      return Error(ERROR_REASON_OP_UNSUPPORTED,
                   "the tensor has a quantization of a kind that is not known")
          .With("rule", schema::EnumNameQuantizationDetails(table.details_type()));
    }
    if (table.scale() == nullptr || table.scale()->size() == 0) return absl::OkStatus();
    MP_ASSIGN_OR_RETURN(found.scale, Copy<float>(table.scale()));
    MP_ASSIGN_OR_RETURN(found.zero_point, Copy<int64_t>(table.zero_point()));
    found.axis = table.quantized_dimension();
    if (found.zero_point.empty()) found.zero_point.assign(found.scale.size(), 0);
    const size_t scales = found.scale.size();
    if (found.zero_point.size() != scales && found.zero_point.size() != 1) {
      return Malformed(FormatString("a tensor has {} scales but {} zero points", scales,
                                    found.zero_point.size()));
    }
    found.zero_point.resize(scales, found.zero_point[0]);
    if (scales > 1) {
      if (found.axis < 0 || static_cast<size_t>(found.axis) >= tensor->shape.size() ||
          tensor->shape[found.axis] != static_cast<int64_t>(scales)) {
        return Malformed(FormatString(
            "a tensor has {} scales for axis {}, which has another extent", scales, found.axis));
      }
    }
    for (const float scale : found.scale) {
      if (!std::isfinite(scale) || scale < 0) return Malformed("a scale is negative or not finite");
    }
    // Written for float tensors by converters that keep statistics, and as 0 for tensors that were never quantized.
    if (scales == 1 && found.scale[0] == 0) return absl::OkStatus();
    tensor->quantization = std::move(found);
    return absl::OkStatus();
  }

  absl::Status ReadOperator(const schema::Operator& table, SourceGraph* graph,
                            std::vector<bool>* made) {
    SourceOperator op;
    op.table = &table;
    const size_t codes = model_->operator_codes() == nullptr ? 0 : model_->operator_codes()->size();
    if (table.opcode_index() >= codes) {
      return Malformed(FormatString("operator code {} does not exist: the file has {}",
                                    table.opcode_index(), codes));
    }
    const schema::OperatorCode& code = *model_->operator_codes()->Get(table.opcode_index());
    op.code =
        std::max(static_cast<BuiltinOperator>(code.deprecated_builtin_code()), code.builtin_code());
    if (op.code < BuiltinOperator::MIN) return Malformed("an operator code is negative");
    op.version = code.version();
    if (op.code == BuiltinOperator::CUSTOM) op.custom = Text(code.custom_code());
    MP_ASSIGN_OR_RETURN(op.inputs,
                        Indices(table.inputs(), graph->tensors.size(), /*optional=*/true));
    MP_ASSIGN_OR_RETURN(op.outputs,
                        Indices(table.outputs(), graph->tensors.size(), /*optional=*/false));
    MP_ASSIGN_OR_RETURN(op.intermediates,
                        Indices(table.intermediates(), graph->tensors.size(), /*optional=*/true));
    if (table.large_custom_options_offset() > 1) {
      const uint64_t offset = table.large_custom_options_offset(),
                     size = table.large_custom_options_size();
      if (offset > file_->size() || size > file_->size() - offset) {
        return Malformed("the options of a custom operator run past the end of the file");
      }
      op.custom_options = file_->bytes().subspan(offset, size);
    } else if (table.custom_options() != nullptr) {
      op.custom_options =
          std::as_bytes(std::span(table.custom_options()->data(), table.custom_options()->size()));
    }
    for (const int input : op.inputs) {
      if (input < 0) continue;
      SourceTensor& tensor = graph->tensors[input];
      if ((*made)[input] || tensor.constant || tensor.is_variable) continue;
      if (!std::ranges::contains(tensor.shape, 0)) {
        return Malformed("an operator reads a tensor that nothing before it makes")
            .Op(op.name())
            .Tensor(tensor.name);
      }
      // A constant without elements has no buffer.
      tensor.constant = true;
      tensor.has_shape = true;
      tensor.data = {file_, 0, 0};
    }
    for (const int output : op.outputs) {
      if ((*made)[output] || graph->tensors[output].constant) {
        return Malformed("a tensor is made twice, or a constant is written to")
            .Op(op.name())
            .Tensor(graph->tensors[output].name);
      }
      (*made)[output] = true;
    }
    graph->operators.push_back(std::move(op));
    return absl::OkStatus();
  }

  absl::Status ReadSignatures() {
    if (model_->signature_defs() == nullptr) return absl::OkStatus();
    for (const schema::SignatureDef* table : *model_->signature_defs()) {
      Signature signature;
      signature.key = Text(table->signature_key());
      if (table->subgraph_index() >= source_.graphs.size()) {
        return Malformed(FormatString("signature \"{}\" is of graph {}, which does not exist",
                                      signature.key, table->subgraph_index()));
      }
      signature.graph = static_cast<int>(table->subgraph_index());
      const size_t tensors = source_.graphs[signature.graph].tensors.size();
      const auto read = [&](const auto* list, std::vector<Signature::Entry>* entries) {
        if (list == nullptr) return true;
        for (const schema::TensorMap* entry : *list) {
          if (entry->tensor_index() >= tensors) return false;
          entries->push_back({Text(entry->name()), static_cast<int>(entry->tensor_index())});
        }
        return true;
      };
      if (!read(table->inputs(), &signature.inputs) ||
          !read(table->outputs(), &signature.outputs)) {
        return Malformed(
            FormatString("signature \"{}\" names a tensor that does not exist", signature.key));
      }
      source_.signatures.push_back(std::move(signature));
    }
    return absl::OkStatus();
  }

  std::shared_ptr<const MappedFile> file_;
  const schema::Model* model_ = nullptr;
  SourceModel source_;
  uint64_t copied_ = 0;
};

}  // namespace

bool SourceTensor::is_static() const { return has_shape && !std::ranges::contains(shape, -1); }

std::string SourceOperator::name() const {
  if (code == BuiltinOperator::CUSTOM) return custom.empty() ? "CUSTOM" : std::string(custom);
  const std::string name = schema::EnumNameBuiltinOperator(code);
  return name.empty() ? FormatString("builtin operator {}", static_cast<int>(code)) : name;
}

DataType ToOnnxType(TensorType type) {
  switch (type) {
    case TensorType::FLOAT32:
      return DataType::kFloat;
    case TensorType::FLOAT16:
      return DataType::kFloat16;
    case TensorType::INT32:
      return DataType::kInt32;
    case TensorType::UINT8:
      return DataType::kUint8;
    case TensorType::INT64:
      return DataType::kInt64;
    case TensorType::BOOL:
      return DataType::kBool;
    case TensorType::INT16:
      return DataType::kInt16;
    case TensorType::INT8:
      return DataType::kInt8;
    case TensorType::FLOAT64:
      return DataType::kDouble;
    case TensorType::UINT64:
      return DataType::kUint64;
    case TensorType::UINT32:
      return DataType::kUint32;
    case TensorType::UINT16:
      return DataType::kUint16;
    case TensorType::INT4:
      return DataType::kInt4;
    case TensorType::BFLOAT16:
      return DataType::kBfloat16;
    case TensorType::UINT4:
      return DataType::kUint4;
    case TensorType::STRING:
      return DataType::kString;
    default:
      return DataType::kUndefined;
  }
}

bool LooksLikeTflite(std::span<const std::byte> bytes) {
  return bytes.size() >= 8 &&
         std::string_view(reinterpret_cast<const char*>(bytes.data()) + 4, 4) == "TFL3";
}

absl::StatusOr<SourceModel> ReadSource(std::shared_ptr<const MappedFile> file) {
  return Reader(std::move(file)).Read();
}

}  // namespace modelpress::tflite
