// Reading layers off nodes; see refit_site.h.
#include "core/channels/refit_site.h"

#include <algorithm>

namespace modelpress {
namespace {

std::vector<int64_t> Integers(const onnx::NodeProto& node, const char* name, size_t count,
                              int64_t fallback) {
  const auto* attribute = FindAttribute(node, name);
  if (attribute == nullptr || static_cast<size_t>(attribute->ints_size()) != count) {
    return std::vector<int64_t>(count, fallback);
  }
  return {attribute->ints().begin(), attribute->ints().end()};
}

class Finder {
 public:
  Finder(Model& narrow, const GraphIndex& index, const ValueShapes& shapes,
         const KeptPositions& kept, onnx::NodeProto& node)
      : graph_(*narrow.mutable_proto().mutable_graph()),
        index_(index),
        shapes_(shapes),
        kept_(kept),
        node_(node) {}

  std::optional<RefitSite> Find(std::string* why) {
    const std::string& op = node_.op_type();
    if (!IsDefaultDomain(node_.domain()) || node_.input_size() < 2) return std::nullopt;
    site_.node = &node_;
    bool fits = false;
    if (op == "Conv") {
      fits = Convolution();
    } else if (op == "ConvTranspose") {
      fits = Transposed();
    } else if (op == "Gemm" || op == "MatMul") {
      fits = Linear();
    } else if (op == "BatchNormalization" || op == "LayerNormalization" ||
               op == "InstanceNormalization" || op == "GroupNormalization") {
      fits = Norm();
    } else {
      return std::nullopt;
    }
    if (fits) return std::move(site_);
    *why = why_;
    return std::nullopt;
  }

 private:
  bool Refuse(std::string_view why) {
    why_ = why;
    return false;
  }

  const onnx::TensorProto* Floats(int input) const {
    if (input >= node_.input_size() || node_.input(input).empty()) return nullptr;
    const onnx::TensorProto* tensor = index_.Constant(graph_, node_.input(input));
    return tensor != nullptr && Type(*tensor) == DataType::kFloat ? tensor : nullptr;
  }

  // The weight, read by nobody else.
  const onnx::TensorProto* OwnWeight() {
    const onnx::TensorProto* tensor = Floats(1);
    if (tensor == nullptr) {
      // The product of two values has nothing to refit.
      const bool constant = index_.Constant(graph_, node_.input(1)) != nullptr;
      if (constant) Refuse("its weight is not a float32 constant");
      return nullptr;
    }
    if (index_.Uses(graph_, node_.input(1)).size() != 1 ||
        index_.IsGraphOutput(graph_, node_.input(1))) {
      Refuse("its weight is read by others too");
      return nullptr;
    }
    site_.weight = node_.input(1);
    return tensor;
  }

  // Positions of the dense model's output that are left.
  void YChannels(int axis) {
    const auto found = kept_.find({node_.output(0), axis});
    if (found != kept_.end()) site_.rows.y_channels = found->second;
  }

  bool OwnBias() {
    const bool absent = node_.input_size() < 3 || node_.input(2).empty();
    if (!absent && Floats(2) == nullptr) return Refuse("its bias is not a float32 constant");
    site_.bias_node = &node_;
    return true;
  }

  bool Convolution() {
    const onnx::TensorProto* weight = OwnWeight();
    if (weight == nullptr) return false;
    const auto dims = Dims(*weight);
    if (dims.size() < 3) return Refuse("its weight has too few axes");
    RowLayout& rows = site_.rows;
    rows.kind = RowLayout::Kind::kConv;
    const size_t axes = dims.size() - 2;
    rows.kernel.assign(dims.begin() + 2, dims.end());
    rows.strides = Integers(node_, "strides", axes, 1);
    rows.dilations = Integers(node_, "dilations", axes, 1);
    rows.pads = Integers(node_, "pads", 2 * axes, 0);
    const auto* pad = FindAttribute(node_, "auto_pad");
    if (pad != nullptr && pad->s().starts_with("SAME")) {
      rows.pads.clear();
      rows.same_lower = pad->s() == "SAME_LOWER";
    } else if (pad != nullptr && pad->s() == "VALID") {
      rows.pads.assign(2 * axes, 0);
    }
    rows.groups = static_cast<size_t>(IntAttribute(node_, "group", 1));
    if (rows.groups == 0 || dims[0] % static_cast<int64_t>(rows.groups) != 0) {
      return Refuse("its groups do not fit");
    }
    rows.inputs = 1;
    for (size_t i = 1; i < dims.size(); ++i) rows.inputs *= static_cast<size_t>(dims[i]);
    rows.outputs = static_cast<size_t>(dims[0]) / rows.groups;
    if (rows.inputs == 0 || rows.outputs == 0) return Refuse("its weight is empty");
    site_.x = node_.input(0);
    site_.outputs_first = true;
    YChannels(1);
    return OwnBias();
  }

