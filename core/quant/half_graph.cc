// A float32 graph to float16; see half_graph.h.
#include "core/quant/half_graph.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <format>
#include <map>

#include "core/base/status.h"
#include "core/quant/float16.h"
#include "core/quant/skip.h"
#include "core/quant/value_types.h"

namespace modelpress {
namespace {

constexpr uint64_t kPieceElements = 256 * 1024;

bool Among(std::string_view value, std::initializer_list<std::string_view> list) {
  return std::ranges::find(list, value) != list.end();
}

bool IsControlFlow(const onnx::NodeProto& node) {
  return Among(node.op_type(), {"If", "Loop", "Scan"}) && IsDefaultDomain(node.domain());
}

// Operators that admit float16 but give nothing that runs: generators have no float16 kernel in ONNX Runtime 1.21 (and
// no float input that it could cast), scales of quantization keep their precision, sequences hide their element type.
bool StaysFloat(std::string_view op) {
  return Among(op, {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike",
                    "EyeLike", "Bernoulli", "Multinomial", "QuantizeLinear", "DequantizeLinear",
                    "DynamicQuantizeLinear", "STFT", "DFT", "MelWeightMatrix"}) ||
         op.find("Sequence") != op.npos || op.find("Optional") != op.npos || op.ends_with("Window");
}

// Through these, arithmetic on sizes is followed back from a Cast to integers.
bool IsSizeArithmetic(std::string_view op) {
  return Among(op, {"Add", "Sub", "Mul", "Div", "Floor", "Ceil", "Round", "Sqrt", "Neg", "Min",
                    "Max", "Clip", "Concat", "Slice", "Gather", "Unsqueeze", "Squeeze", "Reshape",
                    "Cast", "Identity", "Mod", "Pow"});
}

class Converter {
 public:
  Converter(Model& model, const HalfOptions& options, WeightArena& arena, const JobContext& context,
            const ByteProgress& progress)
      : model_(model), proto_(model.mutable_proto()), options_(options), arena_(arena),
        context_(context), progress_(progress), names_(proto_), index_(proto_),
        types_(proto_, index_) {}

  absl::StatusOr<HalfGraph> Run() {
    KeepSizeArithmetic();
    Decide(*proto_.mutable_graph(), nullptr);
    ChooseConstants();
    MP_RETURN_IF_ERROR(ConvertConstants());
    ForEachGraph(proto_, [&](onnx::GraphProto& graph, int) { graphs_.push_back(&graph); });
    for (onnx::GraphProto* graph : graphs_) CastInputs(*graph);
    for (onnx::GraphProto* graph : graphs_) CastOutputs(*graph);
    for (onnx::GraphProto* graph : graphs_) Retype(*graph);
    for (auto& [graph, node] : added_) *graph->add_node() = std::move(node);
    result_.casts = static_cast<int>(added_.size());
    MP_RETURN_IF_ERROR(SortTopologically(proto_));
    for (const auto& [op, count] : float_nodes_) result_.float_operators.emplace_back(op, count);
    return std::move(result_);
  }

 private:
  bool IsFloat(const onnx::GraphProto& graph, const std::string& name) const {
    return !name.empty() && types_.Find(graph, name) == DataType::kFloat;
  }
  bool IsHalf(const onnx::GraphProto& graph, const std::string& name) const {
    return half_values_.contains({index_.DefiningGraph(graph, name), name});
  }
  void SetHalf(const onnx::GraphProto& graph, const std::string& name) {
    half_values_.insert({index_.DefiningGraph(graph, name), name});
  }

  static bool AdmitsHalf(const onnx::OpSchema::FormalParameter* formal) {
    static const auto half = onnx::Utils::DataTypeUtils::ToType("tensor(float16)");
    return formal != nullptr && formal->GetTypes().contains(half);
  }

