// A float32 graph to float16; see half_graph.h.
#include "core/quant/half_graph.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/quant/float16.h"
#include "core/quant/half_plan.h"

namespace modelpress {
namespace {

constexpr uint64_t kPieceElements = 256 * 1024;

// Cast and Shape take what comes.
bool TakesAnything(const onnx::NodeProto& node) {
  const std::string& op = node.op_type();
  return (op == "Cast" || op == "Shape" || op == "Size") && IsDefaultDomain(node.domain());
}

class Converter {
 public:
  Converter(Model& model, const HalfOptions& options, WeightArena& arena, const JobContext& context,
            const ByteProgress& progress)
      : model_(model),
        proto_(model.mutable_proto()),
        options_(options),
        arena_(arena),
        context_(context),
        progress_(progress),
        names_(proto_),
        plan_(proto_, options.keep_io_types, options.keep_float) {}

  absl::StatusOr<HalfGraph> Run() {
    MP_RETURN_IF_ERROR(ConvertConstants());
    ForEachGraph(proto_, [&](onnx::GraphProto& graph, int) { graphs_.push_back(&graph); });
    for (onnx::GraphProto* graph : graphs_) CastInputs(*graph);
    for (onnx::GraphProto* graph : graphs_) CastOutputs(*graph);
    for (onnx::GraphProto* graph : graphs_) Retype(*graph);
    for (auto& [graph, node] : added_) *graph->add_node() = std::move(node);
    result_.casts = static_cast<int>(added_.size());
    MP_RETURN_IF_ERROR(SortTopologically(proto_));
    result_.skips = plan_.skips();
    result_.float_operators.assign(plan_.float_operators().begin(), plan_.float_operators().end());
    return std::move(result_);
  }

 private:
  absl::Status ConvertConstants() {
    for (const TensorSite& site : plan_.constants()) {
      HalfConversion conversion;
      MP_RETURN_IF_ERROR(ConvertTensor(site.tensor, &conversion));
      Change& change = result_.changes.emplace_back();
      change.set_tensor(site.value_name);
      change.set_node(plan_.index().Uses(*site.graph, site.value_name)[0].node->name());
      change.set_clamped(conversion.clamped_large + conversion.clamped_small);
      change.set_what("float16");
      if (change.clamped() > 0) {
        change.set_what(FormatString("float16; clamped: {} above 65504, {} below 2^-24",
                                     conversion.clamped_large, conversion.clamped_small));
      }
      if (conversion.sums.noise > 0) {
        change.set_sqnr_db(10 * std::log10(conversion.sums.signal / conversion.sums.noise));
      }
    }
    return absl::OkStatus();
  }

  absl::Status ConvertTensor(onnx::TensorProto* tensor, HalfConversion* whole) {
    MP_ASSIGN_OR_RETURN(const auto floats, model_.Bytes(*tensor));
    const uint64_t count = floats.size() / sizeof(float);
    MP_ASSIGN_OR_RETURN(WeightArena::Room room, arena_.Allocate(count * 2));
    std::vector<HalfConversion> parts((count + kPieceElements - 1) / kPieceElements);
    MP_RETURN_IF_ERROR(context_.pool->ParallelFor(parts.size(), [&](size_t i) -> absl::Status {
      MP_RETURN_IF_ERROR(context_.cancellation->Check());
      const uint64_t at = i * kPieceElements;
      const uint64_t n = std::min(kPieceElements, count - at);
      parts[i] = ConvertToHalf(floats.subspan(at * 4, n * 4), room.bytes.subspan(at * 2, n * 2));
      if (progress_) progress_(n * sizeof(float));
      return absl::OkStatus();
    }));
    for (const HalfConversion& part : parts) {
      whole->clamped_large += part.clamped_large;
      whole->clamped_small += part.clamped_small;
      whole->sums.Add(part.sums);
    }
    const std::vector<int64_t> dims(tensor->dims().begin(), tensor->dims().end());
    return model_.SetBytes(tensor, DataType::kFloat16, dims, std::move(room.weight));
  }

  std::string AddCast(onnx::GraphProto& graph, const std::string& from, bool to_half,
                      std::string to) {
    onnx::NodeProto node;
    node.set_op_type("Cast");
    if (to.empty()) to = names_.Make(from + (to_half ? "_float16" : "_float32"));
    node.set_name(names_.Make(to + "_Cast"));
    node.add_input(from);
    node.add_output(to);
    onnx::AttributeProto& attribute = *node.add_attribute();
    attribute.set_name("to");
    attribute.set_type(onnx::AttributeProto::INT);
    attribute.set_i(to_half ? onnx::TensorProto::FLOAT16 : onnx::TensorProto::FLOAT);
    added_.emplace_back(&graph, std::move(node));
    return to;
  }

  void CastInputs(onnx::GraphProto& graph) {
    std::map<std::string, std::string> casts;
    for (onnx::NodeProto& node : *graph.mutable_node()) {
      for (int i = 0; i < node.input_size(); ++i) {
        if (!plan_.IsFloat(graph, node.input(i))) continue;
        const bool have = plan_.IsHalf(graph, node.input(i));
        const bool want = plan_.InputIsHalf(graph, node, i);
        // Arithmetic on sizes starts from the exact value where there is one; a Cast is not one of
        // its sources.
        if (have == want || TakesAnything(node)) continue;
        std::string& cast = casts[node.input(i)];
        if (cast.empty()) cast = AddCast(graph, node.input(i), want, "");
        pending_inputs_.push_back({&node, i, cast});
      }
    }
  }

