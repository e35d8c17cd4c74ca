// Reading TensorFlow Lite files: see reader.h.
#include "core/formats/tflite/reader.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/formats/tflite/tensor_reader.h"

namespace modelpress::tflite {
namespace {

// The addressable part of a FlatBuffer; larger files have their weights behind it.
constexpr uint64_t kMaxFlatBuffer = FLATBUFFERS_MAX_BUFFER_SIZE - 1;

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
    tensors_.emplace(file_, model_);
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
  absl::Status ReadGraph(const schema::SubGraph& table) {
    SourceGraph graph;
    graph.name = Text(table.name());
    const size_t count = table.tensors() == nullptr ? 0 : table.tensors()->size();
    graph.tensors.reserve(count);
    for (size_t i = 0; i < count; ++i) {
      absl::StatusOr<SourceTensor> tensor = tensors_->Read(*table.tensors()->Get(i), count);
      if (!tensor.ok())
        return Annotate(tensor.status(), "tensor", Text(table.tensors()->Get(i)->name()));
      graph.tensors.push_back(*std::move(tensor));
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
    MP_ASSIGN_OR_RETURN(std::vector<int> indices, tensors_->Copy<int>(list));
    for (const int index : indices) {
      if (index == -1 && optional) continue;
      if (index < 0 || static_cast<size_t>(index) >= count) {
        return Malformed(FormatString("tensor index {} is out of range: the graph has {} tensors",
                                      index, count));
      }
    }
    return indices;
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
  std::optional<TensorReader> tensors_;
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
