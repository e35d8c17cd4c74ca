// Bad models, graph level: valid protobuf messages that are no valid model, and external data that must not be followed.
#include <cmath>
#include <cstring>
#include <limits>

#include "tests/bad_input/bad_models.h"

namespace modelpress::testing {
namespace {

using Edit = std::function<void(onnx::ModelProto&)>;
const std::vector<ErrorReason> kMalformed = {ERROR_REASON_MODEL_MALFORMED};
constexpr char kFullGate[] = "judging: {gate: full, latency: false}";

BadCase Edited(std::string name, Edit edit, std::vector<ErrorReason> reasons,
               std::string recipe = "judging: {gate: structure}") {
  return {std::move(name),
          [edit, recipe] {
            onnx::ModelProto model = TinyModel();
            edit(model);
            return JobBytes{.model = model.SerializeAsString(), .recipe = recipe};
          },
          std::move(reasons)};
}

onnx::NodeProto* AddNode(onnx::ModelProto& model, const char* op,
                         std::initializer_list<const char*> inputs,
                         std::initializer_list<const char*> outputs) {
  auto* node = model.mutable_graph()->add_node();
  node->set_op_type(op);
  for (const char* name : inputs) node->add_input(name);
  for (const char* name : outputs) node->add_output(name);
  return node;
}

onnx::TensorProto* Weight(onnx::ModelProto& model) {
  return model.mutable_graph()->mutable_initializer(0);
}

void FillSquare(onnx::ModelProto& model, float value) {
  model = SquareModel(64);
  auto* raw = Weight(model)->mutable_raw_data();
  for (size_t i = 0; i < raw->size(); i += 4096) {
    std::memcpy(raw->data() + i, &value, sizeof value);
  }
}

BadCase External(std::string name, std::string location, const char* offset, const char* length,
                 std::map<std::string, std::string> sidecars) {
  return {std::move(name),
          [=] {
            onnx::ModelProto model = TinyModel();
            auto* weight = Weight(model);
            weight->clear_raw_data();
            weight->set_data_location(onnx::TensorProto::EXTERNAL);
            auto add = [&](const char* key, const std::string& value) {
              auto* entry = weight->add_external_data();
              entry->set_key(key);
              entry->set_value(value);
            };
            add("location", location);
            if (offset != nullptr) add("offset", offset);
            if (length != nullptr) add("length", length);
            return JobBytes{.model = model.SerializeAsString(), .sidecars = sidecars};
          },
          {ERROR_REASON_EXTERNAL_DATA_REJECTED, ERROR_REASON_MODEL_MALFORMED}};
}

}  // namespace

std::vector<BadCase> BadModelGraphs() {
  constexpr char kQuantize[] =
      "passes: [{quantize_weights: {weights: {min_elements: 1}}}]\njudging: {gate: structure}";
  return {
      Edited("no_graph", [](auto& m) { m.clear_graph(); },
             {ERROR_REASON_MODEL_MALFORMED, ERROR_REASON_FORMAT_UNSUPPORTED}),
      Edited(
          "no_nodes_no_outputs",
          [](auto& m) {
            m.mutable_graph()->clear_node();
            m.mutable_graph()->clear_output();
          },
          kMalformed),
      Edited("no_opset", [](auto& m) { m.clear_opset_import(); },
             {ERROR_REASON_MODEL_MALFORMED, ERROR_REASON_OPSET_UNSUPPORTED}),
      Edited("opset_zero", [](auto& m) { m.mutable_opset_import(0)->set_version(0); },
             {ERROR_REASON_MODEL_MALFORMED, ERROR_REASON_OPSET_UNSUPPORTED}),
      Edited("opset_negative", [](auto& m) { m.mutable_opset_import(0)->set_version(-3); },
             {ERROR_REASON_MODEL_MALFORMED, ERROR_REASON_OPSET_UNSUPPORTED}),
      Edited("opset_from_the_future", [](auto& m) { m.mutable_opset_import(0)->set_version(999); },
             {ERROR_REASON_OPSET_UNSUPPORTED}),
      Edited(
          "opset_twice",
          [](auto& m) {
            *m.add_opset_import() = m.opset_import(0);
            m.mutable_opset_import(1)->set_version(9);
          },
          {ERROR_REASON_MODEL_MALFORMED, ERROR_REASON_OPSET_UNSUPPORTED}, kFullGate),
      Edited(
          "unknown_operator",
          [](auto& m) { m.mutable_graph()->mutable_node(0)->set_op_type("NoSuchOp"); },
          {ERROR_REASON_OP_UNSUPPORTED, ERROR_REASON_MODEL_MALFORMED}, kFullGate),
      Edited(
          "unknown_domain",
          [](auto& m) { m.mutable_graph()->mutable_node(0)->set_domain("example.unknown"); },
          {ERROR_REASON_OP_UNSUPPORTED, ERROR_REASON_MODEL_MALFORMED}, kFullGate),
      Edited(
          "cycle_of_two",
          [](auto& m) {
            AddNode(m, "Relu", {"b"}, {"a"});
            AddNode(m, "Relu", {"a"}, {"b"});
          },
          kMalformed),
      Edited(
          "node_reads_itself", [](auto& m) { AddNode(m, "Relu", {"a"}, {"a"}); }, kMalformed),
      Edited(
          "value_made_twice", [](auto& m) { AddNode(m, "Relu", {"x"}, {"y"}); }, kMalformed),
      Edited(
          "node_overwrites_input", [](auto& m) { AddNode(m, "Relu", {"y"}, {"x"}); }, kMalformed),
      Edited(
          "node_overwrites_initializer", [](auto& m) { AddNode(m, "Relu", {"y"}, {"w"}); },
          kMalformed),
      Edited(
          "initializer_twice",
          [](auto& m) { *m.mutable_graph()->add_initializer() = m.graph().initializer(0); },
          kMalformed),
      Edited(
          "input_twice", [](auto& m) { *m.mutable_graph()->add_input() = m.graph().input(0); },
          kMalformed),
      Edited(
          "output_that_nobody_makes",
          [](auto& m) { m.mutable_graph()->mutable_output(0)->set_name("nowhere"); }, kMalformed),
      Edited(
          "node_reads_a_missing_value", [](auto& m) { AddNode(m, "Relu", {"ghost"}, {"z"}); },
          kMalformed),
      Edited(
          "initializer_without_name", [](auto& m) { Weight(m)->clear_name(); }, kMalformed),
      Edited(
          "node_without_operator",
          [](auto& m) { m.mutable_graph()->mutable_node(0)->clear_op_type(); }, kMalformed),
      Edited(
          "attribute_twice",
          [](auto& m) {
            auto* node = AddNode(m, "Flatten", {"x"}, {"z"});
            for (int i = 0; i < 2; ++i) {
              auto* attribute = node->add_attribute();
              attribute->set_name("axis");
              attribute->set_type(onnx::AttributeProto::INT);
              attribute->set_i(1);
            }
          },
          kMalformed, kFullGate),
      Edited(
          "attribute_of_wrong_type",
          [](auto& m) {
            auto* attribute = AddNode(m, "Flatten", {"x"}, {"z"})->add_attribute();
            attribute->set_name("axis");
            attribute->set_type(onnx::AttributeProto::STRING);
            attribute->set_s("1");
          },
          kMalformed, kFullGate),
      Edited(
          "too_many_operator_inputs", [](auto& m) { AddNode(m, "Relu", {"x", "x", "x"}, {"z"}); },
          kMalformed, kFullGate),
      Edited(
          "shapes_that_cannot_be_multiplied",
          [](auto& m) {
            auto* w = Weight(m);
            w->set_dims(0, 2);
            w->set_dims(1, 8);
          },
          {ERROR_REASON_MODEL_MALFORMED, ERROR_REASON_RUNTIME_FAILED}, kFullGate),
      Edited(
          "sparse_indices_out_of_range",
          [](auto& m) {
            auto* sparse = m.mutable_graph()->add_sparse_initializer();
            sparse->add_dims(4);
            sparse->mutable_values()->set_name("s");
            sparse->mutable_values()->set_data_type(onnx::TensorProto::FLOAT);
            sparse->mutable_values()->add_dims(1);
            sparse->mutable_values()->add_float_data(1);
            sparse->mutable_indices()->set_data_type(onnx::TensorProto::INT64);
            sparse->mutable_indices()->add_dims(1);
            sparse->mutable_indices()->add_int64_data(1'000'000);
          },
          kMalformed, kFullGate),
      Edited(
          "function_that_calls_itself",
          [](auto& m) {
            auto* function = m.add_functions();
            function->set_name("F");
            function->set_domain("local");
            function->add_input("a");
            function->add_output("b");
            auto* opset = function->add_opset_import();
            opset->set_domain("local");
            opset->set_version(1);
            auto* node = function->add_node();
            node->set_op_type("F");
            node->set_domain("local");
            node->add_input("a");
            node->add_output("b");
            auto* import = m.add_opset_import();
            import->set_domain("local");
            import->set_version(1);
            AddNode(m, "F", {"x"}, {"z"})->set_domain("local");
          },
          kMalformed, kFullGate),
      Edited(
          "nan_weight", [](auto& m) { FillSquare(m, std::numeric_limits<float>::quiet_NaN()); },
          {ERROR_REASON_WEIGHT_NOT_FINITE, ERROR_REASON_NOTHING_CHANGED}, kQuantize),
      Edited(
          "infinite_weight", [](auto& m) { FillSquare(m, std::numeric_limits<float>::infinity()); },
          {ERROR_REASON_WEIGHT_NOT_FINITE, ERROR_REASON_NOTHING_CHANGED}, kQuantize),
      Edited(
          "nothing_to_compress", [](auto& m) { m.mutable_graph()->mutable_node(0); },
          {ERROR_REASON_NOTHING_CHANGED},
          "passes: [{quantize_weights: {}}]\njudging: {gate: structure}"),
  };
}

std::vector<BadCase> BadExternalData() {
  const std::map<std::string, std::string> good = {{"w.data", std::string(64, '\0')}};
  return {
      External("parent_folder", "../w.data", nullptr, nullptr, good),
      External("deep_parent_folder", "a/../../../etc/passwd", nullptr, nullptr, good),
      External("absolute_path", "/etc/passwd", nullptr, nullptr, good),
      External("runtime_memory_address", "*/_ORT_MEM_ADDR_/*", "4096", "64", good),
      External("descriptor_number", "0", nullptr, nullptr, good),
      External("our_own_reference", "#0", nullptr, nullptr, good),
      External("proc_descriptor", "/proc/self/fd/0", nullptr, nullptr, good),
      External("missing_sidecar", "other.data", nullptr, nullptr, good),
      External("no_sidecars_sent", "w.data", nullptr, nullptr, {}),
      External("empty_location", "", nullptr, nullptr, good),
      External("name_with_nul", std::string("w.data\0x", 8), nullptr, nullptr, good),
      External("offset_beyond_end", "w.data", "1000", "64", good),
      External("offset_plus_length_overflows", "w.data", "18446744073709551615", "64", good),
      External("negative_offset", "w.data", "-4", "64", good),
      External("offset_is_text", "w.data", "four", "64", good),
      External("length_too_short", "w.data", "0", "60", good),
      External("length_too_long", "w.data", "0", "65", good),
      External("sidecar_too_short", "w.data", nullptr, nullptr, {{"w.data", "123"}}),
  };
}

}  // namespace modelpress::testing
