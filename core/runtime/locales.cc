// Locales that StringNormalizer asks for; see locales.h.
#include "core/runtime/locales.h"

#include <locale.h>

#include <algorithm>
#include <string>

#include "core/model/graph.h"

namespace modelpress {
namespace {

constexpr char kDefault[] = "en_US.UTF-8";  // of the runtime, not of the operator's description
constexpr char kStandIn[] = "C.UTF-8";

bool IsInstalled(const std::string& name) {
  const locale_t found = newlocale(LC_ALL_MASK, name.c_str(), nullptr);
  if (found == nullptr) return false;
  freelocale(found);
  return true;
}

bool HasItsOwnCaseMapping(const std::string& name) {
  return name.starts_with("tr") || name.starts_with("az") || name.starts_with("lt");
}

void UseInstalledLocale(onnx::NodeProto& node) {
  if (node.op_type() != "StringNormalizer" || !IsDefaultDomain(node.domain())) return;
  auto& attributes = *node.mutable_attribute();
  const auto given = std::ranges::find(attributes, "locale", &onnx::AttributeProto::name);
  const std::string name = given == attributes.end() ? kDefault : given->s();
  if (HasItsOwnCaseMapping(name) || IsInstalled(name) || !IsInstalled(kStandIn)) return;
  onnx::AttributeProto& locale = given == attributes.end() ? *attributes.Add() : *given;
  locale.set_name("locale");
  locale.set_type(onnx::AttributeProto::STRING);
  locale.set_s(kStandIn);
}

}  // namespace

void UseInstalledLocales(onnx::ModelProto& proto) {
  ForEachGraph(proto, [](onnx::GraphProto& graph, int) {
    for (onnx::NodeProto& node : *graph.mutable_node()) UseInstalledLocale(node);
  });
  for (onnx::FunctionProto& function : *proto.mutable_functions()) {
    for (onnx::NodeProto& node : *function.mutable_node()) UseInstalledLocale(node);
  }
}

}  // namespace modelpress