  void KeepSizeArithmetic() {
    std::vector<std::pair<onnx::GraphProto*, onnx::NodeProto*>> pending;
    ForEachGraph(proto_, [&](onnx::GraphProto& graph, int) {
      for (onnx::NodeProto& node : *graph.mutable_node()) {
        const auto to = static_cast<DataType>(IntAttribute(node, "to", 0));
        if (node.op_type() == "Cast" && (to == DataType::kInt64 || to == DataType::kInt32) &&
            IsFloat(graph, node.input(0))) {
          pending.emplace_back(&graph, &node);
        }
      }
    });
    while (!pending.empty()) {
      auto [graph, node] = pending.back();
      pending.pop_back();
      if (!size_arithmetic_.insert(node).second) continue;
      for (const std::string& input : node->input()) {
        onnx::NodeProto* producer = IsFloat(*graph, input) ? index_.Producer(*graph, input) : nullptr;
        if (producer == nullptr || !IsSizeArithmetic(producer->op_type())) continue;
        pending.emplace_back(index_.DefiningGraph(*graph, input), producer);
      }
    }
  }

  // Whether the node works in float16; control flow always does, so that its bodies agree with each other.
  bool Changes(const onnx::GraphProto& graph, const onnx::NodeProto& node) const {
    if (IsControlFlow(node)) return true;
    if (!IsDefaultDomain(node.domain()) || StaysFloat(node.op_type()) ||
        size_arithmetic_.contains(&node) || (options_.keep_float && options_.keep_float(node))) {
      return false;
    }
    const onnx::OpSchema* schema = SchemaOf(proto_, node);
    if (schema == nullptr || schema->Deprecated()) return false;
    // One type variable may not stand for two types: an unknown one beside a float makes the node stay.
    std::map<std::string, bool> unknown, floats;
    for (int i = 0; i < node.input_size(); ++i) {
      const auto* formal = FormalInput(*schema, i);
      if (node.input(i).empty() || formal == nullptr) continue;
      const DataType type = types_.Find(graph, node.input(i));
      if (!AdmitsHalf(formal)) continue;
      unknown[formal->GetTypeStr()] |= type == DataType::kUndefined;
      floats[formal->GetTypeStr()] |= type == DataType::kFloat;
    }
    for (const auto& [variable, is_float] : floats) {
      if (is_float && unknown[variable]) return false;
    }
    return true;
  }

  bool InputIsHalf(const onnx::GraphProto& graph, const onnx::NodeProto& node, int i) const {
    if (!IsFloat(graph, node.input(i)) || !half_nodes_.contains(&node)) return false;
    if (IsControlFlow(node)) return true;
    return AdmitsHalf(FormalInput(*SchemaOf(proto_, node), i));
  }

  // Cast and Shape take what comes.
  static bool TakesAnything(const onnx::NodeProto& node) {
    return Among(node.op_type(), {"Cast", "Shape", "Size"}) && IsDefaultDomain(node.domain());
  }

  void Decide(onnx::GraphProto& graph, const onnx::NodeProto* around) {
    for (const auto& input : graph.input()) {
      const bool half = around != nullptr || !options_.keep_io_types;
      const bool constant = std::ranges::any_of(
          graph.initializer(), [&](const auto& tensor) { return tensor.name() == input.name(); });
      if (half && !constant && IsFloat(graph, input.name())) SetHalf(graph, input.name());
    }
    for (onnx::NodeProto& node : *graph.mutable_node()) {
      if (node.op_type() == "Constant") continue;  // chosen by its readers
      for (onnx::AttributeProto& attribute : *node.mutable_attribute()) {
        if (attribute.has_g()) Decide(*attribute.mutable_g(), &node);
      }
      bool touches_float = false;
      for (const auto* list : {&node.input(), &node.output()}) {
        for (const std::string& name : *list) touches_float |= IsFloat(graph, name);
      }
      if (!touches_float) continue;
      if (!Changes(graph, node)) {
        ++float_nodes_[node.op_type()];
        continue;
      }
      half_nodes_.insert(&node);
      const onnx::OpSchema* schema = IsControlFlow(node) ? nullptr : SchemaOf(proto_, node);
      bool changed = IsControlFlow(node);
      for (int i = 0; i < node.input_size(); ++i) changed |= InputIsHalf(graph, node, i);
      for (int i = 0; i < node.output_size(); ++i) {
        if (!IsFloat(graph, node.output(i))) continue;
        if (schema == nullptr || AdmitsHalf(FormalOutput(*schema, i))) {
          SetHalf(graph, node.output(i));
          changed = true;
        }
      }
      if (!changed) ++float_nodes_[node.op_type()];
    }
  }