  bool Transposed() {
    const onnx::TensorProto* weight = OwnWeight();
    if (weight == nullptr) return false;
    const auto dims = Dims(*weight);
    if (dims.size() < 3 || IntAttribute(node_, "group", 1) != 1) {
      return Refuse("a transposed convolution in groups");
    }
    RowLayout& rows = site_.rows;
    rows.kind = RowLayout::Kind::kTransposed;
    const size_t axes = dims.size() - 2;
    rows.kernel.assign(dims.begin() + 2, dims.end());
    rows.strides = rows.kernel;
    rows.dilations.assign(axes, 1);
    const auto* pad = FindAttribute(node_, "auto_pad");
    const bool plain =
        Integers(node_, "strides", axes, 1) == rows.kernel &&
        Integers(node_, "dilations", axes, 1) == rows.dilations &&
        Integers(node_, "pads", 2 * axes, 0) == std::vector<int64_t>(2 * axes, 0) &&
        Integers(node_, "output_padding", axes, 0) == std::vector<int64_t>(axes, 0) &&
        FindAttribute(node_, "output_shape") == nullptr &&
        (pad == nullptr || pad->s() == "NOTSET" || pad->s() == "VALID");
    if (!plain) return Refuse("a transposed convolution whose patches overlap");
    rows.inputs = static_cast<size_t>(dims[0]);
    rows.outputs = 1;
    for (size_t i = 1; i < dims.size(); ++i) rows.outputs *= static_cast<size_t>(dims[i]);
    if (rows.inputs == 0 || rows.outputs == 0) return Refuse("its weight is empty");
    site_.x = node_.input(0);
    YChannels(1);
    return OwnBias();
  }

  bool Linear() {
    const onnx::TensorProto* weight = OwnWeight();
    if (weight == nullptr) return false;
    const auto dims = Dims(*weight);
    const bool gemm = node_.op_type() == "Gemm";
    if (dims.size() != 2 || dims[0] <= 0 || dims[1] <= 0) return Refuse("its weight is no matrix");
    if (gemm && (IntAttribute(node_, "transA", 0) != 0 || FloatAttribute(node_, "alpha", 1) != 1 ||
                 FloatAttribute(node_, "beta", 1) != 1)) {
      return Refuse("a Gemm with factors or a transposed input");
    }
    site_.outputs_first = gemm && IntAttribute(node_, "transB", 0) != 0;
    site_.rows.kind = RowLayout::Kind::kLast;
    site_.rows.inputs = static_cast<size_t>(dims[site_.outputs_first ? 1 : 0]);
    site_.rows.outputs = static_cast<size_t>(dims[site_.outputs_first ? 0 : 1]);
    site_.x = node_.input(0);
    const std::vector<int64_t>* out = shapes_.Find(node_.output(0));
    if (out == nullptr || out->empty()) return Refuse("the shape of its output is not known");
    YChannels(static_cast<int>(out->size()) - 1);
    if (gemm) {
      const onnx::TensorProto* bias = Floats(2);
      if (node_.input_size() > 2 && !node_.input(2).empty() && !IsVector(bias)) {
        return Refuse("its bias is not a float32 vector");
      }
      return OwnBias();
    }
    BiasBehind();
    return true;
  }

  // One number for each output.
  bool IsVector(const onnx::TensorProto* tensor) const {
    if (tensor == nullptr || tensor->dims_size() == 0) return false;
    for (int i = 0; i + 1 < tensor->dims_size(); ++i) {
      if (tensor->dims(i) != 1) return false;
    }
    return tensor->dims(tensor->dims_size() - 1) == static_cast<int64_t>(site_.rows.outputs);
  }

  // The constant summand of a MatMul's only reader.
  void BiasBehind() {
    const auto& uses = index_.Uses(graph_, node_.output(0));
    if (uses.size() != 1 || uses[0].graph != &graph_ ||
        index_.IsGraphOutput(graph_, node_.output(0))) {
      return;
    }
    onnx::NodeProto* add = uses[0].node;
    if (add->op_type() != "Add" || !IsDefaultDomain(add->domain()) || add->input_size() != 2)
      return;
    const int other = 1 - uses[0].input;
    const onnx::TensorProto* bias = index_.Constant(graph_, add->input(other));
    if (bias == nullptr || Type(*bias) != DataType::kFloat || !IsVector(bias)) return;
    site_.bias_node = add;
    site_.bias_input = other;
    site_.bias_apart = true;
  }

  bool Norm() {
    const bool layer = node_.op_type() == "LayerNormalization";
    const onnx::TensorProto *scale = Floats(1), *bias = Floats(2);
    if (scale == nullptr || scale->dims_size() != 1 || scale->dims(0) <= 0) {
      return Refuse("its scale is not a float32 vector");
    }
    if (node_.input_size() > 2 && !node_.input(2).empty() &&
        (bias == nullptr || bias->dims_size() != 1 || bias->dims(0) != scale->dims(0))) {
      return Refuse("its bias is not a float32 vector");
    }
    const std::vector<int64_t>* out = shapes_.Find(node_.output(0));
    if (out == nullptr || out->size() < 2) return Refuse("the shape of its output is not known");
    const int axis = layer ? static_cast<int>(out->size()) - 1 : 1;
    RowLayout& rows = site_.rows;
    rows.kind = RowLayout::Kind::kChannel;
    rows.groups = static_cast<size_t>(scale->dims(0));
    rows.inputs = rows.outputs = 1;
    rows.channel_axis = axis;
    site_.x = node_.output(0);
    site_.weight = node_.input(1);
    site_.bias_node = &node_;
    YChannels(axis);
    site_.has_statistics = node_.op_type() == "BatchNormalization" && node_.input_size() == 5 &&
                           Floats(3) != nullptr && Floats(4) != nullptr;
    site_.epsilon = FloatAttribute(node_, "epsilon", 1e-5f);
    return true;
  }

  onnx::GraphProto& graph_;
  const GraphIndex& index_;
  const ValueShapes& shapes_;
  const KeptPositions& kept_;
  onnx::NodeProto& node_;
  RefitSite site_;
  std::string why_;
};

}  // namespace

std::optional<RefitSite> FindRefitSite(Model& narrow, const GraphIndex& index,
                                       const ValueShapes& shapes, const KeptPositions& kept,
                                       onnx::NodeProto& node, std::string* why) {
  return Finder(narrow, index, shapes, kept, node).Find(why);
}

}  // namespace modelpress
