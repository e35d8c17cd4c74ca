// Values, views and writes of a graph under translation: see conversion.h.
#include "core/formats/pt2/conversion.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/formats/pt2/expression.h"
#include "core/formats/pt2/operator.h"

namespace modelpress::pt2 {
namespace {

constexpr int64_t kMostViewsMadeAgain = 100'000;

// Complex tensors are kept as real ones with an axis of two behind the others: only operators that know of it take them,
// and those that it does not matter to.
bool TakesComplex(std::string_view target) {
  constexpr std::string_view kKnown[] = {
      // arithmetic
      "aten.mul", "aten.add", "aten.sub", "aten.div", "aten.divide", "aten.true_divide", "aten.neg",
      "aten._to_copy", "aten.to", "prims.convert_element_type", "aten.exp", "aten.abs",
      "aten.angle", "aten.sum", "aten.mean", "aten.matmul", "aten.mm", "aten.bmm",
      // parts and Fourier transforms
      "aten.view_as_complex", "aten.view_as_real", "aten.view_as_real_copy", "aten.real",
      "aten.imag", "aten.conj", "aten._conj", "aten.conj_physical", "aten.resolve_conj",
      "aten.complex", "aten.polar", "aten.fft_rfft", "aten.fft_irfft", "aten.fft_fft",
      "aten.fft_ifft", "aten.fft_fft2", "aten.fft_ifft2", "aten.fft_fftn", "aten.fft_ifftn",
      "aten.fft_rfft2", "aten.fft_rfftn", "aten.fft_irfft2", "aten.fft_irfftn", "aten._fft_c2c",
      "aten._fft_r2c", "aten._fft_c2r", "aten.fft_fftshift", "aten.fft_ifftshift", "aten.stft",
      "aten.istft",
      // other shapes and parts of a tensor: axes are counted from the first
      "aten.clone", "aten.alias", "aten.detach", "aten.contiguous", "aten.view", "aten.reshape",
      "aten.flatten", "aten.unflatten", "aten._unsafe_view", "aten.view_copy", "aten.unsqueeze",
      "aten.squeeze", "aten.expand", "aten.permute", "aten.transpose", "aten.t", "aten.mT",
      "aten.movedim", "aten.slice", "aten.select", "aten.narrow", "aten.cat", "aten.stack",
      "aten.flip", "aten.roll", "aten.index_select", "aten.split", "aten.split_with_sizes",
      "aten.chunk", "aten.unbind", "_operator.getitem"};
  const size_t dot = target.find('.', target.find('.') + 1);
  return std::ranges::contains(kKnown, target.substr(0, dot));
}

bool HasComplex(GraphScope& scope, const Node& node) {
  const auto is_complex = [&](const std::string& name) { return IsComplex(scope.Meta(name).type); };
  for (const auto& [name, argument] : node.inputs) {
    if (argument.kind == Argument::Kind::kTensor && is_complex(argument.text)) return true;
    if (std::ranges::any_of(argument.names, is_complex)) return true;
  }
  return std::ranges::any_of(node.OutputNames(), is_complex);
}

// Whether a tensor's elements lie in order: reshape and the like then give a view of it, else a copy.
bool IsContiguous(const TensorMeta& meta) {
  if (!meta.is_static() || meta.strides.size() != meta.sizes.size()) return true;
  int64_t expected = 1;
  for (size_t i = meta.sizes.size(); i-- > 0;) {
    const int64_t extent = *meta.sizes[i].value;
    if (extent == 0) return true;
    if (extent == 1) continue;
    if (meta.strides[i] != expected || __builtin_mul_overflow(expected, extent, &expected))
      return false;
  }
  return true;
}

bool CopiesWhereNotContiguous(std::string_view target) {
  return target.starts_with("aten.reshape.") || target.starts_with("aten.contiguous.") ||
         target.starts_with("aten.flatten.");
}

void FillIn(const std::map<std::string, int64_t, std::less<>>& symbols, Extent* extent) {
  if (extent->value.has_value()) return;
  extent->value = Evaluate(extent->expression, symbols);
  if (extent->value.has_value()) extent->expression.clear();
}

}  // namespace

GraphScope::GraphScope(Conversion* conversion, const Graph* graph, import::GraphBuilder* builder)
    : conversion_(*conversion), graph_(*graph), builder_(*builder) {
  const auto count = [&](const Argument& argument) {
    if (!argument.text.empty()) ++reads_[argument.text];
    for (const std::string& name : argument.names) ++reads_[name];
    for (const SymInt& value : argument.ints) ++reads_[value.name];
  };
  for (const Node& node : graph_.nodes) {
    for (const auto& [name, argument] : node.inputs) count(argument);
  }
  for (const Argument& output : graph_.outputs) count(output);
  if (conversion_.symbols.empty()) return;
  metas_ = graph_.tensors;
  for (auto& [name, meta] : metas_) {
    for (Extent& extent : meta.sizes) FillIn(conversion_.symbols, &extent);
  }
}

const TensorMeta& GraphScope::Meta(std::string_view name) const {
  static const TensorMeta* const none = new TensorMeta;
  const auto& metas = metas_.empty() ? graph_.tensors : metas_;
  const auto found = metas.find(name);
  return found == metas.end() ? *none : found->second;
}

std::optional<int64_t> GraphScope::Integer(std::string_view name) const {
  const auto found = graph_.integers.find(name);
  if (found == graph_.integers.end()) return std::nullopt;
  if (found->second.value.has_value()) return found->second.value;
  return Evaluate(found->second.expression, conversion_.symbols);
}

void GraphScope::Bind(const std::string& name, std::string value) {
  if (values_.insert_or_assign(name, std::move(value)).second) order_.push_back(name);
}

absl::StatusOr<std::string> GraphScope::Value(const std::string& name) {
  if (const auto found = values_.find(name); found != values_.end()) return found->second;
  const auto weight_name = weight_names_.find(name);
  if (weight_name == weight_names_.end()) {
    return Error(ERROR_REASON_INTERNAL_BUG, "a value is read before it was made").Tensor(name);
  }
  const NamedTensor& weight = conversion_.program.weights.find(weight_name->second)->second;
  std::string key =
      absl::StrCat(absl::Hex(reinterpret_cast<uintptr_t>(weight.data.file.get())), ":",
                   weight.data.offset, ":", weight.data.length, ":", static_cast<int>(weight.type));
  for (const int64_t dim : weight.dims) absl::StrAppend(&key, ",", dim);
  auto found = conversion_.weights.find(key);
  if (found == conversion_.weights.end()) {
    MP_ASSIGN_OR_RETURN(std::string value, builder_.model().Weight(weight.name, weight.type,
                                                                   weight.dims, weight.data));
    found = conversion_.weights.emplace(std::move(key), std::move(value)).first;
  }
  if (conversion_.module_weights.contains(weight_name->second))
    conversion_.variables.insert(found->second);
  Bind(name, found->second);
  weight_values_[name] = found->second;
  return found->second;
}

int GraphScope::Reads(std::string_view name) const {
  const auto found = reads_.find(name);
  return found == reads_.end() || name.empty() ? 0 : found->second;
}

const NamedTensor* GraphScope::Weight(const std::string& name) const {
  const auto found = weight_names_.find(name);
  if (found == weight_names_.end()) return nullptr;
  const auto value = values_.find(name);
  if (value != values_.end() && value->second != WeightValue(name)) return nullptr;
  return &conversion_.program.weights.find(found->second)->second;
}

std::string GraphScope::WeightValue(const std::string& name) const {
  const auto found = weight_values_.find(name);
  return found == weight_values_.end() ? "" : found->second;
}

std::string GraphScope::ExtentValue(const Extent& extent) {
  if (extent.value.has_value()) return builder_.model().Int64s({*extent.value});
  if (const auto found = extents_.find(extent.expression); found != extents_.end())
    return found->second;
  for (const std::string& name : order_) {
    const TensorMeta& meta = Meta(name);
    for (int axis = 0; axis < meta.rank(); ++axis) {
      if (meta.sizes[axis] != extent) continue;
      const std::string value = builder_.Add(
          "Shape", {values_[name]}, {{"start", int64_t{axis}}, {"end", int64_t{axis + 1}}});
      return extents_[extent.expression] = value;
    }
    if (const auto integer = graph_.integers.find(name);
        integer != graph_.integers.end() && integer->second == extent) {
      const std::string value = builder_.Reshape(values_[name], {1});
      return extents_[extent.expression] = value;
    }
  }
  return "";
}

absl::StatusOr<std::string> GraphScope::ShapeValue(const std::vector<Extent>& extents) {
  import::Names parts;
  std::vector<int64_t> numbers;
  const auto flush = [&] {
    if (numbers.empty()) return;
    parts.push_back(builder_.model().Int64s(std::span(numbers)));
    numbers.clear();
  };
  for (const Extent& extent : extents) {
    if (extent.value.has_value()) {
      numbers.push_back(*extent.value);
      continue;
    }
    flush();
    parts.push_back(ExtentValue(extent));
    if (parts.back().empty()) {
      return Error(ERROR_REASON_OP_UNSUPPORTED,
                   FormatString("an extent is {}, which no tensor before has", extent.expression))
          .With("rule", "an extent is an expression that no tensor before has")
          .Remedy("export the model with a fixed shape, or give --input-shape");
    }
  }
  if (parts.empty() || !numbers.empty()) {
    if (parts.empty() && numbers.empty())
      return builder_.model().Int64s(std::span<const int64_t>());
    flush();
  }
  if (parts.size() == 1) return parts[0];
  return builder_.Add("Concat", std::move(parts), {{"axis", int64_t{0}}});
}

void GraphScope::AddView(const std::string& output, const std::string& parent, const Node* node,
                         int index) {
  if (view_numbers_.emplace(output, views_.size()).second)
    views_.push_back({output, parent, node, index});
}

void GraphScope::AddAlias(const std::string& output, const std::string& parent) {
  if (view_numbers_.emplace(output, views_.size()).second)
    views_.push_back({output, parent, nullptr, 0});
}

const GraphScope::View* GraphScope::FindView(const std::string& output) const {
  const auto found = view_numbers_.find(output);
  return found == view_numbers_.end() ? nullptr : &views_[found->second];
}

absl::Status GraphScope::Write(const std::string& name, const std::string& value) {
  Bind(name, value);
  std::set<std::string> fresh = {name};
  std::string root = name;
  for (const View* view = FindView(root); view != nullptr; view = FindView(root)) {
    std::string changed = values_[view->output];
    if (view->node != nullptr) {
      const OperatorRegistry::Entry* entry = OperatorRegistry::Get().Find(view->node->target);
      OperatorContext context(this, view->node);
      if (entry == nullptr || entry->undo == nullptr) {
        context.Refuse(
            "a tensor is written to through this view of it",
            "write out of place in the module: torch.where, torch.cat, or index_put on a clone");
        return context.status();
      }
      MP_ASSIGN_OR_RETURN(const std::string parent, Value(view->parent));
      changed = entry->undo(context, parent, changed, view->index);
      MP_RETURN_IF_ERROR(context.status());
    }
    Bind(view->parent, changed);
    fresh.insert(view->parent);
    root = view->parent;
  }
  written_roots_.insert(root);
  extents_.clear();
  // By number: translating adds none, since these are views already.
  for (size_t i = 0; i < views_.size(); ++i) {
    const View view = views_[i];
    if (fresh.contains(view.output) || !fresh.contains(view.parent)) continue;
    fresh.insert(view.output);
    if (++views_made_again_ > kMostViewsMadeAgain) {
      return Error(ERROR_REASON_MODEL_LIMIT,
                   "the program writes into tensors that too many views share")
          .With("limit", std::to_string(kMostViewsMadeAgain));
    }
    if (view.node == nullptr) {
      Bind(view.output, values_[view.parent]);
    } else {
      const std::string scope(builder_.scope());
      MP_RETURN_IF_ERROR(Translate(*view.node, /*again=*/true));
      builder_.SetScope(scope);
    }
  }
  return absl::OkStatus();
}

absl::Status GraphScope::Translate(const Node& node, bool again) {
  const std::string_view target = ShortTarget(node.target);
  const std::vector<std::string> outputs = node.OutputNames();
  const auto named =
      std::ranges::find_if(outputs, [](const std::string& name) { return !name.empty(); });
  const std::string node_name = named == outputs.end() ? std::string(target) : *named;
  builder_.SetScope(node_name);
  bool in_place = false;
  const OperatorRegistry::Entry* entry = OperatorRegistry::Get().Find(target, &in_place);
  OperatorContext context(this, &node);
  absl::Status status;
  std::string self;
  for (const auto& [name, argument] : node.inputs) {
    if (argument.kind == Argument::Kind::kTensor && self.empty()) self = argument.text;
  }
  const bool complex = HasComplex(*this, node);
  if (complex) {
    const OperatorRegistry::Entry* other =
        OperatorRegistry::Get().Find(absl::StrCat("complex.", std::string(context.name())));
    if (other != nullptr) entry = other;
  }
  if (entry == nullptr) {
    context.Refuse("it is not translated");
  } else if (complex && !TakesComplex(context.target())) {
    context.Refuse("it takes complex numbers");
  } else {
    entry->translate(context);
    context.Finish();
  }
  status = context.status();
  if (status.ok() && in_place && !self.empty() && named != outputs.end() &&
      values_.contains(*named)) {
    status = Write(self, values_[*named]);
    AddAlias(*named, self);
  } else if (status.ok() && entry != nullptr && entry->view && !again && !self.empty() &&
             (!CopiesWhereNotContiguous(target) || IsContiguous(Meta(self)))) {
    for (size_t i = 0; i < outputs.size(); ++i)
      AddView(outputs[i], self, &node, static_cast<int>(i));
  }
  if (!status.ok()) {
    if (ReasonOf(status) != ERROR_REASON_OP_UNSUPPORTED) {
      return Annotate(Annotate(status, "op", target), "node", node_name);
    }
    conversion_.refusals.Add(target, node_name, status);
  }
  // So that what follows can be looked at as well.
  for (const std::string& output : outputs) {
    if (output.empty() || values_.contains(output)) continue;
    if (status.ok()) {
      // Statistics of training and the like; a reader of them finds that out.
      continue;
    }
    Bind(output, builder_.model().UniqueValue("refused"));
  }
  return absl::OkStatus();
}

absl::Status GraphScope::TranslateNodes() {
  for (const Node& node : graph_.nodes) {
    if (conversion_.context.cancellation != nullptr) {
      MP_RETURN_IF_ERROR(conversion_.context.cancellation->Check());
    }
    MP_RETURN_IF_ERROR(Translate(node, /*again=*/false));
  }
  return absl::OkStatus();
}

}  // namespace modelpress::pt2