  // Constants become float16 where anyone reads them so; those that are graph outputs keep the output's type.
  void ChooseConstants() {
    ForEachTensor(proto_, [&](const TensorSite& site) {
      if (site.value_name.empty() || Type(*site.tensor) != DataType::kFloat) return;
      const auto skip = [&](SkipReason reason, std::string_view detail) {
        result_.skips.push_back(MakeSkip(reason, site.value_name, "", detail));
      };
      if (site.graph == nullptr) {
        return skip(SkipReason::kInsideFunction, "inline the model's functions first");
      }
      const auto& uses = index_.Uses(*site.graph, site.value_name);
      const bool output = index_.IsGraphOutput(*site.graph, site.value_name);
      if (uses.empty() && !output) return;
      if (output) return skip(SkipReason::kGraphOutput, "the tensor is itself an output");
      if (site.node == nullptr && index_.Constant(*site.graph, site.value_name) != site.tensor) {
        return skip(SkipReason::kOverridable, "also an input of the graph");
      }
      const bool wanted = std::ranges::any_of(uses, [&](const Use& use) {
        return InputIsHalf(*use.graph, *use.node, use.input);
      });
      if (!wanted) {
        return skip(SkipReason::kOperatorNeedsFloat,
                    "read by " + uses[0].node->op_type() + ", which takes it as float32");
      }
      SetHalf(*site.graph, site.value_name);
      constants_.push_back(site);
    });
  }

  absl::Status ConvertConstants() {
    for (const TensorSite& site : constants_) {
      HalfConversion conversion;
      MP_RETURN_IF_ERROR(ConvertTensor(site.tensor, &conversion));
      Change& change = result_.changes.emplace_back();
      change.set_tensor(site.value_name);
      change.set_node(index_.Uses(*site.graph, site.value_name)[0].node->name());
      change.set_clamped(conversion.clamped_large + conversion.clamped_small);
      change.set_what("float16");
      if (change.clamped() > 0) {
        change.set_what(std::format("float16; clamped: {} above 65504, {} below 2^-24",
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
    if (room.bytes.size() <= kInlineBytes) {
      return model_.SetInline(tensor, DataType::kFloat16, dims, room.bytes);
    }
    return model_.SetWeight(tensor, DataType::kFloat16, dims, std::move(room.weight));
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
        if (!IsFloat(graph, node.input(i))) continue;
        const bool have = IsHalf(graph, node.input(i));
        const bool want = InputIsHalf(graph, node, i);
        // Arithmetic on sizes starts from the exact value where there is one; a Cast is not one of its sources.
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
      if (!IsFloat(graph, output.name()) || IsHalf(graph, output.name()) == want) continue;
      const std::string name = output.name();
      onnx::NodeProto* producer = index_.Producer(graph, name);
      if (!main || producer == nullptr) {
        output.set_name(AddCast(graph, name, want, ""));
        continue;
      }
      // Outputs of the model keep their names: what makes the value gets another one.
      renames_.push_back({&graph, producer, name, names_.Make(name + "_inner"), want});
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
      if (IsHalf(graph, value.name())) SetType(value, DataType::kFloat16);
    }
    for (auto& value : *graph.mutable_input()) {
      if (IsHalf(graph, value.name())) SetType(value, DataType::kFloat16);
    }
    for (auto& value : *graph.mutable_output()) {
      const bool was_float = value.type().tensor_type().elem_type() == onnx::TensorProto::FLOAT;
      if (was_float && (!main || !options_.keep_io_types)) SetType(value, DataType::kFloat16);
    }
    for (onnx::NodeProto& node : *graph.mutable_node()) {
      if (node.output_size() == 0 || !half_nodes_.contains(&node) ||
          !IsHalf(graph, node.output(0))) {
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
      for (std::string& output : *rename.producer->mutable_output()) {
        if (output == rename.name) output = rename.inner;
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
    onnx::NodeProto* producer;
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
  GraphIndex index_;
  ValueTypes types_;
  std::vector<onnx::GraphProto*> graphs_;
  absl::flat_hash_set<const onnx::NodeProto*> size_arithmetic_, half_nodes_;
  absl::flat_hash_set<std::pair<const onnx::GraphProto*, std::string>> half_values_;
  std::map<std::string, int> float_nodes_;
  std::vector<TensorSite> constants_;
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