  void CastOutputs(onnx::GraphProto& graph) {
    const bool main = &graph == &proto_.graph();
    const bool want = !main || !options_.keep_io_types;
    for (auto& output : *graph.mutable_output()) {
      if (!plan_.IsFloat(graph, output.name()) || plan_.IsHalf(graph, output.name()) == want)
        continue;
      const std::string name = output.name();
      onnx::NodeProto* producer = plan_.index().Producer(graph, name);
      onnx::TensorProto* constant =
          producer == nullptr ? plan_.index().Constant(graph, name) : nullptr;
      if (!main || (producer == nullptr && constant == nullptr)) {
        output.set_name(AddCast(graph, name, want, ""));
        continue;
      }
      // Outputs of the model keep their names: what makes the value gets another one.
      renames_.push_back({&graph, producer, constant, name, names_.Make(name + "_inner"), want});
    }
  }

  void SetType(onnx::ValueInfoProto& value, DataType type) const {
    if (value.type().has_tensor_type()) {
      value.mutable_type()->mutable_tensor_type()->set_elem_type(static_cast<int32_t>(type));
    }
  }

  // Attributes and declared types; then the names that were decided above.
  void Retype(onnx::GraphProto& graph) {
    const bool main = &graph == &proto_.graph();
    for (auto& value : *graph.mutable_value_info()) {
      if (plan_.IsHalf(graph, value.name())) SetType(value, DataType::kFloat16);
    }
    for (auto& value : *graph.mutable_input()) {
      if (plan_.IsHalf(graph, value.name())) SetType(value, DataType::kFloat16);
    }
    for (auto& value : *graph.mutable_output()) {
      const bool was_float = value.type().tensor_type().elem_type() == onnx::TensorProto::FLOAT;
      if (was_float && (!main || !options_.keep_io_types)) SetType(value, DataType::kFloat16);
    }
    for (onnx::NodeProto& node : *graph.mutable_node()) {
      if (node.output_size() == 0 || !plan_.Changes(node) || !plan_.IsHalf(graph, node.output(0))) {
        continue;
      }
      for (onnx::AttributeProto& attribute : *node.mutable_attribute()) {
        if (node.op_type() == "Cast" && attribute.name() == "to") {
          attribute.set_i(onnx::TensorProto::FLOAT16);
        }
      }
      if (node.op_type() == "ConstantOfShape") RetypeFill(node);
    }
    ApplyNames(graph);
  }

  // ConstantOfShape's one value; without it, it is a float 0.
  void RetypeFill(onnx::NodeProto& node) {
    float value = 0;
    if (const auto* attribute = FindAttribute(node, "value"); attribute != nullptr) {
      const auto bytes = model_.Bytes(attribute->t());
      if (bytes.ok() && bytes->size() == sizeof(value)) {
        std::memcpy(&value, bytes->data(), sizeof(value));
      }
    }
    uint16_t half = 0;
    ConvertToHalf(std::as_bytes(std::span(&value, 1)), std::as_writable_bytes(std::span(&half, 1)));
    node.clear_attribute();
    onnx::AttributeProto& attribute = *node.add_attribute();
    attribute.set_name("value");
    attribute.set_type(onnx::AttributeProto::TENSOR);
    attribute.mutable_t()->set_data_type(onnx::TensorProto::FLOAT16);
    attribute.mutable_t()->add_dims(1);
    attribute.mutable_t()->set_raw_data(&half, sizeof(half));
  }

  void ApplyNames(onnx::GraphProto& graph) {
    if (&graph != graphs_.back()) return;
    for (const auto& input : pending_inputs_) input.node->set_input(input.place, input.name);
    for (const auto& rename : renames_) {
      ReplaceAllUses(*rename.graph, rename.name, rename.inner);
      for (auto& [added_graph, node] : added_) {
        for (std::string& input : *node.mutable_input()) {
          if (input == rename.name) input = rename.inner;
        }
      }
      if (rename.producer == nullptr) {
        rename.constant->set_name(rename.inner);
      } else {
        for (std::string& output : *rename.producer->mutable_output()) {
          if (output == rename.name) output = rename.inner;
        }
      }
      for (auto& output : *rename.graph->mutable_output()) {
        if (output.name() == rename.inner) output.set_name(rename.name);
      }
      for (auto& value : *rename.graph->mutable_value_info()) {
        if (value.name() == rename.name) value.set_name(rename.inner);
      }
      AddCast(*rename.graph, rename.inner, rename.to_half, rename.name);
    }
  }

  struct PendingInput {
    onnx::NodeProto* node;
    int place;
    std::string name;
  };
  struct Rename {
    onnx::GraphProto* graph;
    onnx::NodeProto* producer;  // or null, and it is a constant
    onnx::TensorProto* constant;
    std::string name, inner;
    bool to_half;
  };

  Model& model_;
  onnx::ModelProto& proto_;
  const HalfOptions& options_;
  WeightArena& arena_;
  const JobContext& context_;
  const ByteProgress& progress_;
  UniqueNames names_;
  HalfPlan plan_;
  std::vector<onnx::GraphProto*> graphs_;
  std::vector<std::pair<onnx::GraphProto*, onnx::NodeProto>> added_;
  std::vector<PendingInput> pending_inputs_;
  std::vector<Rename> renames_;
  HalfGraph result_;
};

}  // namespace

absl::StatusOr<HalfGraph> ConvertGraphToHalf(Model& model, const HalfOptions& options,
                                             WeightArena& arena, const JobContext& context,
                                             const ByteProgress& progress) {
  return Converter(model, options, arena, context, progress).Run();
}

}  // namespace modelpress
